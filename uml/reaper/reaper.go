// Package reaper removes what a killed sekexe leaves.
//
// Nothing that a process does itself helps against kill -9. So every sekexe that boots kernels has a second, small process beside it, which
// waits for the first one's end, kills the kernels that still run then, and removes their scratch folder. It is the guest's init in
// another role, because that is small and at hand.
package reaper

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Arg is the first argument that makes the init the reaper; the second is the scratch folder, the third the folder of CPU notes.
const Arg = "sekexe-reaper"

// pipeFD is the descriptor of the pipe over which the watched process names process groups.
const pipeFD = 3

// A Reaper is the watched process's end.
type Reaper struct {
	pipe    *os.File
	started chan struct{} // closed when proc and err are final
	pid     int
	err     error
}

// Start starts the reaper process, from the binary init, for the calling process and its scratch folder dir. It doesn't wait until that is
// done: Started does. It must be stopped.
func Start(init, dir, notes string) (*Reaper, error) {
	pipe, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("reaper: make a pipe: %w", err)
	}
	r := &Reaper{pipe: w, started: make(chan struct{})}
	terminal := terminalSettings() // now: the terminal may be made raw at any time from here on
	go func() {
		defer close(r.started)
		defer pipe.Close()
		r.pid, r.err = startProcess(pipe, init, dir, notes, terminal)
	}()
	return r, nil
}

// Started waits until the reaper process is there. What was added before is not lost.
func (r *Reaper) Started() error {
	<-r.started
	return r.err
}

// terminalSettings are those of the terminal on descriptor 0, in hexadecimal; empty: there is none.
func terminalSettings() string {
	t, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return ""
	}
	var b bytes.Buffer
	if binary.Write(&b, binary.NativeEndian, t) != nil {
		return ""
	}
	return hex.EncodeToString(b.Bytes())
}

// startProcess starts the process with the pipe's end, and with the terminal whose settings are given.
func startProcess(pipe *os.File, init, dir, notes, terminal string) (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("reaper: open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	stdin := null.Fd()
	if terminal != "" {
		stdin = uintptr(syscall.Stdin)
	}
	// Not by os.StartProcess, which first starts a process to find out whether the host has pidfds.
	pid, err = syscall.ForkExec(init, []string{init, Arg, dir, notes, strconv.Itoa(os.Getpid()), terminal}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{stdin, null.Fd(), null.Fd(), pipe.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true}, // a terminal's Ctrl-C is not for it
	})
	if err != nil {
		return 0, fmt.Errorf("reaper: start it: %w", err)
	}
	return pid, nil
}

// Add names a process group to kill. The kernel keeps what is written to the pipe if this process dies.
func (r *Reaper) Add(pgid int) error { return r.say('+', pgid) }

// Remove takes a group back, which is gone: its number may become another's.
func (r *Reaper) Remove(pgid int) error { return r.say('-', pgid) }

func (r *Reaper) say(op byte, pgid int) error {
	if _, err := fmt.Fprintf(r.pipe, "%c%d\n", op, pgid); err != nil {
		return fmt.Errorf("reaper: tell it of process group %d: %w", pgid, err)
	}
	return nil
}

// Stop ends the reaper when there is nothing left for it to do.
func (r *Reaper) Stop() error {
	err := r.pipe.Close()
	if r.Started() != nil {
		return err // of which Started has told
	}
	err = errors.Join(err, syscall.Kill(r.pid, syscall.SIGKILL)) // it is ours, and not waited for yet: no other process has its number
	_, werr := syscall.Wait4(r.pid, nil, 0, nil)
	for werr == syscall.EINTR {
		_, werr = syscall.Wait4(r.pid, nil, 0, nil)
	}
	return errors.Join(err, werr)
}

// Main is the reaper process.
func Main(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("reaper: start: want %s DIR NOTES PID TERMINAL", Arg)
	}
	dir, notes := args[2], args[3]
	parent, err := strconv.Atoi(args[4])
	if err != nil {
		return fmt.Errorf("reaper: start: read the number of the watched process: %w", err)
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	groups, err := watch(parent)
	if err != nil {
		return err
	}
	for g := range groups {
		_ = unix.Kill(-g, unix.SIGKILL)
	}
	restoreTerminal(args[5])
	killUnborn()
	KillUsers(dir)
	found, _ := filepath.Glob(filepath.Join(notes, "*."+filepath.Base(dir)+".*"))
	for _, n := range found {
		os.Remove(n)
	}
	return os.RemoveAll(dir)
}

