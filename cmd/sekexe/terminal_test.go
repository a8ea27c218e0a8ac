package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// startOnTerminal starts cmd on a new terminal.
func startOnTerminal(t *testing.T, cmd *exec.Cmd, size *pty.Winsize) (out *watched, master, tty *os.File) {
	t.Helper()
	blocking, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer blocking.Close()
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true) // for deadlines
	}
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() {
		master.Close()
		tty.Close()
	})
	if err := pty.Setsize(tty, size); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &watched{f: master}, master, tty
}

// termios are a terminal's settings.
func termios(t *testing.T, tty *os.File) unix.Termios {
	t.Helper()
	rc, err := tty.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var s *unix.Termios
	if cerr := rc.Control(func(fd uintptr) { s, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return *s
}

func typeKeys(t *testing.T, master *os.File, keys string) {
	t.Helper()
	if _, err := master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// TestShell uses an interactive shell as somebody at a terminal does.
func TestShell(t *testing.T) {
	t.Parallel()
	s := testSandbox(t)
	cmd := s.command(t, "run", "-m", "64M", "-e", "PS1=prompt> ")
	cmd.Env = append(cmd.Env, "SHELL=/bin/sh")
	out, master, tty := startOnTerminal(t, cmd, &pty.Winsize{Rows: 30, Cols: 100})
	before := termios(t, tty)
	out.until(t, `prompt> $`)
	if got := termios(t, tty); got.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("the terminal is not raw while the guest has it: flags %#x", got.Lflag)
	}

	typeKeys(t, master, "stty size; tty\r")
	out.until(t, `\n30 100\r\n/dev/pts/0\r\nprompt> $`)

	// A new size is told to the command that runs.
	typeKeys(t, master, `perl -e '$SIG{WINCH} = sub { print "changed\n"; exit }; $| = 1; print "armed\n"; sleep 1 while 1'`+"\r")
	out.until(t, `\narmed\r\n`)
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 41, Cols: 121}); err != nil {
		t.Fatal(err)
	}
	out.until(t, `changed\r\nprompt> $`)
	typeKeys(t, master, "stty size\r")
	out.until(t, `\n41 121\r\nprompt> $`)

	// Ctrl-C goes to the command, and the shell lives on.
	typeKeys(t, master, `sh -c 'echo "be"gun; exec sleep 1000'`+"\r")
	out.until(t, `\nbegun\r\n`)
	typeKeys(t, master, "\x03")
	out.until(t, `prompt> $`)
	typeKeys(t, master, "echo status=$?\r")
	out.until(t, `\nstatus=130\r\nprompt> $`)

	typeKeys(t, master, "exit 9\r")
	if got := exitStatus(t, cmd.Wait()); got != 9 {
		t.Errorf("exit status %d, want 9; the terminal shows:\n%s", got, out.all.String())
	}
	if diff := cmp.Diff(before, termios(t, tty)); diff != "" {
		t.Errorf("the terminal is not as it was (-before +after):\n%s", diff)
	}
}

// TestEscape holds that a guest that does nothing about it can be left by Ctrl-] three times.
func TestEscape(t *testing.T) {
	t.Parallel()
	s := testSandbox(t)
	cmd := s.command(t, "run", "-m", "64M", "stty raw -echo; echo ready; exec sleep 1000")
	out, master, tty := startOnTerminal(t, cmd, &pty.Winsize{Rows: 24, Cols: 80})
	before := termios(t, tty)
	out.until(t, `ready`)
	typeKeys(t, master, "\x03\x1d\x1d\x1d")
	if got := exitStatus(t, cmd.Wait()); got != exitFailed {
		t.Errorf("exit status %d, want %d", got, exitFailed)
	}
	if diff := cmp.Diff(before, termios(t, tty)); diff != "" {
		t.Errorf("the terminal is not as it was (-before +after):\n%s", diff)
	}
}

// TestTerminalAfterKill holds that kill -9, which sekexe can't hear, leaves no raw terminal behind.
func TestTerminalAfterKill(t *testing.T) {
	t.Parallel()
	s := testSandbox(t)
	cmd := s.command(t, "run", "-m", "64M", "echo ready; exec sleep 1000")
	out, _, tty := startOnTerminal(t, cmd, &pty.Winsize{Rows: 24, Cols: 80})
	before := termios(t, tty)
	out.until(t, `ready`)
	if got := termios(t, tty); got == before {
		t.Error("the terminal is not raw while the guest has it")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); exitStatus(t, err) != -1 {
		t.Errorf("sekexe: %v, want it killed", err)
	}
	if err := s.waitGone(); err != nil { // the reaper is the last to go
		t.Error(err)
	}
	if diff := cmp.Diff(before, termios(t, tty)); diff != "" {
		t.Errorf("the terminal is not as it was (-before +after):\n%s", diff)
	}
}
