package netstack

import (
	"bytes"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// rules say which frames the gateway takes, and where it connects to.
type rules struct {
	mac       []byte
	mtu       int
	addr      netip.Prefix
	addr6     netip.Prefix
	linkLocal netip.Addr // invalid: no IPv6
	deny      []netip.Prefix
}

func newRules(cfg Config) rules {
	r := rules{mac: slices.Clone(cfg.MAC), mtu: cfg.MTU, addr: cfg.Addr, addr6: cfg.Addr6, deny: slices.Clone(cfg.Deny)}
	if cfg.Addr6.IsValid() {
		r.linkLocal = LinkLocal(cfg.MAC)
	}
	return r
}

func (r *rules) own(a netip.Addr) bool {
	return a == r.addr.Addr() || a.Is6() && r.addr6.IsValid() && (a == r.addr6.Addr() || a == r.linkLocal)
}

// wants looks at a frame before anything is spent on it.
func (r *rules) wants(f []byte) (tcpip.NetworkProtocolNumber, bool) {
	if len(f) < header.EthernetMinimumSize || len(f) > header.EthernetMinimumSize+r.mtu {
		return 0, false
	}
	dst, src := f[:6], f[6:12]
	unicast := dst[0]&1 == 0
	if unicast && !bytes.Equal(dst, r.mac) || src[0]&1 != 0 || bytes.Equal(src, r.mac) {
		return 0, false
	}
	proto := tcpip.NetworkProtocolNumber(uint16(f[12])<<8 | uint16(f[13]))
	f = f[header.EthernetMinimumSize:]
	switch proto {
	case header.ARPProtocolNumber:
		return proto, r.wantsARP(f)
	case header.IPv4ProtocolNumber:
		return proto, unicast && r.wantsIPv4(f)
	case header.IPv6ProtocolNumber:
		return proto, r.linkLocal.IsValid() && r.wantsIPv6(f, unicast)
	}
	return 0, false
}

// wantsARP is for questions about our address and answers to ours: the stack would answer for every address.
func (r *rules) wantsARP(f []byte) bool {
	if len(f) < header.ARPSize {
		return false
	}
	a := header.ARP(f)
	target, _ := netip.AddrFromSlice(a.ProtocolAddressTarget())
	sender, _ := netip.AddrFromSlice(a.ProtocolAddressSender())
	return a.IsValid() && target == r.addr.Addr() && sender != target && (r.addr.Contains(sender) || sender.IsUnspecified())
}

// wantsIPv4 is for packets of this segment. A broadcast is none of a gateway's business: DHCP has a server of its own.
func (r *rules) wantsIPv4(f []byte) bool {
	if len(f) < header.IPv4MinimumSize {
		return false
	}
	src, _ := netip.AddrFromSlice(f[12:16])
	dst, _ := netip.AddrFromSlice(f[16:20])
	return r.addr.Contains(src) && src != r.addr.Addr() && !dst.IsMulticast() && !isBroadcast(dst, r.addr)
}

// isBroadcast reports whether a is the limited broadcast address or one of the prefix's.
func isBroadcast(a netip.Addr, p netip.Prefix) bool {
	if a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	return p.Bits() < 31 && p.Contains(a) && (a == p.Masked().Addr() || !p.Contains(a.Next()))
}

// wantsIPv6 is for packets of this segment, and of neighbour discovery what concerns our addresses. Extension headers other than that of
// fragments do not occur in what we serve.
func (r *rules) wantsIPv6(f []byte, unicast bool) bool {
	if len(f) < header.IPv6MinimumSize {
		return false
	}
	src, _ := netip.AddrFromSlice(f[8:24])
	switch tcpip.TransportProtocolNumber(f[6]) {
	case header.ICMPv6ProtocolNumber:
		if len(f) < header.IPv6MinimumSize+header.ICMPv6MinimumSize {
			return false
		}
		switch header.ICMPv6Type(f[header.IPv6MinimumSize]) {
		case header.ICMPv6NeighborSolicit:
			return r.wantsSolicit(f, src)
		case header.ICMPv6NeighborAdvert, header.ICMPv6EchoRequest, header.ICMPv6EchoReply, header.ICMPv6DstUnreachable, header.ICMPv6PacketTooBig:
		default:
			return false
		}
	case header.TCPProtocolNumber, header.UDPProtocolNumber, header.IPv6FragmentHeader:
	default:
		return false
	}
	return unicast && f[24] != 0xff && (r.addr6.Contains(src) || src.IsLinkLocalUnicast()) && !r.own(src)
}

func (r *rules) wantsSolicit(f []byte, src netip.Addr) bool {
	const targetAt = header.IPv6MinimumSize + 8
	if len(f) < targetAt+16 {
		return false
	}
	target, _ := netip.AddrFromSlice(f[targetAt : targetAt+16])
	return r.own(target) && !r.own(src)
}

// allowed reports whether a guest may be connected to an address of the world.
func (r *rules) allowed(a netip.Addr) bool {
	switch {
	case a.Is4In6(), a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), r.own(a):
		return false
	case a.Is4():
		b := a.As4()
		// What answers at link-local addresses is meant for the host alone: a cloud's metadata service gives it credentials.
		if b[0] == 0 || b[0] >= 240 || a.IsLinkLocalUnicast() || r.addr.Contains(a) {
			return false
		}
	default:
		// Below ::/96 are addresses of IPv4 written as IPv6.
		if a.IsLinkLocalUnicast() || netip.PrefixFrom(netip.IPv6Unspecified(), 96).Contains(a) || r.addr6.IsValid() && r.addr6.Contains(a) {
			return false
		}
	}
	return !slices.ContainsFunc(r.deny, func(p netip.Prefix) bool { return p.Contains(a) })
}
