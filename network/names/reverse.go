package names

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/miekg/dns"
)

// The zones that have the names of addresses (RFC 1035, section 3.5, and RFC 3596, section 2.5).
const (
	reverse4 = "in-addr.arpa."
	reverse6 = "ip6.arpa."
)

// hostLocal are the addresses that mean each host's own (RFC 6303): nobody else knows their names.
func hostLocal() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10"),
	}
}

// reversePrefix returns the addresses that a canonical name below in-addr.arpa or ip6.arpa stands for. It is exact if the whole name says so;
// else there are labels in front that don't. It is not ok for other names.
func reversePrefix(name string) (p netip.Prefix, exact, ok bool) {
	if rest, ok := cutZone(name, reverse4); ok {
		labels := dns.SplitDomainName(rest)
		slices.Reverse(labels)
		var a [4]byte
		n := 0
		for n < len(a) && n < len(labels) {
			v, err := strconv.ParseUint(labels[n], 10, 8)
			if err != nil || labels[n] != strconv.FormatUint(v, 10) {
				break
			}
			a[n] = byte(v)
			n++
		}
		return netip.PrefixFrom(netip.AddrFrom4(a), 8*n), n == len(labels), true
	}
	if rest, ok := cutZone(name, reverse6); ok {
		labels := dns.SplitDomainName(rest)
		slices.Reverse(labels)
		var a [16]byte
		n := 0
		for n < 2*len(a) && n < len(labels) {
			v, err := strconv.ParseUint(labels[n], 16, 4)
			if err != nil || len(labels[n]) != 1 {
				break
			}
			a[n/2] |= byte(v) << (4 * (1 - n%2))
			n++
		}
		return netip.PrefixFrom(netip.AddrFrom16(a), 4*n), n == len(labels), true
	}
	return netip.Prefix{}, false, false
}

// cutZone cuts a zone and the dot before it off a name that is in it. Both are canonical.
func cutZone(name, zone string) (rest string, ok bool) {
	switch {
	case !dns.IsSubDomain(zone, name):
		return "", false
	case name == zone:
		return "", true
	}
	return name[:len(name)-len(zone)-1], true
}

// reverseZone is the smallest zone that has the names of all addresses of a prefix.
func reverseZone(p netip.Prefix) string {
	b := p.Addr().AsSlice()
	if p.Addr().Is4() {
		zone := reverse4
		for _, v := range b[:p.Bits()/8] {
			zone = strconv.Itoa(int(v)) + "." + zone
		}
		return zone
	}
	zone := reverse6
	for n := range p.Bits() / 4 {
		zone = strconv.FormatUint(uint64(nibble(b, n)), 16) + "." + zone
	}
	return zone
}

// nibble is the nth half of a byte.
func nibble(b []byte, n int) byte { return b[n/2] >> (4 * (1 - n%2)) & 0xf }
