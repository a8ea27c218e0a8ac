package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// testSandbox makes a sandbox that says at the test's end what is left in it.
func testSandbox(t *testing.T) *sandbox {
	t.Helper()
	s, err := newSandbox(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// write writes a file into the sandbox's folder.
func (s *sandbox) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// command is sekexe with the arguments, in the sandbox.
func (s *sandbox) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Args[0] = "sekexe" // see TestMain
	cmd.Dir = s.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, s.vars()...)
	return cmd
}

// exitStatus is what Wait's error says.
func exitStatus(t *testing.T, err error) int {
	t.Helper()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	if ee == nil {
		return 0
	}
	return ee.ExitCode()
}

// A watched is output that is read while it is written, up to what is waited for.
type watched struct {
	f   *os.File
	all bytes.Buffer
	at  int // what comes before has been matched
}

// start starts cmd with its standard output and error in pipes.
func start(t *testing.T, cmd *exec.Cmd) (stdout, stderr *watched) {
	t.Helper()
	pipe := func() (*watched, *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return &watched{f: r}, w
	}
	stdout, w1 := pipe()
	stderr, w2 := pipe()
	cmd.Stdout, cmd.Stderr = w1, w2
	err := cmd.Start()
	w1.Close()
	w2.Close()
	if err != nil {
		t.Fatal(err)
	}
	return stdout, stderr
}

// until reads until the expression matches what comes after the last match.
func (o *watched) until(t *testing.T, expr string) {
	t.Helper()
	if !o.finds(t, expr) {
		t.Fatalf("waiting for %q: the end, after %q", expr, o.all.String())
	}
}

// finds says whether there is a match before the end.
func (o *watched) finds(t *testing.T, expr string) bool {
	t.Helper()
	re := regexp.MustCompile(expr)
	if err := o.f.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		if m := re.FindIndex(o.all.Bytes()[o.at:]); m != nil {
			o.at += m[1]
			return true
		}
		n, err := o.f.Read(buf)
		o.all.Write(buf[:n])
		switch {
		case n > 0 || err == nil:
		case errors.Is(err, io.EOF) || errors.Is(err, syscall.EIO): // EIO: the terminal's last user has gone
			return false
		default:
			t.Fatalf("waiting for %q: %v, after %q", expr, err, o.all.String())
		}
	}
}

// rest reads to the end, and returns all that there was.
func (o *watched) rest(t *testing.T) string {
	t.Helper()
	if err := o.f.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.all.ReadFrom(o.f); err != nil && !errors.Is(err, syscall.EIO) { // EIO: the terminal's last user has gone
		t.Fatal(err)
	}
	return o.all.String()
}

// A hostProcess is a process that the test waits for.
type hostProcess struct {
	pid, session int
	fd           int // pidfd
}

// kernelProcesses lists all processes of the sandbox's kernels: those of their sessions, because the command line of a guest's process
// is none that could be told.
func (s *sandbox) kernelProcesses(t *testing.T) []hostProcess {
	t.Helper()
	left, err := s.leftProcesses()
	if err != nil {
		t.Fatal(err)
	}
	kernels := map[int]bool{}
	for pid, cmdline := range left {
		if strings.Contains(cmdline, " uml_dir=") && session(pid) == pid {
			kernels[pid] = true
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []hostProcess
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !kernels[session(pid)] {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended
		}
		t.Cleanup(func() { unix.Close(fd) })
		found = append(found, hostProcess{pid: pid, session: session(pid), fd: fd})
	}
	return found
}

// session is a process's session; 0 if it is gone.
func session(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	n, err := strconv.Atoi(f[3])
	if err != nil {
		return 0
	}
	return n
}

func waitAll(t *testing.T, ps []hostProcess) {
	t.Helper()
	for _, p := range ps {
		if err := pollIn(p.fd, patience); err != nil {
			t.Errorf("process %d of the kernel %d lives on: %v", p.pid, p.session, err)
		}
	}
}

// TestKilled holds that kill -9 of sekexe leaves nothing: at once no process and no memory, and after the next run no run directory.
func TestKilled(t *testing.T) {
	t.Parallel()
	const eight = `subkernel "k" {
  count   = 8
  memory  = "64M"
  command = "echo ready; exec sleep 1000"
}
`
	for _, c := range []struct {
		name           string
		args           []string
		stdout, stderr string // what is waited for
		processes      int    // that run then, at least
	}{
		{"while they boot", []string{"up", "--progress", "quiet", "--kernel-log", "--verbose"}, ``, `k\[\d\] ! `, 1},
		{"while they run", []string{"up", "--progress", "quiet"}, `(?s)(\| ready\n.*){8}`, ``, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := testSandbox(t)
			s.write(t, "sekexe.hcl", eight)
			cmd := s.command(t, c.args...)
			stdout, stderr := start(t, cmd)
			stdout.until(t, c.stdout)
			stderr.until(t, c.stderr)
			ps := s.kernelProcesses(t)
			if len(ps) < c.processes {
				t.Errorf("%d processes run, want at least %d", len(ps), c.processes)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); exitStatus(t, err) != -1 {
				t.Errorf("sekexe: %v, want it killed", err)
			}
			waitAll(t, ps)
			if err := s.waitGone(); err != nil {
				t.Error(err)
			}
			if left, err := s.unfinishedRuns(); err != nil || len(left) != 1 {
				t.Errorf("run directories of the killed run: %q, %v, want one", left, err)
			}
			s.runTrue(t)
		})
	}
}

