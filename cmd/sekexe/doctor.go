package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekexe/sekexe/cmd/sekexe/internal/doctor"
	"github.com/sekexe/sekexe/cmd/sekexe/internal/rundir"
	"github.com/sekexe/sekexe/network/kernelnet"
	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml"
)

// usualMemory is what a sub-kernel may use by default, in bytes.
const usualMemory = 512 << 20

func newDoctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Check this machine for all that sub-kernels need",
		Long: `doctor tries all that sub-kernels need of this machine, boots one, and says how to mend what is amiss. What is only a warning keeps no
sub-kernel from booting.

The exit status is 1 if a check fails.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return examine(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// examine is sekexe doctor.
func examine(ctx context.Context, asJSON bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := watchSignals(ctx, cancel)
	defer in.close()
	o := doctor.Options{
		Kernels: newFinder(), MemoryDirs: uml.MemoryCandidates(), Memory: usualMemory, CacheDir: cacheDir(), Boot: bootOnce,
		PrivateNetwork: func(ctx context.Context) error { return kernelnet.Check(ctx, kernelnet.Private, false) },
	}
	if uml.WantHugePages() {
		o.HugePages = uml.TryHugePages
	}
	if root, err := rundir.Root(); err == nil {
		o.StateDir = root
	}
	checks := doctor.Run(ctx, o)
	if s := in.status(); s != 0 {
		return status(s)
	}
	write := func(w io.Writer) error { return doctor.WriteText(w, checks, colorOn(os.Stdout)) }
	if asJSON {
		write = func(w io.Writer) error { return doctor.WriteJSON(w, checks) }
	}
	if err := output(write); err != nil {
		return err
	}
	if !doctor.Healthy(checks) {
		return status(1)
	}
	return nil
}

// bootOnce boots a sub-kernel that does nothing, and leaves no logs.
func bootOnce(ctx context.Context) (string, error) {
	f := runFlags{
		memory: "128M", workdir: "/", hostname: "sekexe", root: "overlay", pull: "missing", cgroups: "v2", cpus: 1,
		bootTimeout: time.Minute, stopTimeout: time.Second, timeout: time.Minute, noStdin: true,
	}
	job, err := f.job([]string{"true"})
	if err != nil {
		return "", err
	}
	rt, err := uml.New(uml.Options{
		ID: rundir.NewID(), Kernels: newFinder(), MaxMemory: job.Memory, Hide: ownFolders(),
		Init: func(fallback string) (string, error) { return layDown(initProgram, cacheDir(), fallback) },
	})
	if err != nil {
		return "", err
	}
	plan := &orchestrator.Plan{Project: "doctor", Nodes: []orchestrator.Node{{
		Job: *job, Expect: orchestrator.Expect{Exit: []int{0}, Outcome: orchestrator.Exited},
	}}}
	r := &orchestrator.Run(ctx, plan, rt, orchestrator.Options{}).Subkernels[0]
	if err := rt.Close(); err != nil {
		return "", err
	}
	if !r.OK {
		return "", &bootError{r}
	}
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("Linux %s was up after %v, ran a command, and was gone after %v", r.KernelVersion, ms(r.Up), ms(r.Total)), nil
}

// A bootError says how a boot went wrong.
type bootError struct{ r *orchestrator.SubkernelReport }

// Error tells the reason and, where the kernel said something, its last words.
func (e *bootError) Error() string {
	s := string(e.r.Outcome)
	if e.r.Reason != "" {
		s += ": " + e.r.Reason
	} else if len(e.r.Steps) > 0 && e.r.Steps[0].Reason != "" {
		s += ": " + e.r.Steps[0].Reason
	}
	if n := len(e.r.Console); n > 0 {
		s += "; the kernel's log ends with: " + strings.Join(e.r.Console[max(0, n-3):], " | ")
	}
	return s
}

// Hint implements what sayError and doctor look for.
func (e *bootError) Hint() string { return e.r.Hint }
