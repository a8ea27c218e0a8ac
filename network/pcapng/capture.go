// Package pcapng writes Ethernet frames to a file that Wireshark reads (draft-ietf-opsawg-pcapng). It is no part of a larger library because
// those that there are know all protocols, whose tables would be made at every start of the program.
package pcapng

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// queueSize bounds what waits to be written, in bytes.
const queueSize = 4 << 20

// A Capture is a file that frames are written to. Its methods are safe for concurrent use.
type Capture struct {
	file *os.File
	wake chan struct{} // there is something in queue, or it is closed
	done chan struct{}

	mu       sync.Mutex // of what follows
	queue    []byte     // blocks that the writer has not taken
	received uint64     // frames, also those that were dropped
	dropped  uint64
	closed   bool

	size  int64 // bytes written: the writer's, as is err
	err   error
	close func() error
}

// Open creates or empties the file at path, and begins a capture of the interface with this name.
func Open(path, name string) (*Capture, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	c := &Capture{file: f, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.close = sync.OnceValue(c.finish)
	c.queue = appendInterface(appendSection(nil), name)
	c.wake <- struct{}{}
	go c.write()
	return c, nil
}

// Frame adds a frame, with the time of now. It never waits for the file: a frame that comes faster than the file takes them is dropped and
// counted, in the capture too.
func (c *Capture) Frame(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.received++
	if len(c.queue)+packetSize(len(frame)) > queueSize {
		c.dropped++
		return
	}
	c.queue = appendPacket(c.queue, time.Now(), frame) // under the lock: so times are in order
	c.notify()
}

// notify wakes the writer, who will find whatever was put into the queue before.
func (c *Capture) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write writes what is in the queue, until Close.
func (c *Capture) write() {
	defer close(c.done)
	var free []byte // takes turns with the queue
	for range c.wake {
		c.mu.Lock()
		blocks, closed := c.queue, c.closed
		c.queue = free[:0]
		c.mu.Unlock()
		c.append(blocks)
		if closed {
			return
		}
		free = blocks
	}
}

// append writes whole blocks: a file that can't take them, such as one on a full disk, ends before them and can still be read.
func (c *Capture) append(blocks []byte) {
	if c.err != nil {
		return
	}
	n, err := c.file.Write(blocks)
	if err == nil {
		c.size += int64(n)
		return
	}
	c.err = err
	if n > 0 {
		c.err = errors.Join(err, c.file.Truncate(c.size))
	}
}

// Dropped says how many frames are missing because they came too fast.
func (c *Capture) Dropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// Close writes what is left and how many frames were dropped, and closes the file. Its error is also that of an earlier write.
func (c *Capture) Close() error { return c.close() }

func (c *Capture) finish() error {
	c.mu.Lock()
	c.queue = appendStatistics(c.queue, time.Now(), c.received, c.dropped)
	c.closed = true
	c.mu.Unlock()
	c.notify()
	<-c.done
	if err := errors.Join(c.err, c.file.Close()); err != nil {
		return fmt.Errorf("capture %s: %w", c.file.Name(), err)
	}
	return nil
}
