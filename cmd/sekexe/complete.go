package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/kernel/build"
)

// choices completes a flag from a list.
func choices(cmd *cobra.Command, flag string, list ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
}

// completeRun says how the flags of run are completed; those that take files are by default.
func completeRun(cmd *cobra.Command) {
	choices(cmd, "net", "user", "none", "bridge:")
	choices(cmd, "root", "overlay", "ro")
	choices(cmd, "pull", "missing", "always", "never")
	choices(cmd, "cgroups", "v2", "v1")
	choices(cmd, "isolation", "strict", "fast")
	choices(cmd, "flavour", build.Flavours()...)
	choices(cmd, "memory", "256M", "512M", "1G", "2G", "4G")
	choices(cmd, "report", "json=", "junit=")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
}

// completeUp says how the flags of up are completed.
func completeUp(cmd *cobra.Command) {
	choices(cmd, "progress", "auto", "tty", "plain", "json", "quiet")
	choices(cmd, "report", "json=", "junit=")
	_ = cmd.RegisterFlagCompletionFunc("exit-code-from", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return subkernelNames(cmd), cobra.ShellCompDirectiveNoFileComp
	})
}

// subkernelNames lists the sub-kernels of the file that the flags on the command line so far name.
func subkernelNames(cmd *cobra.Command) []string {
	dir, err := os.Getwd()
	if err != nil {
		return nil
	}
	files, _ := cmd.Flags().GetStringArray("file")
	p, _ := config.Load(config.Options{Files: files, Dir: dir, Environ: os.Environ()})
	if p == nil {
		return nil
	}
	var names []string
	for _, s := range p.Subkernels {
		names = append(names, s.Name)
	}
	return names
}
