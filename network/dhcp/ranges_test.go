package dhcp

import (
	"net/netip"
	"strings"
	"testing"
)

// ranges reads "FIRST-LAST FIRST-LAST"; one address is a range of its own.
func ranges(s string) (r []Range) {
	for _, f := range strings.Fields(s) {
		first, last, ok := strings.Cut(f, "-")
		if !ok {
			last = first
		}
		r = append(r, Range{netip.MustParseAddr(first), netip.MustParseAddr(last)})
	}
	return r
}

func text(r []Range) string {
	var s []string
	for _, x := range r {
		s = append(s, x.First.String()+"-"+x.Last.String())
	}
	return strings.Join(s, " ")
}

func TestSubtract(t *testing.T) {
	for _, tt := range []struct{ name, ranges, holes, want string }{
		{"nothing", "10.0.0.1-10.0.0.9", "", "10.0.0.1-10.0.0.9"},
		{"the middle", "10.0.0.1-10.0.0.9", "10.0.0.4-10.0.0.5", "10.0.0.1-10.0.0.3 10.0.0.6-10.0.0.9"},
		{"the start", "10.0.0.1-10.0.0.9", "10.0.0.1", "10.0.0.2-10.0.0.9"},
		{"the end", "10.0.0.1-10.0.0.9", "10.0.0.9", "10.0.0.1-10.0.0.8"},
		{"all", "10.0.0.1-10.0.0.9", "10.0.0.0-10.0.1.0", ""},
		{"one hole in two ranges", "10.0.0.1-10.0.0.9 10.0.0.20-10.0.0.29", "10.0.0.5-10.0.0.25", "10.0.0.1-10.0.0.4 10.0.0.26-10.0.0.29"},
		{"overlaps", "10.0.0.5-10.0.0.9 10.0.0.1-10.0.0.6 10.0.0.2", "10.0.0.3 10.0.0.3-10.0.0.4", "10.0.0.1-10.0.0.2 10.0.0.5-10.0.0.9"},
		{"the last address there is", "255.255.255.250-255.255.255.255", "255.255.255.255", "255.255.255.250-255.255.255.254"},
		{"the other family", "10.0.0.1-10.0.0.9", "::-ffff::", "10.0.0.1-10.0.0.9"},
		{"IPv6", "fd00::1-fd00::ffff", "fd00::2 10.0.0.1", "fd00::1-fd00::1 fd00::3-fd00::ffff"},
	} {
		if got := text(subtract(ranges(tt.ranges), ranges(tt.holes))); got != tt.want {
			t.Errorf("%s: subtract(%s, %s) = %s; want %s", tt.name, tt.ranges, tt.holes, got, tt.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for r, want := range map[string]uint64{
		"10.0.0.1":                               1,
		"10.0.0.0-10.255.255.255":                1 << 24,
		"0.0.0.0-255.255.255.255":                1 << 32,
		"fd00::-fd00::ff":                        256,
		"fd00::-fd00::ffff:ffff:ffff":            maxSpan,
		"fd00::-fd00:0:0:1::":                    maxSpan,
		"fd00::ffff:ffff:ffff:ffff-fd00:0:0:1::": 2,
	} {
		if got := ranges(r)[0].span(); got != want {
			t.Errorf("span of %s = %d; want %d", r, got, want)
		}
	}
}

func TestAdd(t *testing.T) {
	for _, tt := range []struct {
		addr string
		n    uint64
		want string // empty: there is none
	}{
		{"10.0.0.255", 1, "10.0.1.0"},
		{"255.255.255.254", 1, "255.255.255.255"},
		{"255.255.255.255", 1, ""},
		{"0.0.0.0", 1<<64 - 1, ""},
		{"fd00::ffff:ffff:ffff:ffff", 1, "fd00:0:0:1::"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, ""},
	} {
		got, ok := add(netip.MustParseAddr(tt.addr), tt.n)
		if ok != (tt.want != "") || ok && got != netip.MustParseAddr(tt.want) {
			t.Errorf("add(%s, %d) = %v, %t; want %q", tt.addr, tt.n, got, ok, tt.want)
		}
	}
}

func TestPoolOf(t *testing.T) {
	for _, tt := range []struct{ name, subnet, server, ranges, exclude, hosts, want string }{
		{"the whole subnet", "10.0.0.0/29", "10.0.0.1", "", "", "", "10.0.0.2-10.0.0.6"},
		{"a point-to-point link", "10.0.0.0/31", "10.0.0.0", "", "", "", "10.0.0.1-10.0.0.1"},
		{"ranges", "10.0.0.0/24", "10.0.0.1", "10.0.0.100-10.0.0.110 10.0.0.20-10.0.0.30", "10.0.0.25 fd00::5", "10.0.0.105 10.0.0.200",
			"10.0.0.20-10.0.0.24 10.0.0.26-10.0.0.30 10.0.0.100-10.0.0.104 10.0.0.106-10.0.0.110"},
		{"IPv6", "fd00::/64", "fd00::1", "", "fd00::3 10.0.0.1", "fd00::5", "fd00::2-fd00::2 fd00::4-fd00::4 fd00::6-fd00::ffff:ffff:ffff:ffff"},
	} {
		s := &Server{cfg: Config{Exclude: ranges(tt.exclude)}}
		p, err := newPool(s, netip.MustParsePrefix(tt.subnet), ranges(tt.ranges), netip.MustParseAddr(tt.server), ranges(tt.hosts))
		if err != nil {
			t.Fatal(err)
		}
		if got := text(p.ranges); got != tt.want {
			t.Errorf("%s: ranges = %s; want %s", tt.name, got, tt.want)
		}
		for i := uint64(0); i < min(p.size, 100); i++ {
			if a := p.at(i); !p.contains(a) {
				t.Errorf("%s: address %d, %v, is not in the pool", tt.name, i, a)
			}
		}
	}
}
