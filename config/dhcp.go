package config

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
)

const (
	minLease = time.Minute
	maxLease = 365 * 24 * time.Hour
	// maxOption bounds the bytes of an option of DHCP, whose length is one byte.
	maxOption = 255
	// maxServers bounds the lists of servers and domains, and maxRoutes the routes, so that answers fit into small packets.
	maxServers, maxRoutes = 15, 56
)

// domains are names of DNS of at least one label.
var domains = newPattern(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

const domainDetail = "%q is not a domain. Write labels of letters, digits and hyphens with dots between them, such as \"lab.internal\"."

// buildDHCP decodes the dhcp block of a network.
func (l *loader) buildDHCP(n *networkBlock, b *block) {
	d := l.nested(n.in, b)
	out := DHCP{
		Enabled: d.boolean("enabled", true),
		Ranges:  d.ranges(n, "range"),
		Exclude: d.ranges(n, "exclude"),
		Lease:   d.lease(),
		Domain:  d.domain("domain"),
		Routes:  d.routes(n),
		Options: d.options(),
	}
	out.Router, out.RouterSet = d.router(n)
	out.DNS, out.NTP = d.addresses("dns"), d.addresses("ntp")
	for _, v := range d.atMost(maxServers, d.matchingTexts("search", "a domain, or a list of them", domains, "Invalid domain", domainDetail)) {
		out.Search = append(out.Search, v.val.AsString())
	}
	out.Hosts = d.reservations(n)
	n.DHCP = out
}

func (d *decoder) lease() time.Duration {
	t, ok := tried(d, func() time.Duration { return d.duration("lease", defaultLease, minLease) })
	if ok && t > maxLease {
		d.error(d.get("lease"), "Duration too long", fmt.Sprintf("A lease lasts %s at most.", formatDuration(maxLease)))
	}
	return t
}

// domain returns a domain, or "" if it is not set.
func (d *decoder) domain(name string) string {
	s := d.matching(name, domains, "Invalid domain", domainDetail)
	if len(s) > 200 {
		d.error(d.get(name), "Invalid domain", "A domain has at most 200 characters, so that there is room for the names in it.")
	}
	return s
}

// ranges returns ranges of addresses in the subnet of the network.
func (d *decoder) ranges(n *networkBlock, name string) []AddrRange {
	list, _ := d.texts(name, `an address or a range such as "10.77.0.100-10.77.0.199", or a list of them`)
	var out []AddrRange
	for _, v := range list {
		r, ok := d.parseRange(v)
		if !ok || !n.holds(d, v, r.First) || !n.holds(d, v, r.Last) {
			continue
		}
		for _, other := range out {
			if r.First.Compare(other.Last) <= 0 && other.First.Compare(r.Last) <= 0 {
				d.error(v, "Overlapping ranges", fmt.Sprintf("%s and %s have addresses in common. Make one range of both.", other, r))
			}
		}
		out = append(out, r)
	}
	return out
}

// parseRange parses two addresses with a hyphen between them, or one.
func (d *decoder) parseRange(v *attrValue) (AddrRange, bool) {
	first, last, isRange := strings.Cut(v.val.AsString(), "-")
	r := AddrRange{First: d.parseAddr(v, strings.TrimSpace(first), ipv4)}
	r.Last = r.First
	if isRange && r.First.IsValid() {
		r.Last = d.parseAddr(v, strings.TrimSpace(last), ipv4)
	}
	if !r.First.IsValid() || !r.Last.IsValid() {
		return r, false
	}
	if r.First.Compare(r.Last) > 0 {
		d.error(v, "Reversed range", fmt.Sprintf("The first address of a range is the lowest. Write \"%s-%s\".", r.Last, r.First))
		return r, false
	}
	return r, true
}

// String writes a range as the language takes it.
func (r AddrRange) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return fmt.Sprintf("%s-%s", r.First, r.Last)
}

// router returns the routers to announce, and whether they are named.
func (d *decoder) router(n *networkBlock) ([]netip.Addr, bool) {
	list, set := d.texts("router", "an address, or a list of them")
	var out []netip.Addr
	for _, v := range d.atMost(maxServers, list) {
		if a := d.parseAddr(v, v.val.AsString(), ipv4); a.IsValid() && n.holds(d, v, a) {
			out = append(out, a)
		}
	}
	return out, set
}

// mergedTexts returns the elements of a map of strings, those of all files merged, by key.
func (d *decoder) mergedTexts(name, example string) map[string]*attrValue {
	out := map[string]*attrValue{}
	d.mergedMap(name, example, func(v *attrValue, _ map[string]string, key string, elem cty.Value) {
		v.val = elem
		if elem.IsNull() {
			delete(out, key)
		} else if d.text(v, "a map of strings") {
			out[key] = v
		}
	})
	return out
}

