package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/kernel/build"
)

func newKernelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernel",
		Short: "Build kernels, and see which there are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return status(exitUsage)
		},
	}
	cmd.AddCommand(newKernelBuildCommand(), newKernelListCommand(), newKernelInspectCommand(), newKernelRemoveCommand())
	return cmd
}

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

// A kernelEntry is a kernel in a list.
type kernelEntry struct {
	Name     string            `json:"name,omitempty"` // of one that was built
	Path     string            `json:"path"`
	Version  string            `json:"version"`
	Flavour  string            `json:"flavour,omitempty"`
	Origin   string            `json:"origin"`
	Size     int64             `json:"size"`
	SMP      bool              `json:"smp"`
	Seccomp  bool              `json:"seccomp"`
	Modules  string            `json:"modules,omitempty"`
	Default  bool              `json:"default"`
	Boot     float64           `json:"boot_seconds,omitempty"` // absent: none was measured
	Features map[string]string `json:"features"`
	Built    *build.Provenance `json:"provenance,omitempty"`
}

// kernelEntries lists the kernels that there are, with what is wrong with others.
func kernelEntries(ctx context.Context) ([]kernelEntry, error) {
	f := newFinder()
	all, err := f.List(ctx)
	def, _ := f.Resolve(ctx, kernel.Choice{})
	list := []kernelEntry{}
	for _, i := range all {
		e := newKernelEntry(f, i)
		e.Default = def != nil && def.Path == i.Path
		list = append(list, e)
	}
	return list, err
}

func newKernelEntry(finder *kernel.Finder, i *kernel.Info) kernelEntry {
	e := kernelEntry{
		Path: i.Path, Version: i.Version, Origin: i.Origin, Size: i.Size, SMP: i.SMP, Seccomp: i.Seccomp, Modules: i.Modules, Features: map[string]string{},
	}
	if i.Origin == kernel.OriginBuilt {
		dir := filepath.Dir(i.Path)
		e.Name = filepath.Base(dir)
		if p, err := build.ReadProvenance(dir); err == nil {
			e.Flavour, e.Built = p.Flavour, p
		}
	}
	if d, ok := finder.LearnedBoot(i); ok {
		e.Boot = d.Seconds()
	}
	for _, f := range kernel.Features(i) {
		e.Features[f.Name] = f.State.String()
	}
	return e
}

func newKernelListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the kernels that there are",
		Long: `list lists the kernels that there are: the default one first, those that were built, those on PATH. BOOT is the shortest boot that was
measured on a CPU like this one's, from the start of the kernel's process until the guest said hello; the first boot of a kernel, which
takes longer, doesn't count.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := kernelEntries(cmd.Context())
			if err != nil {
				say("warning", err.Error())
			}
			if asJSON {
				return output(func(w io.Writer) error { return writeJSON(w, map[string]any{"schema": 1, "kernels": list}) })
			}
			return output(func(w io.Writer) error { return writeKernels(w, list) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeKernels(w io.Writer, list []kernelEntry) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VERSION\tFLAVOUR\tSIZE\tBOOT\tDEFAULT\tPATH")
	for _, k := range list {
		mark := ""
		if k.Default {
			mark = "yes"
		}
		flavour := cmp.Or(k.Flavour, "-")
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Version, flavour, units.HumanSize(float64(k.Size)), bootText(k.Boot), mark, k.Path)
	}
	return t.Flush()
}

// bootText is a boot time for people.
func bootText(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d == 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(10 * time.Millisecond).String()
	}
}

func newKernelInspectCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [KERNEL]",
		Short: "Say what a kernel is and can do",
		Long:  "inspect says what a kernel is and can do: one named by its path or version, or the default one.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := kernel.Choice{}
			if len(args) > 0 {
				k := parseKernel(args[0], "")
				c.Path, c.Version = k.Path, k.Version
			}
			f := newFinder()
			i, err := f.Resolve(cmd.Context(), c)
			if err != nil {
				return failure(err)
			}
			e := newKernelEntry(f, i)
			if asJSON {
				return output(func(w io.Writer) error { return writeJSON(w, e) })
			}
			return output(func(w io.Writer) error { return writeKernel(w, i, e) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeKernel(w io.Writer, i *kernel.Info, e kernelEntry) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "path\t%s\nversion\t%s\nsize\t%s\n", e.Path, e.Version, units.HumanSize(float64(e.Size)))
	if e.Boot > 0 {
		fmt.Fprintf(t, "boot\t%s\n", bootText(e.Boot))
	}
	if e.Modules != "" {
		fmt.Fprintf(t, "modules\t%s\n", e.Modules)
	}
	if p := e.Built; p != nil {
		fmt.Fprintf(t, "flavour\t%s\nsource\t%s\nbuilt\t%s, with %s\n", p.Flavour, p.Origin, p.Built.Format(time.RFC3339), p.Compiler)
	}
	for _, f := range kernel.Features(i) {
		fmt.Fprintf(t, "%s\t%s\n", f.Name, f.State)
	}
	return t.Flush()
}

func newKernelRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME...",
		Short: "Remove kernels that were built",
		Long:  "remove removes kernels that were built, which are named as kernel list --json names them. Sub-kernels that run are not disturbed.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, names []string) error {
			for _, n := range names {
				dir := filepath.Join(cacheDir(), "kernels", n)
				if n != filepath.Base(n) || n == "." || n == ".." {
					return misuse("kernel %s: remove it: that is no name of a kernel that was built", n)
				}
				if _, err := os.Stat(filepath.Join(dir, "linux")); err != nil {
					return misuse("kernel %s: remove it: there is none of that name", n)
				}
				if err := os.RemoveAll(dir); err != nil {
					return failure(fmt.Errorf("kernel %s: remove it: %w", n, err))
				}
			}
			return nil
		},
	}
}
