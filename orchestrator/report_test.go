package orchestrator

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// newTestReport is a report with one of every ending, and with text of guests that means harm.
func newTestReport() *Report {
	began := time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC)
	expect := Expect{Exit: []int{0}, Outcome: Exited}
	result := func(o Outcome, status int, steps ...StepResult) Result {
		return Result{
			Outcome: o, Status: status, KernelVersion: "7.2.13", KernelPath: "/usr/bin/linux.uml", Started: began,
			Boot: 31 * time.Millisecond, Up: 35123456 * time.Nanosecond, Total: 1240 * time.Millisecond,
			PeakMemory: 71 << 20, CPU: 210 * time.Millisecond, Logs: "/run/dir/x", Steps: steps,
		}
	}
	step := func(name string, o Outcome, status int) StepResult {
		return StepResult{Name: name, Outcome: o, Status: status, OK: o == Exited && status == 0, Started: began, Duration: 400 * time.Millisecond, Stdout: "/run/dir/x/" + name + ".out"}
	}
	never := func(name string, o Outcome) StepResult {
		return StepResult{Name: name, Outcome: o, Status: StatusFailed}
	}

	router := result(Stopped, 0)
	router.Ready = 40 * time.Millisecond
	a := result(Exited, 0, step("address", Exited, 0), step("reach", Exited, 0))
	b := result(Exited, 1, step("address", Exited, 0), step("reach", Exited, 1), never("after", Skipped))
	b.Reason = "step reach exited with status 1"
	crash := result(Panicked, StatusFailed, step("command", Panicked, StatusFailed))
	crash.Reason = "the kernel was gone before its commands had ended: aborted"
	crash.Hint = "look at\x1b[2J the log"
	crash.PeakMemory = 3 << 29
	crash.Console = []string{"[    0.5] \x1b[31msysrq: Trigger a crash\x1b[0m", "[    0.5] Kernel panic - not syncing: \xff\x00 & <bad> 100%"}
	boot := Result{Outcome: BootFailed, Status: StatusFailed, Started: began, Total: 10 * time.Second, Reason: "the guest was not up within 10s", Hint: "see sekexe doctor", Steps: []StepResult{never("command", Skipped)}}
	boot.Docker = &DockerResult{Version: "20.10.24", Start: 1800 * time.Millisecond, Load: 40 * time.Millisecond, Images: []string{"app:1"}, Log: []string{"level=fatal msg=\"no \x1b[31mbridge\""}}
	slow := result(TimedOut, StatusTimedOut, step("command", TimedOut, StatusTimedOut))
	slow.Reason = "the run's time of 1m0s was up"
	killed := result(Signalled, 137, step("command", Signalled, 137))
	killed.Signal, killed.Steps[0].Signal, killed.Reason = 9, 9, "step command was killed by signal 9"
	skipped := Result{Outcome: Skipped, Status: StatusFailed, Reason: "it depends on crash, which panicked", Steps: []StepResult{never("command", Skipped)}}
	cancelled := Result{Outcome: Cancelled, Status: StatusFailed, Reason: "the run's time of 1m0s was up before it could start", Steps: []StepResult{never("command", Cancelled)}}
	meant := result(Panicked, StatusFailed, step("command", Panicked, StatusFailed))

	r := &Report{Project: "lab | <x>", RunDir: "/run/dir", Started: began, Duration: time.Minute, TimedOut: true}
	for _, s := range []SubkernelReport{
		{Name: "router", Service: true, Result: router, OK: true},
		{Name: `host["a"]`, Result: a, OK: true},
		{Name: `host["b"]`, Result: b},
		{Name: "crash\x1b[2J日本", Result: crash},
		{Name: "boot", Result: boot},
		{Name: "slow", Result: slow},
		{Name: "killed", Result: killed},
		{Name: "skipped", Result: skipped},
		{Name: "cancelled", Result: cancelled},
		{Name: "cancelled too", Result: cancelled},
		{Name: "meant", Result: meant, OK: true, Expect: Expect{Outcome: Panicked, Exit: []int{0}}},
	} {
		if s.Expect.Outcome == "" {
			s.Expect = expect
		}
		s.Stdout, s.Stderr = make([]string, len(s.Steps)), make([]string, len(s.Steps))
		r.Subkernels = append(r.Subkernels, s)
	}
	r.Subkernels[2].Stdout[1] = "PING router\n\n1 packets transmitted, \x1b[1m0 received\x1b[0m\x00\n"
	r.Subkernels[2].Stderr[1] = "ping: 100% lost, ]]> & <done>\r\n</details>\n"
	return r
}

