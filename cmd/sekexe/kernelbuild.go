package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sekexe/sekexe/kernel/build"
)

// buildFlags are the flags of sekexe kernel build.
type buildFlags struct {
	from               build.Origin
	recipe             build.Recipe
	jobs               int
	installDeps, quiet bool
}

func newKernelBuildCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [flags]",
		Short: "Build a kernel from source",
		Long: `build builds a kernel for sub-kernels, without anything that costs boot time and serves nobody in one, and keeps it in the cache folder,
where run and up find it. A kernel that was built before from the same source and configuration is not built again. A build that was
interrupted goes on where it was. A few lines of the source are edited, in a copy, so that sub-kernels are faster; --unmodified leaves them as they are.

The source is a folder or a tarball (--source), a release of kernel.org (--version), or the newest linux-source package of a Debian suite
(--debian), which apt fetches from the mirror that this machine uses.`,
		Example: `  sekexe kernel build --debian sid
  sekexe kernel build --version 7.2.1 --flavour smp
  sekexe kernel build --source ./linux --set CONFIG_BTRFS_FS=y`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.from.Path, "source", "", "folder or tarball with the kernel's source")
	fl.StringVar(&f.from.Version, "version", "", "release of kernel.org, such as 7.2.1")
	fl.StringVar(&f.from.Suite, "debian", "", "Debian suite, such as bookworm or sid")
	fl.StringVar(&f.from.Mirror, "mirror", build.KernelOrg, "where releases of kernel.org are fetched from")
	fl.StringVar(&f.recipe.Flavour, "flavour", "default", "flavour: "+strings.Join(build.Flavours(), ", "))
	fl.StringArrayVar(&f.recipe.Set, "set", nil, "set a symbol of the configuration: CONFIG_X=y")
	fl.StringArrayVar(&f.recipe.Fragments, "fragment", nil, "lay a file of symbols over the configuration")
	fl.BoolVar(&f.recipe.Unmodified, "unmodified", false, "build the source as it is, without the edits that make sub-kernels faster")
	fl.IntVarP(&f.jobs, "jobs", "j", 0, "how many compilers run at once (default: one more than CPUs)")
	fl.BoolVar(&f.installDeps, "install-deps", false, "install missing build tools by apt")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but the path of the kernel")
	choices(cmd, "flavour", build.Flavours()...)
	return cmd
}

// run is sekexe kernel build.
func (f *buildFlags) run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cache := cacheDir()
	if cache == "" {
		return failure(errNoCache)
	}
	src, err := f.open(ctx, cache)
	if err != nil {
		return buildEnded(ctx, err)
	}
	if f.installDeps {
		if err := build.InstallTools(ctx, build.Missing(src)); err != nil {
			return buildEnded(ctx, err)
		}
	}
	p := newBuildProgress(f.quiet, "")
	r, err := build.Kernel(ctx, build.Options{
		Source: src, Recipe: f.recipe, CacheDir: cache, Jobs: f.jobs, Progress: p.show,
		Waiting: func() { p.say("another build of this kernel is under way: waiting for it") },
	})
	p.end()
	if err != nil {
		return buildEnded(ctx, err)
	}
	p.report(r)
	fmt.Println(r.Path)
	return nil
}

// buildEnded tells an interrupted build from one that failed.
func buildEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		say("warning", "the build was interrupted; the same command takes it up again")
		return status(130)
	}
	return failure(err)
}

// open finds the source.
func (f *buildFlags) open(ctx context.Context, cache string) (*build.Source, error) {
	n := 0
	for _, s := range []string{f.from.Path, f.from.Version, f.from.Suite} {
		if s != "" {
			n++
		}
	}
	if n != 1 {
		return nil, misuse("name the source by one of --source, --version and --debian")
	}
	if f.from.Path != "" {
		abs, err := filepath.Abs(f.from.Path)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", f.from.Path, err)
		}
		f.from.Path = abs
	}
	return f.from.Fetch(ctx, cache)
}

// A buildProgress shows how far a build is on standard error: a line that changes on a terminal, one for each phase and each tenth otherwise.
type buildProgress struct {
	quiet, tty bool
	prefix     string // of each line
	phase      string
	tenth      int
	drawn      bool
}

func newBuildProgress(quiet bool, prefix string) *buildProgress {
	return &buildProgress{quiet: quiet, prefix: prefix, tty: term.IsTerminal(int(os.Stderr.Fd()))}
}

func (p *buildProgress) show(b build.Progress) {
	if p.quiet {
		return
	}
	text := b.Phase
	if b.Total > 0 {
		text = fmt.Sprintf("%s: %d of about %d", b.Phase, b.Done, b.Total)
		if b.Left > 0 {
			text += fmt.Sprintf(", about %v left", b.Left.Round(time.Second))
		}
	}
	if p.tty {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", p.prefix+text)
		p.drawn = true
		return
	}
	tenth := 0
	if b.Total > 0 {
		tenth = 10 * b.Done / b.Total
	}
	if b.Phase != p.phase || tenth != p.tenth {
		p.phase, p.tenth = b.Phase, tenth
		fmt.Fprintln(os.Stderr, p.prefix+text)
	}
}

func (p *buildProgress) end() {
	if p.drawn {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *buildProgress) say(text string) {
	p.end()
	if !p.quiet {
		fmt.Fprintln(os.Stderr, p.prefix+text)
	}
}

// report says what came of a build.
func (p *buildProgress) report(r *build.Result) {
	for _, d := range r.Dropped {
		p.say("Kconfig did not take " + d.String())
	}
	if len(r.Unapplied) > 0 {
		p.say("sub-kernels will be slower: the source has other lines than some of sekexe's edits look for: " + strings.Join(r.Unapplied, ", "))
	}
	if r.Cached {
		p.say(r.Key + " was there already")
		return
	}
	p.say(fmt.Sprintf("%s is built, in %v", r.Key, r.Duration.Round(time.Second)))
}
