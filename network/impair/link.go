// Package impair makes links worse: slower, later, and less reliable.
package impair

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultLimit is how many frames a Link holds if its Config doesn't say, as in Linux's netem.
const DefaultLimit = 1000

// A Config says what a Link does to frames. Its zero value does nothing.
//
// A frame is first lost or duplicated; then it waits for those before it and is sent at the rate; then it is on its way for the delay and the
// jitter. Frames keep their order: one that would overtake another comes right behind it. (Linux's netem reorders with jitter and without rate.)
type Config struct {
	Delay     time.Duration
	Jitter    time.Duration // the delay is up to so much longer or shorter, uniformly; never below 0
	Loss      float64       // probability that a frame is lost: 0 to 1
	Duplicate float64       // probability that a frame that is not lost comes twice
	Rate      int64         // bits in a second; 0: no bound
	Limit     int           // frames on their way; what comes beyond is dropped; 0: DefaultLimit
	Seed      uint64        // of what is random; 0: another one each time
}

// Zero says whether a Link with this Config does nothing.
func (c Config) Zero() bool {
	return c.Delay <= 0 && c.Jitter <= 0 && c.Loss <= 0 && c.Duplicate <= 0 && c.Rate <= 0
}

// A Link is one direction of an impaired link. It is precise to about 1 ms; what it is late by doesn't add up.
type Link struct {
	config Config
	out    func(frame []byte)
	wake   chan struct{} // something was put into an empty queue
	stop   chan struct{}
	done   chan struct{}

	mu     sync.Mutex // of what follows
	random *rand.Rand
	free   time.Time // when the sender is ready for the next frame
	last   time.Time // when the last frame arrives
	queue  fifo
	closed bool

	lost, dropped atomic.Uint64
}

// New returns a Link that calls out for each frame that arrives, one after the other; out must not keep it. Close it when it is no longer used.
func New(c Config, out func(frame []byte)) *Link {
	if c.Limit <= 0 {
		c.Limit = DefaultLimit
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	l := &Link{config: c, out: out, random: rand.New(rand.NewPCG(c.Seed, 0))}
	l.wake, l.stop, l.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go l.run()
	return l
}

// Input sends a copy of a frame. It never blocks. After Close it does nothing.
func (l *Link) Input(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if l.random.Float64() < l.config.Loss {
		l.lost.Add(1)
		return
	}
	l.put(frame)
	if l.random.Float64() < l.config.Duplicate {
		l.put(frame)
	}
}

// put sends a frame that isn't lost.
func (l *Link) put(frame []byte) {
	if l.queue.len() >= l.config.Limit {
		l.dropped.Add(1)
		return
	}
	at := l.arrival(time.Now(), len(frame))
	if l.queue.put(at, frame); l.queue.len() == 1 {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// arrival says when a frame of this size that is sent now arrives.
func (l *Link) arrival(now time.Time, size int) time.Time {
	if l.free.Before(now) {
		l.free = now
	}
	if l.config.Rate > 0 {
		l.free = l.free.Add(time.Duration(float64(size) * 8 / float64(l.config.Rate) * float64(time.Second)))
	}
	delay := l.config.Delay
	if j := l.config.Jitter; j > 0 {
		delay += time.Duration((2*l.random.Float64() - 1) * float64(j))
	}
	if at := l.free.Add(max(delay, 0)); at.After(l.last) {
		l.last = at
	}
	return l.last
}

func (l *Link) run() {
	defer close(l.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		l.mu.Lock()
		frame, wait, some := l.queue.take(time.Now())
		l.mu.Unlock()
		switch {
		case frame != nil:
			l.out(*frame)
			recycle(frame)
			continue
		case some:
			timer.Reset(wait)
		default:
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-l.wake:
		case <-l.stop:
		}
	}
}

// Stats says how many frames were lost by chance, and how many because there were too many on their way.
func (l *Link) Stats() (lost, dropped uint64) { return l.lost.Load(), l.dropped.Load() }

// Close loses what is on its way, and waits for a call of out that is under way; so out must not call it. It is called once.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.done
}
