package orchestrator

import (
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"
)

// A Span is a stretch of time that something took.
type Span struct {
	Name string
	// Guest says that the guest has measured it. Its name and times are not to be trusted.
	Guest    bool
	Start    time.Time
	Duration time.Duration
}

// A Trace collects the spans of a run and writes them in the Trace Event Format of Chrome, which Perfetto and chrome://tracing show. It is an
// Observer; the run itself and each job are a process of it each, with threads for the host's and the guest's spans.
type Trace struct {
	names []string
	begin time.Time

	mu    sync.Mutex
	spans []traceSpan
}

type traceSpan struct {
	job    int // -1: the run
	thread int
	Span
}

// The threads of a job. Spans of one thread lie apart or within one another, as the format wants.
const (
	hostThread = iota + 1
	stepThread
	guestThread
)

var threadNames = map[int]string{hostThread: "host", stepThread: "steps", guestThread: "guest"}

// maxSpans bounds what a job's guest can make the trace grow by.
const maxSpans = 10_000

// NewTrace returns a Trace of jobs with the given names, whose times count from begin.
func NewTrace(begin time.Time, names []string) *Trace {
	return &Trace{names: names, begin: begin}
}

// Add adds a span of the run itself.
func (t *Trace) Add(s Span) { t.add(-1, hostThread, s) }

func (t *Trace) add(job, thread int, s Span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.spans) < maxSpans*(len(t.names)+1) {
		t.spans = append(t.spans, traceSpan{job, thread, s})
	}
}

// Event is part of Observer.
func (t *Trace) Event(e Event) {
	switch e.Kind {
	case Traced:
		thread := hostThread
		if e.Span.Guest {
			thread = guestThread
		}
		t.add(e.Job, thread, *e.Span)
	case StepEnded:
		t.add(e.Job, stepThread, Span{Name: e.StepName, Start: e.StepResult.Started, Duration: e.StepResult.Duration})
	}
}

// traceEvent is an entry of the Trace Event Format: a complete event ("X") or one that names a process or thread ("M"). Times are in
// microseconds.
type traceEvent struct {
	Name     string            `json:"name"`
	Phase    string            `json:"ph"`
	Time     float64           `json:"ts"`
	Duration float64           `json:"dur,omitempty"`
	Process  int               `json:"pid"`
	Thread   int               `json:"tid"`
	Args     map[string]string `json:"args,omitempty"`
}

// WriteJSON writes what has been collected.
func (t *Trace) WriteJSON(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := func(kind string, process, thread int, name string) traceEvent {
		return traceEvent{Name: kind, Phase: "M", Process: process, Thread: thread, Args: map[string]string{"name": name}}
	}
	events := []traceEvent{name("process_name", 1, 0, "sekexe"), name("thread_name", 1, hostThread, threadNames[hostThread])}
	for i, n := range t.names {
		events = append(events, name("process_name", i+2, 0, n))
		for _, thread := range []int{hostThread, stepThread, guestThread} {
			events = append(events, name("thread_name", i+2, thread, threadNames[thread]))
		}
	}
	slices.SortStableFunc(t.spans, func(a, b traceSpan) int { return a.Start.Compare(b.Start) })
	for _, s := range t.spans {
		events = append(events, traceEvent{
			Name: s.Name, Phase: "X", Time: micros(s.Start.Sub(t.begin)), Duration: micros(s.Duration), Process: s.job + 2, Thread: s.thread,
		})
	}
	return json.NewEncoder(w).Encode(struct {
		Unit   string       `json:"displayTimeUnit"`
		Events []traceEvent `json:"traceEvents"`
	}{"ms", events})
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
