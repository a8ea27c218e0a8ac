package orchestrator

import (
	"bytes"
	"net/netip"
	"sync"
	"time"
)

// A jobSink is the Sink of one job: it passes on to the observer, tells the run's loop of what others wait for, and keeps the end of
// each step's output.
type jobSink struct {
	job     int
	steps   []Step
	nics    []NIC
	seed    string // of the job's Docker daemon
	observe func(Event)
	tell    func(message)
	// version is set by Booted and read by Up, which never run at the same time.
	version string

	// mu guards what follows: Output and Kernel may come at any time, and so may a stop.
	mu      sync.Mutex
	started time.Time // zero: the boot has not begun
	ready   bool
	tails   []stepTail
}

// A stepTail holds the last output of a step, by stream.
type stepTail struct{ stdout, stderr tail }

func newJobSink(job int, j *Job, observe func(Event), tell func(message)) *jobSink {
	s := &jobSink{job: job, steps: j.Steps, nics: j.NICs, observe: observe, tell: tell, tails: make([]stepTail, len(j.Steps))}
	if j.Docker != nil {
		s.seed = j.Docker.Seed
	}
	return s
}

func (s *jobSink) event(e Event) {
	e.Time = time.Now()
	e.Job = s.job
	s.mu.Lock()
	if !s.started.IsZero() {
		e.Elapsed = e.Time.Sub(s.started)
	}
	s.mu.Unlock()
	s.observe(e)
}

func (s *jobSink) stepEvent(step int, e Event) {
	e.Step = step
	if step >= 0 && step < len(s.steps) {
		e.StepName = s.steps[step].Name
	}
	s.event(e)
}

// Booting is part of Sink.
func (s *jobSink) Booting() {
	s.mu.Lock()
	s.started = time.Now()
	s.mu.Unlock()
	s.event(Event{Kind: JobBooting})
}

// Booted is part of Sink.
func (s *jobSink) Booted(version string) {
	s.version = version
	s.event(Event{Kind: JobBooted, Text: version})
}

// Up is part of Sink. The observer hears of it before the dependents start, so that what it shows is in order.
func (s *jobSink) Up() {
	s.event(Event{Kind: JobUp, Text: s.version})
	s.tell(message{job: s.job, kind: wentUp})
}

// Ready is part of Sink.
func (s *jobSink) Ready() {
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
	s.event(Event{Kind: JobReady})
	s.tell(message{job: s.job, kind: gotReady})
}

// StepStarted is part of Sink.
func (s *jobSink) StepStarted(step int) { s.stepEvent(step, Event{Kind: StepStarted}) }

// StepEnded is part of Sink.
func (s *jobSink) StepEnded(step int, r StepResult) {
	e := Event{Kind: StepEnded, StepResult: &r}
	if !r.OK && step < len(s.steps)-1 && s.steps[step].ContinueOnError {
		e.Text = "the next one runs all the same"
	}
	s.stepEvent(step, e)
}

// Output is part of Sink.
func (s *jobSink) Output(step int, stream Stream, p []byte) {
	if step >= 0 && step < len(s.tails) {
		s.mu.Lock()
		if stream == Stderr {
			s.tails[step].stderr.add(p)
		} else {
			s.tails[step].stdout.add(p)
		}
		s.mu.Unlock()
	}
	s.stepEvent(step, Event{Kind: Output, Stream: stream, Data: p})
}

// Kernel is part of Sink.
func (s *jobSink) Kernel(p []byte) { s.event(Event{Kind: KernelLog, Data: p}) }

// Seeding is part of Sink.
func (s *jobSink) Seeding() { s.event(Event{Kind: DockerSeeding, Text: s.seed}) }

// Docker is part of Sink.
func (s *jobSink) Docker(version string) { s.event(Event{Kind: DockerReady, Text: version}) }

// Addressed is part of Sink.
func (s *jobSink) Addressed(nic int, addr netip.Prefix) {
	if nic >= 0 && nic < len(s.nics) {
		s.event(Event{Kind: Addressed, Text: s.nics[nic].Name + " " + addr.String()})
	}
}

// Notice is part of Sink.
func (s *jobSink) Notice(text string) { s.event(Event{Kind: Notice, Text: text}) }

// Span is part of Sink.
func (s *jobSink) Span(sp Span) { s.event(Event{Kind: Traced, Span: &sp}) }

// tail returns the last lines of what a step printed.
func (s *jobSink) tail(step int) (stdout, stderr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tails[step].stdout.String(), s.tails[step].stderr.String()
}

// wasReady says whether the job has been ready.
func (s *jobSink) wasReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// The bounds of what a tail keeps.
const (
	tailBytes = 16 << 10
	tailLines = 64
)

// A tail keeps the end of a stream.
type tail struct {
	buf []byte
	cut bool // something was dropped
}

func (t *tail) add(p []byte) {
	if len(p) > tailBytes {
		p, t.cut = p[len(p)-tailBytes:], true
	}
	t.buf = append(t.buf, p...)
	// Twice the bound before a move: each byte is moved once, not at each call.
	if len(t.buf) > 2*tailBytes {
		n := copy(t.buf, t.buf[len(t.buf)-tailBytes:])
		t.buf, t.cut = t.buf[:n], true
	}
}

// String returns the last lines, at most tailLines and tailBytes, beginning at a line's begin where there is one.
func (t *tail) String() string {
	b, cut := t.buf, t.cut
	if len(b) > tailBytes {
		b, cut = b[len(b)-tailBytes:], true
	}
	if nl := bytes.IndexByte(b, '\n'); cut && nl >= 0 && nl < len(b)-1 {
		b = b[nl+1:]
	}
	lines := 0
	for i := len(b) - 2; i >= 0; i-- { // -2: the newline that ends the last line begins none
		if b[i] == '\n' {
			if lines++; lines == tailLines {
				return string(b[i+1:])
			}
		}
	}
	return string(b)
}
