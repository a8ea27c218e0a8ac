package netstack

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// target returns where a connection of a guest's to dst goes, or false if it goes nowhere.
func (g *Gateway) target(dst netip.AddrPort) (netip.AddrPort, bool) {
	a := dst.Addr()
	switch {
	case g.own(a) && g.cfg.HostLoopback:
		if a.Is4() {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dst.Port()), true
		}
		return netip.AddrPortFrom(netip.IPv6Loopback(), dst.Port()), true
	case !g.cfg.Uplink:
		return netip.AddrPort{}, false
	case g.own(a):
		h := hostAddr(a.Is4())
		return netip.AddrPortFrom(h, dst.Port()), h.IsValid()
	}
	return dst, g.rules.allowed(a)
}

// hostAddrs remembers the host's addresses for a moment.
var hostAddrs struct {
	sync.Mutex
	v4, v6 netip.Addr
	at     time.Time
}

// hostAddr returns an address of the host's that is not loopback: the one that it would use towards the world, else one of any interface.
func hostAddr(v4 bool) netip.Addr {
	h := &hostAddrs
	h.Lock()
	defer h.Unlock()
	if time.Since(h.at) > time.Second {
		// These are addresses for documentation. Nothing is sent to them.
		h.v4, h.v6 = sourceTowards("192.0.2.1:9"), sourceTowards("[2001:db8::1]:9")
		if !h.v4.IsValid() || !h.v6.IsValid() {
			h.v4, h.v6 = fromInterfaces(h.v4, h.v6)
		}
		h.at = time.Now()
	}
	if v4 {
		return h.v4
	}
	return h.v6
}

func sourceTowards(addr string) netip.Addr {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	a := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if !usable(a) {
		return netip.Addr{}
	}
	return a
}

// usable reports whether an address may be used as the host's.
func usable(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.IsLoopback() }

// fromInterfaces fills in what is missing.
func fromInterfaces(v4, v6 netip.Addr) (netip.Addr, netip.Addr) {
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, _ := netip.AddrFromSlice(n.IP)
			switch ip = ip.Unmap(); {
			case !usable(ip):
			case ip.Is4() && !v4.IsValid():
				v4 = ip
			case ip.Is6() && !v6.IsValid():
				v6 = ip
			}
		}
	}
	return v4, v6
}
