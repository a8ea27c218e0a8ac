package publish

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// maxClients is how many clients a UDP port has at once. One more takes the place of the one that was quiet for longest.
const maxClients = 256

// maxErrors is how many errors in a row a client has, as of a port that isn't open, before it is forgotten.
const maxErrors = 16

// idle is how long a client is remembered without a datagram.
const idle = 2 * time.Minute

// packets is one UDP port.
type packets struct {
	set   *Set
	conn  *net.UDPConn
	guest func() (netip.AddrPort, bool)

	mu      sync.Mutex
	clients map[netip.AddrPort]*client
}

// A client is one address that sends to the port; the guest sees each as a port of the gateway's.
type client struct {
	addr netip.AddrPort
	conn net.Conn
	last atomic.Int64 // when there was a datagram, in nanoseconds
}

// serve hands datagrams to the guest until the port is closed.
func (p *packets) serve() {
	defer p.close()
	b := make([]byte, 1<<16)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			if p.set.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an error of something sent before
		}
		if c := p.client(from); c != nil {
			c.last.Store(time.Now().UnixNano())
			_, _ = c.conn.Write(b[:n])
		}
	}
}

// client returns a client that is known or new, or nil if the guest can't be reached.
func (p *packets) client(from netip.AddrPort) *client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[from]; c != nil {
		return c
	}
	to, known := p.guest()
	if !known {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.set.ctx, dialTimeout)
	defer cancel()
	conn, err := p.set.dial(ctx, "udp", to)
	if err != nil {
		return nil
	}
	p.makeRoom()
	c := &client{addr: from, conn: conn}
	c.last.Store(time.Now().UnixNano())
	p.clients[from] = c
	p.set.wg.Go(func() { p.answer(c) })
	return c
}

// makeRoom forgets the client that was quiet for longest, if there are too many.
func (p *packets) makeRoom() {
	if len(p.clients) < maxClients {
		return
	}
	var oldest *client
	for _, c := range p.clients {
		if oldest == nil || c.last.Load() < oldest.last.Load() {
			oldest = c
		}
	}
	p.forget(oldest)
}

// forget ends answer by closing its connection.
func (p *packets) forget(c *client) {
	if p.clients[c.addr] == c {
		delete(p.clients, c.addr)
	}
	_ = c.conn.Close()
}

// answer hands what the guest sends to its client, until there was nothing for a time.
func (p *packets) answer(c *client) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forget(c)
	}()
	b := make([]byte, 1<<16)
	for errs := 0; errs < maxErrors; {
		_ = c.conn.SetReadDeadline(time.Unix(0, c.last.Load()).Add(idle))
		n, err := c.conn.Read(b)
		var timeout net.Error
		switch {
		case err == nil:
			errs = 0
			c.last.Store(time.Now().UnixNano())
			_, _ = p.conn.WriteToUDPAddrPort(b[:n], c.addr)
		case p.set.ctx.Err() != nil, errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF):
			return
		case errors.As(err, &timeout) && timeout.Timeout():
			if time.Now().UnixNano()-c.last.Load() >= int64(idle) {
				return
			}
		default:
			errs++
		}
	}
}

func (p *packets) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		p.forget(c)
	}
}
