package dhcp

import (
	"container/heap"
	"container/list"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"sort"
	"time"
)

const (
	// maxBindings bounds a pool's memory.
	maxBindings = 65536
	// offerTime is how long an offered address waits for the client's request.
	offerTime = 10 * time.Second
	// declineTime is how long a declined address is set aside.
	declineTime = 10 * time.Minute
	// maxDeclines is how many addresses a client can set aside at a time.
	maxDeclines = 4
	// maxPerMAC is how many addresses that are not reserved a MAC can hold, with as many identifiers.
	maxPerMAC = 32
)

// A pool is the addresses of one family and whose they are. Its methods want the Server's lock.
type pool struct {
	server *Server
	subnet netip.Prefix
	ranges []Range  // without reserved addresses
	ends   []uint64 // for each range, how many addresses there are up to its end
	size   uint64   // of all ranges

	byAddr   map[netip.Addr]*binding
	byKey    map[string]*binding // what is set aside is nobody's
	used     int                 // bindings that are not reserved, maxBindings at most
	timed    expiry              // those that are not remembered only
	old      list.List           // those that are, the oldest first
	holds    map[string]int      // how many of timed are not reserved, by who has them
	declines map[string]int      // addresses set aside, by who declined them
	declined int                 // their number
	told     bool                // that the pool is exhausted
}

// A binding is an address that a client has, had or was offered.
type binding struct {
	addr     netip.Addr
	key      string
	mac      net.HardwareAddr
	id       []byte
	iaid     [4]byte // of DHCPv6
	name     string
	state    State
	expires  time.Time
	reserved bool
	leased   bool // it was once the client's, who gets it back
	index    int  // in timed
	elem     *list.Element
}

// A client is who asks for an address.
type client struct {
	key      string // who it is
	mac      net.HardwareAddr
	id       []byte
	iaid     [4]byte // of DHCPv6
	name     string
	reserved netip.Addr // its own
}

func newPool(s *Server, subnet netip.Prefix, ranges []Range, server netip.Addr, reserved []Range) (*pool, error) {
	p := &pool{server: s, subnet: subnet, byAddr: map[netip.Addr]*binding{}, byKey: map[string]*binding{},
		holds: map[string]int{}, declines: map[string]int{}}
	if !subnet.IsValid() {
		return p, nil
	}
	if len(ranges) == 0 {
		ranges = whole(subnet)
	}
	for _, r := range ranges {
		if err := checkRange(r, subnet); err != nil {
			return nil, fmt.Errorf("dhcp: configure %w", err)
		}
	}
	for _, r := range s.cfg.Exclude {
		if err := checkRange(r, netip.Prefix{}); err != nil {
			return nil, fmt.Errorf("dhcp: configure %w", err)
		}
	}
	holes := append(reserved, s.cfg.Exclude...)
	if server.IsValid() {
		holes = append(holes, Range{server, server})
	}
	for _, r := range subtract(ranges, holes) {
		if p.size < maxSpan {
			p.size += r.span()
		}
		p.ranges, p.ends = append(p.ranges, r), append(p.ends, p.size)
	}
	return p, nil
}

// at is the i-th address of the pool; i is less than its size.
func (p *pool) at(i uint64) netip.Addr {
	n := sort.Search(len(p.ends), func(n int) bool { return i < p.ends[n] })
	if n > 0 {
		i -= p.ends[n-1]
	}
	a, _ := add(p.ranges[n].First, i)
	return a
}

func (p *pool) contains(a netip.Addr) bool {
	n := sort.Search(len(p.ranges), func(n int) bool { return !p.ranges[n].Last.Less(a) })
	return n < len(p.ranges) && p.ranges[n].contains(a)
}

// free reports whether a client without an address may have a.
func (p *pool) free(a netip.Addr) bool {
	b := p.byAddr[a]
	return p.contains(a) && (b == nil || b.state == remembered)
}

// offer holds an address for c: its own, the one it has or had, the one it asks for, or a free one (RFC 2131, section 4.3.1). It is nil if
// there is none.
func (p *pool) offer(c *client, asked netip.Addr) *binding {
	b := p.byKey[c.key]
	switch {
	case b != nil && b.state != remembered:
	case p.greedy(c):
		b = nil
	case b != nil:
	case c.reserved.IsValid():
		b = p.create(c, c.reserved)
	case p.free(asked):
		b = p.create(c, asked)
	default:
		b = p.create(c, p.unused(c))
	}
	if b == nil {
		p.exhausted(c)
		return nil
	}
	if b.state != StateBound {
		p.set(b, StateOffered, offerTime)
	}
	return b
}

// take holds the very address addr for c, and is nil if c can't have it: it is not free, or c has another.
func (p *pool) take(c *client, addr netip.Addr) *binding {
	own := p.byKey[c.key]
	switch {
	case own != nil && own.addr == addr && own.state != remembered:
		return own
	case p.greedy(c):
		return nil
	case own != nil && own.addr == addr:
		return own
	case c.reserved.IsValid():
		if addr != c.reserved {
			return nil
		}
		return p.create(c, addr)
	case own != nil && own.state != remembered, !p.free(addr):
		return nil
	case own != nil:
		p.remove(own)
	}
	return p.create(c, addr)
}

// greedy reports whether c can't have one more address.
func (p *pool) greedy(c *client) bool {
	return !c.reserved.IsValid() && p.holds[who(c.mac, c.key)] >= maxPerMAC
}

