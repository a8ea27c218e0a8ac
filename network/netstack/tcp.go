package netstack

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/sekexe/sekexe/network/relay"
)

// How many connections a gateway has. Half of each number is the most that one MAC address gets.
const (
	maxConns   = 4096
	maxOpening = 1024 // of these, in the time until both sides have agreed
)

const (
	dialTimeout      = 30 * time.Second
	handshakeTimeout = 15 * time.Second
)

// A forwarder has the TCP connections of a gateway.
type forwarder struct {
	g *Gateway
	// few makes connections with buffers of a good size from the start, many makes those of a crowd.
	few, many *tcp.Forwarder

	mu      sync.Mutex
	opening map[stack.TransportEndpointID]*opening
	sources map[tcpip.LinkAddress]*share
	open    int
	conns   map[*conn]bool
	closed  bool

	number atomic.Int32 // len(conns)
}

// opening is a connection until its handshake is done.
type opening struct {
	mac   tcpip.LinkAddress
	quote []byte // the head of the packet that asked for it
	wq    waiter.Queue
}

// share is what one MAC address uses.
type share struct{ opening, open int }

func (f *forwarder) init(g *Gateway) {
	f.g = g
	f.few = tcp.NewForwarder(g.stack, defaultBuffer, maxOpening, f.serve)
	f.many = tcp.NewForwarder(g.stack, minBuffer, maxOpening, f.serve)
	f.opening = map[stack.TransportEndpointID]*opening{}
	f.sources = map[tcpip.LinkAddress]*share{}
	f.conns = map[*conn]bool{}
}

// count is the number of established connections.
func (f *forwarder) count() int { return int(f.number.Load()) }

// handle takes a segment that belongs to no connection. It returns false for what is to be answered by RST.
func (f *forwarder) handle(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	flags := header.TCP(p.TransportHeader().Slice()).Flags()
	if flags&(header.TCPFlagSyn|header.TCPFlagAck|header.TCPFlagRst) != header.TCPFlagSyn {
		return false
	}
	o := f.begin(id, p)
	if o == nil {
		return true // the guest asks again
	}
	inner := f.few
	if bufferSize(f.count()) < defaultBuffer {
		inner = f.many
	}
	if !inner.HandlePacket(id, p) { // it starts serve, or finds the segment malformed
		f.opened(id, o)
		f.gone(o.mac)
		f.g.wg.Done()
	}
	return true
}

// begin counts a new connection, unless it is begun already or there are too many.
func (f *forwarder) begin(id stack.TransportEndpointID, p *stack.PacketBuffer) *opening {
	o := &opening{mac: header.Ethernet(p.LinkHeader().Slice()).SourceAddress(), quote: quote(p)}
	f.mu.Lock()
	if f.closed || f.opening[id] != nil {
		f.mu.Unlock()
		return nil
	}
	s := f.sources[o.mac]
	if s == nil {
		s = &share{}
	}
	if f.open >= maxConns || s.open >= maxConns/2 || len(f.opening) >= maxOpening || s.opening >= maxOpening/2 {
		f.mu.Unlock()
		f.g.notice("connections", "guests have too many TCP connections at once: more are not made until some have ended")
		return nil
	}
	f.sources[o.mac] = s
	s.open++
	s.opening++
	f.open++
	f.opening[id] = o
	f.g.wg.Add(1)
	f.mu.Unlock()
	return o
}

// opened ends the time in which a connection is made.
func (f *forwarder) opened(id stack.TransportEndpointID, o *opening) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opening[id] == o {
		f.sources[o.mac].opening--
		delete(f.opening, id)
	}
}

// gone ends a connection's count.
func (f *forwarder) gone(mac tcpip.LinkAddress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	s := f.sources[mac]
	if s.open--; s.open == 0 {
		delete(f.sources, mac)
	}
}

// serve makes and carries one connection, in a goroutine of its own.
func (f *forwarder) serve(r *tcp.ForwarderRequest) {
	defer f.g.wg.Done()
	id := r.ID()
	f.mu.Lock()
	o := f.opening[id]
	f.mu.Unlock()
	defer f.gone(o.mac)
	defer f.opened(id, o)

	dst := netip.AddrPortFrom(toNetip(id.LocalAddress), id.LocalPort)
	if l := f.g.ports.listener(dst); l != nil {
		if c := f.accept(r, o); c != nil {
			f.opened(id, o)
			l.serve(c)
		}
		return
	}
	target, ok := f.g.target(dst)
	if !ok {
		f.refuse(r, dst, o)
		return
	}
	host, err := f.dial(target)
	if err != nil {
		f.fail(r, err, o)
		return
	}
	c := f.accept(r, o)
	if c == nil {
		host.Reset()
		return
	}
	f.opened(id, o)
	relay.Both(c, host)
}

func (f *forwarder) dial(target netip.AddrPort) (relay.Stream, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(f.g.ctx, "tcp", target.String())
	if err != nil {
		return nil, err
	}
	return relay.TCP(c.(*net.TCPConn)), nil
}

// accept completes the handshake with the guest.
func (f *forwarder) accept(r *tcp.ForwarderRequest, o *opening) *conn {
	late := time.AfterFunc(handshakeTimeout, func() { o.wq.Notify(waiter.WritableEvents) })
	ep, err := r.CreateEndpoint(&o.wq)
	late.Stop()
	r.Complete(false)
	if err != nil {
		return nil
	}
	c := f.g.newConn(&o.wq, ep)
	if !f.remember(c) {
		c.Reset()
		return nil
	}
	return c
}

// refuse answers a connection to where none may go.
func (f *forwarder) refuse(r *tcp.ForwarderRequest, dst netip.AddrPort, o *opening) {
	if !f.g.cfg.Uplink && !f.g.own(dst.Addr()) {
		r.Complete(false)
		f.g.unreachable(o.quote, netUnreachable)
		return
	}
	r.Complete(true)
}

// fail tells the guest what dialing met.
func (f *forwarder) fail(r *tcp.ForwarderRequest, err error, o *opening) {
	switch {
	case f.g.ctx.Err() != nil:
		r.Complete(false)
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		r.Complete(true)
	case outOfFiles(err):
		f.g.noticeFiles()
		r.Complete(true)
	case errors.Is(err, unix.ENETUNREACH):
		r.Complete(false)
		f.g.unreachable(o.quote, netUnreachable)
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		r.Complete(false)
		f.g.unreachable(o.quote, hostUnreachable)
	default:
		r.Complete(false)
		f.g.unreachable(o.quote, prohibited)
	}
}

func outOfFiles(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }

func (g *Gateway) noticeFiles() {
	g.notice("files", "no more files can be open: connections of guests fail; raise the limit (ulimit -n)")
}

// remember has a connection ended by Close; it returns false if that is past.
func (f *forwarder) remember(c *conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.conns[c] = true
	n := len(f.conns)
	f.number.Store(int32(n))
	_ = f.g.limitBuffers(n)
	return true
}

func (f *forwarder) forget(c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.conns[c] {
		return
	}
	delete(f.conns, c)
	n := len(f.conns)
	f.number.Store(int32(n))
	_ = f.g.limitBuffers(n)
}

// abort resets every connection, and has those being made fail.
func (f *forwarder) abort() {
	f.mu.Lock()
	f.closed = true
	var conns []*conn
	for c := range f.conns {
		conns = append(conns, c)
	}
	for _, o := range f.opening {
		o.wq.Notify(waiter.WritableEvents)
	}
	f.mu.Unlock()
	for _, c := range conns {
		c.Reset()
	}
}
