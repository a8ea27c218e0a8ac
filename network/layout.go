package network

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/sekexe/sekexe/orchestrator"
)

// A place is where a NIC is: indices in Plan.Nodes and in Job.NICs.
type place struct{ job, nic int }

// A layout is a network with all that the file left open decided.
type layout struct {
	*orchestrator.Network
	subnet, subnet6   netip.Prefix // subnet is the zero Prefix where others give out the addresses
	gateway, gateway6 netip.Addr
	mac               net.HardwareAddr // the gateway's
	mtu               int
	places            []place
	index             map[place]int // of places
	addrs, addrs6     []netip.Addr  // of the places; zero where others give them out
}

// addrOf returns the addresses of a NIC with the length of their prefix.
func (l *layout) addrOf(at int) (v4, v6 netip.Prefix) {
	if a := l.addrs[at]; a.IsValid() {
		v4 = netip.PrefixFrom(a, l.subnet.Bits())
	}
	if a := l.addrs6[at]; a.IsValid() {
		v6 = netip.PrefixFrom(a, l.subnet6.Bits())
	}
	return v4, v6
}

// foreign says that the addresses of the network are not ours to give: it is a bridge of the host that was joined, and the file names no subnet.
func (l *layout) foreign() bool { return l.Bridge != "" && !l.Subnet.IsValid() }

