//go:build linux

package kernelnet

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Routes are the prefixes that the host knows a way to: those of the main routing table but default routes, and its interfaces' addresses. A
// subnet that overlaps none of them is free. It needs no privilege.
func Routes() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list the host's routes: %w", err)
		}
		for _, r := range list {
			if r.Dst == nil {
				continue
			}
			out = appendPrefix(out, r.Dst.IP, r.Dst.Mask)
		}
		addrs, err := netlink.AddrList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("list the host's addresses: %w", err)
		}
		for _, a := range addrs {
			out = appendPrefix(out, a.IP, a.Mask)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out), nil
}

func appendPrefix(to []netip.Prefix, ip, mask []byte) []netip.Prefix {
	a, ok := netip.AddrFromSlice(ip)
	bits := prefixLen(mask)
	if !ok || bits == 0 {
		return to
	}
	return append(to, netip.PrefixFrom(a.Unmap(), bits).Masked())
}

// prefixLen is how many ones a mask has.
func prefixLen(mask []byte) (n int) {
	for _, b := range mask {
		for ; b != 0; b <<= 1 {
			n++
		}
	}
	return n
}
