package netstack

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// backlog is how many connections wait to be accepted.
const backlog = 128

// ports are the gateway's own services.
type ports struct {
	mu        sync.Mutex
	listeners map[uint16]*listener
	packets   map[uint16]*packetConn
	g         *Gateway
}

// A listener is a port of the gateway's, on all its addresses.
type listener struct {
	g     *Gateway
	port  uint16
	conns chan *conn
	once  sync.Once
	done  chan struct{}
}

// Listen returns a listener on a port of all the gateway's addresses.
func (g *Gateway) Listen(port uint16) (net.Listener, error) {
	g.ports.mu.Lock()
	defer g.ports.mu.Unlock()
	if g.ctx.Err() != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, net.ErrClosed)
	}
	if g.ports.listeners[port] != nil {
		return nil, fmt.Errorf("listen on port %d: already in use", port)
	}
	l := &listener{g: g, port: port, conns: make(chan *conn, backlog), done: make(chan struct{})}
	if g.ports.listeners == nil {
		g.ports.listeners = map[uint16]*listener{}
	}
	g.ports.listeners[port] = l
	return l, nil
}

// listener returns what listens at an address, if it is the gateway's.
func (p *ports) listener(dst netip.AddrPort) *listener {
	if !p.g.own(dst.Addr()) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listeners[dst.Port()]
}

// serve has a connection accepted, and returns when that has ended.
func (l *listener) serve(c *conn) {
	select {
	case l.conns <- c:
	default:
		c.Reset()
	}
	select {
	case <-c.done:
	case <-l.done:
		l.drain()
		<-c.done
	}
}

// drain resets what nobody will accept.
func (l *listener) drain() {
	for {
		select {
		case c := <-l.conns:
			c.Reset()
		default:
			return
		}
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.g.ports.mu.Lock()
		delete(l.g.ports.listeners, l.port)
		l.g.ports.mu.Unlock()
		close(l.done)
		l.drain()
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr {
	return &net.TCPAddr{IP: l.g.cfg.Addr.Addr().AsSlice(), Port: int(l.port)}
}

// close ends all services.
func (p *ports) close() {
	p.mu.Lock()
	var all []interface{ Close() error }
	for _, l := range p.listeners {
		all = append(all, l)
	}
	for _, c := range p.packets {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range slices.Clip(all) {
		_ = c.Close()
	}
}