// layOut decides on the subnets and addresses of a plan's networks. The same plan on a host with the same routes, taken, gives the same
// addresses.
func layOut(p *orchestrator.Plan, taken []netip.Prefix) ([]*layout, error) {
	all := make([]*layout, len(p.Networks))
	for i := range p.Networks {
		n := &p.Networks[i]
		all[i] = &layout{Network: n, mac: gatewayMAC(p.Project, n.Name), mtu: mtuOf(n), index: map[place]int{}}
		if n.Subnet.IsValid() {
			taken = append(slices.Clip(taken), n.Subnet)
		}
	}
	for j := range p.Nodes {
		for k, nic := range p.Nodes[j].Job.NICs {
			l := all[nic.Network]
			l.index[place{j, k}] = len(l.places)
			l.places = append(l.places, place{j, k})
		}
	}
	for _, l := range all {
		if err := l.chooseSubnets(p.Project, taken); err != nil {
			return nil, err
		}
		if l.subnet.IsValid() && !l.Subnet.IsValid() {
			taken = append(taken, l.subnet)
		}
		if err := l.giveAddresses(p); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// The default MTUs. The frames of a network that leaves the host only by a stack that ends connections may be as long as its parts take,
// and the longer they are, the less each byte costs. On a bridge of the host others have a say.
const (
	privateMTU = 32000
	hostMTU    = 1500
)

func mtuOf(n *orchestrator.Network) int {
	switch {
	case n.MTU != 0:
		return n.MTU
	case n.Scope == "host":
		return hostMTU
	}
	return privateMTU
}

// gatewayMAC is a locally administered address made of the names, the same in each run.
func gatewayMAC(project, network string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("gateway\x00" + project + "\x00" + network))
	return net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

// chooseSubnets takes the file's subnets or chooses free ones.
func (l *layout) chooseSubnets(project string, taken []netip.Prefix) error {
	l.subnet, l.subnet6 = l.Subnet, l.Subnet6
	if !l.subnet.IsValid() && l.Bridge == "" {
		s, ok := freeSubnet(project, l.Name, len(l.places), taken)
		if !ok {
			return withHint(fmt.Errorf("network %s: choose a subnet: every one of %s is in use on this host", l.Name, freePool), "name one: subnet = \"192.168.77.0/24\"")
		}
		l.subnet = s
	}
	if l.IPv6 && !l.subnet6.IsValid() {
		l.subnet6 = uniqueLocal(project, l.Name)
	}
	return nil
}

// freePool is where subnets are chosen from: a part of 10.0.0.0/8 that few use.
var freePool = netip.MustParsePrefix("10.64.0.0/10")

// freeSubnet chooses a subnet for so many NICs that overlaps with nothing taken. Where to look first depends on the names alone, so that
// the same file has the same subnets in each run, and two files seldom do.
func freeSubnet(project, network string, nics int, taken []netip.Prefix) (netip.Prefix, bool) {
	bits := 24
	for bits > 12 && 1<<(32-bits) < 4*nics { // room for what runs inside the sub-kernels
		bits--
	}
	sum := sha256.Sum256([]byte("subnet\x00" + project + "\x00" + network))
	count := uint32(1) << (bits - freePool.Bits())
	first := binary.BigEndian.Uint32(sum[:4]) % count
	base := freePool.Addr().As4()
	for i := range count {
		n := binary.BigEndian.Uint32(base[:]) + (first+i)%count<<(32-bits)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))), bits)
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// uniqueLocal is a ULA prefix (RFC 4193) made of the names.
func uniqueLocal(project, network string) netip.Prefix {
	sum := sha256.Sum256([]byte("ula\x00" + project + "\x00" + network))
	a := [16]byte{0xfd, sum[0], sum[1], sum[2], sum[3], sum[4]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// giveAddresses gives the gateway and each NIC their addresses.
func (l *layout) giveAddresses(p *orchestrator.Plan) error {
	l.addrs, l.addrs6 = make([]netip.Addr, len(l.places)), make([]netip.Addr, len(l.places))
	used := map[netip.Addr]bool{}
	for i, at := range l.places {
		nic := &p.Nodes[at.job].Job.NICs[at.nic]
		l.addrs[i], l.addrs6[i] = nic.Address, nic.Address6
		used[nic.Address] = true
	}
	if l.subnet.IsValid() {
		if err := l.giveIPv4(p, used); err != nil {
			return err
		}
	}
	if l.IPv6 {
		l.gateway6 = l.subnet6.Masked().Addr().Next()
		for i, at := range l.places {
			if !l.addrs6[i].IsValid() {
				l.addrs6[i] = eui64(l.subnet6, p.Nodes[at.job].Job.NICs[at.nic].MAC)
			}
		}
	}
	return nil
}

// giveIPv4 decides on the gateway's address first, then on those of the NICs that have none, in the plan's order.
func (l *layout) giveIPv4(p *orchestrator.Plan, used map[netip.Addr]bool) error {
	for _, h := range l.DHCP.Hosts {
		used[h.Addr] = true
	}
	l.gateway = l.Gateway
	if !l.gateway.IsValid() {
		l.gateway = nextFree(l.hosts(), used, nil)
	}
	used[l.gateway] = true
	ranges := l.DHCP.Ranges
	if len(ranges) == 0 {
		ranges = []orchestrator.AddrRange{l.hosts()}
	}
	for i, at := range l.places {
		if l.addrs[i].IsValid() {
			continue
		}
		for _, r := range ranges {
			if l.addrs[i] = nextFree(r, used, l.DHCP.Exclude); l.addrs[i].IsValid() {
				break
			}
		}
		if !l.addrs[i].IsValid() {
			return withHint(fmt.Errorf("network %s: give %s an address: there is none left for it", l.Name, p.Nodes[at.job].Job.Name),
				"widen the range of the dhcp block, or the subnet")
		}
		used[l.addrs[i]] = true
	}
	return nil
}

// hosts is all of the subnet but its first and last address.
func (l *layout) hosts() orchestrator.AddrRange {
	first := l.subnet.Masked().Addr()
	b := first.As4()
	last := binary.BigEndian.Uint32(b[:]) | (1<<(32-l.subnet.Bits()) - 1)
	return orchestrator.AddrRange{First: first.Next(), Last: netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, last-1)))}
}

// nextFree returns the first address of a range that is neither used nor excluded; the zero Addr if there is none.
func nextFree(r orchestrator.AddrRange, used map[netip.Addr]bool, exclude []orchestrator.AddrRange) netip.Addr {
	for a := r.First; a.IsValid() && a.Compare(r.Last) <= 0; a = a.Next() {
		if used[a] {
			continue
		}
		i := slices.IndexFunc(exclude, func(e orchestrator.AddrRange) bool { return a.Compare(e.First) >= 0 && a.Compare(e.Last) <= 0 })
		if i < 0 {
			return a
		}
		a = exclude[i].Last // and go on behind it
	}
	return netip.Addr{}
}

// eui64 is the address that a host gives itself by stateless configuration (RFC 4862, RFC 4291 appendix A).
func eui64(p netip.Prefix, mac net.HardwareAddr) netip.Addr {
	b := p.Masked().Addr().As16()
	copy(b[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(b)
}

// linkLocal is a MAC's link-local address.
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return eui64(netip.MustParsePrefix("fe80::/64"), mac)
}

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

// Hint says what to do about it.
func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }

func withHint(err error, hint string) error { return &hinted{err, hint} }
