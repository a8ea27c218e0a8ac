package netstack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What waits in a packetConn to be read.
const (
	maxQueue      = 512
	maxQueueBytes = 1 << 20
)

// A packetConn is a UDP port on all of the gateway's addresses.
type packetConn struct {
	g        *Gateway
	port     uint16
	queue    chan datagram
	bytes    atomic.Int64 // in the queue
	once     sync.Once
	done     chan struct{}
	deadline deadline

	mu     sync.Mutex
	locals map[netip.AddrPort]netip.Addr // which of our addresses a guest spoke to, if not the one that would answer
}

type datagram struct {
	from netip.AddrPort
	data []byte
}

// ListenPacket returns UDP on a port of all the gateway's addresses. The addresses of what is read are *net.UDPAddr; what is written to one of
// them comes from the address that it last spoke to.
func (g *Gateway) ListenPacket(port uint16) (net.PacketConn, error) {
	g.ports.mu.Lock()
	defer g.ports.mu.Unlock()
	if g.ctx.Err() != nil {
		return nil, fmt.Errorf("listen on UDP port %d: %w", port, net.ErrClosed)
	}
	if g.ports.packets[port] != nil {
		return nil, fmt.Errorf("listen on UDP port %d: already in use", port)
	}
	c := &packetConn{g: g, port: port, queue: make(chan datagram, maxQueue), done: make(chan struct{}), locals: map[netip.AddrPort]netip.Addr{}}
	if g.ports.packets == nil {
		g.ports.packets = map[uint16]*packetConn{}
	}
	g.ports.packets[port] = c
	return c, nil
}

// packet returns what has a UDP port of the gateway's.
func (p *ports) packet(port uint16) *packetConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.packets[port]
}

// put takes a datagram of a guest's, or drops it.
func (c *packetConn) put(from netip.AddrPort, to netip.Addr, data []byte) {
	if c.bytes.Load()+int64(len(data)) > maxQueueBytes {
		return
	}
	c.remember(from, to)
	c.bytes.Add(int64(len(data)))
	select {
	case c.queue <- datagram{from, slices.Clone(data)}:
	default:
		c.bytes.Add(-int64(len(data)))
	}
}

// remember keeps which of our addresses a guest spoke to: a few, because most speak to the one that answers anyway.
func (c *packetConn) remember(from netip.AddrPort, to netip.Addr) {
	usual := to == c.g.localFor(from.Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	if usual {
		delete(c.locals, from)
		return
	}
	if len(c.locals) >= maxQueue {
		clear(c.locals)
	}
	c.locals[from] = to
}

// ReadFrom implements net.PacketConn.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	past := c.deadline.wait()
	select {
	case <-past:
		return 0, nil, os.ErrDeadlineExceeded
	case <-c.done:
		return 0, nil, net.ErrClosed
	default:
	}
	select {
	case d := <-c.queue:
		c.bytes.Add(-int64(len(d.data)))
		return copy(b, d.data), net.UDPAddrFromAddrPort(d.from), nil
	case <-past:
		return 0, nil, os.ErrDeadlineExceeded
	case <-c.done:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn.
func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	u, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("write to %v: not a UDP address", addr)
	}
	to := u.AddrPort()
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	c.mu.Lock()
	from, ok := c.locals[to]
	c.mu.Unlock()
	if !ok {
		from = c.g.localFor(to.Addr())
	}
	if !from.IsValid() {
		return 0, errors.New("write to " + to.String() + ": the network has no IPv6")
	}
	select {
	case <-c.done:
		return 0, net.ErrClosed
	default:
	}
	r, err := c.g.route(from, to.Addr())
	if err != nil {
		return 0, err
	}
	defer r.Release()
	if err := sendUDP(r, netip.AddrPortFrom(from, c.port), to, b); err != nil {
		return 0, fmt.Errorf("write to %s: %w", to, err)
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (c *packetConn) Close() error {
	c.once.Do(func() {
		c.g.ports.mu.Lock()
		delete(c.g.ports.packets, c.port)
		c.g.ports.mu.Unlock()
		close(c.done)
	})
	return nil
}

// LocalAddr implements net.PacketConn.
func (c *packetConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: c.g.cfg.Addr.Addr().AsSlice(), Port: int(c.port)}
}

// SetDeadline implements net.PacketConn.
func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.deadline.set(t)
	return nil
}

// SetWriteDeadline implements net.PacketConn: writing doesn't wait.
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }

// A deadline is a channel that is closed at a time that can be set.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	past  chan struct{}
}

// wait returns a channel that is closed when the deadline has passed.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.past == nil {
		d.past = make(chan struct{})
	}
	return d.past
}

// set moves the deadline for the waits that begin after it.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.past == nil || d.timer != nil && !d.timer.Stop() { // the timer closes the old one, or has
		d.past = make(chan struct{})
	}
	d.timer = nil
	if t.IsZero() {
		return
	}
	past := d.past
	d.timer = time.AfterFunc(max(time.Until(t), 0), func() { close(past) })
}
