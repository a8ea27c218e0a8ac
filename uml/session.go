package uml

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/orchestrator"
)

// powerOffTimeout is how long a kernel may take from Done to its end, and a guest from a signal that can't be ignored to its word of the
// command's end, before it is killed.
const powerOffTimeout = 5 * time.Second

// A session is one sub-kernel from its start to its end. Its loop is the goroutine of run; what others read (frames, the log, input) they
// pass on to it by channels.
type session struct {
	rt   *Runtime
	job  *orchestrator.Job
	sink orchestrator.Sink
	// links are the job's NICs. Their files are closed once the kernel's process has them.
	links []orchestrator.Link
	disks []disk
	// given is the last of the job's disks, where that is a seed, or becomes one; nil: there is none.
	given *disk
	// preparing says that the sub-kernel prepares a seed: it ends when its Docker daemon is ready. seeding is what that took for this one.
	preparing bool
	seeding   time.Duration

	info     *kernel.Info
	dir      string // scratch
	exchange string
	private  string        // for the kernel to write to while it boots
	memory   *memoryFolder // nil: the kernel makes its memory in private
	confined confinement
	logs     *logs
	proc     *process
	line     *os.File // our end of the control line
	out      *outbox
	frames   chan frame // what the guest says, but for output; closed at the line's end
	readErr  error      // why it was closed; valid then
	console  *console
	tasks    sync.WaitGroup // the readers, and inputs
	// receiver is of the last copy that was asked for; nil: none was. The reader passes on to it what comes.
	receiver   atomic.Pointer[receiver]
	copyFailed chan wire.ID // a copy that can't go on

	releaseBoot func()
	start       time.Time
	launched    time.Time // just before the kernel's process was; zero: its boot says nothing of others, because it had to measure lpj
	mark        time.Time // where the next span of the trace begins
	guestZero   time.Time // when the guest's clock was zero, or a little later; valid after Hello
	res         orchestrator.Result

	// The loop's state.
	phase    phase
	step     int       // that is running, or will be next
	stepAt   time.Time // its start
	in       *feed     // its input; nil: none
	ending   *ending   // set once something other than the steps' own course ends the job or step
	failure  *wire.Failure
	wordErr  error       // what was wrong with a word
	done     bool        // the guest has said Done
	deadline *time.Timer // of the phase or the ending
	jobTimer *time.Timer // of the job
	ready    readiness
	words    int       // that went by files
	copying  *receiver // nil: no copy is under way
	docker   *daemon   // nil: the job has none
}

// A phase is how far a sub-kernel has come.
type phase int

const (
	booting  phase = iota // nothing heard yet
	greeted               // Hello was said, the Spec is being carried out
	starting              // Up was said, and the Docker daemon is being started
	up                    // steps run, or, of a service without steps, nothing
	off                   // PowerOff was said, or Failure heard
)

// An ending is a decision to end a step or the job before it does by itself.
type ending struct {
	outcome orchestrator.Outcome
	reason  string
	job     bool // the job; otherwise the step only
	killed  bool // SIGTERM was not enough
	hint    string
}

// frame is one of the guest's words.
type frame struct {
	kind    wire.Kind
	payload []byte
}

func newSession(r *Runtime, job *orchestrator.Job, links []orchestrator.Link, sink orchestrator.Sink) *session {
	return &session{rt: r, job: job, links: links, sink: sink, frames: make(chan frame, 16), copyFailed: make(chan wire.ID, 1)}
}

// run boots the sub-kernel, lets its steps run, and returns when nothing of it is left.
func (s *session) run(ctx context.Context, stop <-chan struct{}) orchestrator.Result {
	s.start = time.Now()
	s.sink.Booting()
	s.res = orchestrator.Result{Started: s.start, Outcome: orchestrator.BootFailed, Status: orchestrator.StatusFailed}
	s.fillNICs()
	s.docker = newDaemon(s)
	if err := s.boot(ctx); err != nil {
		s.res.Reason, s.res.Hint = explain(err)
	} else {
		s.loop(ctx, stop)
		s.finish()
	}
	s.mark = time.Now()
	s.cleanUp()
	s.span("clean up", s.mark)
	s.fillSteps()
	s.res.Total = time.Since(s.start)
	return s.res
}

