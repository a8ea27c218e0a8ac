package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sekexe/sekexe/kernel"
)

func newKernelDefaultCommand() *cobra.Command {
	var asJSON, unset bool
	cmd := &cobra.Command{
		Use:   "default [KERNEL]",
		Short: "Say which kernel is the default, or choose one",
		Long: `default says which kernel is booted where neither the file nor --kernel names one, and why. With a kernel, which is named by its path, its
version or the name that kernel list --json gives it, it makes that the default; --unset takes that back. The choice is kept in the
configuration folder (~/.config/sekexe).

The default is the kernel in $SEKEXE_KERNEL, else the chosen one, else the newest that was built of flavour default, else linux.uml or
linux on PATH.`,
		Example: `  sekexe kernel default
  sekexe kernel default 7.2
  sekexe kernel default --unset`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case unset && len(args) > 0:
				return misuse("--unset takes no kernel")
			case unset:
				return unsetDefault()
			case len(args) > 0:
				if err := chooseDefault(cmd.Context(), args[0]); err != nil {
					return failure(err)
				}
			}
			return showDefault(cmd.Context(), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&unset, "unset", false, "take the choice of a default back")
	return cmd
}

// chooseDefault makes a kernel the default.
func chooseDefault(ctx context.Context, name string) error {
	f := newFinder()
	k := parseKernel(name, "")
	if k.Path == "" && k.Version == "" {
		return errors.New("default kernel: choose it: its name is empty")
	}
	i, err := f.Resolve(ctx, kernel.Choice{Path: k.Path, Version: k.Version})
	if err != nil {
		return err
	}
	if err := f.Choose(i); err != nil {
		return err
	}
	if os.Getenv(kernel.EnvKernel) != "" {
		say("warning", "$"+kernel.EnvKernel+" is set, and comes before the chosen default")
	}
	return nil
}

// unsetDefault is sekexe kernel default --unset.
func unsetDefault() error {
	was, err := newFinder().Unset()
	if err != nil {
		return failure(err)
	}
	if !was {
		say("warning", "no default was chosen")
	}
	return nil
}

// forgetDefault unsets the default if it is the kernel of this name and path, which was removed.
func forgetDefault(name, path string) error {
	f := newFinder()
	chosen, err := f.Chosen()
	if err != nil || chosen != path {
		return nil // what is wrong with another choice is told where it matters
	}
	if _, err := f.Unset(); err != nil {
		return err
	}
	say("warning", "kernel "+name+" was chosen as the default: that is unset")
	return nil
}

// showDefault is sekexe kernel default.
func showDefault(ctx context.Context, asJSON bool) error {
	f := newFinder()
	i, err := f.Resolve(ctx, kernel.Choice{})
	if err != nil {
		return failure(err)
	}
	if asJSON {
		e := newKernelEntry(f, i)
		e.Default = true
		return output(func(w io.Writer) error { return writeJSON(w, e) })
	}
	return output(func(w io.Writer) error {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "path\t%s\nversion\t%s\n", i.Path, i.Version)
		if i.Flavour != "" {
			fmt.Fprintf(t, "flavour\t%s\n", i.Flavour)
		}
		fmt.Fprintf(t, "why\t%s\n", whyDefault(i))
		return t.Flush()
	})
}

// whyDefault says why a kernel is the default.
func whyDefault(i *kernel.Info) string {
	switch i.Origin {
	case kernel.OriginEnv:
		return "$" + kernel.EnvKernel + " names it"
	case kernel.OriginChosen:
		return "it was chosen by sekexe kernel default"
	case kernel.OriginBuilt:
		return "it is the newest that was built of flavour " + kernel.DefaultFlavour
	}
	return "it is on PATH, and none is named by $" + kernel.EnvKernel + ", chosen, or built of flavour " + kernel.DefaultFlavour
}