func TestReportGolden(t *testing.T) {
	r := newTestReport()
	write := map[string]func(w io.Writer) error{
		"report.txt":         func(w io.Writer) error { return r.WriteTable(w, 0, false) },
		"report-narrow.txt":  func(w io.Writer) error { return r.WriteTable(w, 60, false) },
		"report-color.txt":   func(w io.Writer) error { return r.WriteTable(w, 120, true) },
		"report.json":        r.WriteJSON,
		"report.xml":         r.WriteJUnit,
		"summary.md":         r.WriteGitHubSummary,
		"annotations.txt":    r.WriteGitHubAnnotations,
		"report-nothing.txt": func(w io.Writer) error { return (&Report{}).WriteTable(w, 80, true) },
	}
	for name, write := range write {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, name, b.String())
		})
	}
}

func TestReportWritersReturnTheWritersError(t *testing.T) {
	r := newTestReport()
	broken := errors.New("broken pipe")
	for name, write := range map[string]func(w io.Writer) error{
		"table": func(w io.Writer) error { return r.WriteTable(w, 80, false) }, "JSON": r.WriteJSON, "JUnit": r.WriteJUnit,
		"summary": r.WriteGitHubSummary, "annotations": r.WriteGitHubAnnotations,
	} {
		if err := write(failingWriter{broken}); !errors.Is(err, broken) {
			t.Errorf("%s: error %v; want that of the writer", name, err)
		}
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

// TestDocument holds docs/report.md against the fields of the JSON: each is described, and none that isn't there.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = true
	}
	fields := make(map[string]bool)
	jsonFields(reflect.TypeFor[jsonReport](), "", fields)
	jsonFields(reflect.TypeFor[jsonEvent](), "event.", fields)
	for f := range fields {
		if !documented[f] {
			t.Errorf("docs/report.md does not describe %s", f)
		}
	}
	for f := range documented {
		if !fields[f] {
			t.Errorf("docs/report.md describes %s, which is not there", f)
		}
	}
	for _, o := range []Outcome{Exited, Signalled, TimedOut, Panicked, BootFailed, Cancelled, Skipped, Stopped} {
		if !strings.Contains(string(text), "| "+string(o)+" |") {
			t.Errorf("docs/report.md does not describe the outcome %s", o)
		}
	}
	for _, kind := range eventNames[1:] {
		if kind == Traced.String() {
			continue // the JSON lines don't have it
		}
		if !strings.Contains(string(text), "| "+kind+" |") {
			t.Errorf("docs/report.md does not describe the event %s", kind)
		}
	}
}

// jsonFields collects the names of fields, those of objects in objects with a dot, those of objects in lists with [].
func jsonFields(typ reflect.Type, prefix string, into map[string]bool) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		name = prefix + name
		if name == "event.report" || name == "event.run" {
			into[name] = true // described as the report
			continue
		}
		elem := f.Type
		if elem.Kind() == reflect.Slice {
			name += "[]"
			elem = elem.Elem()
		}
		if elem.Kind() == reflect.Pointer {
			elem = elem.Elem()
		}
		if elem.Kind() == reflect.Struct && elem != reflect.TypeFor[time.Time]() {
			jsonFields(elem, name+".", into)
			continue
		}
		into[strings.TrimSuffix(name, "[]")] = true
	}
}

// FuzzReport writes reports with text of a guest's and checks that each form stays what it is.
func FuzzReport(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x1b[31mred\x1b[0m\r\n", "\xff\xfe\x00", "]]>&<a>", "</details>|\n::error::x", "\u202eabc\u2028", "日本語\x9b2J", "%0A"} {
		f.Add(seed, 40)
	}
	f.Fuzz(func(t *testing.T, text string, width int) {
		r := newTestReport()
		s := &r.Subkernels[3]
		s.Name, s.Reason, s.Hint, s.KernelVersion, s.Logs = text, text, text, text, text
		s.Console, s.Stdout, s.Stderr, s.Steps[0].Name, s.Steps[0].Reason = []string{text}, []string{text}, []string{text}, text, text
		s.Block, s.Matrix = text, []MatrixValue{{"kernel", text}, {text, text}}
		r.Subkernels[4].Block, r.Subkernels[4].Matrix = text, []MatrixValue{{"kernel", "another"}}
		var table, js, junit, annotations bytes.Buffer
		for _, err := range []error{r.WriteTable(&table, width%200, false), r.WriteJSON(&js), r.WriteJUnit(&junit), r.WriteGitHubAnnotations(&annotations), r.WriteGitHubSummary(io.Discard)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if i := strings.IndexFunc(table.String(), func(r rune) bool { return r != '\n' && r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' }); i >= 0 {
			t.Errorf("the table has control character %q", table.String()[i])
		}
		if !json.Valid(js.Bytes()) {
			t.Error("the JSON is not valid")
		}
		for dec := xml.NewDecoder(&junit); ; {
			if _, err := dec.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("the XML is not valid: %v", err)
			}
		}
		for line := range strings.Lines(annotations.String()) {
			if !strings.HasPrefix(line, "::error title=sub-kernel ") {
				t.Errorf("the annotations have a line of the guest's: %q", line)
			}
		}
	})
}
