package docker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// needed are the programs without which no container runs: containerd starts runc.
var needed = []string{"dockerd", "containerd", "runc"}

// A process is a daemon that the agent has started. Its output goes to the agent's standard error.
type process struct {
	name string
	cmd  *exec.Cmd
	// gone is closed when it has ended, and err says how then.
	gone chan struct{}
	err  error
}

// timerSlack is how late, in nanoseconds, timers of the daemons and of their containers may end. Go's runtime sleeps 20 microseconds at a time while a
// program is busy (runtime/proc.go, sysmon), and each of these is an interrupt of the guest, which takes longer than that: without the slack, a start of dockerd
// takes some 20 % longer.
const timerSlack = 1_000_000

// startProcess starts a daemon, which is waited for from then on.
func startProcess(name string, args ...string) (*process, error) {
	// The slack is a thread's, and a child has that of the thread which made it (prctl(2), PR_SET_TIMERSLACK).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("%s: set its timer slack: %w", name, err)
	}
	p := &process{name: name, cmd: exec.Command(name, args...), gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = os.Stderr, os.Stderr
	// A session of its own: a signal to the agent's must not reach it as well.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: start it: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	return p, nil
}

// stop asks it to end, and waits for that. How long that may take is the host's to say.
func (p *process) stop() {
	if p == nil {
		return
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	<-p.gone
}

// ended says how it has ended by itself.
func (p *process) ended() error {
	how := "with status 0"
	var e *exec.ExitError
	if errors.As(p.err, &e) {
		how = fmt.Sprintf("with status %d", e.ExitCode())
		if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			how = fmt.Sprintf("by signal %d", ws.Signal())
		}
	} else if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s: it has ended %s", p.name, how)
}

// findPrograms says which of the needed programs is not there.
func findPrograms() error {
	for _, name := range needed {
		if _, err := exec.LookPath(name); err != nil {
			return &hintError{fmt.Errorf("%s: find it: it is not in the sub-kernel's root", name),
				"install Docker there (Debian and Ubuntu: apt-get install docker.io), or give the sub-kernel a root with it, such as root { image = \"docker:dind\" }"}
		}
	}
	return nil
}

// keyFile is where daemons before 24.0 keep a key by which they are known.
const keyFile = "/etc/docker/key.json"

// pidFile is where dockerd says that it runs, and doesn't start if a process has the number that it finds there. What it finds in a root that is kept is
// of a sub-kernel that was killed; in this one none has run.
const pidFile = "/var/run/docker.pid"

// startDockerd starts dockerd with our settings. Those of the root's /etc/docker are for another one: that of the host, if the root is the host's.
func (a *agent) startDockerd() (err error) {
	// A dockerd of the host's own leaves a key that nobody else may read, so neither the root of an ordinary user's guest. Without it, one is made.
	if _, err := os.ReadFile(keyFile); errors.Is(err, os.ErrPermission) {
		if err := os.Remove(keyFile); err != nil {
			return fmt.Errorf("dockerd: put the host's key aside: %w", err)
		}
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("dockerd: remove %s of an earlier one: %w", pidFile, err)
	}
	config := folder + "/daemon.json"
	if err := os.WriteFile(config, []byte(a.spec.Config), 0o600); err != nil {
		return fmt.Errorf("dockerd: write its settings: %w", err)
	}
	args := []string{"--config-file=" + config, "--host=unix://" + socketPath}
	if a.containerd != nil {
		args = append(args, "--containerd="+containerdSocket)
	}
	a.dockerd, err = startProcess("dockerd", append(args, a.spec.Args...)...)
	return err
}

// ownContainerd says whether dockerd is to use a containerd that the user starts.
func (a *agent) ownContainerd() bool {
	for _, arg := range a.spec.Args {
		if name, _, _ := strings.Cut(arg, "="); name == "--containerd" {
			return true
		}
	}
	return strings.Contains(a.spec.Config, `"containerd":`)
}
