package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/orchestrator"
)

// upFlags are the flags of sekexe up.
type upFlags struct {
	runOptions
	project        projectFlags
	parallel       int
	abortOnFailure bool
	timeout        time.Duration
	progress       string
	exitCodeFrom   string
	reports        []string
	kernelLog      bool
	build, locked  bool
}

func newUpCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up [flags]",
		Short: "Boot the sub-kernels that a file declares, and report every exit status",
		Long: `up boots the sub-kernels that a file declares, each as soon as what it depends on allows, runs their commands, and ends with one
report. All run to their end, whatever becomes of the others; services are stopped when the last command has ended.

A kernel with a build block in the file must be built before anything boots; --build builds those that are not, or not of what the file
says by now.

The exit status is 0 if every sub-kernel met its expectation, 1 if any did not, 2 if the configuration is wrong, 125 if sekexe itself
failed, 130 or 143 if up was interrupted: the first Ctrl-C ends the commands, the second kills the kernels.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	f.project.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.build, "build", false, "first build the kernels that the file says how to build, those that are missing or have changed")
	fl.BoolVar(&f.locked, "locked", false, "boot only the kernels and images that sekexe lock has written down")
	fl.IntVar(&f.parallel, "parallel", 0, "how many sub-kernels run at once; 0: as many as there are")
	fl.BoolVar(&f.abortOnFailure, "abort-on-failure", false, "cancel the rest when one fails")
	fl.DurationVar(&f.timeout, "timeout", 0, "end the run after this time")
	fl.StringVar(&f.progress, "progress", "auto", "what is shown of the run on standard error: auto, tty, plain, json or quiet")
	fl.StringVar(&f.exitCodeFrom, "exit-code-from", "", "exit with the status of this sub-kernel")
	fl.StringArrayVar(&f.reports, "report", nil, "write a report: json=FILE or junit=FILE ('-': standard output)")
	fl.BoolVar(&f.kernelLog, "kernel-log", false, "show the kernels' logs, too, on standard error")
	addRunOptions(cmd, &f.runOptions)
	completeUp(cmd)
	return cmd
}

// run is sekexe up.
func (f *upFlags) run(ctx context.Context) error {
	reports, err := parseReports(f.reports)
	if err != nil {
		return err
	}
	p, err := f.project.load()
	if err != nil {
		return err
	}
	plan, err := orchestrator.NewPlan(p)
	if err != nil {
		return &statusError{status: exitUsage, err: err}
	}
	if f.exitCodeFrom != "" && !hasJob(plan, f.exitCodeFrom) {
		return misuse("--exit-code-from %s: there is no such sub-kernel", f.exitCodeFrom)
	}
	render, err := f.renderer(plan)
	if err != nil {
		return err
	}
	if len(plan.Nodes) == 0 {
		return misuse("%s: it declares no subkernel: add a block such as subkernel \"hello\" { command = \"uname -a\" }", p.Files[0])
	}
	locked, err := f.findKernels(ctx, p, plan)
	if err != nil {
		return err
	}
	im, err := findImages(ctx, plan, f.mode() == "quiet" || f.mode() == "json", locked, nil)
	if err != nil {
		return err
	}
	defer im.close()
	h, err := openHost(f.runOptions, plan, newTracing(f.trace, jobNames(plan)...))
	if err != nil {
		return failure(err)
	}
	h.file = p.Files[0]
	if err := h.connect(ctx, plan); err != nil {
		h.close(false)
		return failure(err)
	}
	rep, signalled := f.supervise(ctx, h, plan, render)
	err = f.publish(h, rep, reports)
	h.tracing.span("report")
	h.close(rep.OK())
	if err != nil {
		return failure(err)
	}
	if signalled != 0 {
		return status(signalled)
	}
	if f.exitCodeFrom != "" {
		n, _ := rep.StatusOf(f.exitCodeFrom)
		return status(n)
	}
	return status(rep.ExitCode())
}

// findKernels finds or builds the kernels that are to be found before anything boots. With --locked it returns which images the roots must be.
func (f *upFlags) findKernels(ctx context.Context, p *config.Project, plan *orchestrator.Plan) (*imageLock, error) {
	k := newKernelBuilder(f.build, f.mode() == "quiet" || f.mode() == "json")
	if err := k.ready(ctx, p, plan); err != nil || !f.locked {
		return nil, err
	}
	k.build = false // what was missing is there by now
	return k.checkLock(ctx, &f.project, p, plan)
}

// supervise runs the plan. The second result is the status that a signal means, 0 if there was none.
func (f *upFlags) supervise(ctx context.Context, h *host, plan *orchestrator.Plan, render orchestrator.Renderer) (*orchestrator.Report, int) {
	in := watchSignals(ctx, func() {
		if !f.quiet {
			say("warning", "stopping; press Ctrl-C again to kill")
		}
	})
	defer in.close()
	rep := orchestrator.Run(in.ctx, plan, h.runtime, orchestrator.Options{
		Parallel: f.parallel, AbortOnFailure: f.abortOnFailure, Timeout: f.timeout, Stop: in.stop, Observer: h.tracing.observe(render), RunDir: h.path(),
		Networks: h.connections(), Forward: h.forward,
	})
	h.tracing.span("run")
	if err := render.Close(); err != nil && !errors.Is(err, syscall.EPIPE) { // who reads no more wants no more
		h.notice("output: " + err.Error())
	}
	return rep, in.status()
}

// publish shows and writes the report.
func (f *upFlags) publish(h *host, rep *orchestrator.Report, reports reportTargets) error {
	if h.dir != nil {
		if err := writeWhole(filepath.Join(h.dir.Path, "report.json"), rep.WriteJSON); err != nil {
			h.notice("report: keep it with the logs: " + err.Error())
		}
	}
	if err := reports.write(rep); err != nil {
		return err
	}
	if err := writeGitHub(rep); err != nil {
		return err
	}
	if f.mode() == "json" {
		return nil // the last event is the report
	}
	width := 0
	if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
		width = w
	}
	return rep.WriteTable(os.Stderr, width, colorOn(os.Stderr))
}

func hasJob(p *orchestrator.Plan, name string) bool {
	for i := range p.Nodes {
		if p.Nodes[i].Job.Name == name {
			return true
		}
	}
	return false
}

func jobNames(p *orchestrator.Plan) []string {
	names := make([]string, len(p.Nodes))
	for i := range p.Nodes {
		names[i] = p.Nodes[i].Job.Name
	}
	return names
}

func greatestMemory(p *orchestrator.Plan) int64 {
	var most int64
	for i := range p.Nodes {
		most = max(most, p.Nodes[i].Job.Memory)
	}
	return most
}

// mode resolves --progress auto by what standard error is: output that goes through a pipe leaves the display as it is.
func (f *upFlags) mode() string {
	switch {
	case f.quiet:
		return "quiet"
	case f.progress != "auto":
		return f.progress
	case term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb":
		return "tty"
	}
	return "plain"
}

// colorWanted says whether the user minds colours (no-color.org).
func colorWanted() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// colorOn says whether to colour what goes to f.
func colorOn(f *os.File) bool { return colorWanted() && term.IsTerminal(int(f.Fd())) }

// renderer makes what shows the run.
func (f *upFlags) renderer(plan *orchestrator.Plan) (orchestrator.Renderer, error) {
	names := jobNames(plan)
	o := orchestrator.RenderOptions{
		Color:          colorWanted(), // on those of the two that are terminals
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())), StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Kernel: f.kernelLog,
		Width: func() int {
			w, _, err := term.GetSize(int(os.Stderr.Fd()))
			if err != nil {
				return 0
			}
			return w
		},
	}
	switch f.mode() {
	case "tty":
		return orchestrator.NewTTY(os.Stdout, os.Stderr, names, o), nil
	case "plain":
		return orchestrator.NewPlain(os.Stdout, os.Stderr, names, o), nil
	case "json":
		return orchestrator.NewJSON(os.Stderr, names), nil
	case "quiet":
		return orchestrator.NewQuiet(os.Stdout, os.Stderr, names, o), nil
	}
	return nil, misuse("--progress %s: want auto, tty, plain, json or quiet", f.progress)
}

// projectFlags say which project a command is about.
type projectFlags struct {
	files, vars, varFiles []string
	diagnostics           string
}

// add adds the flags to a command.
func (p *projectFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVarP(&p.files, "file", "f", nil, "file to read; several are merged; - is standard input (default: sekexe.hcl here or in a parent folder)")
	fl.StringArrayVar(&p.vars, "var", nil, "set a variable: NAME=VALUE")
	fl.StringArrayVar(&p.varFiles, "var-file", nil, "set variables from a file")
	fl.StringVar(&p.diagnostics, "diagnostics", "text", "how what is wrong with a file is shown: text or json")
	_ = cmd.MarkFlagFilename("file", "hcl", "json")
	_ = cmd.MarkFlagFilename("var-file")
}

// load reads the project and shows what is wrong with it.
func (p *projectFlags) load() (*config.Project, error) {
	if p.diagnostics != "text" && p.diagnostics != "json" {
		return nil, misuse("--diagnostics %s: want text or json", p.diagnostics)
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, failure(fmt.Errorf("current folder: %w", err))
	}
	project, diags := config.Load(config.Options{
		Files: p.files, Dir: dir, Stdin: os.Stdin, Vars: p.vars, VarFiles: p.varFiles, Environ: os.Environ(),
		MemoryTotal: memoryTotal(), CPUs: cpuCount(), HostRoutes: hostRoutes,
	})
	if err := p.show(diags); err != nil {
		return nil, failure(err)
	}
	if diags.HasErrors() {
		return nil, status(exitUsage)
	}
	return project, nil
}

// show writes the diagnostics to standard error.
func (p *projectFlags) show(d *config.Diagnostics) error {
	if p.diagnostics == "json" {
		return d.WriteJSON(os.Stderr)
	}
	if d.Len() == 0 {
		return nil
	}
	width := 100
	if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
		width = w
	}
	return d.WriteText(os.Stderr, width, colorOn(os.Stderr))
}
