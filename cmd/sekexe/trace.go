package main

import (
	"fmt"
	"time"

	"github.com/sekexe/sekexe/orchestrator"
)

// begun is when this program was loaded and its packages were initialized.
var begun = time.Now()

// A tracing is what --trace asks for; nil if it doesn't.
type tracing struct {
	file  string
	trace *orchestrator.Trace
	mark  time.Time // where the next span begins
}

// newTracing begins to trace a run of sub-kernels with the given names.
func newTracing(file string, names ...string) *tracing {
	if file == "" {
		return nil
	}
	return &tracing{file: file, trace: orchestrator.NewTrace(begun, names), mark: begun}
}

// span notes what has been done since the last span.
func (t *tracing) span(name string) {
	if t == nil {
		return
	}
	now := time.Now()
	t.trace.Add(orchestrator.Span{Name: name, Start: t.mark, Duration: now.Sub(t.mark)})
	t.mark = now
}

// add is what the Runtime is given; nil without a trace.
func (t *tracing) add() func(orchestrator.Span) {
	if t == nil {
		return nil
	}
	return t.trace.Add
}

// observe lets the trace see what o sees.
func (t *tracing) observe(o orchestrator.Observer) orchestrator.Observer {
	if t == nil {
		return o
	}
	return both{t.trace, o}
}

// both are two observers.
type both [2]orchestrator.Observer

// Event implements orchestrator.Observer.
func (b both) Event(e orchestrator.Event) {
	b[0].Event(e)
	b[1].Event(e)
}

// write writes the file.
func (t *tracing) write() error {
	if t == nil {
		return nil
	}
	if err := writeWhole(t.file, t.trace.WriteJSON); err != nil {
		return fmt.Errorf("trace %s: write it: %w", t.file, err)
	}
	return nil
}
