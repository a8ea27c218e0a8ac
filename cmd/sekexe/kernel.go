package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

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
	cmd.AddCommand(newKernelBuildCommand(), newKernelListCommand(), newKernelInspectCommand(), newKernelDefaultCommand(), newKernelRemoveCommand())
	return cmd
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
		Name: i.Name, Path: i.Path, Version: i.Version, Flavour: i.Flavour, Origin: i.Origin, Size: i.Size, SMP: i.SMP, Seccomp: i.Seccomp, Modules: i.Modules, Features: map[string]string{},
	}
	if i.Name != "" {
		if p, err := build.ReadProvenance(filepath.Dir(i.Path)); err == nil {
			e.Built = p
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
				for _, l := range strings.Split(err.Error(), "\n") {
					say("warning", l)
				}
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
			e := inspectedKernel{kernelEntry: newKernelEntry(f, i)}
			config, err := i.Config(cmd.Context())
			if err != nil {
				return failure(err)
			}
			for _, r := range kernel.DockerRequirements(config) {
				e.Docker = append(e.Docker, dockerRequirement{r.Symbol, r.For, r.State.String()})
			}
			if asJSON {
				return output(func(w io.Writer) error { return writeJSON(w, e) })
			}
			return output(func(w io.Writer) error { return writeKernel(w, i, e) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// An inspectedKernel is a kernel with what Docker asks of one.
type inspectedKernel struct {
	kernelEntry
	Docker []dockerRequirement `json:"docker"`
}

type dockerRequirement struct {
	Symbol string `json:"symbol"`
	For    string `json:"for"`
	State  string `json:"state"`
}

// dockerText says in a line for each part of Docker what the kernel has not.
func (e *inspectedKernel) dockerText() [][2]string {
	var lines [][2]string
	for _, r := range e.Docker {
		if n := len(lines); n == 0 || lines[n-1][0] != "docker, "+r.For {
			lines = append(lines, [2]string{"docker, " + r.For, "all"})
		}
		last := &lines[len(lines)-1][1]
		switch {
		case r.State != kernel.Absent.String():
		case *last == "all":
			*last = "all but " + r.Symbol
		default:
			*last += " " + r.Symbol
		}
	}
	return lines
}

func writeKernel(w io.Writer, i *kernel.Info, e inspectedKernel) error {
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
	for _, l := range e.dockerText() {
		fmt.Fprintf(t, "%s\t%s\n", l[0], l[1])
	}
	return t.Flush()
}

func newKernelRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME...",
		Short: "Remove kernels that were built",
		Long: `remove removes kernels that were built, which are named as kernel list --json names them. Sub-kernels that run are not disturbed. If one of
them was made the default by kernel default, that is unset.`,
		Args: cobra.MinimumNArgs(1),
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
				if err := forgetDefault(n, filepath.Join(dir, "linux")); err != nil {
					return failure(err)
				}
			}
			return nil
		},
	}
}
