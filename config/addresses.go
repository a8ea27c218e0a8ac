package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// The families of addresses.
type family int

const (
	anyFamily family = iota
	ipv4
	ipv6
)

// String names what an address of the family is called.
func (f family) String() string {
	return [...]string{"an IP address", "an IPv4 address", "an IPv6 address"}[f]
}

// holds reports whether a is of the family.
func (f family) holds(a netip.Addr) bool {
	return f == anyFamily || f == ipv4 && a.Is4() || f == ipv6 && a.Is6()
}

// example returns an address for messages.
func (f family) example() string {
	if f == ipv6 {
		return "fd00:1:2:3::9"
	}
	return "10.77.0.9"
}

// notSubnets are the addresses that no network may have, because they mean something else.
var notSubnets = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/8"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// address returns an address, or the zero one if it is not set.
func (d *decoder) address(name string, f family) netip.Addr {
	v := d.get(name)
	if v == nil || !d.text(v, f.String()) {
		return netip.Addr{}
	}
	return d.parseAddr(v, v.val.AsString(), f)
}

// parseAddr parses an address that stands in v. It returns the zero one for what is none, and reports that.
func (d *decoder) parseAddr(v *attrValue, s string, f family) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err == nil && f.holds(a) && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() {
		return a
	}
	hint := ""
	if _, err := netip.ParsePrefix(s); err == nil {
		hint = " The network has the length of the prefix, the address none."
	}
	d.error(v, "Invalid address", fmt.Sprintf("%q is not %s. Write one such as %q.%s", s, f, f.example(), hint))
	return netip.Addr{}
}

// subnet returns a subnet, or the zero one if it is not set.
func (d *decoder) subnet(name string, f family) netip.Prefix {
	example, other := "10.77.0.0/24", "subnet6"
	if f == ipv6 {
		example, other = "fd00:1:2:3::/64", "subnet"
	}
	v := d.get(name)
	if v == nil || !d.text(v, fmt.Sprintf("a subnet such as %q", example)) {
		return netip.Prefix{}
	}
	s := v.val.AsString()
	p, err := netip.ParsePrefix(s)
	a, addrErr := netip.ParseAddr(s)
	invalid := func(detail string) { d.error(v, "Invalid subnet", detail) }
	switch {
	case err != nil && addrErr == nil && f.holds(a):
		invalid(fmt.Sprintf("%q is an address. Write the subnet with the length of its prefix, such as %q.", s, example))
	case err != nil || p.Addr().Is4In6():
		invalid(fmt.Sprintf("%q is not a subnet. Write one such as %q.", s, example))
	case !f.holds(p.Addr()):
		invalid(fmt.Sprintf("%q is a subnet of the other protocol. It belongs into %q.", s, other))
	case p != p.Masked():
		invalid(fmt.Sprintf("%q is an address within a subnet. The subnet is %q.", s, p.Masked()))
	case f == ipv4 && p.Bits() > 30:
		invalid(fmt.Sprintf("%s has no room for a gateway and a nic. Take a /30 or a larger one.", p))
	case f == ipv6 && p.Bits() != 64:
		invalid("A subnet of IPv6 is a /64: guests make up the other half of their addresses by themselves.")
	default:
		for _, no := range notSubnets {
			if p.Overlaps(no) {
				invalid(fmt.Sprintf("%s has addresses of %s, which mean something else. Take a part of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fd00::/8.", p, no))
				return netip.Prefix{}
			}
		}
		return p
	}
	return netip.Prefix{}
}

// broadcast returns the last address of an IPv4 subnet.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// parseMAC returns a MAC address in lower case and with colons, or "" and why it can't be one of a NIC.
func parseMAC(s string) (mac, problem string) {
	hw, err := net.ParseMAC(s)
	switch {
	case err != nil || len(hw) != 6 || strings.Contains(s, "."):
		return "", fmt.Sprintf("%q is not a MAC address. Write six octets, such as \"02:00:00:00:00:01\".", s)
	case hw[0]&1 != 0:
		own := slices.Clone(hw)
		own[0] = own[0]&^1 | 2
		return "", fmt.Sprintf("%q is an address of groups, for its first octet is odd. %q would do.", s, own.String())
	case slices.Max(hw) == 0:
		return "", "The address of zeros is nobody's. Write another one, such as \"02:00:00:00:00:01\"."
	}
	return hw.String(), ""
}

// mac returns a MAC address, or "" if it is not set.
func (d *decoder) mac(name string) string {
	v := d.get(name)
	if v == nil || !d.text(v, "a MAC address") {
		return ""
	}
	return d.parseMAC(v, v.val.AsString())
}

// parseMAC is the function of this name, for a text that stands in v. It reports what is wrong.
func (d *decoder) parseMAC(v *attrValue, s string) string {
	mac, problem := parseMAC(s)
	if problem != "" {
		d.error(v, "Invalid MAC address", problem)
	}
	return mac
}

// texts returns the elements of a list of strings, or the one string that stands instead of a list, each with its own place. The second result
// is false if the attribute is not set, or wrong.
func (d *decoder) texts(name, example string) ([]*attrValue, bool) {
	v := d.get(name)
	if v == nil {
		return nil, false
	}
	if ty := v.val.Type(); !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
		if !d.text(v, example) {
			return nil, false
		}
		return []*attrValue{v}, true
	}
	out := []*attrValue{}
	for it := v.val.ElementIterator(); it.Next(); {
		i, elem := it.Element()
		e := v.elem(i)
		e.val = elem
		if d.text(e, example) {
			out = append(out, e)
		}
	}
	return out, true
}

// atMost reports a list with more than n elements, and shortens it.
func (d *decoder) atMost(n int, list []*attrValue) []*attrValue {
	if len(list) <= n {
		return list
	}
	d.error(list[n], "List too long", fmt.Sprintf("%q has %d elements at most, so that they fit into a packet.", list[n].attr.Name, n))
	return list[:n]
}

// addresses returns a list of addresses that an answer of DHCP holds.
func (d *decoder) addresses(name string) []netip.Addr {
	list, _ := d.texts(name, "an address, or a list of them")
	var out []netip.Addr
	list = d.atMost(maxServers, list)
	for _, v := range list {
		if a := d.parseAddr(v, v.val.AsString(), anyFamily); a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// matchingTexts returns a list of strings that a pattern matches. The detail has a place for the string.
func (d *decoder) matchingTexts(name, example string, p pattern, summary, detail string) []*attrValue {
	list, _ := d.texts(name, example)
	var out []*attrValue
	for _, v := range list {
		if s := v.val.AsString(); !p.MatchString(s) {
			d.error(v, summary, fmt.Sprintf(detail, s))
			continue
		}
		out = append(out, v)
	}
	return out
}

// nullable returns the value of an address or subnet as expressions see it: null if it is not set.
func nullable[T interface {
	fmt.Stringer
	IsValid() bool
}](v T) cty.Value {
	if !v.IsValid() {
		return cty.NullVal(cty.String)
	}
	return cty.StringVal(v.String())
}
