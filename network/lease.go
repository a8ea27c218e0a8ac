package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/sekexe/sekexe/network/dhcp"
)

// dhcpConfig is what the network's DHCP server is told.
func (s *segment) dhcpConfig() dhcp.Config {
	d := &s.DHCP
	c := dhcp.Config{
		Server: s.gateway, Subnet: s.subnet, Lease: d.Lease, Routers: s.routers(), DNS: s.nameServers(), NTP: d.NTP,
		Domain: d.Domain, Search: d.Search, MTU: s.mtu, Subnet6: s.subnet6, OnLink6: s.Mode != "tun", Default6: s.Uplink != "none",
		Options: map[uint8][]byte{}, OnEvent: s.leaseEvent,
	}
	if s.IPv6 {
		c.DNS6 = []netip.Addr{s.gateway6}
	}
	for _, r := range d.Ranges {
		c.Ranges = append(c.Ranges, dhcp.Range(r))
	}
	for _, r := range d.Exclude {
		c.Exclude = append(c.Exclude, dhcp.Range(r))
	}
	for _, r := range d.Routes {
		c.Routes = append(c.Routes, dhcp.Route(r))
	}
	for n, v := range d.Options {
		c.Options[uint8(n)] = []byte(v)
	}
	c.Hosts = s.dhcpHosts()
	return c
}

// dhcpHosts are the NICs, each with the address that was decided on, and the hosts that the file names.
func (s *segment) dhcpHosts() []dhcp.Host {
	var hosts []dhcp.Host
	for i, at := range s.places {
		nic := &s.networks.plan.Nodes[at.job].Job.NICs[at.nic]
		hosts = append(hosts, dhcp.Host{MAC: nic.MAC, Addr: s.addrs[i], Addr6: s.addrs6[i], Name: nic.Names[0]})
	}
	for _, h := range s.DHCP.Hosts {
		if mac, err := net.ParseMAC(h.MAC); err == nil { // which config has checked
			hosts = append(hosts, dhcp.Host{MAC: mac, Addr: h.Addr})
		}
	}
	return hosts
}

// leaseEvent tells of leases of clients that are no NICs of the project, such as containers in a sub-kernel, and of a pool that is exhausted.
func (s *segment) leaseEvent(e dhcp.Event) {
	if e.Kind == dhcp.Exhausted {
		s.networks.o.Notice(fmt.Sprintf("network %s: DHCP: there is no free address left", s.Name))
	}
}