// boot starts the kernel's process and what listens to it.
func (s *session) boot(ctx context.Context) (err error) {
	j := s.job
	s.confined.prepare(s.rt.host, s.policy())
	if s.info, err = s.rt.kernel(ctx, kernelKey{j.Kernel, j.CPUs > 1}); err != nil {
		return err
	}
	s.mark = s.span("find the kernel", s.start)
	s.res.KernelPath, s.res.KernelVersion = s.info.Path, s.info.Version
	if err := canRun(s.info, j); err != nil {
		return err
	}
	if err := canMountRoot(s.info, &j.Root); err != nil {
		return err
	}
	if len(s.links) > 0 {
		if err := canConnect(s.info); err != nil {
			return err
		}
	}
	if j.Docker != nil {
		if err := kernel.CheckDocker(s.info, j.Cgroups == "v1"); err != nil {
			return err
		}
	}
	if err := s.rt.canConfine(j); err != nil {
		return err
	}
	if s.memory, err = s.rt.huge.take(j.Memory, s.rt.host.ChangeUser); err != nil {
		return fmt.Errorf("guest memory: make a folder for it: %w", err)
	}
	if s.memory == nil {
		if err := checkMemoryDir(s.rt.scratch.base, j.Memory); err != nil {
			return &MemoryError{err}
		}
	}
	if err := s.docker.prepare(); err != nil {
		return err
	}
	if err := s.openDisks(); err != nil {
		return err
	}
	if s.dir, s.exchange, s.private, err = s.rt.folder(); err != nil {
		return fmt.Errorf("scratch folder: make it: %w", err)
	}
	s.logs = openLogs(s.rt.o.LogDir, j.ID, s.sink.Notice)
	s.res.Logs = s.logs.dir
	s.mark = s.span("make folders", s.mark)
	if err := s.launch(); err != nil {
		return err
	}
	s.mark = s.span("start the kernel's process", s.mark)
	return nil
}

// canRun says whether a kernel has what a job wants of it.
func canRun(k *kernel.Info, j *orchestrator.Job) error {
	switch {
	case j.CPUs > 1 && !k.SMP:
		return withHint(fmt.Errorf("kernel %s: use %d CPUs: it was built for one", k.Path, j.CPUs), "name a kernel of the flavour smp (sekexe kernel build --flavour smp makes one), or use one CPU")
	case j.Isolation == "fast" && !k.Seccomp:
		return withHint(fmt.Errorf("kernel %s: use fast isolation: version %s doesn't know it", k.Path, k.Version), "use strict isolation, or a kernel from 6.16 on")
	}
	return nil
}

