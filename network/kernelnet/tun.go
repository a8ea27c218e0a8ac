//go:build linux

package kernelnet

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// buildTun makes a link to each port, between which the kernel routes. It answers for everybody's addresses on every link (proxy ARP and
// NDP), so that the guests see one subnet.
func (b *builder) buildTun() error {
	if !b.host {
		// The namespace is the segment's own. What follows is for all links that are made after it.
		err := setSysctls(true, "net/ipv4/ip_forward=1", "net/ipv4/conf/all/rp_filter=0", "net/ipv4/conf/all/send_redirects=0")
		if err == nil && b.Addr6.IsValid() {
			err = setSysctls(true, "net/ipv6/conf/all/forwarding=1")
		}
		if err != nil {
			return err
		}
	}
	b.tell(b.gatewayMAC())
	if b.Netstack {
		if err := b.tunGateway(); err != nil {
			return fmt.Errorf("the gateway's port: %w", err)
		}
	}
	for i := range b.Ports {
		if err := b.tunPort(i); err != nil {
			return fmt.Errorf("the port of %s: %w", b.Ports[i].Name, err)
		}
	}
	if err := b.proxies(); err != nil {
		return err
	}
	if b.host {
		return nil // the firewall is one for all segments
	}
	if err := b.unreachable(); err != nil {
		return err
	}
	return installFirewall(privateTable, []*builder{b})
}

// tunLink makes a link with what the kernel needs to route by it.
func (b *builder) tunLink(kind partKind, near, far linkKind, n int) (int, error) {
	mac := b.gatewayMAC()
	if kind == partGateway {
		mac = b.mac("kernel") // the gateway itself is on that link
	}
	index, err := b.port(kind, near, far, n, mac)
	if err != nil {
		return 0, err
	}
	if err := b.routable(b.name(near, n), kind == partPort); err != nil {
		return 0, err
	}
	if err := b.up(index); err != nil {
		return 0, err
	}
	if b.Netstack {
		// Something to send ICMP errors and ARP requests from.
		if err := b.address(index, mustPrefix("169.254.1.1/32"), netlink.SCOPE_LINK); err != nil {
			return 0, err
		}
	} else if b.Addr.IsValid() {
		if err := b.address(index, single(b.Addr.Addr()), netlink.SCOPE_UNIVERSE); err != nil {
			return 0, err
		}
	}
	if !b.Addr6.IsValid() {
		return index, nil
	}
	if err := b.address(index, linkLocal, netlink.SCOPE_LINK); err != nil {
		return 0, err
	}
	if b.Netstack {
		return index, nil
	}
	return index, b.address(index, single(b.Addr6.Addr()), netlink.SCOPE_UNIVERSE)
}

// routable sets how the kernel behaves on a link. From a guest's, it takes only what has the guest's own address.
func (b *builder) routable(name string, guest bool) error {
	v4, v6 := "net/ipv4/conf/"+name+"/", "net/ipv6/conf/"+name+"/"
	filter := "rp_filter=0"
	if guest {
		filter = "rp_filter=1"
	}
	err := setSysctls(true, v4+"proxy_arp=1", v4+filter, v4+"forwarding=1", v4+"send_redirects=0", v4+"accept_redirects=0",
		"net/ipv4/neigh/"+name+"/proxy_delay=0")
	if err != nil {
		return err
	}
	if !b.Addr6.IsValid() {
		quiet(name)
		return nil
	}
	return setSysctls(true, v6+"disable_ipv6=0", v6+"proxy_ndp=1", v6+"forwarding=1", v6+"accept_ra=0", v6+"accept_redirects=0", v6+"accept_dad=0",
		"net/ipv6/neigh/"+name+"/proxy_delay=0")
}

// tunGateway makes the port of a gateway in our process. What isn't a guest's is routed to it.
func (b *builder) tunGateway() error {
	index, err := b.tunLink(partGateway, linkGateway, farGateway, 0)
	if err != nil {
		return err
	}
	b.gateway = index
	for _, a := range []netip.Addr{b.Addr.Addr(), b.Addr6.Addr()} {
		if !a.IsValid() {
			continue
		}
		if err := b.neighbour(index, a, Port{MAC: b.gatewayMAC()}); err != nil {
			return err
		}
		r := &netlink.Route{LinkIndex: index, Gw: a.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		if err := b.nl.RouteAdd(r); err != nil {
			return fmt.Errorf("route what is elsewhere to it: %w", err)
		}
	}
	return nil
}

// tunPort makes the link to one guest.
func (b *builder) tunPort(i int) error {
	index, err := b.tunLink(partPort, linkPort, farPort, i)
	if err != nil {
		return err
	}
	b.ports = append(b.ports, index)
	p := b.Ports[i]
	for _, a := range []netip.Addr{p.Addr, p.Addr6} {
		if a.IsValid() {
			if err := b.neighbour(index, a, p); err != nil {
				return err
			}
		}
	}
	if err := b.socketPart(partListener, useListen, index, i); err != nil {
		return err
	}
	if b.Capture {
		return b.socketPart(partCapture, useCapture, index, i)
	}
	return nil
}

// neighbour routes one address to a link, and lays down the MAC address of it, so that the kernel need not ask there.
func (b *builder) neighbour(index int, a netip.Addr, p Port) error {
	r := &netlink.Route{LinkIndex: index, Dst: ipNet(single(a)), Scope: netlink.SCOPE_LINK}
	if a.Is4() && b.Addr.IsValid() && !b.Netstack {
		r.Src = b.Addr.Addr().AsSlice()
	}
	if err := b.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("route %s: %w", a, err)
	}
	if p.MAC == nil {
		return nil
	}
	if err := b.nl.NeighSet(&netlink.Neigh{LinkIndex: index, State: unix.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: p.MAC}); err != nil {
		return fmt.Errorf("lay down that %s is %s: %w", a, p.MAC, err)
	}
	return nil
}

// proxies has the kernel answer neighbour solicitations for everybody else's IPv6 address on every link. For IPv4, proxy_arp is enough.
func (b *builder) proxies() error {
	if !b.Addr6.IsValid() {
		return nil
	}
	add := func(index int, a netip.Addr) error {
		if !a.IsValid() {
			return nil
		}
		if err := b.nl.NeighAdd(&netlink.Neigh{LinkIndex: index, Family: unix.AF_INET6, Flags: unix.NTF_PROXY, IP: a.AsSlice()}); err != nil {
			return fmt.Errorf("answer for %s: %w", a, err)
		}
		return nil
	}
	for i, p := range b.Ports {
		for j, index := range b.ports {
			if i == j || b.Isolated {
				continue
			}
			if err := add(index, p.Addr6); err != nil {
				return err
			}
		}
		if b.Netstack {
			if err := add(b.gateway, p.Addr6); err != nil {
				return err
			}
			if err := add(b.ports[i], b.Addr6.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}

// unreachable has the kernel say so of addresses of the subnet that nobody has.
func (b *builder) unreachable() error {
	for _, p := range []netip.Prefix{b.Addr, b.Addr6} {
		if !p.IsValid() || p.IsSingleIP() {
			continue
		}
		if err := b.nl.RouteAdd(&netlink.Route{Dst: ipNet(p.Masked()), Type: unix.RTN_UNREACHABLE}); err != nil {
			return fmt.Errorf("make the rest of %s unreachable: %w", p.Masked(), err)
		}
	}
	return nil
}
