package dhcp

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// A State is what an address is to the server.
type State int

const (
	// StateOffered: held for a client that was told of it seconds ago.
	StateOffered State = iota + 1
	// StateBound: a client's, until the lease expires.
	StateBound
	// StateDeclined: set aside for a while, because a client found another machine with it (RFC 2131, section 4.3.3).
	StateDeclined
	// remembered is no longer a client's, but will be given to it first.
	remembered
)

// String is the state's name.
func (s State) String() string {
	switch s {
	case StateOffered:
		return "offered"
	case StateBound:
		return "bound"
	case StateDeclined:
		return "declined"
	}
	return "state " + strconv.Itoa(int(s))
}

// A Lease is an address and whose it is.
type Lease struct {
	Addr netip.Addr
	// MAC is the client's; of clients of DHCPv6 it may not be known.
	MAC net.HardwareAddr
	// ClientID is the client identifier (RFC 2132, section 9.14), if there is one, or the DUID (RFC 8415, section 11).
	ClientID []byte
	// Hostname is the name of the Host, or what the client calls itself.
	Hostname string
	Expires  time.Time
	State    State
	Reserved bool // the address is that of a Host
}

// An EventKind is what happened to a lease.
type EventKind int

const (
	// Leased: a client has an address that it hadn't.
	Leased EventKind = iota + 1
	// Renewed: a lease goes on.
	Renewed
	// Released: the client gave its address back.
	Released
	// Expired: the lease's time is over. It is noticed with the next message or call.
	Expired
	// Declined: the client declined the address, because another machine has it.
	Declined
	// Exhausted: there was no address for a client, whose lease has no address then. There is one such event until an address is free
	// again.
	Exhausted
)

// String says what happened, as in "address released".
func (k EventKind) String() string {
	switch k {
	case Leased:
		return "leased"
	case Renewed:
		return "renewed"
	case Released:
		return "released"
	case Expired:
		return "expired"
	case Declined:
		return "declined"
	case Exhausted:
		return "exhausted"
	}
	return "event " + strconv.Itoa(int(k))
}

// An Event is one thing that happened to a lease.
type Event struct {
	Time  time.Time
	Kind  EventKind
	Lease Lease
}

// Leases lists what is offered, bound or set aside, by address.
func (s *Server) Leases() []Lease {
	s.lock()
	defer s.unlock()
	var leases []Lease
	for _, p := range []*pool{s.v4, s.v6} {
		for _, b := range p.byAddr {
			if b.state != remembered {
				leases = append(leases, b.lease())
			}
		}
	}
	slices.SortFunc(leases, func(a, b Lease) int { return a.Addr.Compare(b.Addr) })
	return leases
}

// LeaseOf returns the address of IPv4 that is bound to a MAC; if clients with different identifiers have several, that which lasts longest.
func (s *Server) LeaseOf(mac net.HardwareAddr) (addr netip.Addr, ok bool) {
	s.lock()
	defer s.unlock()
	var longest *binding
	for _, b := range s.v4.byAddr {
		if b.state == StateBound && bytes.Equal(b.mac, mac) && (longest == nil || longest.expires.Before(b.expires)) {
			longest = b
		}
	}
	if longest == nil {
		return netip.Addr{}, false
	}
	return longest.addr, true
}
