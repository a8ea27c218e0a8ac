package orchestrator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func output(job int, stream Stream, text string) Event {
	return Event{Job: job, Kind: Output, Stream: stream, StepName: "s1", Data: []byte(text)}
}

func TestLineBuffer(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name string
		in   []string
		want []string
	}{
		{"nothing", nil, nil},
		{"whole lines", []string{"a\nb\n"}, []string{"a", "b"}},
		{"empty lines", []string{"\n\na\n"}, []string{"", "", "a"}},
		{"a line in parts", []string{"a", "b", "c\nd", "\n"}, []string{"abc", "d"}},
		{"no end", []string{"a\nb"}, []string{"a", "b"}},
		{"CRLF", []string{"a\r\nb\r", "\nc\r\r\n"}, []string{"a", "b", "c\r"}},
		{"CR inside", []string{"1%\r2%\r\n"}, []string{"1%\r2%"}},
		{"CR without an end", []string{"a\r"}, []string{"a"}},
		{"exactly as long as may be", []string{long + "\r\nb\n"}, []string{long, "b"}},
		{"too long", []string{long + long + "ab\nc\n"}, []string{long, long, "ab", "c"}},
		{"too long, in parts", []string{long, "a", long + "b", "\nc"}, []string{long, "a" + long[1:], "xb", "c"}},
		{"every byte", []string{"\x00\x01\xfe\xff\n"}, []string{"\x00\x01\xfe\xff"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var l lineBuffer
			var got []string
			emit := func(line []byte) { got = append(got, string(line)) }
			for _, p := range test.in {
				l.add([]byte(p), emit)
				if len(l.rest) > maxLine {
					t.Errorf("keeps %d bytes; want at most %d", len(l.rest), maxLine)
				}
			}
			l.flush(emit)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%.2000s", diff)
			}
		})
	}
}

// FuzzLineBuffer cuts a text into parts of random sizes: what comes out must be its lines, whatever the parts.
func FuzzLineBuffer(f *testing.F) {
	f.Add([]byte("a\nb\r\n\nc"), uint64(1))
	f.Add([]byte("\r\n\r\r\n"), uint64(2))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var l lineBuffer
		var got [][]byte
		emit := func(line []byte) { got = append(got, bytes.Clone(line)) }
		for rest := text; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			l.add(rest[:n], emit)
			rest = rest[n:]
		}
		l.flush(emit)
		var want [][]byte
		for line := range bytes.Lines(text) {
			line, _ = bytes.CutSuffix(line, []byte("\n"))
			want = append(want, bytes.TrimSuffix(line, []byte("\r")))
		}
		if len(text) <= maxLine && !cmp.Equal(got, want, cmp.Comparer(bytes.Equal)) {
			t.Errorf("lines of %q = %q; want %q", text, got, want)
		}
	})
}