// launch makes the control line and the kernel's log, starts the kernel, and starts listening.
func (s *session) launch() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("control line: make it: %w", err)
	}
	guestEnd := os.NewFile(uintptr(fds[1]), "line")
	defer guestEnd.Close()
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that the file can be closed while it is read
		return fmt.Errorf("control line: make it: %w", err)
	}
	s.line = os.NewFile(uintptr(fds[0]), "line")
	logR, logW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("kernel log: make a pipe: %w", err)
	}
	defer logW.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		logR.Close()
		return fmt.Errorf("kernel: start it: %w", err)
	}
	defer null.Close()
	lpj, _ := s.rt.o.Kernels.LearnedLPJ(s.info)
	args := bootArgs{
		kernel: s.info.Path, memory: s.job.Memory, umid: "k", umlDir: s.private, init: s.rt.init, exchange: s.exchange, lpj: lpj, verbose: s.rt.o.Verbose,
		cpus: s.job.CPUs, fast: s.job.Isolation == "fast",
	}
	files := []*os.File{null, logW, logW, guestEnd}
	for i := range s.links {
		args.nics = append(args.nics, nicArg(i, &s.links[i]))
		files = append(files, s.links[i].File)
	}
	program := readProgram(s.info.Path)
	own := s.own(program)
	for i := range s.disks {
		arg, more, err := s.disks[i].attach(i, len(files), &own)
		if err != nil {
			logR.Close()
			return err
		}
		args.disks = append(args.disks, arg)
		files = append(files, more...)
	}
	disk, err := openRootDisk(&s.job.Root)
	if err != nil {
		logR.Close()
		return err
	}
	if disk != nil {
		defer disk.Close()
		args.disks = append(args.disks, rootDiskArg(len(s.disks), len(files)))
		files = append(files, disk)
	}
	if disk != nil {
		own.Read = append(own.Read, disk)
	}
	memoryDir, pad := s.private, int64(0)
	if s.memory != nil {
		if !randomized() {
			pad, args.memory = heapPad(program.end, args.memory)
		}
		memoryDir = fmt.Sprintf("/proc/self/fd/%d", len(files))
		own.Folder = s.memory.dir
		files = append(files, s.memory.dir)
	}
	domain, err := s.confined.wait(own)
	if err != nil {
		logR.Close()
		return fmt.Errorf("confinement: prepare it: %w", err)
	}
	s.mark = s.span("prepare the confinement", s.mark)
	cpus, release := s.rt.cpus.take(s.job.CPUs)
	if lpj != 0 {
		s.launched = time.Now()
	}
	s.proc, err = launch(launchSpec{
		argv: args.argv(), env: environ(memoryDir, s.private, pad), files: files, cpus: cpus, domain: domain, fileSize: s.greatestFile(),
		started: func(pid int) {
			if err := s.rt.reaper.Add(pid); err != nil {
				s.sink.Notice(err.Error())
			}
		},
	})
	closeLinks(s.links)
	if err != nil {
		release()
		logR.Close()
		return fmt.Errorf("kernel %s: start it: %w", s.info.Path, err)
	}
	s.watch(release, lpj == 0, logR)
	return s.rt.reaper.Started() // it was being started at the same time
}

// watch starts what listens to the kernel's process.
func (s *session) watch(release func(), learn bool, log *os.File) {
	s.console = newConsole(log, s.logs, s.sink, learn)
	s.out = newOutbox(s.line)
	s.tasks.Go(s.console.run)
	s.tasks.Go(s.read)
	s.tasks.Go(s.out.run)
	s.tasks.Go(s.confined.domain.Serve)
	s.tasks.Go(func() { // the CPU is free, and the reaper has nothing to do, once the process is gone
		<-s.proc.done
		release()
		if err := s.rt.reaper.Remove(s.proc.pid); err != nil {
			s.sink.Notice(err.Error())
		}
	})
}

// read takes the guest's words off the line until it ends. Output it passes on itself, so that a reader of output that is slow slows the
// guest, and not the loop.
func (s *session) read() {
	defer close(s.frames)
	r := wire.NewReader(bufio.NewReaderSize(s.line, 256<<10))
	for {
		k, payload, err := r.Read()
		if err != nil {
			// ECONNRESET: the kernel has ended with words of ours unread.
			if err != io.EOF && !errors.Is(err, os.ErrClosed) && !errors.Is(err, unix.ECONNRESET) {
				s.readErr = err
			}
			return
		}
		if k == wire.KindStdout || k == wire.KindStderr {
			if err := s.output(k, payload); err != nil {
				s.readErr = err
				return
			}
			continue
		}
		if k == wire.KindCopyEntry || k == wire.KindCopyData {
			if err := s.receive(k, payload); err != nil {
				s.readErr = err
				return
			}
			continue
		}
		if len(payload) > maxWord {
			s.readErr = fmt.Errorf("guest: %w: a frame of kind %#x with %d bytes", wire.ErrProtocol, k, len(payload))
			return
		}
		s.frames <- frame{k, append([]byte(nil), payload...)}
	}
}

