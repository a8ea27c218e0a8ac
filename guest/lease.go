package guest

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// A lease is what a server has granted.
type lease struct {
	addr      prefix4
	broadcast ip4
	server    ip4
	router    ip4 // zero: none
	routes    []destination
	dns       []ip4
	search    []string
	mtu       int // 0: none was named
	// seconds is how long it lasts, from the time when it was asked for on; t1 and t2 say when to renew it, and when to ask any server.
	seconds, t1, t2 int64
	from            int64 // by the link's clock
}

// forever is the time of a lease that doesn't end.
const forever = math.MaxUint32

// leastSeconds is how short a lease is taken to be: a server that grants less isn't asked more often for it.
const leastSeconds = 4

// leaseOf reads the lease that a server grants.
func leaseOf(r *reply, from int64) (*lease, error) {
	l := &lease{addr: prefix4{addr: r.addr}, server: r.server, from: from}
	if a := r.addr[0]; a == 0 || a == 127 || a >= 224 {
		return nil, fmt.Errorf("%v is no address for us", r.addr)
	}
	if err := l.setMask(r); err != nil {
		return nil, err
	}
	if err := l.setTimes(r); err != nil {
		return nil, err
	}
	var err error
	if l.broadcast, err = r.address(optBroadcast); err != nil {
		return nil, err
	}
	if l.broadcast == (ip4{}) {
		l.broadcast = l.addr.broadcast()
	}
	if l.routes, err = r.routes(); err != nil {
		return nil, err
	}
	routers, err := r.addresses(optRouter)
	if err != nil {
		return nil, err
	}
	if len(routers) > 0 {
		l.router = routers[0]
	}
	if l.dns, err = r.addresses(optDNS); err != nil {
		return nil, err
	}
	if l.search, err = r.search(); err != nil {
		return nil, err
	}
	mtu, err := r.number(optMTU, 2)
	l.mtu = int(mtu)
	return l, err
}

// setMask sets the length of the network's prefix; without a mask that is the one of the address's class.
func (l *lease) setMask(r *reply) error {
	m, err := r.number(optMask, 4)
	if err != nil {
		return err
	}
	switch a := l.addr.addr[0]; {
	case m != 0:
		l.addr.bits = bits.LeadingZeros32(^m)
	case a < 128:
		l.addr.bits = 8
	case a < 192:
		l.addr.bits = 16
	default:
		l.addr.bits = 24
	}
	if m<<l.addr.bits != 0 {
		return badOption(optMask)
	}
	return nil
}

// setTimes sets when the lease is renewed, and ends (RFC 2131, 4.4.5).
func (l *lease) setTimes(r *reply) error {
	n, err := r.number(optSeconds, 4)
	if err != nil {
		return err
	}
	if n == 0 {
		return badOption(optSeconds)
	}
	t1, err1 := r.number(optT1, 4)
	t2, err2 := r.number(optT2, 4)
	if err1 != nil || err2 != nil {
		return badOption(optT1)
	}
	l.seconds, l.t1, l.t2 = max(int64(n), leastSeconds), int64(t1), int64(t2)
	if l.t2 <= 0 || l.t2 >= l.seconds {
		l.t2 = l.seconds - l.seconds/8 - 1
	}
	if l.t1 <= 0 || l.t1 >= l.t2 {
		l.t1 = min(l.seconds/2, l.t2-1)
	}
	return nil
}

// gateway is where everything else goes: classless routes, where there are some, replace the router (RFC 3442).
func (l *lease) gateway() ip4 {
	if len(l.routes) == 0 {
		return l.router
	}
	for _, d := range l.routes {
		if d.net.bits == 0 {
			return d.router
		}
	}
	return ip4{}
}

// same says whether two leases set the same things in the kernel.
func (l *lease) same(o *lease) bool {
	return l != nil && o != nil && l.addr == o.addr && l.broadcast == o.broadcast && l.router == o.router && l.mtu == o.mtu &&
		slices.Equal(l.routes, o.routes)
}
