package netstack

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/sekexe/sekexe/network/relay"
)

// maxFlows is how many flows a gateway has; one MAC address has at most half of them. One more ends the one that was quiet for longest.
const maxFlows = 1024

// How long a flow lives without a datagram.
const (
	idleAsked    = 30 * time.Second
	idleAnswered = 3 * time.Minute
	idleName     = 10 * time.Second // a question to a DNS server
	idleEcho     = 30 * time.Second
)

// A flowKey names a flow: for an echo, the port of src is its identifier, and that of dst is 0.
type flowKey struct {
	proto    tcpip.TransportProtocolNumber
	src, dst netip.AddrPort
}

// A flow carries what a guest exchanges with one address and port of the world, by one socket of the host.
type flow struct {
	key   flowKey
	mac   tcpip.LinkAddress
	elem  *list.Element
	route *stack.Route
	quote []byte // the head of the first packet, for what goes wrong
	conn  net.Conn
	raw   syscall.RawConn
	ping  ping

	last     atomic.Int64 // when there was a datagram, in nanoseconds
	answered atomic.Bool
}

// flows are those of a gateway.
type flows struct {
	g *Gateway

	mu     sync.Mutex
	all    map[flowKey]*flow
	recent list.List // the one that was quiet for longest is the last
	mine   map[tcpip.LinkAddress]int
	closed bool
}

func (t *flows) init(g *Gateway) {
	t.g = g
	g.ports.g = g
	t.all = map[flowKey]*flow{}
	t.mine = map[tcpip.LinkAddress]int{}
}

// find returns a flow that is there, and marks it as used.
func (t *flows) find(k flowKey) *flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.all[k]
	if f != nil {
		t.recent.MoveToFront(f.elem)
		f.last.Store(time.Now().UnixNano())
	}
	return f
}

// open makes a flow of a socket of the host's and starts it.
func (t *flows) open(k flowKey, p *stack.PacketBuffer, c net.Conn, pg ping) (*flow, error) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	route, err := t.g.route(k.dst.Addr(), k.src.Addr())
	if err != nil {
		return nil, err
	}
	f := &flow{key: k, mac: header.Ethernet(p.LinkHeader().Slice()).SourceAddress(), route: route, quote: quote(p), conn: c, raw: raw, ping: pg}
	f.last.Store(time.Now().UnixNano())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.all[k] != nil {
		route.Release()
		return nil, net.ErrClosed
	}
	t.makeRoom(f.mac)
	f.elem = t.recent.PushFront(f)
	t.all[k] = f
	t.mine[f.mac]++
	t.g.wg.Go(func() { t.run(f) })
	return f, nil
}

// makeRoom ends flows until there is room for one more.
func (t *flows) makeRoom(mac tcpip.LinkAddress) {
	for e := t.recent.Back(); e != nil && t.mine[mac] >= maxFlows/2; {
		f := e.Value.(*flow)
		e = e.Prev()
		if f.mac == mac {
			t.drop(f)
		}
	}
	for len(t.all) >= maxFlows {
		t.drop(t.recent.Back().Value.(*flow))
	}
}

// drop takes a flow out and closes its socket, which ends run.
func (t *flows) drop(f *flow) {
	if t.all[f.key] != f {
		return
	}
	delete(t.all, f.key)
	t.recent.Remove(f.elem)
	if t.mine[f.mac]--; t.mine[f.mac] == 0 {
		delete(t.mine, f.mac)
	}
	_ = f.conn.Close()
}

func (t *flows) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, f := range t.all {
		t.drop(f)
	}
}

// run hands what comes back to the guest, until the flow was idle for long enough.
func (t *flows) run(f *flow) {
	defer f.route.Release()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.drop(f)
	}()
	in := inbound{t: t, f: f}
	for {
		deadline := time.Unix(0, f.last.Load()).Add(f.idle())
		if time.Until(deadline) <= 0 {
			return
		}
		_ = f.conn.SetReadDeadline(deadline)
		for in.err == nil {
			if err := f.raw.Read(in.receive); err != nil {
				in.err = err
			}
		}
		if !errors.Is(in.err, os.ErrDeadlineExceeded) && !t.trouble(f, in.err) {
			return
		}
		in.err = nil
	}
}

func (f *flow) idle() time.Duration {
	switch {
	case f.key.proto != header.UDPProtocolNumber:
		return idleEcho
	case f.key.dst.Port() == 53:
		return idleName
	case f.answered.Load():
		return idleAnswered
	}
	return idleAsked
}

// trouble passes on what a socket met, and reports whether the flow goes on.
func (t *flows) trouble(f *flow, err error) bool {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		t.g.unreachable(f.quote, portUnreachable)
		return true
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		t.g.unreachable(f.quote, hostUnreachable)
		return true
	}
	return false
}

// inbound reads from a flow's socket; a buffer is taken only when there is something.
type inbound struct {
	t   *flows
	f   *flow
	err error
}

// receive is called by the runtime's poller; false means that the socket has nothing.
func (in *inbound) receive(fd uintptr) bool {
	b := relay.GetBuffer(relay.LargeBuffer)
	defer relay.PutBuffer(b)
	n, err := unix.Read(int(fd), b)
	switch {
	case err == unix.EAGAIN:
		return false
	case err == unix.EINTR:
		return true
	case err != nil:
		in.err = err
		return true
	}
	f := in.f
	f.last.Store(time.Now().UnixNano())
	f.answered.Store(true)
	if f.key.proto == header.UDPProtocolNumber {
		_ = sendUDP(f.route, f.key.dst, f.key.src, b[:n])
	} else {
		in.t.g.pong(f, b[:n])
	}
	return true
}

// send hands a datagram to the host, which drops it when it can't take it at once.
func (t *flows) send(f *flow, b []byte) {
	var err error
	werr := f.raw.Write(func(fd uintptr) bool {
		_, err = unix.Write(int(fd), b)
		if err == unix.EINTR || err == unix.ECONNREFUSED { // of the one before
			_, err = unix.Write(int(fd), b)
		}
		return true
	})
	if werr == nil && err != nil && err != unix.EAGAIN {
		t.trouble(f, err)
	}
}
