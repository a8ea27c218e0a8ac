package main

import (
	"context"
	"errors"
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
	source, version, debian, mirror string
	recipe                          build.Recipe
	jobs                            int
	installDeps, quiet              bool
}

func newKernelBuildCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [flags]",
		Short: "Build a kernel from source",
		Long: `build builds a kernel for sub-kernels, without anything that costs boot time and serves nobody in one, and keeps it in the cache folder,
where run and up find it. A kernel that was built before from the same source and configuration is not built again. A build that was
interrupted goes on where it was.

The source is a folder or a tarball (--source), a release of kernel.org (--version), or the newest linux-source package of a Debian suite
(--debian), which apt fetches from the mirror that this machine uses.`,
		Example: `  sekexe kernel build --debian sid
  sekexe kernel build --version 7.2.1 --flavour smp
  sekexe kernel build --source ./linux --set CONFIG_BTRFS_FS=y`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.source, "source", "", "folder or tarball with the kernel's source")
	fl.StringVar(&f.version, "version", "", "release of kernel.org, such as 7.2.1")
	fl.StringVar(&f.debian, "debian", "", "Debian suite, such as bookworm or sid")
	fl.StringVar(&f.mirror, "mirror", build.KernelOrg, "where releases of kernel.org are fetched from")
	fl.StringVar(&f.recipe.Flavour, "flavour", "default", "flavour: "+strings.Join(build.Flavours(), ", "))
	fl.StringArrayVar(&f.recipe.Set, "set", nil, "set a symbol of the configuration: CONFIG_X=y")
	fl.StringArrayVar(&f.recipe.Fragments, "fragment", nil, "lay a file of symbols over the configuration")
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
		return failure(errors.New("cache folder: find it: neither HOME nor XDG_CACHE_HOME is set"))
	}
	src, err := f.open(ctx, cache)
	if err != nil {
		return f.ended(ctx, err)
	}
	if f.installDeps {
		if err := build.InstallTools(ctx, build.Missing(src)); err != nil {
			return f.ended(ctx, err)
		}
	}
	p := newBuildProgress(f.quiet)
	r, err := build.Kernel(ctx, build.Options{
		Source: src, Recipe: f.recipe, CacheDir: cache, Jobs: f.jobs, Progress: p.show,
		Waiting: func() { p.say("another build of this kernel is under way: waiting for it") },
	})
	p.end()
	if err != nil {
		return f.ended(ctx, err)
	}
	return f.report(r, p)
}

// ended tells an interrupted build from one that failed.
func (f *buildFlags) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		say("warning", "the build was interrupted; the same command takes it up again")
		return status(130)
	}
	return failure(err)
}

// open finds the source.
func (f *buildFlags) open(ctx context.Context, cache string) (*build.Source, error) {
	n := 0
	for _, s := range []string{f.source, f.version, f.debian} {
		if s != "" {
			n++
		}
	}
	if n != 1 {
		return nil, misuse("name the source by one of --source, --version and --debian")
	}
	downloads := filepath.Join(cache, "source")
	switch {
	case f.source != "":
		return build.OpenSource(ctx, f.source)
	case f.version != "":
		return build.Download(ctx, f.mirror, f.version, downloads)
	}
	return build.Debian(ctx, f.debian, downloads)
}

// report says what came of it.
func (f *buildFlags) report(r *build.Result, p *buildProgress) error {
	for _, d := range r.Dropped {
		p.say("Kconfig did not take " + d.String())
	}
	switch {
	case r.Cached:
		p.say(r.Key + " was there already")
	default:
		p.say(fmt.Sprintf("%s is built, in %v", r.Key, r.Duration.Round(time.Second)))
	}
	fmt.Println(r.Path)
	return nil
}

// A buildProgress shows how far a build is on standard error: a line that changes on a terminal, one for each phase and each tenth otherwise.
type buildProgress struct {
	quiet, tty bool
	phase      string
	tenth      int
	drawn      bool
}

func newBuildProgress(quiet bool) *buildProgress {
	return &buildProgress{quiet: quiet, tty: term.IsTerminal(int(os.Stderr.Fd()))}
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
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", text)
		p.drawn = true
		return
	}
	tenth := 0
	if b.Total > 0 {
		tenth = 10 * b.Done / b.Total
	}
	if b.Phase != p.phase || tenth != p.tenth {
		p.phase, p.tenth = b.Phase, tenth
		fmt.Fprintln(os.Stderr, text)
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
		fmt.Fprintln(os.Stderr, text)
	}
}
