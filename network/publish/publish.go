// Package publish makes ports of sub-kernels reachable at the host: it listens at the host's addresses, and carries what comes to the guests.
// It knows no network: how to connect to a guest is given to it.
package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A Port is one port of the host that leads to one of a guest.
type Port struct {
	// Host is where the host listens: without an address, at all of both families. Port 0 has one chosen.
	Host netip.AddrPort
	// Guest returns where it leads, or false as long as that isn't known.
	Guest func() (netip.AddrPort, bool)
	// Proto is tcp or udp.
	Proto string
}

// Dial connects to an address of a network's segment; the network is tcp or udp.
type Dial func(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error)

// At returns a Port's Guest that is known from the start.
func At(addr netip.AddrPort) func() (netip.AddrPort, bool) {
	return func() (netip.AddrPort, bool) { return addr, true }
}

// A Set is ports that are listened on.
type Set struct {
	dial   Dial
	notice func(string)
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	bound  []netip.AddrPort
	open   []interface{ Close() error }
	conns  chan struct{} // a place for each connection
	once   sync.Map
}

// maxConns is how many TCP connections a Set carries at once.
const maxConns = 4096

// Listen listens on all ports, or on none and says why. Notice, if not nil, is called once for each kind of trouble that comes later.
// Everything ends with ctx, or by Close.
func Listen(ctx context.Context, ports []Port, dial Dial, notice func(string)) (*Set, error) {
	s := &Set{dial: dial, notice: notice, conns: make(chan struct{}, maxConns)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	var start []func()
	for _, p := range ports {
		run, err := s.bind(p)
		if err != nil {
			s.cancel()
			for _, o := range s.open {
				_ = o.Close()
			}
			return nil, err
		}
		start = append(start, run)
	}
	for _, run := range start {
		s.wg.Go(run)
	}
	s.wg.Go(func() {
		<-s.ctx.Done()
		for _, o := range s.open {
			_ = o.Close()
		}
	})
	return s, nil
}

// bind listens on a port and returns what serves it.
func (s *Set) bind(p Port) (func(), error) {
	addr := p.Host.String()
	if !p.Host.Addr().IsValid() {
		addr = fmt.Sprintf(":%d", p.Host.Port())
	}
	switch p.Proto {
	case "tcp":
		l, err := net.Listen(family("tcp", p.Host), addr)
		if err != nil {
			return nil, explain(p, err)
		}
		s.open = append(s.open, l)
		s.bound = append(s.bound, l.Addr().(*net.TCPAddr).AddrPort())
		return func() { s.accept(l.(*net.TCPListener), p.Guest) }, nil
	case "udp":
		c, err := net.ListenPacket(family("udp", p.Host), addr)
		if err != nil {
			return nil, explain(p, err)
		}
		s.open = append(s.open, c)
		s.bound = append(s.bound, c.LocalAddr().(*net.UDPAddr).AddrPort())
		u := &packets{set: s, conn: c.(*net.UDPConn), guest: p.Guest, clients: map[netip.AddrPort]*client{}}
		return u.serve, nil
	}
	return nil, fmt.Errorf("publish %s: the protocol is neither tcp nor udp", p)
}

// family keeps 0.0.0.0 and :: from meaning both families.
func family(proto string, a netip.AddrPort) string {
	switch {
	case !a.Addr().IsValid():
		return proto
	case a.Addr().Is4():
		return proto + "4"
	}
	return proto + "6"
}

// String returns the host's side as an error names it.
func (p Port) String() string {
	if !p.Host.Addr().IsValid() {
		return fmt.Sprintf("port %d/%s", p.Host.Port(), p.Proto)
	}
	return fmt.Sprintf("%s/%s", p.Host, p.Proto)
}

// explain says what is to be done.
func explain(p Port, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("publish %s: the port is in use by another program: end that, or publish another port (0: a free one is chosen)", p)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("publish %s: only root may listen on ports below 1024 here: publish a higher port, or have root lower net.ipv4.ip_unprivileged_port_start", p)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("publish %s: the host has no such address: name one that it has, or none", p)
	}
	return fmt.Errorf("publish %s: %w", p, err)
}

// Bound returns where the ports are listened on, in their order, with the chosen ones.
func (s *Set) Bound() []netip.AddrPort { return s.bound }

// Close ends all connections, and waits for everything that runs.
func (s *Set) Close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

func (s *Set) say(kind, text string) {
	if _, was := s.once.LoadOrStore(kind, true); !was && s.notice != nil {
		s.notice(text)
	}
}
