package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxPublished bounds the published ports of a project: each takes a socket.
const maxPublished = 65536

// loopback is the host's address where a published port names none.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// A hostPort is one port of the host, at an address or, with the zero one, at any of IPv4, or of IPv6 if v6 is set.
type hostPort struct {
	proto string
	port  int
	addr  netip.Addr
	v6    bool
}

// buildPublish fills in the published ports of a sub-kernel. Its NICs are not sure if d has found something wrong.
func (l *loader) buildPublish(d *decoder, s *Subkernel) {
	sure := !d.bad
	list, _ := d.texts("publish", `a list of ports such as ["8080:80"]`)
	if len(list) > 0 && len(s.NICs) == 0 {
		if sure {
			d.error(d.get("publish"), "Published port without a nic", fmt.Sprintf("%s has no network interface that its ports could be reached by. Add a nic block.", s.Name))
		}
		return
	}
	for _, v := range list {
		p, problem := parsePublish(v.val.AsString())
		if problem != "" {
			d.error(v, "Invalid published port", problem)
			continue
		}
		p.Range = toRange(v.attr.Expr.Range())
		if l.networks.published += p.PortEnd - p.Port + 1; l.networks.published > maxPublished {
			d.error(v, "Too many published ports", fmt.Sprintf("A project may publish %d ports. Publish fewer, or smaller ranges.", maxPublished))
			return
		}
		if port, other := l.networks.takePorts(p, s.Name); other != "" {
			d.error(v, "Duplicate published port", fmt.Sprintf("Port %d/%s of the host leads to %s. Take another one, or 0 for one that is free.", port, p.Proto, other))
			continue
		}
		s.Publish = append(s.Publish, p)
	}
}

// takePorts gives the ports to a sub-kernel, or returns one that is taken, and whom it leads to.
func (set *networkSet) takePorts(p Publish, owner string) (int, string) {
	if p.HostPort == 0 {
		return 0, ""
	}
	for n := p.HostPort; n <= p.HostPortEnd; n++ {
		key := hostPort{proto: p.Proto, port: n, addr: p.Host}
		wild := hostPort{proto: p.Proto, port: n, addr: unspecified(p.Host)}
		first := hostPort{proto: p.Proto, port: n, v6: p.Host.Is6()} // whoever was the first to have it on any address
		other := set.ports[key]
		if other == "" {
			other = set.ports[wild]
		}
		if other == "" && p.Host.IsUnspecified() {
			other = set.ports[first]
		}
		if other != "" {
			return n, other
		}
		set.ports[key] = owner
		if set.ports[first] == "" {
			set.ports[first] = owner
		}
	}
	return 0, ""
}

// unspecified returns the address that stands for all addresses of the same family.
func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// ParsePublish parses a published port as a file has it: see the documentation of publish. The error says what to write.
func ParsePublish(s string) (Publish, error) {
	p, problem := parsePublish(s)
	if problem != "" {
		return Publish{}, errors.New(problem)
	}
	return p, nil
}

// parsePublish parses [ADDRESS:][HOST-PORT:]PORT[/PROTOCOL], or says what is wrong with it.
func parsePublish(s string) (p Publish, problem string) {
	p = Publish{Host: loopback, Proto: "tcp"}
	rest, proto, hasProto := strings.Cut(s, "/")
	if hasProto {
		p.Proto = proto
	}
	if p.Proto != "tcp" && p.Proto != "udp" {
		return p, fmt.Sprintf("%q is not a protocol. Write /tcp or /udp.", proto)
	}
	host, ports := splitHost(rest)
	if host != "" {
		a, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil || a.Zone() != "" || a.Is4In6() || a.IsMulticast() || a.Is6() != strings.HasPrefix(host, "[") {
			return p, fmt.Sprintf("%q is not an address of the host. Write one such as 127.0.0.1 or [::1]; 0.0.0.0 is all of them.", host)
		}
		p.Host = a
	}
	hostPorts, guestPorts, both := strings.Cut(ports, ":")
	if !both {
		hostPorts, guestPorts = "0", ports
		if host != "" {
			return p, fmt.Sprintf("%q has one port only. Write ADDRESS:HOST-PORT:PORT, with 0 for a port of the host that is chosen.", s)
		}
	}
	if hostPorts == "" {
		hostPorts = "0"
	}
	var ok, guestOK bool
	p.Port, p.PortEnd, guestOK = parsePorts(guestPorts)
	p.HostPort, p.HostPortEnd, ok = parsePorts(hostPorts)
	if hostPorts == "0" {
		p.HostPort, p.HostPortEnd, ok = 0, 0, true
	}
	switch {
	case !ok || !guestOK:
		return p, fmt.Sprintf("%q is not a published port. Write [ADDRESS:]HOST-PORT:PORT[/PROTOCOL] with ports from 1 to 65535, or ranges of them: \"8080:80\", \"127.0.0.1:53:53/udp\", \"8000-8010:9000-9010\".", s)
	case p.HostPort != 0 && p.HostPortEnd-p.HostPort != p.PortEnd-p.Port:
		return p, fmt.Sprintf("The ranges %s and %s have different lengths. Write as many ports of the host as of the sub-kernel.", hostPorts, guestPorts)
	}
	return p, ""
}

// splitHost takes the address off, which is in brackets or followed by two colons.
func splitHost(s string) (host, ports string) {
	if strings.HasPrefix(s, "[") {
		if host, ports, ok := strings.Cut(s, "]:"); ok {
			return host + "]", ports
		}
		return s, ""
	}
	if i := strings.LastIndex(s, ":"); i >= 0 {
		if j := strings.LastIndex(s[:i], ":"); j >= 0 {
			return s[:j], s[j+1:]
		}
	}
	return "", s
}

// ports are the texts that are ports.
var ports = newPattern(`^[1-9][0-9]{0,4}$`)

// parsePorts parses a port, or a range of them with a hyphen.
func parsePorts(s string) (first, last int, ok bool) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	if !ports.MatchString(a) || !ports.MatchString(b) {
		return 0, 0, false
	}
	first, _ = strconv.Atoi(a) // the pattern holds that these are numbers
	last, _ = strconv.Atoi(b)
	return first, last, first <= last && last <= 65535
}

// String writes a published port as the language takes it.
func (p Publish) String() string {
	host := p.Host.String()
	if p.Host.Is6() {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%s:%s/%s", host, formatPorts(p.HostPort, p.HostPortEnd), formatPorts(p.Port, p.PortEnd), p.Proto)
}

func formatPorts(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
