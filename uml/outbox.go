package uml

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/sekexe/sekexe/guest/wire"
)

// inlineMost is the greatest payload, in bytes, that goes over the line to the guest, which takes a byte in 0.4 us. A file costs about
// as much as 500 of them.
const inlineMost = 512

// An outbox sends words to a guest that may not be listening: who puts one in never waits. What it holds is bounded by what the session
// says unasked, and that is little.
type outbox struct {
	line *os.File
	w    *wire.Writer

	mu     sync.Mutex
	queue  []func() error
	closed bool
	more   chan struct{} // one token: something has changed
}

func newOutbox(line *os.File) *outbox {
	return &outbox{line: line, w: wire.NewWriter(line), more: make(chan struct{}, 1)}
}

// put queues a frame.
func (o *outbox) put(k wire.Kind, parts ...[]byte) {
	o.mu.Lock()
	if !o.closed {
		o.queue = append(o.queue, func() error { return o.w.Write(k, parts...) })
	}
	o.mu.Unlock()
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// run sends until the outbox is closed or the guest is gone.
func (o *outbox) run() {
	for range o.more {
		for {
			o.mu.Lock()
			closed := o.closed
			q := o.queue
			o.queue = nil
			o.mu.Unlock()
			if closed {
				return
			}
			if len(q) == 0 {
				break
			}
			for _, send := range q {
				if send() != nil {
					return // the guest is gone: the reader finds out too, and says so
				}
			}
		}
	}
}

// close ends run, also if the guest takes nothing.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.line.Close()
	o.wake()
}

// send says something to the guest: a long word by a file.
func (s *session) send(k wire.Kind, m wire.Message) {
	b := wire.Append(nil, m)
	if len(b) <= inlineMost {
		s.out.put(k, b)
		return
	}
	s.words++
	name := fmt.Sprintf("w%d", s.words)
	if err := os.WriteFile(filepath.Join(s.exchange, name), b, 0o600); err != nil {
		if len(b) <= wire.MaxPayload { // slower, but it needs no space
			s.out.put(k, b)
			return
		}
		s.sink.Notice(fmt.Sprintf("word for the guest: write it: %v", err))
		return
	}
	s.out.put(k|wire.InFile, []byte(name))
}
