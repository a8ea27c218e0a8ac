package guest

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// processes are the commands that the host has started, and the reaping of every process of the sub-kernel.
type processes struct {
	out   *wire.Writer
	trace *tracer

	// mu guards the maps. It is held while a command is started and entered, so that the reaper, which takes it too, can't see an end
	// before its beginning.
	mu    sync.Mutex
	byID  map[wire.ID]*command
	byPID map[int]*command
	ended bool
	// agent is a path that leads to the Spec's Agent, whatever the root is; empty: there is none.
	agent string
}

// A command is a process that the host asked for.
type command struct {
	id    wire.ID
	pid   int // also its session and process group
	quiet bool
	out   []*output
	in    *input
	tty   *os.File // the terminal's master; nil without one
	// running ends its span of the trace.
	running func()
}

func (ps *processes) init(out *wire.Writer, t *tracer) {
	ps.out, ps.trace = out, t
	ps.byID = map[wire.ID]*command{}
	ps.byPID = map[int]*command{}
}

// keepAgent keeps hold of the program at a path of the host's, before the root covers it.
func (ps *processes) keepAgent(path string) error {
	if path == "" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("init: open %s: %w", path, err)
	}
	ps.agent = "/proc/self/fd/" + strconv.Itoa(fd)
	return nil
}

// start starts a command and tells the host if that fails.
func (ps *processes) start(e wire.Exec) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.ended {
		return
	}
	c, err := ps.spawn(e)
	if err != nil {
		status := 125
		var se *startError
		if errors.As(err, &se) {
			status = se.status
		}
		_ = ps.out.Send(wire.KindExited, &wire.Exited{ID: e.ID, Status: status, Error: err.Error()})
		return
	}
	ps.byID[e.ID] = c
	ps.byPID[c.pid] = c
	for _, o := range c.out {
		go o.run()
	}
	if c.in != nil {
		go c.in.run()
	}
}

// startError is a failure with a status of its own, as shells give them: 127 not found, 126 not executable.
type startError struct {
	status int
	text   string
	hidden bool // it can't be told whether there is such a file
}

func (e *startError) Error() string { return e.text }

// spawn makes the command's descriptors and starts it.
func (ps *processes) spawn(e wire.Exec) (*command, error) {
	end := ps.trace.begin("find the command")
	cr, err := lookUpUser(e.User)
	if err != nil {
		return nil, err
	}
	env := cr.environ(e.Env)
	dir, err := workdir(e.Dir, cr)
	if err != nil {
		return nil, err
	}
	file := ps.agent
	if !e.Agent {
		if file, err = lookPath(e.Argv, env, dir); err != nil {
			return nil, err
		}
	}
	end()
	end = ps.trace.begin("start the command")
	c := &command{id: e.ID, quiet: e.Quiet}
	files, err := c.open(ps.out, e)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	attr := &syscall.ProcAttr{
		Dir: dir, Env: env, Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: e.TTY, Ctty: 0, Credential: cr.credential()},
	}
	old := syscall.Umask(int(e.Umask))
	c.pid, err = forkExec(file, e.Argv, attr)
	syscall.Umask(old)
	if err != nil {
		c.close()
		return nil, execError(e.Argv[0], err)
	}
	end()
	c.running = ps.trace.begin("the command runs")
	return c, nil
}

// forkExec is syscall.ForkExec that runs what has no recognizable format by the shell, as execvp(3) does.
func forkExec(file string, argv []string, attr *syscall.ProcAttr) (int, error) {
	pid, err := syscall.ForkExec(file, argv, attr)
	if err == syscall.ENOEXEC {
		pid, err = syscall.ForkExec("/bin/sh", append([]string{"sh", file}, argv[1:]...), attr)
	}
	return pid, err
}

func execError(name string, err error) error {
	if errors.Is(err, unix.ENOENT) { // found, but the interpreter that it names is not there
		return &startError{status: 127, text: name + ": its interpreter is not found"}
	}
	return &startError{status: 126, text: fmt.Sprintf("%s: %v", name, err)}
}

// workdir is the folder to start in: the one asked for, which must exist, or the user's home, or /.
func workdir(dir string, cr *credentials) (string, error) {
	if dir == "" {
		// Root's home is closed to an ordinary user of the host, and so to the guest's root.
		if st, err := os.Stat(cr.home); err == nil && st.IsDir() && unix.Access(cr.home, unix.X_OK) == nil {
			return cr.home, nil
		}
		return "/", nil
	}
	st, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("working directory %s: %w", dir, underlying(err))
	}
	if !st.IsDir() {
		return "", fmt.Errorf("working directory %s: not a directory", dir)
	}
	return dir, nil
}