// unused is the address that a new client is to get; invalid: there is none. The search ends after as many steps as there are bindings.
func (p *pool) unused(c *client) netip.Addr {
	if uint64(p.used) >= min(p.size, maxBindings) {
		if e := p.old.Front(); e != nil {
			return e.Value.(*binding).addr
		}
		return netip.Addr{}
	}
	h := fnv.New64a()
	if c.mac != nil {
		h.Write(c.mac)
	} else {
		h.Write(c.id)
	}
	for i := h.Sum64() % p.size; ; i = (i + 1) % p.size {
		if a := p.at(i); p.byAddr[a] == nil {
			return a
		}
	}
}

// create makes a binding of a free address. It is nil if there is no room, or addr is invalid.
func (p *pool) create(c *client, addr netip.Addr) *binding {
	if !addr.IsValid() {
		return nil
	}
	if b := p.byAddr[addr]; b != nil {
		p.remove(b)
	}
	b := &binding{addr: addr, key: c.key, mac: c.mac, id: c.id, iaid: c.iaid, name: c.name, reserved: addr == c.reserved, index: -1}
	if !b.reserved {
		if p.used >= maxBindings {
			e := p.old.Front()
			if e == nil {
				return nil
			}
			p.remove(e.Value.(*binding))
		}
		p.used++
	}
	p.byAddr[addr], p.byKey[c.key] = b, b
	p.set(b, StateOffered, offerTime)
	return b
}

// set gives a binding a state that lasts for d.
func (p *pool) set(b *binding, s State, d time.Duration) {
	if b.elem != nil {
		p.old.Remove(b.elem)
		b.elem = nil
	}
	b.state, b.expires = s, p.server.now.Add(d)
	if b.index >= 0 {
		heap.Fix(&p.timed, b.index)
		return
	}
	heap.Push(&p.timed, b)
	p.count(b, 1)
}

// unset takes a binding out of those that have a state that ends.
func (p *pool) unset(b *binding) {
	if b.index >= 0 {
		heap.Remove(&p.timed, b.index)
		p.count(b, -1)
	}
}

// count adds n to what a binding's client holds.
func (p *pool) count(b *binding, n int) {
	if b.reserved {
		return
	}
	k := who(b.mac, b.key)
	if p.holds[k] += n; p.holds[k] == 0 {
		delete(p.holds, k)
	}
}

// bind leases a binding's address to c for d.
func (p *pool) bind(b *binding, c *client, d time.Duration) {
	kind := Leased
	if b.state == StateBound {
		kind = Renewed
	}
	p.unset(b) // the client may have another MAC now
	b.mac, b.id, b.iaid, b.name, b.leased = c.mac, c.id, c.iaid, c.name, true
	p.set(b, StateBound, d)
	p.server.note(kind, b.lease())
}

// end frees a binding's address, and remembers whose it was if the client had a lease.
func (p *pool) end(b *binding) {
	p.told = false
	if !b.leased || b.reserved || b.state == StateDeclined {
		p.remove(b)
		return
	}
	p.unset(b)
	b.state = remembered
	b.elem = p.old.PushBack(b)
}

// release ends a lease that the client gives back (RFC 2131, section 4.3.4).
func (p *pool) release(b *binding) {
	p.server.note(Released, b.lease())
	p.end(b)
}

// decline sets a binding's address aside (RFC 2131, section 4.3.3), unless its client has declined too many, or half of the pool is set
// aside. A reserved address is nobody else's: it will be given to the same client again.
func (p *pool) decline(b *binding) {
	p.server.note(Declined, b.lease())
	k := who(b.mac, b.key)
	if b.reserved || p.declines[k] >= maxDeclines || uint64(p.declined+1)*2 > p.size {
		p.remove(b)
		return
	}
	delete(p.byKey, b.key)
	p.set(b, StateDeclined, declineTime)
	p.declines[k]++
	p.declined++
}

// who tells apart what clients take from each other: by MAC, because a client can have as many identifiers as it likes.
func who(mac net.HardwareAddr, key string) string {
	if mac != nil {
		return "m" + string(mac)
	}
	return key
}

// remove forgets a binding.
func (p *pool) remove(b *binding) {
	p.told = false
	delete(p.byAddr, b.addr)
	if p.byKey[b.key] == b {
		delete(p.byKey, b.key)
	}
	if !b.reserved {
		p.used--
	}
	p.unset(b)
	if b.elem != nil {
		p.old.Remove(b.elem)
	}
	if b.state == StateDeclined {
		p.declined--
		k := who(b.mac, b.key)
		if p.declines[k]--; p.declines[k] == 0 {
			delete(p.declines, k)
		}
	}
}

// sweep ends what has expired.
func (p *pool) sweep() {
	for len(p.timed) > 0 && !p.server.now.Before(p.timed[0].expires) {
		b := p.timed[0]
		if b.state == StateBound {
			p.server.note(Expired, b.lease())
		}
		p.end(b)
	}
}

func (p *pool) exhausted(c *client) {
	if !p.told {
		p.told = true
		p.server.note(Exhausted, Lease{MAC: c.mac, ClientID: c.id, Hostname: c.name})
	}
}

func (b *binding) lease() Lease {
	return Lease{Addr: b.addr, MAC: b.mac, ClientID: b.id, Hostname: b.name, Expires: b.expires, State: b.state, Reserved: b.reserved}
}

// An expiry is a heap of bindings, the next to expire first.
type expiry []*binding

func (e expiry) Len() int           { return len(e) }
func (e expiry) Less(i, j int) bool { return e[i].expires.Before(e[j].expires) }
func (e expiry) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

// Push is part of heap.Interface.
func (e *expiry) Push(x any) {
	b := x.(*binding)
	b.index = len(*e)
	*e = append(*e, b)
}

// Pop is part of heap.Interface.
func (e *expiry) Pop() any {
	n := len(*e) - 1
	b := (*e)[n]
	(*e)[n] = nil
	*e = (*e)[:n]
	b.index = -1
	return b
}
