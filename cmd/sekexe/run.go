package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sekexe/sekexe/kernel/build"
	"github.com/sekexe/sekexe/orchestrator"
)

// runFlags are the flags of sekexe run.
type runFlags struct {
	runOptions
	dockerRunFlags
	memory, kernel, flavour, modules, workdir, user, hostname, root, cgroups, isolation string
	rootfs, image, persist, pull, entrypoint                                            string
	entrypointSet                                                                       bool // also to nothing
	net                                                                                 string
	publish, hide, show                                                                 []string
	env, volumes, disks, copyOut, reports                                               []string
	cpus                                                                                int
	timeout, bootTimeout, stopTimeout                                                   time.Duration
	tty, noTTY, noStdin                                                                 bool
	kernelLog                                                                           string
}

func newRunCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] [--] [COMMAND [ARG...]]",
		Short: "Boot a sub-kernel, run a command in it, and exit with its status",
		Long: `run boots a sub-kernel whose files are this machine's, runs the command in it, and exits with its status.

One argument is a command line for /bin/sh; several are a program and its arguments. Without any, run gives a shell. The command runs as
root of the sub-kernel, in the current folder. It sees this machine's files and may change what it sees, but nothing that it writes
reaches this machine, except below a folder mounted with --volume SOURCE:TARGET:rw.

With --rootfs the files are another system's; with --image they are those of an OCI image, and the command is run as docker run does: in
the image's environment, folder and user, as arguments of its entrypoint if it has one, and without a command the image's own.

Standard input, output and error are the command's. If all three are a terminal, the command gets one of its own (-t, -T); Ctrl-C goes to
the command then, and Ctrl-] pressed three times ends the sub-kernel.

The exit status is the command's own; 128+n if signal n killed it, 124 if its time was up, 125 if sekexe or the boot failed, 126 and 127 if
the command can't be run or isn't found, 130 or 143 if run was interrupted.`,
		Example: `  sekexe run "env ; exit 42"
  sekexe run -m 1G -v .:/src:rw -w /src -- make test
  go test -exec 'sekexe run --' ./...
  sekexe run --image alpine:3.20 "cat /etc/os-release"
  sekexe run --docker "docker run --rm hello-world"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.tty && f.noTTY {
				return misuse("--tty and --no-tty exclude each other")
			}
			if f.docker && !cmd.Flags().Changed("memory") {
				f.memory = dockerMemory
			}
			f.entrypointSet = cmd.Flags().Changed("entrypoint")
			return runOne(cmd.Context(), &f, args)
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false) // what follows the command is the command's
	fl.StringVarP(&f.memory, "memory", "m", "512M", "memory of the sub-kernel")
	fl.StringVarP(&f.kernel, "kernel", "k", "", "kernel: a path, or a version such as 7.2")
	fl.StringVar(&f.flavour, "flavour", "", "flavour of a kernel that was built, the newest of its version: "+strings.Join(build.Flavours(), ", "))
	fl.StringVar(&f.modules, "modules", "", "folder that holds the kernel's modules in a folder named by its version")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "environment: NAME=VALUE, or NAME or a pattern such as 'GO*' to pass variables on")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "folder to start in (default: the current one)")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "mount: SOURCE:TARGET[:ro|rw|overlay] (default ro)")
	fl.StringArrayVar(&f.disks, "disk", nil, "give the sub-kernel a disk: TARGET=SIZE[:FILE]; FILE keeps it, and is made if it isn't there")
	fl.StringArrayVar(&f.copyOut, "copy-out", nil, "copy a file, folder or pattern out after the command, also if it fails: GUEST:HOST")
	fl.StringArrayVar(&f.hide, "hide", nil, "hide a file or folder from the sub-kernel, besides those that usually are, such as ~/.ssh")
	fl.StringArrayVar(&f.show, "show", nil, "let the sub-kernel read a file or folder that is usually hidden")
	fl.StringVarP(&f.user, "user", "u", "", "user to run as: NAME or UID, and :GROUP (default root)")
	fl.StringVar(&f.hostname, "hostname", "sekexe", "name of the sub-kernel's host")
	fl.StringVar(&f.root, "root", "overlay", "root: overlay (writable, in memory) or ro")
	f.addRootFlags(fl)
	f.dockerRunFlags.add(fl)
	fl.StringVar(&f.cgroups, "cgroups", "v2", "control groups: v1 or v2")
	fl.StringVar(&f.net, "net", "user", "network: user (needs no rights), none, or bridge:NAME, a bridge of this machine's to join (root)")
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, "make a port of the sub-kernel reachable here: [ADDRESS:][PORT:]PORT[/udp] (default address 127.0.0.1)")
	fl.IntVar(&f.cpus, "cpus", 1, "CPUs of the sub-kernel; several need a kernel of the flavour smp, and fast isolation")
	fl.StringVar(&f.isolation, "isolation", "", "strict, or fast: less time for system calls, but no safety of the guest's processes from each other (default strict; with several CPUs fast)")
	fl.DurationVar(&f.timeout, "timeout", 0, "end the command after this time, with status 124")
	fl.DurationVar(&f.bootTimeout, "boot-timeout", time.Minute, "give up a boot after this time")
	fl.DurationVar(&f.stopTimeout, "stop-timeout", 10*time.Second, "time from SIGTERM to SIGKILL for a command that is to end")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the command a terminal")
	fl.BoolVarP(&f.noTTY, "no-tty", "T", false, "give the command no terminal")
	fl.BoolVarP(&f.noStdin, "no-stdin", "n", false, "leave standard input alone: the command's is empty")
	fl.StringVar(&f.kernelLog, "kernel-log", "", "write the kernel's log to this file, too ('-': standard error)")
	fl.StringArrayVar(&f.reports, "report", nil, "write a report: json=FILE or junit=FILE ('-': standard output)")
	addRunOptions(cmd, &f.runOptions)
	completeRun(cmd)
	return cmd
}

// addRunOptions adds the flags that run and up share.
func addRunOptions(cmd *cobra.Command, o *runOptions) {
	fl := cmd.Flags()
	fl.StringVar(&o.runDir, "run-dir", "", "folder for the logs of this run, which is kept (default: a new one in the state folder)")
	fl.BoolVar(&o.keep, "keep", false, "keep the logs of this run for good")
	fl.BoolVar(&o.verbose, "verbose", false, "let kernels log all that they do")
	fl.StringVar(&o.trace, "trace", "", "write what everything took to this file, for Perfetto or chrome://tracing")
	fl.BoolVar(&o.requireConfinement, "require-confinement", false, "boot nothing where this machine can't enforce what sub-kernels may do")
	fl.BoolVarP(&o.quiet, "quiet", "q", false, "say nothing but what went wrong")
}

// runOne is sekexe run.
func runOne(ctx context.Context, f *runFlags, args []string) (err error) {
	reports, err := parseReports(f.reports)
	if err != nil {
		return err
	}
	job, err := f.job(args)
	if err != nil {
		return err
	}
	networks, err := f.networks(job)
	if err != nil {
		return err
	}
	plan := &orchestrator.Plan{Project: "run", Networks: networks, Nodes: []orchestrator.Node{{
		Job: *job, Expect: orchestrator.Expect{Exit: []int{0}, Outcome: orchestrator.Exited},
	}}}
	var kernelLog io.Writer = io.Discard
	if f.kernelLog == "-" {
		kernelLog = os.Stderr
	} else if f.kernelLog != "" {
		w, err := os.Create(f.kernelLog)
		if err != nil {
			return failure(fmt.Errorf("kernel log: %w", err))
		}
		defer w.Close()
		kernelLog = w
	}
	im, err := findImages(ctx, plan, f.quiet, nil, f.useImage)
	if err != nil {
		return err
	}
	defer im.close()
	h, err := openHost(f.runOptions, plan, newTracing(f.trace, job.Name))
	if err != nil {
		return failure(err)
	}
	if err := h.connect(ctx, plan); err != nil {
		h.close(false)
		return failure(err)
	}
	if len(job.Publish) > 0 && !f.quiet {
		for _, p := range h.networks.Published(0) {
			say("published", p.String())
		}
	}
	rep, code := f.supervise(ctx, h, plan, kernelLog)
	h.close(code == 0)
	if err := reports.write(rep); err != nil {
		return failure(err)
	}
	return status(code)
}

// supervise runs the job and decides on the exit status.
func (f *runFlags) supervise(ctx context.Context, h *host, plan *orchestrator.Plan, kernelLog io.Writer) (*orchestrator.Report, int) {
	job := &plan.Nodes[0].Job
	in := watchSignals(ctx, func() {})
	defer in.close()
	out := &passThrough{h: h, kernelLog: kernelLog, broken: in.kill}
	if f.useTTY(len(job.Steps) > 0) {
		c, err := takeTerminal()
		if err != nil {
			sayError(err)
			return nil, exitFailed
		}
		defer c.giveBack()
		out.console = c
		st := &job.Steps[0]
		st.TTY = c.tty
		if d, ok := st.Stdin.(*descriptor); ok && c.state != nil {
			d.escaped = in.kill
		}
	}
	rep := orchestrator.Run(in.ctx, plan, h.runtime, orchestrator.Options{Networks: h.connections(), Stop: in.stop, Observer: h.tracing.observe(out), RunDir: h.path()})
	h.tracing.span("run")
	if out.console != nil {
		out.console.giveBack()
	}
	r := &rep.Subkernels[0]
	switch {
	case out.pipe():
		return rep, 128 + int(syscall.SIGPIPE) // as a command on the host that writes to nobody
	case in.status() != 0:
		return rep, in.status()
	}
	f.explain(r)
	if c := failedCopy(r); c != nil {
		say("error", "copy of "+c.From+": "+c.Error)
		if r.Status == 0 {
			return rep, exitFailed
		}
	}
	return rep, r.Status
}

// explain says what the status alone doesn't.
func (f *runFlags) explain(r *orchestrator.SubkernelReport) {
	reason := r.Reason
	if r.Outcome == orchestrator.Exited || r.Outcome == orchestrator.Signalled {
		reason = r.Steps[0].Reason // such as that the command isn't found; a status alone needs no words
	}
	if reason == "" {
		return
	}
	say("error", reason)
	if r.Hint != "" {
		say("hint", r.Hint)
	}
	if d := r.Docker; d != nil && len(d.Log) > 0 {
		say("hint", "these are the last lines of dockerd's log:")
		for _, l := range d.Log {
			fmt.Fprintln(os.Stderr, "  "+l)
		}
	}
	if len(r.Console) > 0 {
		say("hint", "these are the last lines of the kernel's log:")
		for _, l := range r.Console {
			fmt.Fprintln(os.Stderr, "  "+l)
		}
	}
	if r.Logs != "" && r.Outcome != orchestrator.Exited && !f.quiet {
		say("hint", "the logs are in "+r.Logs)
	}
}

// useTTY decides whether the command gets a terminal.
func (f *runFlags) useTTY(hasCommand bool) bool {
	switch {
	case f.tty:
		return true
	case f.noTTY || f.noStdin:
		return false
	}
	return term.IsTerminal(0) && term.IsTerminal(1) && term.IsTerminal(2)
}

// job makes the job of the flags.
func (f *runFlags) job(args []string) (*orchestrator.Job, error) {
	mem, err := units.RAMInBytes(f.memory)
	if err != nil || mem < minMemory {
		return nil, misuse("--memory %s: want at least 32M, such as 512M or 2G", f.memory)
	}
	if f.cgroups != "v1" && f.cgroups != "v2" {
		return nil, misuse("--cgroups %s: want v1 or v2", f.cgroups)
	}
	isolation, err := f.isolationOf()
	if err != nil {
		return nil, err
	}
	choice, err := f.kernelChoice()
	if err != nil {
		return nil, err
	}
	mounts, err := parseVolumes(f.volumes)
	if err != nil {
		return nil, err
	}
	disks, err := parseDisks(f.disks)
	if err != nil {
		return nil, err
	}
	copies, err := parseCopyOut(f.copyOut)
	if err != nil {
		return nil, err
	}
	root, err := f.rootOf()
	if err != nil {
		return nil, err
	}
	hide, err := absolute("--hide", f.hide)
	if err != nil {
		return nil, err
	}
	show, err := absolute("--show", f.show)
	if err != nil {
		return nil, err
	}
	step, err := f.step(args)
	if err != nil {
		return nil, err
	}
	job := &orchestrator.Job{
		Name: "run", ID: "run", Hostname: f.hostname, Kernel: choice, Memory: mem, CPUs: f.cpus, Isolation: isolation,
		Root: root, Cgroups: f.cgroups, Mounts: mounts, Disks: disks, CopyOut: copies, Confine: orchestrator.Confine{Hide: hide, Show: show}, Steps: []orchestrator.Step{*step},
		BootTimeout: f.bootTimeout, StopTimeout: f.stopTimeout,
	}
	return job, f.dockerRunFlags.use(job)
}

// isolationOf checks --cpus and --isolation.
func (f *runFlags) isolationOf() (string, error) {
	switch {
	case f.cpus < 1 || f.cpus > cpuCount():
		return "", misuse("--cpus %d: this machine has %d", f.cpus, cpuCount())
	case f.isolation != "" && f.isolation != "strict" && f.isolation != "fast":
		return "", misuse("--isolation %s: want strict or fast", f.isolation)
	case f.cpus > 1 && f.isolation == "strict":
		return "", misuse("--isolation strict: several CPUs need fast isolation, where a process of the guest can get at all of the guest's memory")
	case f.cpus > 1:
		if f.isolation == "" && !f.quiet {
			say("warning", "with several CPUs, a process of the guest can get at all of the guest's memory")
		}
		return "fast", nil
	case f.isolation == "":
		return "strict", nil
	}
	return f.isolation, nil
}

// minMemory is the least memory, in bytes, that a kernel with our init boots in.
const minMemory = 32 << 20

// step makes the one step.
func (f *runFlags) step(args []string) (*orchestrator.Step, error) {
	env, err := f.environ()
	if err != nil {
		return nil, err
	}
	dir := f.workdir
	if dir == "" && f.otherRoot() {
		// the user's home, or what the image says
	} else if dir == "" {
		if dir, err = os.Getwd(); err != nil {
			return nil, failure(fmt.Errorf("current folder: %w", err))
		}
	} else if !path.IsAbs(dir) {
		return nil, misuse("--workdir %s: want an absolute path", dir)
	}
	st := &orchestrator.Step{
		Name: "command", Argv: args, Env: env, Dir: dir, User: f.user, Umask: umask(), Timeout: f.timeout, ExpectExit: []int{0},
	}
	switch {
	case f.image != "": // see useImage
		st.OfImage = true
	case len(args) == 0 && f.rootfs != "":
		st.Name, st.Argv = "shell", []string{"/bin/sh"}
	case len(args) == 0:
		st.Name, st.Argv = "shell", []string{shell()}
	case len(args) == 1:
		st.Argv = []string{"/bin/sh", "-c", args[0]}
	}
	if !f.noStdin {
		if d := stdin(); d != nil {
			st.Stdin = d
		}
	}
	return st, nil
}

// shell is the user's, if it is one that a guest, too, will have.
func shell() string {
	if s := os.Getenv("SHELL"); path.IsAbs(s) {
		if st, err := os.Stat(s); err == nil && st.Mode()&0o111 != 0 {
			return s
		}
	}
	return "/bin/sh"
}

// umask is this process's. It can't be read without being set.
func umask() uint32 {
	umaskMu.Lock()
	defer umaskMu.Unlock()
	m := syscall.Umask(0o77)
	syscall.Umask(m)
	return uint32(m)
}

var umaskMu sync.Mutex

// absolute makes the paths of a flag absolute.
func absolute(flag string, paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil || p == "" {
			return nil, misuse("%s %s: want a path", flag, p)
		}
		out = append(out, abs)
	}
	return out, nil
}

// kernelChoice is the kernel that the flags name.
func (f *runFlags) kernelChoice() (orchestrator.KernelChoice, error) {
	c := parseKernel(f.kernel, f.modules)
	c.Flavour = f.flavour
	switch {
	case f.flavour == "":
	case !slices.Contains(build.Flavours(), f.flavour):
		return c, misuse("--flavour %s: want one of %s", f.flavour, strings.Join(build.Flavours(), ", "))
	case c.Path != "":
		return c, misuse("--flavour %s: a flavour goes with a version, and --kernel %s is a path", f.flavour, f.kernel)
	}
	return c, nil
}

// parseKernel reads --kernel: a path has a slash or is a file here, anything else is a version.
func parseKernel(k, modules string) orchestrator.KernelChoice {
	c := orchestrator.KernelChoice{Modules: modules}
	if modules != "" {
		if abs, err := filepath.Abs(modules); err == nil {
			c.Modules = abs
		}
	}
	switch _, err := os.Stat(k); {
	case k == "":
	case strings.Contains(k, "/") || err == nil:
		c.Path = k
		if abs, err := filepath.Abs(k); err == nil {
			c.Path = abs
		}
	default:
		c.Version = k
	}
	return c
}

// passThrough passes a command's output on as it is.
type passThrough struct {
	h         *host
	kernelLog io.Writer
	console   *console
	broken    func() // ends the run when nobody reads stdout or stderr any more

	mu     sync.Mutex
	noPipe bool
}

// Event implements orchestrator.Observer.
func (p *passThrough) Event(e orchestrator.Event) {
	switch e.Kind {
	case orchestrator.Output:
		w := os.Stdout
		if e.Stream == orchestrator.Stderr {
			w = os.Stderr
		}
		if _, err := w.Write(e.Data); err != nil {
			p.mu.Lock()
			p.noPipe = p.noPipe || errors.Is(err, syscall.EPIPE)
			p.mu.Unlock()
			p.broken()
		}
	case orchestrator.KernelLog:
		_, _ = p.kernelLog.Write(e.Data) // a log that can't be written is no reason to end the command
	case orchestrator.Notice:
		if !p.pipe() { // the run ends because nobody reads, who would mind
			p.h.notice(e.Text)
		}
	}
}

// pipe says whether stdout or stderr was a pipe that nobody reads.
func (p *passThrough) pipe() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.noPipe
}
