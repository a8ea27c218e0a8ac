package orchestrator

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTrace holds what viewers of the Trace Event Format need: a process for the run and for each job, by name, and the spans of each in the
// order of their starts, in microseconds from the begin.
func TestTrace(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	tr := NewTrace(begin, []string{"a", "b"})
	tr.Event(Event{Job: 1, Kind: Traced, Span: &Span{Name: "boot", Start: at(3), Duration: 1500 * time.Microsecond}})
	tr.Event(Event{Job: 1, Kind: Traced, Span: &Span{Name: "mount", Guest: true, Start: at(4), Duration: time.Millisecond}})
	tr.Event(Event{Job: 0, Kind: StepEnded, StepName: "first", StepResult: &StepResult{Started: at(2), Duration: time.Second}})
	tr.Event(Event{Job: 0, Kind: Output, Data: []byte("no span")})
	tr.Add(Span{Name: "start", Start: at(0), Duration: time.Millisecond})
	var b bytes.Buffer
	if err := tr.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		TraceEvents []traceEvent
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	processes := map[int]string{}
	var spans []traceEvent
	for _, e := range got.TraceEvents {
		switch {
		case e.Phase == "X":
			spans = append(spans, e)
		case e.Name == "process_name":
			processes[e.Process] = e.Args["name"]
		}
	}
	if diff := cmp.Diff(map[int]string{1: "sekexe", 2: "a", 3: "b"}, processes); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	want := []traceEvent{
		{Name: "start", Phase: "X", Time: 0, Duration: 1000, Process: 1, Thread: hostThread},
		{Name: "first", Phase: "X", Time: 2000, Duration: 1e6, Process: 2, Thread: stepThread},
		{Name: "boot", Phase: "X", Time: 3000, Duration: 1500, Process: 3, Thread: hostThread},
		{Name: "mount", Phase: "X", Time: 4000, Duration: 1000, Process: 3, Thread: guestThread},
	}
	if diff := cmp.Diff(want, spans); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// TestTraceIsBounded holds that a guest which has much to tell can't make the trace grow without end.
func TestTraceIsBounded(t *testing.T) {
	tr := NewTrace(time.Now(), []string{"a"})
	for range 3 * maxSpans {
		tr.Event(Event{Job: 0, Kind: Traced, Span: &Span{Name: "x", Guest: true}})
	}
	if n := len(tr.spans); n > 2*maxSpans {
		t.Errorf("%d spans are kept, want at most %d", n, 2*maxSpans)
	}
}
