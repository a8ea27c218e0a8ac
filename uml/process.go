package uml

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/uml/confine"
)

// A process is the process of a running kernel, with the helpers and the guest's processes that it keeps on the host. All of them are in
// one session and process group, whose number is pid.
type process struct {
	pid    int
	killed sync.Once
	done   chan struct{} // closed when the process and its group are gone; the fields below are final then
	ws     syscall.WaitStatus
	cpu    time.Duration // user and system, with that of the guest's processes
	peak   int64         // bytes, resident
}

// launchSpec is what a process is started with.
type launchSpec struct {
	argv, env []string
	files     []*os.File // from descriptor 0
	cpus      []int      // host CPUs to stay on; none: any
	domain    *confine.Domain
	fileSize  int64 // bytes that a file may grow to; 0: any
	// started is called with the process's number before anything else can happen to it.
	started func(pid int)
}

// launch starts a kernel. The caller must wait for done.
//
// The process is started by a thread of its own, which takes the restrictions upon itself, so that the kernel inherits them and nobody
// else does; it stays until the process has ended, because the parent-death signal is that of the thread. That signal is SIGSTOP: a
// kernel that died alone would set free the processes of its guest, which it traces, and they would go on natively on the host
// (tried, on 6.1). So it is frozen, and the reaper kills all of the group at once.
func launch(s launchSpec) (*process, error) {
	p := &process{done: make(chan struct{})}
	ready, limited := make(chan error), make(chan struct{})
	confine.Thread(func() {
		pid, err := s.start()
		if err != nil {
			ready <- err
			return
		}
		p.pid = pid
		ready <- nil
		<-limited
		p.wait()
	})
	if err := <-ready; err != nil {
		return nil, err
	}
	s.domain.Limit(p.pid, s.fileSize) // which the other thread may not
	close(limited)
	return p, nil
}

// noRandomize is ADDR_NO_RANDOMIZE (include/uapi/linux/personality.h).
const noRandomize = 0x0040000

// start restricts the calling thread and starts the kernel from it.
func (s *launchSpec) start() (pid int, err error) {
	// A kernel since 6.16 lies where it was linked to lie, and executes itself once more if its personality is another one
	// (arch/um/os-Linux/main.c). So it has that one from the start. If it can't be had, the kernel will see to it.
	_, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, noRandomize, 0, 0)
	if len(s.cpus) > 0 {
		var set unix.CPUSet
		for _, c := range s.cpus {
			set.Set(c)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return 0, fmt.Errorf("stay on CPUs %v: %w", s.cpus, err)
		}
	}
	if err := s.domain.Enter(); err != nil {
		return 0, err
	}
	// Not by os.StartProcess, which first starts a process to find out whether the host has pidfds.
	fds := make([]uintptr, len(s.files))
	for i, f := range s.files {
		fds[i] = f.Fd()
	}
	pid, err = syscall.ForkExec(s.argv[0], s.argv, &syscall.ProcAttr{
		Dir: "/", Env: s.env, Files: fds,
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGSTOP},
	})
	runtime.KeepAlive(s.files)
	if err != nil {
		return 0, &os.PathError{Op: "exec", Path: s.argv[0], Err: err}
	}
	s.started(pid)
	return pid, nil
}

// wait waits for the process, and kills what it left.
func (p *process) wait() {
	var ru syscall.Rusage
	var ws syscall.WaitStatus
	_, err := syscall.Wait4(p.pid, &ws, 0, &ru)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(p.pid, &ws, 0, &ru)
	}
	p.kill()
	if err == nil {
		p.ws = ws
		p.cpu += time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
		p.peak = ru.Maxrss << 10 // getrusage(2): KiB
	}
	close(p.done)
}

// kill kills the kernel with all of its group, in one call, so that none of the guest's processes is set free by the death of the kernel
// that traces it. Killing what is gone is no error.
func (p *process) kill() {
	p.killed.Do(func() { p.cpu = childrenCPU(p.pid) })
	_ = unix.Kill(-p.pid, unix.SIGKILL)
}

// how says how the process ended, for a message.
func (p *process) how() string {
	switch {
	case p.ws.Signaled():
		return "it was killed by " + unix.SignalName(p.ws.Signal())
	case p.ws.ExitStatus() != 0:
		return "it exited with " + strconv.Itoa(p.ws.ExitStatus())
	}
	return "it powered off"
}
