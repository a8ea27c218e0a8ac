package dhcp

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	defaultLease = time.Hour
	// maxLease is below the number that means infinity (RFC 2132, section 9.2; RFC 8415, section 7.7).
	maxLease = (1<<32 - 2) * time.Second
)

// A Range is the addresses from First to Last, both included.
type Range struct{ First, Last netip.Addr }

// A Route is a classless static route (RFC 3442). Without Via the destination is on the link.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// A Host is a client that is known beforehand, by its MAC.
type Host struct {
	MAC net.HardwareAddr
	// Addr and Addr6 are reserved for it, and may be outside the ranges. Invalid ones come from the pool.
	Addr, Addr6 netip.Addr
	// Name is the host name that it is told, and that its leases have; empty: what the client calls itself.
	Name string
}

// A Config says what a Server gives to whom. What isn't set is not sent.
type Config struct {
	// Server is the server identifier: the address that clients reach this server at, usually the gateway's.
	Server netip.Addr
	// Subnet is the network of IPv4. If it isn't valid, DHCPv4 is not answered.
	Subnet netip.Prefix
	// Ranges are what addresses are given from; empty: the whole subnet without its network and broadcast address, and without Server.
	// Addresses of Exclude (of either family) and of Hosts are never given from them.
	Ranges  []Range
	Exclude []Range
	// Lease is how long leases are, and what clients may ask for at most; zero: an hour.
	Lease time.Duration
	// Renew is after what time clients are to renew their leases (T1), if that is before the half of them; zero: after the half.
	Renew             time.Duration
	Routers, DNS, NTP []netip.Addr // NTP may have addresses of both families
	Domain            string
	Search            []string // empty: Domain
	MTU               int
	// Routes are sent as option 121. A client that takes it must ignore the routers (RFC 3442), so that a default route by the first
	// router is added if there is none.
	Routes []Route
	// Options are sent by their number as they are, asked for or not, in place of what is said above. An empty value only keeps ours
	// from being sent.
	Options map[uint8][]byte
	Hosts   []Host

	// Subnet6 is the prefix of IPv6. If it isn't valid, neither DHCPv6 nor router solicitations are answered.
	Subnet6 netip.Prefix
	Server6 netip.Addr // never given to a client
	DNS6    []netip.Addr
	Range6  []Range // as Ranges
	// Stateless6 leaves addresses to SLAAC: DHCPv6 tells only DNS and NTP.
	Stateless6 bool
	OnLink6    bool // what is in the prefix is on the link; if not, all goes by the router
	Default6   bool // the router is a default router

	// OnEvent is called for what happens to leases, in order and never by two goroutines at once. No lock is held: it may call the Server.
	OnEvent func(Event)
	Now     func() time.Time // nil: time.Now
}

// forbiddenOptions are those that carry the protocol itself.
var forbiddenOptions = []uint8{0, 50, 51, 53, 54, 61, 82, 255}

const (
	// maxList bounds lists of addresses and names, so that answers fit into the smallest packets.
	maxList  = 15
	maxValue = 1024
)

// prepare returns a copy of c with what isn't set filled in.
func (c Config) prepare() (Config, error) {
	if !c.Subnet.IsValid() && !c.Subnet6.IsValid() {
		return c, errors.New("dhcp: configure: there is neither a subnet of IPv4 nor of IPv6")
	}
	if c.Lease == 0 {
		c.Lease = defaultLease
	}
	if c.Lease < time.Second || c.Lease > maxLease {
		return c, fmt.Errorf("dhcp: configure the lease time: %v is not between 1s and %v", c.Lease, maxLease)
	}
	if c.Renew != 0 && c.Renew < time.Second {
		return c, fmt.Errorf("dhcp: configure the time of renewal: %v is shorter than a second", c.Renew)
	}
	if c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535) {
		return c, fmt.Errorf("dhcp: configure the MTU: %d is not between 68 and 65535", c.MTU)
	}
	if len(c.Search) == 0 && c.Domain != "" {
		c.Search = []string{c.Domain}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Domain, c.Search = strings.TrimSuffix(c.Domain, "."), slices.Clone(c.Search)
	for i := range c.Search {
		c.Search[i] = strings.TrimSuffix(c.Search[i], ".")
	}
	c.Subnet, c.Subnet6 = c.Subnet.Masked(), c.Subnet6.Masked()
	c.Options = maps.Clone(c.Options)
	c.Hosts = slices.Clone(c.Hosts)
	for _, check := range []func(*Config) error{checkSubnets, checkNames, checkAddrs, checkRoutes, checkOptions, checkHosts} {
		if err := check(&c); err != nil {
			return c, fmt.Errorf("dhcp: configure %w", err)
		}
	}
	return c, nil
}

