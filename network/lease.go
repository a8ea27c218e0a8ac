package network

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/sekexe/sekexe/network/dhcp"
	"github.com/sekexe/sekexe/orchestrator"
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
	switch {
	case e.Kind == dhcp.Exhausted:
		s.networks.o.Notice(fmt.Sprintf("network %s: DHCP: there is no free address left", s.Name))
	case e.Kind == dhcp.Leased && !s.isNIC(e.Lease.MAC):
		s.networks.leased(s.number, foreignLease(&e.Lease))
	}
}

// isNIC says whether a MAC is that of a NIC of the plan, on this network.
func (s *segment) isNIC(mac net.HardwareAddr) bool {
	return slices.ContainsFunc(s.places, func(at place) bool {
		return bytes.Equal(s.networks.plan.Nodes[at.job].Job.NICs[at.nic].MAC, mac)
	})
}

// foreignLease is a lease as the report has it. The client chose the name.
func foreignLease(l *dhcp.Lease) orchestrator.Lease {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' {
			return r
		}
		return -1
	}, l.Hostname)
	return orchestrator.Lease{Addr: l.Addr, MAC: slices.Clone(l.MAC), Name: name[:min(len(name), 63)]}
}

// leases are those of clients that are no NICs of the plan, at most maxLeases.
func (s *segment) leases() []orchestrator.Lease {
	var out []orchestrator.Lease
	if s.dhcp == nil {
		return nil
	}
	for _, l := range s.dhcp.Leases() {
		if l.State == dhcp.StateBound && !s.isNIC(l.MAC) && len(out) < maxLeases {
			out = append(out, foreignLease(&l))
		}
	}
	return out
}

// maxLeases bounds what a guest can write into a report.
const maxLeases = 1000
