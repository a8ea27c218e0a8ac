package names

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// A Zone knows the names of a network. It is asked by several goroutines at once, and must not block.
type Zone interface {
	// Lookup returns the addresses of a name, which is in lower case and has neither the domain nor a dot at its end. ok without addresses
	// says that the name is there. It is asked for every name, also for those that are not below the domain.
	Lookup(name string) (addrs []netip.Addr, ok bool)
	// Reverse returns the name of an address, in the form in which Lookup takes it.
	Reverse(netip.Addr) (name string, ok bool)
}

// The defaults of a Config.
const (
	DefaultTimeout     = 5 * time.Second // as resolv.conf(5)
	DefaultRetry       = time.Second
	DefaultIdleTimeout = 10 * time.Second
)

// Config is what a Server serves.
type Config struct {
	// Domain is the network's, such as lab.internal; it may be empty.
	Domain string
	Zone   Zone
	// Upstream returns the servers that know all other names, in the order in which they are asked: HostResolvers, say. If it is nil, other
	// names are refused.
	Upstream func() []netip.AddrPort
	// Local are the network's own addresses: upstream is never asked for their names.
	Local []netip.Prefix
	// Timeout is how long upstream may take for an answer.
	Timeout time.Duration
	// Retry is after how long the next upstream server is asked as well.
	Retry time.Duration
	// IdleTimeout is how long a TCP connection may wait for a query, and a client take for an answer.
	IdleTimeout time.Duration
}

// The bounds of what clients may take.
const (
	maxQuery       = 4096 // bytes
	maxForwarded   = 256  // queries that upstream is asked at once
	maxConns       = 128  // TCP connections
	clientFraction = 4    // one client may have one part in so many of each
)

// Stats count what a Server did.
type Stats struct {
	// Queries are those that came, Forwarded those that upstream was asked, and Dropped those that were one too many.
	Queries, Forwarded, Dropped uint64
}

// A Server answers queries. Make it with New.
type Server struct {
	Config
	domain string // canonical, with a dot at its end; "." if there is none
	local  []netip.Prefix

	forwards, conns             *limiter
	queries, forwarded, dropped atomic.Uint64
}

// New returns a server for a network.
func New(c Config) *Server {
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.Retry = cmp.Or(c.Retry, DefaultRetry)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, DefaultIdleTimeout)
	local := hostLocal()
	for _, p := range c.Local {
		local = append(local, p.Masked())
	}
	return &Server{
		Config:   c,
		domain:   dns.CanonicalName(strings.Trim(c.Domain, ".")),
		local:    local,
		forwards: newLimiter(maxForwarded),
		conns:    newLimiter(maxConns),
	}
}

// Stats returns what was counted so far.
func (s *Server) Stats() Stats {
	return Stats{s.queries.Load(), s.forwarded.Load(), s.dropped.Load()}
}

// Serve answers what comes to a UDP socket and to a TCP listener; either may be nil. It returns when ctx ends, which is no error, or when one
// of the two fails for good. It closes both, and all that it started has ended when it returns.
func (s *Server) Serve(ctx context.Context, pc net.PacketConn, l net.Listener) error {
	g, gctx := errgroup.WithContext(ctx)
	closed := make(chan struct{})
	context.AfterFunc(gctx, func() {
		defer close(closed)
		if pc != nil {
			_ = pc.Close()
		}
		if l != nil {
			_ = l.Close()
		}
	})
	if pc != nil {
		g.Go(func() error { return s.servePackets(gctx, pc) })
	}
	if l != nil {
		g.Go(func() error { return s.serveConns(gctx, l) })
	}
	if pc == nil && l == nil {
		<-ctx.Done()
	}
	err := g.Wait() // which ends gctx
	<-closed
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// servePackets answers what comes to a UDP socket. What the zone knows is answered on the spot.
func (s *Server) servePackets(ctx context.Context, pc net.PacketConn) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	var failed failures
	buf := make([]byte, maxQuery)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			if err := failed.add(ctx, err); err != nil {
				return fmt.Errorf("names: read a query: %w", err)
			}
			continue
		}
		failed = 0
		send := func(q query, r *dns.Msg) {
			if b := pack(r, q.size); b != nil {
				_, _ = pc.WriteTo(b, from) // who is gone asks no more
			}
		}
		q, r := s.answer(buf[:n])
		switch {
		case r != nil:
			send(q, r)
		case q.msg == nil:
		default:
			release, ok := s.forwards.acquire(addrOf(from))
			if !ok {
				s.dropped.Add(1)
				send(q, s.complete(q.reply(dns.RcodeServerFailure)))
				continue
			}
			wg.Go(func() {
				defer release()
				send(q, s.forward(ctx, q))
			})
		}
	}
}

// serveConns answers what comes by TCP.
func (s *Server) serveConns(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	var failed failures
	for {
		c, err := l.Accept()
		if err != nil {
			if err := failed.add(ctx, err); err != nil {
				return fmt.Errorf("names: accept a connection: %w", err)
			}
			continue
		}
		failed = 0
		release, ok := s.conns.acquire(addrOf(c.RemoteAddr()))
		if !ok {
			s.dropped.Add(1)
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer release()
			s.serveConn(ctx, c)
		})
	}
}

// serveConn answers one connection's queries, one after the other, until the client closes it or is too slow.
func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	for {
		_ = c.SetDeadline(time.Now().Add(s.IdleTimeout))
		b, err := readMessage(c)
		if err != nil {
			return
		}
		q, r := s.answer(b)
		if r == nil && q.msg != nil {
			r = s.forwardConn(ctx, q, addrOf(c.RemoteAddr()))
		}
		if r == nil {
			return
		}
		if b = pack(r, dns.MaxMsgSize); b == nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(s.IdleTimeout))
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
			return
		}
	}
}

// forwardConn asks upstream for a client on a connection: it counts as one by UDP does.
func (s *Server) forwardConn(ctx context.Context, q query, client netip.Addr) *dns.Msg {
	release, ok := s.forwards.acquire(client)
	if !ok {
		s.dropped.Add(1)
		return s.complete(q.reply(dns.RcodeServerFailure))
	}
	defer release()
	return s.forward(ctx, q)
}

// readMessage reads a message with its length before it (RFC 1035, section 4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n > maxQuery {
		return nil, errors.New("query too long")
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// addrOf is a client's address; the zero one stands for all that have none.
func addrOf(a net.Addr) netip.Addr {
	if a, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// failures count errors of a socket, one after the other.
type failures int

// The number of errors after which a socket is given up, and the time between two.
const (
	maxFailures  = 20
	failurePause = 100 * time.Millisecond
)

// add counts an error that may pass, such as one for want of memory or descriptors, and waits for that a little. It returns what is for good.
func (n *failures) add(ctx context.Context, err error) error {
	if *n++; ctx.Err() != nil || errors.Is(err, net.ErrClosed) || *n > maxFailures {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(failurePause):
		return nil
	}
}
