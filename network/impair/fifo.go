package impair

import (
	"sync"
	"time"
)

// A fifo holds copies of frames and when they arrive, in order.
type fifo struct {
	entries []entry
	head    int // entries before it have been taken
}

type entry struct {
	at    time.Time
	frame *[]byte
}

func (q *fifo) len() int { return len(q.entries) - q.head }

func (q *fifo) put(at time.Time, frame []byte) {
	q.entries = append(q.entries, entry{at, copyOf(frame)})
}

// take returns the first frame if it has arrived by now; else how long until it will, if there is some.
func (q *fifo) take(now time.Time) (frame *[]byte, wait time.Duration, some bool) {
	if q.len() == 0 {
		return nil, 0, false
	}
	first := q.entries[q.head]
	if wait := first.at.Sub(now); wait > 0 {
		return nil, wait, true
	}
	q.entries[q.head] = entry{}
	q.head++
	if q.head*2 >= len(q.entries) { // more than half is void: so an entry is moved once, on the average
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.head = q.entries[:n], 0
	}
	return first.frame, 0, true
}

// buffers are of these sizes: for frames on links with the usual MTU, and for those with the greatest one.
var buffers = [...]struct {
	size int
	pool sync.Pool
}{{size: 2 << 10}, {size: 16 << 10}, {size: 72 << 10}}

// copyOf returns a copy of a frame in a buffer that recycle takes back.
func copyOf(frame []byte) *[]byte {
	for i := range buffers {
		b := &buffers[i]
		if len(frame) > b.size {
			continue
		}
		p, ok := b.pool.Get().(*[]byte)
		if !ok {
			p = new([]byte)
			*p = make([]byte, 0, b.size)
		}
		*p = append((*p)[:0], frame...)
		return p
	}
	p := append([]byte(nil), frame...)
	return &p
}

func recycle(p *[]byte) {
	for i := range buffers {
		if cap(*p) == buffers[i].size {
			buffers[i].pool.Put(p)
			return // p is another one's now
		}
	}
}