// maxWord is the greatest length, in bytes, of what a guest may say other than output.
const maxWord = 16 << 10

// output passes a piece of output on.
func (s *session) output(k wire.Kind, payload []byte) error {
	id, data, err := wire.SplitID(k, payload)
	if err != nil {
		return err
	}
	stream := orchestrator.Stdout
	if k == wire.KindStderr {
		stream = orchestrator.Stderr
	}
	if id == agentID && s.docker != nil {
		return s.docker.output(stream, data)
	}
	step := int(id)
	if step >= len(s.job.Steps) || len(data) == 0 {
		return fmt.Errorf("guest: %w: output of command %d", wire.ErrProtocol, id)
	}
	s.logs.step(step, s.job.Steps[step].Name, stream, data)
	s.ready.output(stream, data)
	s.sink.Output(step, stream, data)
	return nil
}

// closeLinks closes the files of links; doing it again is no error.
func closeLinks(links []orchestrator.Link) {
	for i := range links {
		links[i].File.Close()
	}
}

// cleanUp ends the process, waits for all of the session's goroutines, and removes its files.
func (s *session) cleanUp() {
	if s.proc != nil {
		s.proc.kill()
		<-s.proc.done
		s.res.CPU, s.res.PeakMemory = s.proc.cpu, s.proc.peak
		s.stopFeed()
		s.out.close()
		s.drain()
		s.confined.close(s.sink.Notice)
		s.tasks.Wait()
		s.learn()
		if s.unexplained() && !s.docker.explain() {
			s.res.Console = s.console.tail()
		}
	}
	s.memory.release()
	s.closeDisks()
	s.confined.close(s.sink.Notice)
	if s.line != nil {
		s.line.Close()
	}
	if s.logs != nil {
		s.logs.close()
	}
	if s.dir != "" {
		if err := os.RemoveAll(s.dir); err != nil {
			s.sink.Notice(fmt.Sprintf("scratch folder %s: remove it: %v", filepath.Base(s.dir), err))
		}
	}
}

// drain takes what the reader still has, so that it can end.
func (s *session) drain() {
	for range s.frames {
	}
}

// unexplained says whether the kernel's log may say more than the result.
func (s *session) unexplained() bool {
	switch s.res.Outcome {
	case orchestrator.Panicked, orchestrator.BootFailed:
		return true
	}
	return false
}

// learnBoot remembers how long the boot took. Nothing waits for that until the sub-kernel has ended.
func (s *session) learnBoot() {
	if s.launched.IsZero() {
		return
	}
	took := time.Since(s.launched)
	s.tasks.Go(func() { s.rt.o.Kernels.LearnBoot(s.info, took) })
}

// learn remembers what only a boot can tell.
func (s *session) learn() {
	if n := s.console.lpj(); n != 0 {
		s.rt.o.Kernels.LearnLPJ(s.info, n)
	}
}

// fillSteps gives a result to the steps that did not run, and to all the names of their logs.
func (s *session) fillSteps() {
	for i := len(s.res.Steps); i < len(s.job.Steps); i++ {
		s.res.Steps = append(s.res.Steps, orchestrator.StepResult{
			Name: s.job.Steps[i].Name, Outcome: orchestrator.Skipped, Status: orchestrator.StatusFailed,
		})
	}
	if s.logs == nil {
		return
	}
	for i := range s.res.Steps {
		r := &s.res.Steps[i]
		r.Stdout, r.Stderr = s.logs.path(i, r.Name, orchestrator.Stdout), s.logs.path(i, r.Name, orchestrator.Stderr)
	}
}

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }

func withHint(err error, hint string) error { return &hinted{err, hint} }

// explain splits an error into what happened and what to do.
func explain(err error) (reason, hint string) {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		hint = h.Hint()
	}
	return err.Error(), hint
}
