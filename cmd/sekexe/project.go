package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/network/kernelnet"
	"github.com/sekexe/sekexe/orchestrator"
)

// memoryTotal is the machine's memory in bytes; 0 if it can't be told.
func memoryTotal() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return int64(si.Totalram) * int64(si.Unit)
}

// hostRoutes are the machine's; none if they can't be told.
func hostRoutes() []netip.Prefix {
	routes, err := kernelnet.Routes()
	if err != nil {
		return nil
	}
	return routes
}

// cpuCount is the number of CPUs that this process may use.
func cpuCount() int { return runtime.NumCPU() }

func newValidateCommand() *cobra.Command {
	var p projectFlags
	var quiet bool
	cmd := &cobra.Command{
		Use:   "validate [flags]",
		Short: "Say what is wrong with a file",
		Long:  "validate reads a file as up does and says all that is wrong with it. The exit status is 2 if there is an error in it.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			project, err := p.load()
			if err != nil {
				return err
			}
			if _, err := orchestrator.NewPlan(project); err != nil {
				return &statusError{status: exitUsage, err: err}
			}
			if !quiet {
				fmt.Printf("%s is valid: %d sub-kernels\n", project.Files[0], len(project.Subkernels))
			}
			return nil
		},
	}
	p.add(cmd)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing if all is well")
	return cmd
}

func newConfigCommand() *cobra.Command {
	var p projectFlags
	var format string
	cmd := &cobra.Command{
		Use:   "config [flags]",
		Short: "Show what a file declares, with everything resolved",
		Long: `config shows what a file declares, merged, with every default filled in and every reference resolved. As HCL it is a file that up takes.
Values of sensitive variables are not shown.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			project, err := p.load()
			if err != nil {
				return err
			}
			switch format {
			case "hcl":
				return output(project.WriteHCL)
			case "json":
				return output(project.WriteJSON)
			}
			return misuse("--format %s: want hcl or json", format)
		},
	}
	p.add(cmd)
	cmd.Flags().StringVar(&format, "format", "hcl", "hcl or json")
	return cmd
}

func newPlanCommand() *cobra.Command {
	var p projectFlags
	var format string
	cmd := &cobra.Command{
		Use:   "plan [flags]",
		Short: "Show what up would do, in order",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			project, err := p.load()
			if err != nil {
				return err
			}
			plan, err := orchestrator.NewPlan(project)
			if err != nil {
				return &statusError{status: exitUsage, err: err}
			}
			var b bytes.Buffer
			switch format {
			case "text":
				b.WriteString(plan.String())
			case "json":
				if err := plan.WriteJSON(&b); err != nil {
					return failure(err)
				}
			default:
				return misuse("--format %s: want text or json", format)
			}
			return output(func(w io.Writer) error {
				_, err := io.WriteString(w, project.Redact(b.String()))
				return err
			})
		},
	}
	p.add(cmd)
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

// output writes a command's result to standard output.
func output(write func(io.Writer) error) error {
	err := write(os.Stdout)
	if errors.Is(err, syscall.EPIPE) {
		return status(128 + int(syscall.SIGPIPE)) // who reads no more wants no words about it
	}
	if err != nil {
		return failure(fmt.Errorf("standard output: %w", err))
	}
	return nil
}

func newFmtCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "fmt [flags] [FILE...]",
		Short: "Format files",
		Long: `fmt brings files into the usual form, in place (default: sekexe.hcl here or in a parent folder; - is standard input, which goes to standard
output), and names those that it changed. With --check it changes nothing, and exits with 1 if it would.`,
		RunE: func(_ *cobra.Command, files []string) error { return formatFiles(files, check) },
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say which files would change")
	return cmd
}

func formatFiles(files []string, check bool) error {
	if len(files) == 0 {
		dir, err := os.Getwd()
		if err != nil {
			return failure(err)
		}
		f, ok := config.FindFile(dir)
		if !ok {
			return misuse("there is no sekexe.hcl here or in a parent folder: name the files to format")
		}
		files = []string{f}
	}
	changed, bad := false, false
	for _, f := range files {
		c, err := formatFile(f, check)
		var se *statusError
		if errors.As(err, &se) && se.err == nil {
			bad = true // what is wrong with the file has been said; the others may be well
			continue
		}
		if err != nil {
			return err
		}
		changed = changed || c
	}
	switch {
	case bad:
		return status(exitUsage)
	case check && changed:
		return status(1)
	}
	return nil
}

// formatFile formats one file and says whether that changes it.
func formatFile(name string, check bool) (changed bool, err error) {
	var src []byte
	if name == "-" {
		src, err = io.ReadAll(os.Stdin)
	} else {
		src, err = os.ReadFile(name)
	}
	if err != nil {
		return false, misuse("%w", err)
	}
	dst, diags := config.Format(name, src)
	if diags.Len() > 0 {
		if err := diags.WriteText(os.Stderr, 100, colorOn(os.Stderr)); err != nil {
			return false, failure(err)
		}
	}
	if diags.HasErrors() {
		return false, status(exitUsage)
	}
	changed = !bytes.Equal(src, dst)
	switch {
	case name == "-" && !check:
		return changed, output(func(w io.Writer) error { _, err := w.Write(dst); return err })
	case !changed:
		return false, nil
	}
	fmt.Println(name)
	if check {
		return true, nil
	}
	if err := writeWhole(name, func(w io.Writer) error { _, err := w.Write(dst); return err }); err != nil {
		return true, failure(fmt.Errorf("%s: write it: %w", name, err))
	}
	return true, nil
}

func newInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a first file",
		Long:  "init writes a first file with comments, sekexe.hcl if no other name is given. It overwrites nothing.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := "sekexe.hcl"
			if len(args) > 0 {
				name = args[0]
			}
			f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if errors.Is(err, os.ErrExist) {
				return misuse("%s is there already: remove it, or name another file", name)
			}
			if err != nil {
				return misuse("%w", err)
			}
			_, err = f.Write(config.Template())
			if err := errors.Join(err, f.Close()); err != nil {
				return failure(err)
			}
			fmt.Printf("%s is written: try sekexe up\n", name)
			return nil
		},
	}
}
