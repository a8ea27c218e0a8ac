package uml

import (
	"errors"
	"fmt"
	"time"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// copyTimeout is how long a copy may take, whatever its size, and copyRate the least speed, in bytes a second, for what its limit allows.
const (
	copyTimeout = time.Minute
	copyRate    = 5 << 20
)

// copyNext asks the guest for the next of the job's copies, and says whether there is one.
func (s *session) copyNext() bool {
	i := len(s.res.Copies)
	if i >= len(s.job.CopyOut) {
		return false
	}
	want := &s.job.CopyOut[i]
	r := newReceiver(wire.ID(i+1), want, func() {
		select {
		case s.copyFailed <- wire.ID(i + 1):
		default: // of several, one is enough
		}
	})
	s.receiver.Store(r)
	s.copying = r
	s.send(wire.KindCopyOut, &wire.CopyOut{ID: r.id, Pattern: want.From})
	s.deadline.Reset(copyTimeout + time.Duration(want.Limit/copyRate)*time.Second)
	return true
}

// receive passes a piece of a copy on; it is called by the reader.
func (s *session) receive(k wire.Kind, payload []byte) error {
	r := s.receiver.Load()
	if r == nil {
		return fmt.Errorf("guest: %w: a copy that nobody asked for", wire.ErrProtocol)
	}
	return r.take(k, payload)
}

// copied notes the guest's word that a copy is complete.
func (s *session) copied(payload []byte) error {
	var c wire.Copied
	if err := wire.Decode(wire.KindCopied, payload, &c); err != nil {
		return err
	}
	if c.Skipped < 0 || c.Failed < 0 || s.receiver.Load() == nil {
		return fmt.Errorf("guest: %w: the end of copy %d", wire.ErrProtocol, c.ID)
	}
	if s.copying != nil && s.copying.id == c.ID { // else it is the end of one that was given up
		s.copyDone(&c, nil)
	}
	return nil
}

// copyDone ends the copy that is under way, and goes on with the next, or the power-off.
func (s *session) copyDone(c *wire.Copied, reason error) {
	s.endCopy(c, reason)
	if !s.copyNext() {
		s.sayPowerOff()
	}
}

func (s *session) endCopy(c *wire.Copied, reason error) {
	res, notice := s.copying.finish(c, reason)
	s.copying = nil
	s.res.Copies = append(s.res.Copies, res)
	if notice != "" {
		s.sink.Notice(notice)
	}
}

// cutCopies gives a result to the copies that the end of the kernel has kept from being made.
func (s *session) cutCopies() {
	if s.copying == nil {
		return
	}
	gone := errors.New("the sub-kernel was gone")
	s.endCopy(&wire.Copied{}, gone)
	for i := len(s.res.Copies); i < len(s.job.CopyOut); i++ {
		c := &s.job.CopyOut[i]
		s.res.Copies = append(s.res.Copies, orchestrator.CopyResult{From: c.From, To: c.To, Error: gone.Error()})
	}
}
