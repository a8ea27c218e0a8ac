package orchestrator

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

// A screen is a terminal that knows what the status needs: it wraps lines, goes back and up, and erases. Anything else is an error.
type screen struct {
	t      *testing.T
	width  int
	mu     sync.Mutex
	rows   [][]rune
	x, y   int
	writes int
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	var state byte
	for rest := string(p); rest != ""; {
		seq, width, n, next := ansi.DecodeSequence(rest, state, nil)
		switch {
		case seq == "\n":
			s.x, s.y = 0, s.y+1
		case seq == "\r":
			s.x = 0
		case seq == "\x1b[K":
			s.row()
			s.rows[s.y] = s.rows[s.y][:min(s.x, len(s.rows[s.y]))]
		case seq == "\x1b[A":
			s.y = max(0, s.y-1)
		case width == 1:
			s.put([]rune(seq)[0])
		case isSGR([]byte(seq)):
		default:
			s.t.Errorf("the terminal does not know %q", seq)
		}
		rest, state = rest[n:], next
	}
	return len(p), nil
}

func (s *screen) put(r rune) {
	if s.x == s.width {
		s.x, s.y = 0, s.y+1
	}
	s.row()
	for len(s.rows[s.y]) <= s.x {
		s.rows[s.y] = append(s.rows[s.y], ' ')
	}
	s.rows[s.y][s.x] = r
	s.x++
}

func (s *screen) row() {
	for len(s.rows) <= s.y {
		s.rows = append(s.rows, nil)
	}
}

// resize wraps each row anew, as terminals do.
func (s *screen) resize(width int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, oldX, oldY := s.rows, s.x, s.y
	s.rows, s.x, s.y, s.width = nil, 0, 0, width
	for i, row := range old {
		if i > 0 {
			s.x, s.y = 0, s.y+1
		}
		s.row()
		for _, r := range row {
			s.put(r)
		}
	}
	if oldY == len(old) && oldX == 0 {
		s.x, s.y = 0, s.y+1
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, row := range s.rows {
		b.WriteString(strings.TrimRight(string(row), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (s *screen) columns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.width
}

// pass lets the bubble's time pass, and waits until what it set off is done.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func newTTYTest(t *testing.T, width int, names ...string) (*screen, Renderer) {
	s := &screen{t: t, width: width}
	return s, NewTTY(s, s, names, RenderOptions{Color: true, StdoutTerminal: true, Width: s.columns})
}

func TestTTYShowsAStatusAndRemovesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newTTYTest(t, 60, "db", "a", "b")
		r.Event(Event{Time: time.Now(), Job: 0, Kind: JobBooting})
		r.Event(Event{Time: time.Now(), Job: 1, Kind: JobBooting})
		if got := s.text(); got != "\n" {
			t.Errorf("a status at once: %q; want it after 100ms", got)
		}
		pass(150 * time.Millisecond)
		want := "0s  1 waiting, 2 booting\ndb: booting 0s  a: booting 0s\n"
		if diff := cmp.Diff(want, s.text()); diff != "" {
			t.Errorf("status of a boot (-want +got):\n%s", diff)
		}

		r.Event(Event{Time: time.Now(), Job: 0, Kind: JobUp})
		r.Event(Event{Time: time.Now(), Job: 0, Kind: JobReady})
		r.Event(Event{Time: time.Now(), Job: 1, Kind: JobUp})
		r.Event(Event{Time: time.Now(), Job: 1, Kind: StepStarted, StepName: "te\x1bst"})
		r.Event(output(1, Stdout, "hello\nunfin"))
		r.Event(output(1, Stderr, "world\n"))
		pass(3 * time.Second)
		want = "a  | hello\na  | world\n3s  1 waiting, 1 running, 1 ready\na: te\\x1bst 2s\n"
		if diff := cmp.Diff(want, s.text()); diff != "" {
			t.Errorf("status below output (-want +got):\n%s", diff)
		}

		r.Event(Event{Time: time.Now(), Job: 1, Kind: JobEnded, Report: &SubkernelReport{OK: true, Result: Result{Outcome: Exited}}})
		r.Event(Event{Time: time.Now(), Job: 2, Kind: JobEnded, Report: &SubkernelReport{Result: Result{Outcome: Skipped, Reason: "it depends on x"}}})
		pass(200 * time.Millisecond)
		want = "a  | hello\na  | world\na  | unfin\nb: skipped: it depends on x\n3s  1 ready, 1 done, 1 skipped\n"
		if diff := cmp.Diff(want, s.text()); diff != "" {
			t.Errorf("status near the end (-want +got):\n%s", diff)
		}

		r.Event(Event{Time: time.Now(), Job: 0, Kind: JobEnded, Report: &SubkernelReport{OK: true, Result: Result{Outcome: Stopped}}})
		writes := s.writes
		pass(time.Minute)
		if s.writes != writes {
			t.Error("the status is drawn while nothing runs")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		want = "a  | hello\na  | world\na  | unfin\nb: skipped: it depends on x\n"
		if diff := cmp.Diff(want, s.text()); diff != "" {
			t.Errorf("what stays (-want +got):\n%s", diff)
		}
	})
}

func TestTTYDrawsAtMostTenTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newTTYTest(t, 80, "a")
		r.Event(Event{Time: time.Now(), Job: 0, Kind: JobBooting})
		pass(10*time.Second + time.Millisecond)
		if s.writes != 11 {
			t.Errorf("%d drawings while 10 seconds passed; want 11, of 0s to 10s", s.writes)
		}
		r.Event(Event{Time: time.Now(), Job: 0, Kind: JobUp})
		s.writes = 0
		for i := range 1000 {
			r.Event(Event{Time: time.Now(), Job: 0, Kind: StepStarted, StepName: fmt.Sprint("step", i)})
			pass(time.Millisecond)
		}
		if s.writes < 9 || s.writes > 10 {
			t.Errorf("%d drawings of 1000 steps in a second; want 10", s.writes)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTTYOnNarrowTerminals(t *testing.T) {
	for _, width := range []int{1, 2, 7, 20, 200} {
		t.Run(fmt.Sprint(width, " columns"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				names := make([]string, 100)
				for i := range names {
					names[i] = fmt.Sprint("subkernel-", i)
				}
				s, r := newTTYTest(t, width, names...)
				for i := range names {
					r.Event(Event{Time: time.Now(), Job: i, Kind: JobBooting})
				}
				pass(time.Second)
				if lines := strings.Count(s.text(), "\n"); lines > 2 {
					t.Errorf("the status has %d lines; want at most 2:\n%s", lines, s.text())
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				if got := s.text(); got != "\n" {
					t.Errorf("%q stays; want nothing", got)
				}
			})
		})
	}
}

func TestTTYAfterTheTerminalBecameNarrower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newTTYTest(t, 60, "a", "b", "c")
		r.Event(output(0, Stdout, "hi\n"))
		for i := range 3 {
			r.Event(Event{Time: time.Now(), Job: i, Kind: JobBooting})
		}
		pass(time.Second)
		s.resize(20)
		r.Event(output(0, Stdout, "you\n"))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("a | hi\na | you\n", s.text()); diff != "" {
			t.Errorf("what stays (-want +got):\n%s", diff)
		}
	})
}
