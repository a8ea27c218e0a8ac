package guest

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// A tracer notes what the init's own work takes, if the host has asked for it: to look at the clock is a system call, which is dear here.
type tracer struct {
	mu    sync.Mutex
	on    bool
	spans []wire.Span
}

// clock is CLOCK_MONOTONIC in nanoseconds.
func clock() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return t.Nano()
}

// begin begins a span, which the returned function ends.
func (t *tracer) begin(name string) (end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return func() {}
	}
	start := clock()
	return func() { t.add(name, start, clock()) }
}

func (t *tracer) add(name string, start, end int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.spans) < wire.MaxSpans {
		t.spans = append(t.spans, wire.Span{Name: name, Start: start, End: end})
	}
}

// start begins to note, with what was before the host had said that it wants it: the kernel's and the runtime's start up to main, and the
// way to Hello.
func (t *tracer) start(main, hello int64) {
	t.mu.Lock()
	t.on = true
	t.mu.Unlock()
	t.add("boot until the init's main", 0, main)
	t.add("open the control line", main, hello)
}

// send sends what was noted.
func (t *tracer) send(w *wire.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on {
		_ = w.Send(wire.KindTrace, &wire.Trace{Clock: clock(), Spans: t.spans}) // if the host is gone, nobody wants to know
	}
}