// routes returns the routes to announce, by destination.
func (d *decoder) routes(n *networkBlock) []Route {
	texts := d.mergedTexts("routes", `{ "10.1.0.0/16" = "10.77.0.1" }`)
	var out []Route
	if len(texts) > maxRoutes {
		d.error(&attrValue{attr: d.last("routes")}, "List too long", fmt.Sprintf("There may be %d routes, so that they fit into a packet.", maxRoutes))
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		v := texts[key]
		dst, err := netip.ParsePrefix(key)
		switch {
		case err != nil || !dst.Addr().Is4():
			d.error(v, "Invalid route", fmt.Sprintf("%q is not an IPv4 subnet. Write where the route leads to, such as \"10.1.0.0/16\".", key))
			continue
		case dst != dst.Masked():
			d.error(v, "Invalid route", fmt.Sprintf("%q is an address within a subnet. The subnet is %q.", key, dst.Masked()))
			continue
		case dst.Bits() == 0:
			d.error(v, "Invalid route", "The default route is that to the router. Name it there: router = \"10.77.0.1\".")
			continue
		}
		if via := d.parseAddr(v, v.val.AsString(), ipv4); via.IsValid() && n.holds(d, v, via) {
			out = append(out, Route{Dst: dst, Via: via})
		}
	}
	return out
}

// reservations returns the addresses of foreign clients, by MAC.
func (d *decoder) reservations(n *networkBlock) []DHCPHost {
	texts := d.mergedTexts("reservations", `{ "02:00:00:00:00:05" = "10.77.0.9" }`)
	var out []DHCPHost
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		v := texts[key]
		h := DHCPHost{MAC: d.parseMAC(v, key), Addr: d.parseAddr(v, v.val.AsString(), ipv4)}
		if h.MAC == "" || !h.Addr.IsValid() {
			continue
		}
		n.take(d, v, h.Addr, fmt.Sprintf("the reservation for %s", h.MAC))
		n.takeMAC(d, v, h.MAC, "a reservation")
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b DHCPHost) int { return strings.Compare(a.MAC, b.MAC) })
	return out
}

// ownOptions are the options that can't be set by number, with what to do instead.
var ownOptions = map[int]string{
	0: "", 50: "", 52: "", 53: "", 54: "", 61: "", 82: "", 255: "",
	1: "subnet, of the network", 3: "router", 6: "dns", 12: "hostname, of the sub-kernel", 15: "domain", 26: "mtu, of the network", 42: "ntp", 51: "lease", 119: "search", 121: "routes",
}

// options returns further options, in the bytes of the protocol.
func (d *decoder) options() map[int]string {
	texts := d.mergedTexts("options", `{ 66 = "tftp.lab" }`)
	out := map[int]string{}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		v := texts[key]
		n, err := strconv.Atoi(key)
		attr, own := ownOptions[n]
		switch {
		case err != nil || strconv.Itoa(n) != key || n < 0 || n > 255:
			d.error(v, "Invalid option", fmt.Sprintf("%q is not the number of an option of DHCP, from 1 to 254.", key))
		case own && attr != "":
			d.error(v, "Invalid option", fmt.Sprintf("Option %d has an attribute of its own: %s. Set that one.", n, attr))
		case own:
			d.error(v, "Invalid option", fmt.Sprintf("Option %d is the protocol's own, and the server sets it where it is needed. Remove it.", n))
		default:
			if value, problem := parseOption(v.val.AsString()); problem != "" {
				d.error(v, "Invalid value of an option", problem)
			} else {
				out[n] = value
			}
		}
	}
	return out
}

// parseOption returns the bytes of an option, or what is wrong with it.
func parseOption(text string) (value, problem string) {
	if digits, ok := strings.CutPrefix(text, "hex:"); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			return "", fmt.Sprintf("%q is not an even number of hexadecimal digits. Write bytes as \"hex:0a4d0001\".", digits)
		}
		text = string(b)
	} else if list, ok := strings.CutPrefix(text, "ip:"); ok {
		text = ""
		for s := range strings.SplitSeq(list, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(s))
			if err != nil || !a.Is4() {
				return "", fmt.Sprintf("%q is not an IPv4 address. Write addresses as \"ip:10.0.0.1,10.0.0.2\".", s)
			}
			text += string(a.AsSlice())
		}
	}
	if text == "" || len(text) > maxOption {
		return "", fmt.Sprintf("An option has 1 to %d bytes, and this one %d.", maxOption, len(text))
	}
	return text, ""
}

// formatOption writes the bytes of an option as the language takes them.
func formatOption(value string) string {
	plain := !strings.HasPrefix(value, "hex:") && !strings.HasPrefix(value, "ip:")
	if plain && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return value
	}
	return "hex:" + hex.EncodeToString([]byte(value))
}
