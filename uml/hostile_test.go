package uml

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml/reaper"
)

// fakePrefix begins the name by which this test binary is called to be a kernel with a hostile guest; the rest of the name says which.
const fakePrefix = "fake-kernel-"

// fakeLine is a fake kernel's end of the line: a variable of the package, so that it isn't closed as garbage.
var fakeLine *os.File

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	switch {
	case strings.HasPrefix(name, fakePrefix):
		fakeLine = os.NewFile(lineFD, "line")
		fakes[strings.TrimPrefix(name, fakePrefix)](fakeLine)
		os.Exit(0)
	case len(os.Args) > 1 && os.Args[1] == reaper.Arg:
		if err := reaper.Main(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func hello(w *wire.Writer) {
	_ = w.Send(wire.KindHello, &wire.Hello{Protocol: wire.Protocol, Kernel: "9.9"})
}

// untilUp plays a guest that behaves until its first command runs.
func untilUp(line *os.File) *wire.Writer {
	w := wire.NewWriter(line)
	hello(w)
	r := wire.NewReader(line)
	for {
		k, _, err := r.Read()
		if err != nil {
			os.Exit(1)
		}
		if k&^wire.InFile == wire.KindExec {
			_ = w.Write(wire.KindUp)
			return w
		}
	}
}

// fakes are the hostile guests.
var fakes = map[string]func(line *os.File){
	"silent":      func(*os.File) { select {} },
	"gone":        func(*os.File) {},
	"rubbish":     func(l *os.File) { _, _ = l.Write(bytes.Repeat([]byte("rubbish"), 1000)) },
	"endless":     func(l *os.File) { _, _ = l.Write([]byte{0, 15, 255, 255, byte(wire.KindStdout)}); endless(l) },
	"huge":        func(l *os.File) { _, _ = l.Write([]byte{255, 255, 255, 255, 1}); select {} },
	"zeros":       func(l *os.File) { endless(l) },
	"version":     func(l *os.File) { _ = wire.NewWriter(l).Send(wire.KindHello, &wire.Hello{Protocol: 99}); select {} },
	"hello-twice": func(l *os.File) { w := wire.NewWriter(l); hello(w); hello(w); select {} },
	"up-first":    func(l *os.File) { _ = wire.NewWriter(l).Write(wire.KindUp); select {} },
	"host-word":   func(l *os.File) { w := wire.NewWriter(l); hello(w); _ = w.Write(wire.KindPowerOff); select {} },
	"no-hello":    func(l *os.File) { _ = wire.NewWriter(l).Write(wire.KindHello, []byte("{")); select {} },
	"crash":       func(l *os.File) { untilUp(l); _ = unix.Kill(os.Getpid(), unix.SIGKILL) },
	"power-off":   func(l *os.File) { untilUp(l) },
	"status": func(l *os.File) {
		_ = untilUp(l).Send(wire.KindExited, &wire.Exited{ID: 0, Status: 9999})
		select {}
	},
	"other-step":   func(l *os.File) { _ = untilUp(l).Send(wire.KindExited, &wire.Exited{ID: 5}); select {} },
	"other-output": func(l *os.File) { _ = untilUp(l).WriteID(wire.KindStdout, 77, []byte("x")); select {} },
	"long-word":    func(l *os.File) { _ = untilUp(l).Write(wire.KindNotice, make([]byte, 100_000)); select {} },
	"deaf":         func(l *os.File) { untilUp(l); select {} }, // to signals and to PowerOff
	"acks": func(l *os.File) {
		w := untilUp(l)
		for range 1000 {
			_ = w.WriteID(wire.KindInputTaken, 0, wire.AppendCount(nil, 1<<30))
		}
		_ = w.Send(wire.KindExited, &wire.Exited{ID: 0, Status: 0})
		select {}
	},
	"log-flood": func(l *os.File) {
		untilUp(l)
		for { // a log without an end of line
			_, _ = os.Stdout.Write(bytes.Repeat([]byte("x"), 100_000))
		}
	},
}

func endless(l *os.File) {
	zeros := make([]byte, 64<<10)
	for {
		if _, err := l.Write(zeros); err != nil {
			return
		}
	}
}

// recorder is a Sink that remembers notices and counts output.
type recorder struct {
	mu      sync.Mutex
	notices []string
	output  int
}

func (r *recorder) Booting()                               {}
func (r *recorder) Span(orchestrator.Span)                 {}
func (r *recorder) Booted(string)                          {}
func (r *recorder) Up()                                    {}
func (r *recorder) Ready()                                 {}
func (r *recorder) StepStarted(int)                        {}
func (r *recorder) StepEnded(int, orchestrator.StepResult) {}
func (r *recorder) Kernel([]byte)                          {}
func (r *recorder) Addressed(int, netip.Prefix)            {}
func (r *recorder) Seeding()                               {}
func (r *recorder) Docker(string)                          {}
func (r *recorder) Output(_ int, _ orchestrator.Stream, p []byte) {
	r.mu.Lock()
	r.output += len(p)
	r.mu.Unlock()
}
func (r *recorder) Notice(text string) {
	r.mu.Lock()
	r.notices = append(r.notices, text)
	r.mu.Unlock()
}

// newFakeRuntime is a Runtime whose kernel is a fake one.
func newFakeRuntime(t *testing.T, fake string) *Runtime {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), fakePrefix+fake)
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	rt, err := New(Options{
		ID: fmt.Sprintf("t%d-%s", os.Getpid(), fake), Init: func(string) (string, error) { return exe, nil },
		Kernels: kernel.NewFinder(t.TempDir()), LogDir: t.TempDir(), MaxMemory: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	rt.kernels[kernelKey{}] = func() (*kernel.Info, error) { return &kernel.Info{Path: link, Version: "9.9"}, nil }
	t.Cleanup(func() {
		if err := rt.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if _, err := os.Stat(rt.scratch.dir); !os.IsNotExist(err) {
			t.Errorf("the scratch folder is still there: %v", err)
		}
	})
	return rt
}

func fakeJob() *orchestrator.Job {
	return &orchestrator.Job{
		Name: "fake", ID: "fake", Memory: 1 << 20, Root: orchestrator.Root{Mode: "overlay"}, Cgroups: "v2",
		Steps:       []orchestrator.Step{{Name: "one", Argv: []string{"true"}, ExpectExit: []int{0}}},
		BootTimeout: 20 * time.Second, StopTimeout: 50 * time.Millisecond,
	}
}

// TestHostileGuests holds that whatever a guest does, the host ends the sub-kernel with a sensible outcome and leaves nothing.
func TestHostileGuests(t *testing.T) {
	for _, tc := range []struct {
		fake    string
		outcome orchestrator.Outcome
		reason  string
		change  func(*orchestrator.Job)
	}{
		{"silent", orchestrator.BootFailed, "did not say hello within 100ms", func(j *orchestrator.Job) { j.BootTimeout = 100 * time.Millisecond }},
		{"gone", orchestrator.BootFailed, "it powered off", nil},
		{"rubbish", orchestrator.BootFailed, "made no sense", nil},
		{"endless", orchestrator.BootFailed, "made no sense", nil},
		{"huge", orchestrator.BootFailed, "made no sense", nil},
		{"zeros", orchestrator.BootFailed, "made no sense", nil},
		{"version", orchestrator.BootFailed, "speaks version 99", nil},
		{"hello-twice", orchestrator.BootFailed, "second Hello", nil},
		{"up-first", orchestrator.BootFailed, "Up out of turn", nil},
		{"host-word", orchestrator.BootFailed, "frame of kind", nil},
		{"no-hello", orchestrator.BootFailed, "decode", nil},
		{"crash", orchestrator.Panicked, "SIGKILL", nil},
		{"power-off", orchestrator.Panicked, "it powered off", nil},
		{"status", orchestrator.Panicked, "a status of 9999", nil},
		{"other-step", orchestrator.Panicked, "end of command 5 out of turn", nil},
		{"other-output", orchestrator.Panicked, "output of command 77", nil},
		{"long-word", orchestrator.Panicked, "100000 bytes", nil},
		{"deaf", orchestrator.TimedOut, "longer than 50ms", func(j *orchestrator.Job) { j.Timeout = 50 * time.Millisecond }},
		{"acks", orchestrator.Exited, "", func(j *orchestrator.Job) { j.Steps[0].Stdin = stdinOf("some input") }},
		{"log-flood", orchestrator.TimedOut, "longer than", func(j *orchestrator.Job) { j.Timeout = 300 * time.Millisecond }},
	} {
		t.Run(tc.fake, func(t *testing.T) {
			t.Parallel()
			rt := newFakeRuntime(t, tc.fake)
			job := fakeJob()
			if tc.change != nil {
				tc.change(job)
			}
			sink := &recorder{}
			r := rt.Run(context.Background(), job, nil, nil, sink)
			if r.Outcome != tc.outcome || !strings.Contains(r.Reason, tc.reason) {
				t.Errorf("Run() = %s, %q; want %s and %q", r.Outcome, r.Reason, tc.outcome, tc.reason)
			}
			if len(r.Steps) != 1 {
				t.Errorf("Run() has %d step results; want 1", len(r.Steps))
			}
			if len(r.Reason) > 2000 || strings.ContainsAny(r.Reason, "\x00\x1b\n") {
				t.Errorf("the reason is not fit for a message: %q", r.Reason)
			}
		})
	}
}

// stdinOf is an input of a few bytes.
func stdinOf(s string) orchestrator.Input { return &shortInput{strings.NewReader(s)} }

type shortInput struct{ r *strings.Reader }

func (s *shortInput) Read(_ context.Context, p []byte) (int, error) { return s.r.Read(p) }

func TestStopAndKill(t *testing.T) {
	t.Run("stop of a deaf guest", func(t *testing.T) {
		rt := newFakeRuntime(t, "deaf")
		stop := make(chan struct{})
		close(stop)
		if r := rt.Run(context.Background(), fakeJob(), nil, stop, &recorder{}); r.Outcome != orchestrator.Cancelled {
			t.Errorf("Run() = %s, %q; want cancelled", r.Outcome, r.Reason)
		}
	})
	t.Run("kill of a silent guest", func(t *testing.T) {
		rt := newFakeRuntime(t, "silent")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if r := rt.Run(ctx, fakeJob(), nil, nil, &recorder{}); r.Outcome != orchestrator.Cancelled {
			t.Errorf("Run() = %s, %q; want cancelled", r.Outcome, r.Reason)
		}
	})
}

func TestLogsAreBounded(t *testing.T) {
	dir := t.TempDir()
	var notices []string
	l := openLogs(dir, "job", func(s string) { notices = append(notices, s) })
	p := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for range logMost/len(p) + 2 {
		l.step(0, "one", orchestrator.Stdout, p)
	}
	l.close()
	st, err := os.Stat(filepath.Join(dir, "job", "1-one.stdout"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() < logMost || st.Size() > logMost+100 {
		t.Errorf("the log has %d bytes; want %d and a line", st.Size(), logMost)
	}
	if len(notices) != 0 {
		t.Errorf("notices: %q", notices)
	}
}

func TestAFullDiskCostsTheLogsOnly(t *testing.T) {
	var notices []string
	l := openLogs("/dev/full", "job", func(s string) { notices = append(notices, s) })
	l.kernel([]byte("x"))
	l.kernel([]byte("x"))
	l.close()
	if len(notices) != 1 || !strings.Contains(notices[0], "logs are incomplete") {
		t.Errorf("notices = %q; want one that says that logs are incomplete", notices)
	}
}

func TestConsoleTail(t *testing.T) {
	c := newConsole(nil, openLogs("", "", nil), nil, true)
	for i := range 100 {
		c.keep([]byte(fmt.Sprintf("line %d \x1b[2J\xff\n", i)))
	}
	c.keep([]byte("Calibrating delay loop... 69.82 BogoMIPS (lpj=349"))
	c.keep([]byte("14304)\nKernel panic - not syncing: test\n" + strings.Repeat("y", 10_000)))
	c.endLine()
	if got := c.tail(); len(got) != tailLines || len(got[tailLines-1]) > tailWidth || strings.Contains(strings.Join(got, ""), "\x1b") {
		t.Errorf("tail() has %d lines, the last of %d bytes: %q", len(got), len(got[len(got)-1]), got)
	}
	if c.lpj() != 34914304 {
		t.Errorf("lpj() = %d; want 34914304", c.lpj())
	}
	if want := "Kernel panic - not syncing: test"; c.panicLine() != want {
		t.Errorf("panicLine() = %q; want %q", c.panicLine(), want)
	}
}

func TestReadyLog(t *testing.T) {
	var r readiness
	r.init(&orchestrator.Job{Ready: &orchestrator.Ready{Log: `^listening on \d+$`, Timeout: time.Minute}})
	r.output(orchestrator.Stdout, []byte("not listening on 80\nlisten"))
	r.output(orchestrator.Stderr, []byte("ing on 80\n")) // another stream: another line
	r.output(orchestrator.Stdout, bytes.Repeat([]byte("z"), 3*maxLogLine))
	select {
	case <-r.seen:
		t.Fatal("seen before the line was printed")
	default:
	}
	r.output(orchestrator.Stdout, []byte("\nlistening on 8"))
	r.output(orchestrator.Stdout, []byte("0\r\nmore"))
	select {
	case <-r.seen:
	default:
		t.Error("not seen although the line was printed")
	}
}

func TestArgv(t *testing.T) {
	a := bootArgs{kernel: "/k", memory: 64 << 20, umid: "k", umlDir: "/s/1", init: "/init", exchange: "/s/1/x", lpj: 5}
	want := "/k mem=65536K umid=k uml_dir=/s/1/ con=null con0=null,fd:1 ssl0=fd:3,fd:3 root=/dev/root rootfstype=hostfs rootflags=/ ro " +
		"init=/init SEKEXE_EXCHANGE=/s/1/x panic=-1 lpj=5 quiet"
	if got := strings.Join(a.argv(), " "); got != want {
		t.Errorf("argv() =\n%s; want\n%s", got, want)
	}
	a.verbose = true
	if got := strings.Join(a.argv(), " "); strings.Contains(got, "quiet") {
		t.Errorf("argv() of a verbose boot = %s", got)
	}
}

// FuzzSession holds that whatever words a guest says, the session's judgement of them does not panic.
func FuzzOutputWord(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00hello"))
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<31))
	f.Fuzz(func(t *testing.T, payload []byte) {
		s := &session{job: fakeJob(), sink: &recorder{}, logs: openLogs("", "", nil)}
		if err := s.output(wire.KindStdout, payload); err == nil && len(payload) < 5 {
			t.Errorf("output of %q was taken", payload)
		}
	})
}
