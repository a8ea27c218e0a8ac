package vswitch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekexe/sekexe/network/frames"
	"github.com/sekexe/sekexe/network/impair"
)

// patience is how long a guest that sends to another waits for it when it is full: until the other has been given a processor, which is cheaper
// for TCP than a loss. Nobody waits to flood, and the gateway never waits.
const patience = 2 * time.Millisecond

// A Port is where a station, or several, are joined to a Switch.
type Port struct {
	sw       *Switch
	name     string
	mac      address // 0: only learned ones
	gateway  bool
	patience time.Duration // with those it sends to

	out      func(frame []byte) // nil: the file is written to
	file     *frames.File       // nil for a function
	toPort   *impair.Link       // nil: there is no impairment
	toSwitch *impair.Link
	gate     *frames.Gate // for calls of out and Input
	reader   sync.WaitGroup
	close    func() error

	flood    floodLimit
	stations int           // under the lock of the learned ones
	swept    time.Duration // likewise

	received, sent, dropped atomic.Uint64
}

func (s *Switch) newPort(name string, gateway bool) *Port {
	p := &Port{sw: s, name: name, gateway: gateway, gate: frames.NewGate()}
	p.close = sync.OnceValue(p.shut)
	return p
}

// Attach adds a gateway's port: out is called with each frame for it, concurrently, must not block, and must not keep the frame. Its mac, if it is
// not nil, can't be used by other ports; that it is another port's already is an error of the program.
func (s *Switch) Attach(name string, mac net.HardwareAddr, out func(frame []byte)) *Port {
	p := s.newPort(name, true)
	p.out = out
	if err := s.add(p, mac); err != nil {
		panic(fmt.Sprintf("vswitch: attach %s: %v", name, err))
	}
	return p
}

// AttachFile adds a port for a descriptor that package frames knows, which it takes over in any case. It is a guest's, which is not trusted, or a
// gateway's. An impairment applies to each direction by itself, as on a bad cable; nil is none. The port is removed when the other end is closed.
func (s *Switch) AttachFile(f *os.File, mac net.HardwareAddr, gateway bool, im *impair.Config) (*Port, error) {
	file, err := frames.Open(f)
	if err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	p := s.newPort(file.Name(), gateway)
	p.file = file
	input := p.inputBatch
	if im != nil && !im.Zero() {
		back := *im
		if back.Seed != 0 {
			back.Seed++ // the directions don't lose the same frames
		}
		p.toPort = impair.New(*im, func(frame []byte) { p.write(frame, 0) })
		p.toSwitch = impair.New(back, p.input)
		p.out = p.toPort.Input
		input = func(b *frames.Batch) {
			for i := range b.Len() {
				p.toSwitch.Input(b.Frame(i))
			}
		}
	} else if !gateway {
		p.patience = patience
	}
	if err := s.add(p, mac); err != nil {
		return nil, errors.Join(fmt.Errorf("switch: attach %s: %w", p.name, err), p.Close())
	}
	p.reader.Go(func() { p.read(input) })
	return p, nil
}

// read takes frames until the file ends. Nobody is told why: the guest is gone.
func (p *Port) read(input func(*frames.Batch)) {
	p.file.Receive(frames.NewBatch(headerLen+2*tagLen+p.sw.config.MTU+1), input) // one more, to tell a giant
	p.sw.remove(p)
}

// Input gives the switch a frame from this port, and does not keep it.
func (p *Port) Input(frame []byte) {
	if p.gate.Enter() {
		defer p.gate.Leave()
		p.input(frame)
	}
}

func (p *Port) input(frame []byte) {
	p.received.Add(1)
	if !p.sw.forward(p, frame) {
		p.dropped.Add(1)
	}
}

func (p *Port) inputBatch(b *frames.Batch) {
	p.received.Add(uint64(b.Len()))
	if n := b.Len() - p.sw.forwardBatch(p, b); n > 0 {
		p.dropped.Add(uint64(n))
	}
}

// send gives the port's station a frame.
func (p *Port) send(frame []byte, patience time.Duration) {
	if p.out == nil {
		p.write(frame, patience)
		return
	}
	if p.gate.Enter() {
		defer p.gate.Leave()
		if p.file == nil { // else it is sent when the impairment lets it out
			p.sent.Add(1)
		}
		p.out(frame)
	}
}

func (p *Port) write(frame []byte, patience time.Duration) {
	if p.file.Send(frame, patience) != nil {
		p.dropped.Add(1)
		return
	}
	p.sent.Add(1)
}

func (p *Port) writeBatch(b *frames.Batch, from, to int, patience time.Duration) {
	sent := p.file.SendBatch(b, from, to, patience)
	p.sent.Add(uint64(sent))
	if n := to - from - sent; n > 0 {
		p.dropped.Add(uint64(n))
	}
}

// Stats says how many frames came from the port's station, how many went to it, and how many of both were dropped here: because it may not
// send them, or because it didn't take them. What an impairment loses is not counted.
func (p *Port) Stats() (received, sent, dropped uint64) {
	return p.received.Load(), p.sent.Load(), p.dropped.Load()
}

// Close removes the port and waits for its goroutines, and for calls of out and Input that are under way; so out must not call it.
func (p *Port) Close() error { return p.close() }

func (p *Port) shut() error {
	p.sw.remove(p)
	var err error
	if p.file != nil {
		err = p.file.Close()
		p.reader.Wait()
	}
	if p.toPort != nil {
		p.toPort.Close()
		p.toSwitch.Close()
	}
	p.gate.Close()
	p.sw.remove(p) // again: what it sent until now may have been learned
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	delete(p.sw.open, p)
	return err
}