// TestPlainTearsNothing lets jobs write at the same time, in parts that end anywhere. Each job's lines must arrive whole and in order.
func TestPlainTearsNothing(t *testing.T) {
	const jobs, linesEach = 16, 500
	names := make([]string, jobs)
	for i := range names {
		names[i] = fmt.Sprint("job", i)
	}
	for name, newRenderer := range map[string]func(stdout, stderr *bytes.Buffer) Renderer{
		"plain": func(stdout, stderr *bytes.Buffer) Renderer { return NewPlain(stdout, stderr, names, RenderOptions{}) },
		"tty": func(stdout, stderr *bytes.Buffer) Renderer {
			return NewTTY(stdout, stderr, names, RenderOptions{StdoutTerminal: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			r := newRenderer(&stdout, &stderr)
			var group sync.WaitGroup
			for job := range jobs {
				for _, stream := range []Stream{Stdout, Stderr} {
					group.Go(func() {
						var text strings.Builder
						for i := range linesEach {
							fmt.Fprintf(&text, "%s line %d of %d\n", stream, i, job)
						}
						rnd := rand.New(rand.NewPCG(uint64(job), uint64(stream)))
						for rest := text.String(); rest != ""; {
							n := min(1+rnd.IntN(100), len(rest))
							r.Event(output(job, stream, rest[:n]))
							rest = rest[n:]
						}
					})
				}
			}
			group.Wait()
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			checkJobLines(t, stdout.String(), Stdout, jobs, linesEach)
			checkJobLines(t, stderr.String(), Stderr, jobs, linesEach)
		})
	}
}

func checkJobLines(t *testing.T, text string, stream Stream, jobs, linesEach int) {
	t.Helper()
	next := make([]int, jobs)
	for line := range strings.Lines(text) {
		var job, number, of int
		var from string
		if _, err := fmt.Sscanf(line, "job%d | %s line %d of %d\n", &job, &from, &number, &of); err != nil {
			t.Fatalf("torn line %q: %v", line, err)
		}
		if from != stream.String() || job != of || number != next[job] {
			t.Fatalf("%q on %s; want line %d", line, stream, next[job])
		}
		next[job]++
	}
	for job, n := range next {
		if n != linesEach {
			t.Errorf("%s of job %d has %d lines; want %d", stream, job, n, linesEach)
		}
	}
}

// runEvents are those of a short run with two jobs.
func runEvents() []Event {
	began := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	ok := &SubkernelReport{Name: "a", OK: true, Result: Result{Outcome: Exited, Started: began, Total: 1234 * time.Millisecond}}
	bad := &SubkernelReport{Name: `web["b"]`, Result: Result{Outcome: Exited, Status: 3, Started: began, Total: time.Minute, Reason: "step reach exited with status 3\x1b"}}
	events := []Event{
		{Job: 0, Kind: JobBooting},
		{Job: 0, Kind: KernelLog, Data: []byte("Linux version 7.2.13\n")},
		{Job: 0, Kind: JobBooted, Text: "7.2.13", Elapsed: 31 * time.Millisecond},
		{Job: 0, Kind: JobUp, Text: "7.2.13", Elapsed: 35 * time.Millisecond},
		{Job: 0, Kind: JobReady, Elapsed: 36 * time.Millisecond},
		{Job: 0, Kind: StepStarted, StepName: "command", Elapsed: 36 * time.Millisecond},
		{Job: 1, Kind: JobBooting},
		{Job: 1, Kind: JobUp, Text: "7.2.13\x1b[2J", Elapsed: 35 * time.Millisecond},
		{Job: 1, Kind: StepStarted, StepName: "reach"},
		output(0, Stdout, "hello\n\x1b[31mred\nunfin"),
		output(1, Stderr, "up\x1b[A\x1b[2Jandaway\xff\x9b2J\n10%\r50%\r100%\r\n\tplain\n"),
		output(0, Stdout, "ished"),
		{Job: 1, Kind: Notice, Text: "the clock\nis wrong"},
		{Job: -1, Kind: Notice, Text: "the run was interrupted: ending what still runs"},
		{Job: 0, Kind: JobStopping, Text: "nobody needs it any more"},
		{Job: 1, Kind: StepEnded, StepName: "reach", StepResult: &StepResult{Name: "reach", Outcome: Exited, Status: 3, Duration: time.Second}},
		{Job: 1, Kind: StepEnded, StepName: "first", Text: "the next one runs all the same", StepResult: &StepResult{Name: "first", Outcome: Signalled, Status: 137, Signal: 9}},
		{Job: 0, Kind: StepEnded, StepName: "command", StepResult: &StepResult{Name: "command", Outcome: Exited, OK: true}},
		{Job: 0, Kind: JobEnded, Report: ok},
		{Job: 1, Kind: JobEnded, Report: bad},
	}
	for i := range events {
		events[i].Time = began.Add(time.Duration(i) * time.Millisecond)
	}
	return events
}

func TestRenderersGolden(t *testing.T) {
	names := []string{"a", `web["b"]`}
	terminal := RenderOptions{Color: true, StdoutTerminal: true, StderrTerminal: true, Kernel: true}
	type buffers struct{ stdout, stderr bytes.Buffer }
	for name, newRenderer := range map[string]func(b *buffers) Renderer{
		"render-plain":    func(b *buffers) Renderer { return NewPlain(&b.stdout, &b.stderr, names, RenderOptions{Color: true}) },
		"render-terminal": func(b *buffers) Renderer { return NewPlain(&b.stdout, &b.stderr, names, terminal) },
		"render-quiet":    func(b *buffers) Renderer { return NewQuiet(&b.stdout, &b.stderr, names, RenderOptions{}) },
		"render-json":     func(b *buffers) Renderer { return NewJSON(&b.stderr, names) },
	} {
		t.Run(name, func(t *testing.T) {
			var b buffers
			r := newRenderer(&b)
			for _, e := range runEvents() {
				r.Event(e)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, name+".txt", "== stdout\n"+b.stdout.String()+"== stderr\n"+b.stderr.String())
		})
	}
}

func TestJSONEventsAreLinesOfJSON(t *testing.T) {
	var b bytes.Buffer
	r := NewJSON(&b, []string{"a", "b"})
	for _, e := range runEvents() {
		r.Event(e)
	}
	r.Event(Event{Job: -1, Kind: RunEnded, Run: newTestReport()})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	last := ""
	for line := range bytes.Lines(b.Bytes()) {
		var e struct{ Kind string }
		if err := json.Unmarshal(line, &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		last = e.Kind
	}
	if last != "run-ended" {
		t.Errorf("the last event is %q; want run-ended", last)
	}
}

// A brokenPipe fails from the second write on.
type brokenPipe struct {
	bytes.Buffer
	writes int
}

var errBroken = errors.New("broken pipe")

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.writes++; b.writes > 1 {
		return 0, errBroken
	}
	return b.Buffer.Write(p)
}

func TestABrokenStdoutLeavesStderr(t *testing.T) {
	var stdout brokenPipe
	var stderr bytes.Buffer
	r := NewPlain(&stdout, &stderr, []string{"a"}, RenderOptions{})
	for range 5 {
		r.Event(output(0, Stdout, "out\n"))
		r.Event(output(0, Stderr, "err\n"))
	}
	if err := r.Close(); !errors.Is(err, errBroken) {
		t.Errorf("Close = %v; want the first error of the writer", err)
	}
	if stdout.writes != 2 {
		t.Errorf("wrote %d times to a broken pipe; want to stop at the first error", stdout.writes)
	}
	if got := strings.Count(stderr.String(), "a | err\n"); got != 5 {
		t.Errorf("stderr has %d lines; want 5", got)
	}
}

// FuzzAppendForTerminal checks that nothing but colours is left of what a guest's line could do to a terminal.
func FuzzAppendForTerminal(f *testing.F) {
	for _, seed := range []string{"plain", "\x1b[1;31mred", "\x1b[2J\x1b[H", "\x1b]0;title\x07x", "\x1b]8;;http://x\x1b\\y", "\x1bP1$r\x1b\\", "\x9b2J", "a\rb", "\x1b[>4;2m", "\x1b[38:5:1mx", "日本\u202e", "\xff\x00\x7f", "\x1b", "\x1b[", "\x1b[31"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsRune(line, '\n') {
			return
		}
		got := appendForTerminal(nil, line)
		if !utf8.Valid(got) {
			t.Errorf("%q became %q, which is no UTF-8", line, got)
		}
		rest, last := got, ""
		for len(rest) > 0 {
			i := bytes.IndexFunc(rest, func(r rune) bool { return r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) })
			if i < 0 {
				break
			}
			end := bytes.IndexByte(rest[i:], 'm')
			if end < 0 || !isSGR(rest[i:i+end+1]) {
				t.Fatalf("%q became %q, which has more than colours", line, got)
			}
			last, rest = string(rest[i:i+end+1]), rest[i+end+1:]
		}
		if last != "" && (last != sgrReset || len(rest) > 0) {
			t.Errorf("%q became %q, which does not end its colours", line, got)
		}
	})
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "tab\there": "tab    here", "a\nb\r": `a\nb\r`, "\x1b[31m": `\x1b[31m`, "\xff日本": `\xff日本`, "\u202e": `\u202e`,
		`it's "q"`: `it's "q"`, "": "", "'é": "'é", "\u009b": `\u009b`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestTail(t *testing.T) {
	numbered := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintln(&b, i)
		}
		return b.String()
	}
	tests := []struct {
		name string
		in   []string
		want string
	}{
		{"nothing", nil, ""},
		{"short", []string{"a\n", "b"}, "a\nb"},
		{"as many lines as may be", []string{numbered(0, tailLines)}, numbered(0, tailLines)},
		{"too many lines", []string{numbered(0, 1000), numbered(1000, 2000)}, numbered(2000-tailLines, 2000)},
		{"one long line", []string{strings.Repeat("x", 100_000)}, strings.Repeat("x", tailBytes)},
		{"a long line before the last", []string{strings.Repeat("x", 100_000) + "\nb\n"}, "b\n"},
		{"long lines in parts", []string{strings.Repeat("x", tailBytes), strings.Repeat("y", tailBytes), "\n", "b\n"}, "b\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var tl tail
			for _, p := range test.in {
				tl.add([]byte(p))
			}
			if got := tl.String(); got != test.want {
				t.Errorf("tail = %.200q; want %.200q", got, test.want)
			}
			if len(tl.buf) > 2*tailBytes {
				t.Errorf("keeps %d bytes; want at most %d", len(tl.buf), 2*tailBytes)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1500 * time.Nanosecond: "2µs", 35123 * time.Microsecond: "35ms", 1239 * time.Millisecond: "1.24s", 12345 * time.Millisecond: "12.3s", 125400 * time.Millisecond: "2m5s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%d) = %s; want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 256 << 20: "256M", 3 << 29: "1.5G", 5 << 40: "5T", 5 << 50: "5120T"} {
		if got := formatBytes(n); got != want {
			t.Errorf("formatBytes(%d) = %s; want %s", n, got, want)
		}
	}
}