// runTrue makes another run, after which no run directory may be unfinished.
func (s *sandbox) runTrue(t *testing.T) {
	t.Helper()
	if b, err := s.command(t, "run", "true").CombinedOutput(); err != nil || len(b) > 0 {
		t.Errorf("the next run: %v: %s", err, b)
	}
	if left, err := s.unfinishedRuns(); err != nil || len(left) > 0 {
		t.Errorf("run directories after the next run: %q, %v, want none", left, err)
	}
}

// TestKernelKilled holds that the death of a kernel alone is noticed, and doesn't set its guest's processes free.
func TestKernelKilled(t *testing.T) {
	t.Parallel()
	s := testSandbox(t)
	cmd := s.command(t, "run", "echo ready; sleep 1000 & exec sleep 1000")
	stdout, stderr := start(t, cmd)
	stdout.until(t, "^ready\n$")
	ps := s.kernelProcesses(t)
	if len(ps) < 3 {
		t.Errorf("%d processes run, want at least 3", len(ps))
	}
	for _, p := range ps {
		if p.pid == p.session {
			if err := unix.Kill(p.pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := exitStatus(t, cmd.Wait()); got != exitFailed {
		t.Errorf("exit status %d, want %d", got, exitFailed)
	}
	const want = "sekexe: error: the kernel was gone before its commands had ended: it was killed by SIGKILL\n"
	if got := stderr.rest(t); !strings.HasPrefix(got, want) {
		t.Errorf("stderr = %q, want it to begin with %q", got, want)
	}
	waitAll(t, ps)
}

// TestInterrupt holds what signals do: the first ends commands gracefully, the second kills.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	const file = `subkernel "works" {
  memory  = "64M"
  command = "trap 'echo trapped; exit 0' TERM; echo ready; sleep 1000 & wait"
}
subkernel "waits" {
  depends_on = [subkernel.works]
  command    = "true"
}
`
	const deaf = `subkernel "deaf" {
  memory  = "64M"
  command = "trap '' TERM; echo ready; while :; do sleep 1000; done"
}
`
	for _, c := range []struct {
		name    string
		args    []string
		signals []syscall.Signal
		status  int
		stdout  string
		stderr  string // expression
	}{
		{"run once", []string{"run", "trap 'echo trapped; exit 3' TERM; echo ready; sleep 1000 & wait"},
			[]syscall.Signal{syscall.SIGINT}, 130, "ready\ntrapped\n", `^sekexe: warning: the run was interrupted[^\n]*\n$`},
		{"run twice", []string{"run", "--stop-timeout", "1h", "trap '' TERM; echo ready; while :; do sleep 1000; done"},
			[]syscall.Signal{syscall.SIGINT, syscall.SIGINT}, 130, "ready\n", `^sekexe: warning: the run was interrupted[^\n]*\n$`},
		{"up once", []string{"up", "--progress", "quiet"},
			[]syscall.Signal{syscall.SIGTERM}, 143, "works | ready\nworks | trapped\n", `(?s)works +cancelled +125.*waits +cancelled +125.*interrupted`},
		{"up by Ctrl-C", []string{"up", "--progress", "quiet"},
			[]syscall.Signal{syscall.SIGINT}, 130, "works | ready\nworks | trapped\n", `(?s)works +cancelled +125.*waits +cancelled +125.*interrupted`},
		{"up twice", []string{"up", "--progress", "quiet", "-f", "deaf.hcl"},
			[]syscall.Signal{syscall.SIGINT, syscall.SIGINT}, 130, "deaf | ready\n", `(?s)deaf +cancelled +125.*interrupted`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := testSandbox(t)
			s.write(t, "sekexe.hcl", file)
			s.write(t, "deaf.hcl", deaf)
			cmd := s.command(t, c.args...)
			stdout, stderr := start(t, cmd)
			stdout.until(t, "ready\n")
			for i, sig := range c.signals {
				if i > 0 { // two signals of a kind that are pending at once are one
					stderr.until(t, "interrupted|stopping")
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			err := cmd.Wait()
			if got := exitStatus(t, err); got != c.status {
				t.Errorf("exit status %d, want %d", got, c.status)
			}
			if got := stdout.rest(t); got != c.stdout {
				t.Errorf("stdout = %q, want %q", got, c.stdout)
			}
			if got := stderr.rest(t); !regexp.MustCompile(c.stderr).MatchString(got) {
				t.Errorf("stderr = %q, want a match of %q", got, c.stderr)
			}
		})
	}
}

// TestEveryStatus is what sekexe is for: many sub-kernels at once, whose report is right about each of them. It may be run many times
// over: go test -run EveryStatus -count 20.
func TestEveryStatus(t *testing.T) {
	t.Parallel()
	const file = `subkernel "n" {
  count   = 32
  memory  = "64M"
  command = "exit ${count.index}"
}
subkernel "panics" {
  memory  = "64M"
  command = "echo c > /proc/sysrq-trigger"
}
subkernel "hangs" {
  memory = "64M"
  step "command" {
    command = "exec sleep 1000"
    timeout = "1s"
  }
}
subkernel "missing" {
  memory  = "64M"
  command = ["no-such-command"]
}
subkernel "depends" {
  memory     = "64M"
  depends_on = [subkernel.missing]
  command    = "true"
}
`
	s := testSandbox(t)
	s.write(t, "sekexe.hcl", file)
	out, err := s.command(t, "up", "--report", "json=report.json").CombinedOutput()
	if got := exitStatus(t, err); got != 1 {
		t.Errorf("exit status %d, want 1", got)
	}
	b, err := os.ReadFile(filepath.Join(s.dir, "report.json"))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r, err := parseReport(b)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range r.Subkernels {
		got[e.Name] = e.line("")
	}
	want := map[string]string{
		"panics": " panicked 125 failed", "hangs": " timed-out 124 failed", "missing": " exited 127 failed", "depends": " skipped 125 failed",
		"n[0]": " exited 0 ok",
	}
	for i := 1; i < 32; i++ {
		want[fmt.Sprintf("n[%d]", i)] = fmt.Sprintf(" exited %d failed", i)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s\n%s", diff, out)
	}
}

// TestStoppedReader holds that a reader of sekexe's output who has stopped reading keeps no kernel alive beyond its time, loses nothing that
// was printed before, and can't keep sekexe from being interrupted.
func TestStoppedReader(t *testing.T) {
	t.Parallel()
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		s := testSandbox(t)
		cmd := s.command(t, "run", "-m", "64M", "--timeout", "4s", "--stop-timeout", "1s", "yes")
		stdout, _ := start(t, cmd)
		stdout.until(t, "^y\n") // and no more, for now
		ps := s.kernelProcesses(t)
		if len(ps) == 0 {
			t.Fatal("no kernel runs")
		}
		waitAll(t, ps)
		if text := stdout.rest(t); strings.Trim(text, "y\n") != "" || len(text) < 1<<16 {
			t.Errorf("%d bytes of output are left for the reader, want more than a pipe holds, and no others than were printed", len(text))
		}
		if got := exitStatus(t, cmd.Wait()); got != 124 {
			t.Errorf("exit status %d, want 124", got)
		}
	})
	t.Run("interrupt", func(t *testing.T) {
		t.Parallel()
		s := testSandbox(t)
		cmd := s.command(t, "run", "-m", "64M", "yes")
		stdout, stderr := start(t, cmd)
		stdout.until(t, "^y\n")
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		stderr.until(t, "interrupted")
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if got := exitStatus(t, cmd.Wait()); got != 130 {
			t.Errorf("exit status %d, want 130", got)
		}
		if err := s.waitGone(); err != nil { // sekexe could not wait for the end; the reaper does what it has left
			t.Error(err)
		}
	})
}
