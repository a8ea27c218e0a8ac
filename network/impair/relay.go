package impair

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sekexe/sekexe/network/frames"
)

const (
	headerLen = 14
	// maxFrame is the longest frame that a Relay takes: the greatest MTU that UML's driver takes, its header, and two VLAN tags.
	maxFrame = 65521 + headerLen + 8
)

// patience is how long a Relay waits for a receiver that is full. Here nobody else is kept waiting.
const patience = 2 * time.Millisecond

// A Relay joins two descriptors of frames by two impaired links: a guest's, and a port of a bridge of the host's kernel.
type Relay struct {
	a, b    *frames.File
	links   []*Link
	readers sync.WaitGroup
	close   func() error
}

// NewRelay starts a Relay between descriptors that package frames knows, which it takes over in any case.
func NewRelay(a, b *os.File, aToB, bToA Config) (*Relay, error) {
	fa, err := frames.Open(a)
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("relay: %w", err)
	}
	fb, err := frames.Open(b)
	if err != nil {
		fa.Close()
		return nil, fmt.Errorf("relay: %w", err)
	}
	r := &Relay{a: fa, b: fb}
	r.close = sync.OnceValue(r.shut)
	r.start(fa, fb, aToB)
	r.start(fb, fa, bToA)
	return r, nil
}

// start relays one direction.
func (r *Relay) start(from, to *frames.File, c Config) {
	out := func(frame []byte) { to.Send(frame, patience) } // what isn't taken is lost, as anywhere on a network
	if !c.Zero() {
		l := New(c, out)
		r.links = append(r.links, l)
		out = l.Input
	}
	r.readers.Go(func() {
		from.Receive(frames.NewBatch(maxFrame+1), func(b *frames.Batch) {
			for i := range b.Len() {
				if f := b.Frame(i); len(f) >= headerLen && len(f) <= maxFrame {
					out(f)
				}
			}
		})
	})
}

// Close ends the relay and waits for its goroutines.
func (r *Relay) Close() error { return r.close() }

func (r *Relay) shut() error {
	err := errors.Join(r.a.Close(), r.b.Close())
	r.readers.Wait()
	for _, l := range r.links {
		l.Close()
	}
	return err
}