// underlying takes the path and the operation, which the message has already, off an error.
func underlying(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// lookPath finds the command's file as execvp(3) does, by the PATH of its own environment.
func lookPath(argv, env []string, dir string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", &startError{status: 127, text: "the command is empty"}
	}
	name := argv[0]
	if strings.Contains(name, "/") {
		if err := executable(absolute(name, dir), name); err != nil {
			return "", err
		}
		return name, nil
	}
	var denied error
	for _, d := range strings.Split(getenv(env, "PATH"), ":") {
		file := absolute(d, dir) + "/" + name
		err := executable(file, name)
		if err == nil {
			return file, nil
		}
		if err.status == 126 && !err.hidden { // as shells do, and other than execvp: a closed folder of PATH says nothing
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &startError{status: 127, text: name + ": command not found"}
}

func absolute(name, dir string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return dir + "/" + name
}

// executable says what is wrong with a file as a program; nil: nothing.
func executable(file, name string) *startError {
	st, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		return &startError{status: 127, text: name + ": no such file or directory"}
	case err != nil:
		return &startError{status: 126, text: fmt.Sprintf("%s: %v", name, underlying(err)), hidden: true}
	case st.IsDir():
		return &startError{status: 126, text: name + ": is a directory"}
	case st.Mode()&0o111 == 0:
		return &startError{status: 126, text: name + ": permission denied: it is not executable"}
	}
	return nil
}

func getenv(env []string, key string) string {
	for _, e := range env {
		if k, v, ok := strings.Cut(e, "="); ok && k == key {
			return v
		}
	}
	return ""
}

// input passes a piece of input on; nil is the end.
func (ps *processes) input(id wire.ID, piece func() ([]byte, error)) {
	if c := ps.get(id); c != nil && c.in != nil {
		c.in.add(piece)
	}
}

func (ps *processes) resize(r wire.Resize) {
	if c := ps.get(r.ID); c != nil && c.tty != nil {
		if rc, err := c.tty.SyscallConn(); err == nil { // not Fd, which would make it blocking
			// The terminal's process group gets SIGWINCH by this. An error means that the command has ended.
			_ = rc.Control(func(fd uintptr) {
				_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: r.Rows, Col: r.Cols})
			})
		}
	}
}

func (ps *processes) signal(s wire.Signal) {
	ps.mu.Lock() // held, so that the process can't be reaped and its number be another's
	defer ps.mu.Unlock()
	c := ps.byID[s.ID]
	if c == nil || ps.byPID[c.pid] != c {
		return
	}
	_ = unix.Kill(-c.pid, unix.Signal(s.Number)) // ESRCH: it is ending
	if s.Session {
		for _, pid := range sessionOf(c.pid) {
			_ = unix.Kill(pid, unix.Signal(s.Number))
		}
	}
}

// sessionOf lists the processes of a session: those of a command that didn't make themselves independent (proc_pid_stat(5), field 6).
func sessionOf(sid int) []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var pids []int
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil || pid == 1 {
			continue
		}
		b, err := os.ReadFile("/proc/" + n + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) > 3 && f[3] == strconv.Itoa(sid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (ps *processes) get(id wire.ID) *command {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.byID[id]
}

// deaths asks to be told when a child dies. That must be done before the first is made: a signal that nobody waits for is lost.
func deaths() <-chan os.Signal {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGCHLD)
	return ch
}

// reap waits for every process of the sub-kernel, as PID 1 must, for as long as the sub-kernel runs.
func (ps *processes) reap(deaths <-chan os.Signal) {
	for range deaths {
		for ps.reapOne() {
		}
	}
}

// reapOne takes one dead child, if there is one, and tells the host if it was a command.
func (ps *processes) reapOne() bool {
	ps.mu.Lock()
	var ws syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
	if err == syscall.EINTR {
		ps.mu.Unlock()
		return true
	}
	if err != nil || pid <= 0 {
		ps.mu.Unlock()
		return false
	}
	c := ps.byPID[pid]
	delete(ps.byPID, pid)
	ps.mu.Unlock()
	if c != nil {
		go ps.finish(c, ws) // it may have to wait for the host to take output; reaping goes on
	}
	return true
}

// finish sends what the command has printed, and then how it ended. What it left running keeps its output.
func (ps *processes) finish(c *command, ws syscall.WaitStatus) {
	c.running()
	end := ps.trace.begin("send the rest of its output")
	for _, o := range c.out {
		o.drain()
	}
	end()
	if c.in != nil {
		c.in.stop()
	}
	e := wire.Exited{ID: c.id, Status: ws.ExitStatus()}
	if ws.Signaled() {
		e.Signal = int(ws.Signal())
		e.Status = 128 + e.Signal
	}
	_ = ps.out.Send(wire.KindExited, &e)
}

// killAll kills every process but this one, and waits for their ends.
func (ps *processes) killAll() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.ended = true
	if err := unix.Kill(-1, unix.SIGKILL); err == unix.ESRCH {
		return
	}
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && err != syscall.EINTR {
			return // ECHILD: all gone
		}
	}
}
