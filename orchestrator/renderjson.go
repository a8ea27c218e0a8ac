package orchestrator

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"time"
	"unicode/utf8"
)

// NewJSON returns a renderer that writes each event as one line of JSON: docs/report.md describes the fields. What commands print comes by
// lines, as with NewPlain.
func NewJSON(w io.Writer, names []string) Renderer {
	return &jsonLines{names: names, w: stickyWriter{w: w}, partial: make([][sources]partialLine, len(names))}
}

// A partialLine is a line that waits for its end, and the step that began to print it.
type partialLine struct {
	lineBuffer
	step string
}

type jsonLines struct {
	names []string

	mu      sync.Mutex // guards all below
	w       stickyWriter
	partial [][sources]partialLine
}

type jsonEvent struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Name   string    `json:"name,omitempty"`
	// ElapsedMS is the time since the boot began.
	ElapsedMS millis         `json:"elapsed_ms,omitempty"`
	Step      string         `json:"step,omitempty"`
	Stream    string         `json:"stream,omitempty"`
	Text      string         `json:"text"`
	Bytes     []byte         `json:"bytes,omitempty"` // of a text that is no UTF-8
	StepEnd   *jsonStepEnd   `json:"step_end,omitempty"`
	Report    *jsonSubkernel `json:"report,omitempty"`
	Run       *jsonReport    `json:"run,omitempty"`
}

// jsonStepEnd is what is known of a step when it ends; the report of its sub-kernel says it again.
type jsonStepEnd struct {
	Outcome    Outcome `json:"outcome"`
	Status     int     `json:"status"`
	Signal     int     `json:"signal"`
	OK         bool    `json:"ok"`
	DurationMS millis  `json:"duration_ms"`
}

// Event is part of Observer.
func (j *jsonLines) Event(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch e.Kind {
	case Traced:
	case Output:
		j.addLines(e, int(e.Stream))
	case KernelLog:
		j.addLines(e, kernelSource)
	case JobEnded:
		j.flush(e)
		j.write(e, e.Text)
	default:
		j.write(e, e.Text)
	}
}

// Close is part of Renderer.
func (j *jsonLines) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for job := range j.partial {
		j.flush(Event{Time: time.Now(), Job: job})
	}
	return j.w.err
}

func (j *jsonLines) addLines(e Event, source int) {
	partial := &j.partial[e.Job][source]
	partial.step = e.StepName
	partial.add(e.Data, func(line []byte) { j.write(e, string(line)) })
}

// flush writes the unfinished lines of the event's job.
func (j *jsonLines) flush(e Event) {
	for source := range sources {
		partial := &j.partial[e.Job][source]
		line := Event{Time: e.Time, Job: e.Job, Elapsed: e.Elapsed, Kind: Output, Stream: Stream(source), StepName: partial.step}
		if source == kernelSource {
			line.Kind = KernelLog
		}
		partial.flush(func(rest []byte) { j.write(line, string(rest)) })
	}
}

func (j *jsonLines) write(e Event, text string) {
	out := jsonEvent{Schema: Schema, Time: e.Time, Kind: e.Kind.String(), ElapsedMS: millis(e.Elapsed), Step: e.StepName, Text: text}
	if e.Job >= 0 {
		out.Name = j.names[e.Job]
	}
	if !utf8.ValidString(text) {
		out.Bytes = []byte(text)
	}
	if e.Kind == Output {
		out.Stream = e.Stream.String()
	}
	if s := e.StepResult; s != nil {
		out.StepEnd = &jsonStepEnd{Outcome: s.Outcome, Status: s.Status, Signal: s.Signal, OK: s.OK, DurationMS: millis(s.Duration)}
	}
	if e.Report != nil {
		out.Report = e.Report.json()
	}
	if e.Run != nil {
		out.Run = e.Run.json()
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&out); err != nil {
		// The fields are strings, numbers and times of this century: none of them can fail to be encoded.
		panic(err)
	}
	j.w.write(line.Bytes())
}