// restoreTerminal gives the terminal on descriptor 0 the settings that it had when the reaper was started, in hexadecimal; empty: there is
// none. It is not the controlling terminal of the reaper, so that nothing stops it from doing so (tty_ioctl(4)).
func restoreTerminal(settings string) {
	b, err := hex.DecodeString(settings)
	if err != nil || len(b) == 0 {
		return
	}
	var t unix.Termios
	if binary.Read(bytes.NewReader(b), binary.NativeEndian, &t) == nil {
		_ = unix.IoctlSetTermios(0, unix.TCSETS, &t) // if the terminal is gone, too, nobody minds
	}
}

// watch follows the groups until the watched process has ended. The pipe's end alone doesn't say that: a kernel that was being started in
// that moment still holds it.
func watch(parent int) (map[int]bool, error) {
	groups := map[int]bool{}
	pidfd, err := unix.PidfdOpen(parent, 0)
	if err == unix.ESRCH || unix.Getppid() != parent {
		parent = 0 // it was quick to die
	} else if err != nil {
		return nil, fmt.Errorf("reaper: watch process %d: %w", parent, err)
	}
	if err := unix.SetNonblock(pipeFD, true); err != nil {
		return nil, fmt.Errorf("reaper: read the pipe: %w", err)
	}
	var rest []byte
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: pipeFD, Events: unix.POLLIN}}
	for {
		if parent != 0 {
			if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
				return nil, fmt.Errorf("reaper: wait: %w", err)
			}
		}
		gone := parent == 0 || fds[0].Revents != 0
		rest = follow(groups, rest)
		if gone {
			return groups, nil
		}
		if fds[1].Revents&^unix.POLLIN != 0 {
			fds[1].Fd = -1 // the pipe has ended; the process will too
		}
	}
}

// follow reads what there is in the pipe, a line "+N" or "-N" for each group, after the beginning of a line that was read before, and
// returns the beginning of the next one.
func follow(groups map[int]bool, rest []byte) []byte {
	var buf [4096]byte
	for {
		n, err := unix.Read(pipeFD, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			break
		}
		rest = append(rest, buf[:n]...)
	}
	for {
		l, more, ok := bytes.Cut(rest, []byte{'\n'})
		if !ok {
			return rest
		}
		rest = more
		if len(l) < 2 {
			continue
		}
		g, err := strconv.Atoi(string(l[1:]))
		if err != nil || g < 2 {
			continue
		}
		if l[0] == '+' {
			groups[g] = true
		} else {
			delete(groups, g)
		}
	}
}

// killUnborn kills children of the watched process that have not become kernels yet: those that hold its end of the pipe.
func killUnborn() {
	own, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(pipeFD))
	if err != nil {
		return
	}
	names, err := procs()
	if err != nil {
		return
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil || pid == os.Getpid() {
			continue
		}
		fds, err := os.ReadDir("/proc/" + n + "/fd")
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if l, err := os.Readlink("/proc/" + n + "/fd/" + fd.Name()); err == nil && l == own {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// KillUsers kills the kernels whose command line names the scratch folder dir, each with its process group, and waits until they are gone.
func KillUsers(dir string) {
	for {
		pids := users(dir)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			killGroup(pid)
		}
	}
}

// users lists this user's processes that have the folder in an option uml_dir= and are not dead. Every kernel of ours has one, and what a
// kernel forks has its command line.
func users(dir string) []int {
	names, err := procs()
	if err != nil {
		return nil
	}
	want := []byte("\x00uml_dir=" + dir + "/")
	var found []int
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil || pid == os.Getpid() {
			continue
		}
		b, err := os.ReadFile("/proc/" + n + "/cmdline")
		if err != nil || !bytes.Contains(b, want) {
			continue
		}
		found = append(found, pid)
	}
	return found
}

func procs() ([]string, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// killGroup kills a process with its group, if that is one of the kernel's own and not that of whoever started it, and waits for the end.
func killGroup(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if g, err := unix.Getpgid(pid); err == nil && g == sessionOf(pid) && g != unix.Getpgrp() {
		_ = unix.Kill(-g, unix.SIGKILL)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	if err == nil {
		for { // readable when the process has ended
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
			if err != unix.EINTR {
				return
			}
		}
	}
}

// sessionOf returns a process's session, 0 if it is gone (proc_pid_stat(5), field 6).
func sessionOf(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 4 {
		return 0
	}
	sid, _ := strconv.Atoi(f[3])
	return sid
}
