package uml

import (
	"fmt"
	"time"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// span tells the sink what has taken from start until now, and returns the time, at which the next thing starts.
func (s *session) span(name string, start time.Time) time.Time {
	now := time.Now()
	s.sink.Span(orchestrator.Span{Name: name, Start: start, Duration: now.Sub(start)})
	return now
}

// guestSpans passes on what the guest has measured, with its clock's times turned into ours: by the word that took
// the shortest time to come here.
func (s *session) guestSpans(payload []byte) error {
	var t wire.Trace
	if err := wire.Decode(wire.KindTrace, payload, &t); err != nil {
		return err
	}
	if len(t.Spans) > wire.MaxSpans {
		return fmt.Errorf("guest: %w: a trace of %d spans", wire.ErrProtocol, len(t.Spans))
	}
	if zero := time.Now().Add(-time.Duration(t.Clock)); zero.Before(s.guestZero) {
		s.guestZero = zero
	}
	for _, sp := range t.Spans {
		start, end := time.Duration(sp.Start), time.Duration(sp.End)
		if start < 0 || end < start || end > maxGuestTime {
			continue // nonsense of the guest's hurts nobody but who reads it
		}
		s.sink.Span(orchestrator.Span{Name: clean(sp.Name), Guest: true, Start: s.guestZero.Add(start), Duration: end - start})
	}
	return nil
}

// maxGuestTime is the longest that a guest can have run, by its own account.
const maxGuestTime = 10 * 365 * 24 * time.Hour
