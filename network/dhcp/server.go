package dhcp

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// A Server answers clients of one segment. Its methods may be called by several goroutines.
type Server struct {
	cfg   Config
	duid  dhcpv6.DUID
	hosts map[string]*Host // by the bytes of the MAC

	dropped atomic.Uint64

	// mu guards what follows.
	mu         sync.Mutex
	now        time.Time // when mu was locked
	v4, v6     *pool
	events     []Event
	delivering bool // a goroutine is calling OnEvent
}

// New returns a Server for what c says, or an error that names what is wrong with it.
func New(c Config) (*Server, error) {
	c, err := c.prepare()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: c, duid: serverDUID(c), hosts: map[string]*Host{}}
	reserved := func(addr func(*Host) netip.Addr) (r []Range) {
		for i := range c.Hosts {
			if a := addr(&c.Hosts[i]); a.IsValid() {
				r = append(r, Range{a, a})
			}
		}
		return r
	}
	for i := range c.Hosts {
		s.hosts[string(c.Hosts[i].MAC)] = &c.Hosts[i]
	}
	if s.v4, err = newPool(s, c.Subnet, c.Ranges, c.Server, reserved(func(h *Host) netip.Addr { return h.Addr })); err != nil {
		return nil, err
	}
	if s.v6, err = newPool(s, c.Subnet6, c.Range6, c.Server6, reserved(func(h *Host) netip.Addr { return h.Addr6 })); err != nil {
		return nil, err
	}
	return s, s.checkSizes()
}

// Dropped is the number of messages that were not understood, or whose answer could not be sent.
func (s *Server) Dropped() uint64 { return s.dropped.Load() }

func (s *Server) drop() { s.dropped.Add(1) }

// lock locks the state and brings it up to date.
func (s *Server) lock() {
	s.mu.Lock()
	s.now = s.cfg.Now()
	s.v4.sweep()
	s.v6.sweep()
}

// unlock unlocks the state and then delivers the events that came up, unless another goroutine is at that: it will deliver them, too.
func (s *Server) unlock() {
	if s.delivering || len(s.events) == 0 {
		s.mu.Unlock()
		return
	}
	s.delivering = true
	for len(s.events) > 0 {
		events := s.events
		s.events = nil
		s.mu.Unlock()
		for _, e := range events {
			s.cfg.OnEvent(e)
		}
		s.mu.Lock()
	}
	s.delivering = false
	s.mu.Unlock()
}

// note remembers an event for unlock.
func (s *Server) note(k EventKind, l Lease) {
	if s.cfg.OnEvent != nil {
		s.events = append(s.events, Event{Time: s.now, Kind: k, Lease: l})
	}
}

// renewal is T1 of a lease.
func (s *Server) renewal(lease time.Duration) time.Duration {
	if s.cfg.Renew != 0 {
		return min(s.cfg.Renew, lease/2)
	}
	return lease / 2
}

// host is what is known beforehand of a MAC; never nil.
func (s *Server) host(mac net.HardwareAddr) *Host {
	if h := s.hosts[string(mac)]; h != nil {
		return h
	}
	return &Host{}
}