func checkSubnets(c *Config) error {
	if c.Subnet.IsValid() {
		if !c.Subnet.Addr().Is4() {
			return fmt.Errorf("the subnet: %v is not one of IPv4", c.Subnet)
		}
		if !c.Server.Is4() {
			return errors.New("the server identifier: it is not an address of IPv4")
		}
	}
	if c.Subnet6.IsValid() && !c.Subnet6.Addr().Is6() {
		return fmt.Errorf("the prefix of IPv6: %v is none", c.Subnet6)
	}
	return nil
}

func checkNames(c *Config) error {
	if len(c.Search) > maxList {
		return fmt.Errorf("the search list: it has more than %d domains", maxList)
	}
	names := c.Search
	if c.Domain != "" {
		names = append([]string{c.Domain}, names...)
	}
	for _, n := range names {
		if !validName(n) {
			return fmt.Errorf("the search list: %q is not a domain name", n)
		}
	}
	return nil
}

func checkAddrs(c *Config) error {
	for _, l := range []struct {
		what  string
		addrs []netip.Addr
		ok    func(netip.Addr) bool
	}{
		{"the routers", c.Routers, netip.Addr.Is4},
		{"the name servers", c.DNS, netip.Addr.Is4},
		{"the name servers", c.DNS6, isIPv6},
		{"the time servers", c.NTP, netip.Addr.IsValid},
	} {
		if len(l.addrs) > maxList {
			return fmt.Errorf("%s: there are more than %d", l.what, maxList)
		}
		for _, a := range l.addrs {
			if !l.ok(a) {
				return fmt.Errorf("%s: %v is of the wrong family", l.what, a)
			}
		}
	}
	return nil
}

func isIPv6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }

func checkRoutes(c *Config) error {
	size := 0
	for _, r := range c.Routes {
		if !r.Dst.IsValid() || !r.Dst.Addr().Is4() || r.Via.IsValid() && !r.Via.Is4() {
			return fmt.Errorf("the routes: %v via %v is not one of IPv4", r.Dst, r.Via)
		}
		size += 9
	}
	if size > maxValue {
		return errors.New("the routes: there are too many for an option")
	}
	return nil
}

func checkOptions(c *Config) error {
	for n, v := range c.Options {
		if slices.Contains(forbiddenOptions, n) {
			return fmt.Errorf("option %d: it is part of the protocol", n)
		}
		if len(v) > maxValue {
			return fmt.Errorf("option %d: it is longer than %d bytes", n, maxValue)
		}
	}
	return nil
}

func checkHosts(c *Config) error {
	seen := map[string]bool{}
	for _, h := range c.Hosts {
		if len(h.MAC) != 6 || h.MAC[0]&1 != 0 {
			return fmt.Errorf("host %q: %v is not the MAC of a NIC", h.Name, h.MAC)
		}
		if h.Name != "" && !validName(h.Name) {
			return fmt.Errorf("host %v: %q is not a host name", h.MAC, h.Name)
		}
		if h.Addr.IsValid() && (!c.Subnet.Contains(h.Addr) || h.Addr == c.Server) {
			return fmt.Errorf("host %v: %v is not an address for a host of %v", h.MAC, h.Addr, c.Subnet)
		}
		if h.Addr6.IsValid() && (!c.Subnet6.Contains(h.Addr6) || h.Addr6 == c.Server6) {
			return fmt.Errorf("host %v: %v is not an address for a host of %v", h.MAC, h.Addr6, c.Subnet6)
		}
		for _, key := range []string{h.MAC.String(), h.Addr.String(), h.Addr6.String()} {
			if key != invalidAddr && seen[key] {
				return fmt.Errorf("host %v: %s is another host's already", h.MAC, key)
			}
			seen[key] = true
		}
	}
	return nil
}

var invalidAddr = netip.Addr{}.String()

// validName reports whether s is a name in DNS: letters, digits, hyphens and underscores, in labels.
func validName(s string) bool {
	if s == "" || len(s) > 220 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
