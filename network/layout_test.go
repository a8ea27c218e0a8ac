package network

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sekexe/sekexe/orchestrator"
)

// planOf is a plan of networks, with a sub-kernel that has a NIC on each of those that nics names by index.
func planOf(networks []orchestrator.Network, nics ...[]orchestrator.NIC) *orchestrator.Plan {
	p := &orchestrator.Plan{Project: "lab", Networks: networks}
	for i, n := range nics {
		for k := range n {
			n[k].MAC = net.HardwareAddr{2, 0, 0, 0, byte(i), byte(k)}
			n[k].Names = []string{string(rune('a' + i))}
		}
		p.Nodes = append(p.Nodes, orchestrator.Node{Job: orchestrator.Job{Name: string(rune('a' + i)), NICs: n}})
	}
	return p
}

func TestLayOutGivesAddresses(t *testing.T) {
	lan := orchestrator.Network{
		Name: "lan", Mode: "bridge", Scope: "private", Subnet: netip.MustParsePrefix("10.77.0.0/24"), IPv6: true, Uplink: "user",
		DHCP: orchestrator.DHCP{
			Enabled: true,
			Ranges:  []orchestrator.AddrRange{{First: netip.MustParseAddr("10.77.0.100"), Last: netip.MustParseAddr("10.77.0.101")}, {First: netip.MustParseAddr("10.77.0.200"), Last: netip.MustParseAddr("10.77.0.201")}},
			Exclude: []orchestrator.AddrRange{{First: netip.MustParseAddr("10.77.0.200"), Last: netip.MustParseAddr("10.77.0.200")}},
			Hosts:   []orchestrator.DHCPHost{{MAC: "02:00:00:00:00:99", Addr: netip.MustParseAddr("10.77.0.101")}},
		},
	}
	p := planOf([]orchestrator.Network{lan},
		[]orchestrator.NIC{{Address: netip.MustParseAddr("10.77.0.1")}}, []orchestrator.NIC{{}}, []orchestrator.NIC{{}})
	all, err := layOut(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := all[0]
	if want := netip.MustParseAddr("10.77.0.2"); l.gateway != want {
		t.Errorf("the gateway is %s; want %s, the first address that no NIC has", l.gateway, want)
	}
	var got []string
	for _, a := range l.addrs {
		got = append(got, a.String())
	}
	// .101 is reserved for a host, .200 excluded.
	if want := "10.77.0.1 10.77.0.100 10.77.0.201"; strings.Join(got, " ") != want {
		t.Errorf("the addresses are %v; want %s", got, want)
	}
	if v4, v6 := l.addrOf(1); v4.Bits() != 24 || v6.Bits() != 64 || !l.subnet6.Contains(v6.Addr()) || !strings.HasPrefix(v6.String(), "fd") {
		t.Errorf("addrOf(1) = %s, %s", v4, v6)
	}
	again, err := layOut(p, nil)
	if err != nil || !slices.Equal(again[0].addrs, l.addrs) || again[0].subnet6 != l.subnet6 {
		t.Errorf("a second layOut gives %v, %v", again[0].addrs, err)
	}
	p.Nodes = append(p.Nodes, planOf(nil, nil, nil, nil, []orchestrator.NIC{{}}).Nodes[3])
	if _, err := layOut(p, nil); err == nil || !strings.Contains(err.Error(), "network lan: give d an address") {
		t.Errorf("layOut with one NIC too many: %v; want an error", err)
	}
}

func TestFreeSubnet(t *testing.T) {
	first, ok := freeSubnet("lab", "lan", 3, nil)
	if !ok || first.Bits() != 24 || !freePool.Contains(first.Addr()) {
		t.Fatalf("freeSubnet = %s, %v", first, ok)
	}
	second, ok := freeSubnet("lab", "lan", 3, []netip.Prefix{netip.PrefixFrom(first.Addr(), 16).Masked()})
	if !ok || second.Overlaps(netip.PrefixFrom(first.Addr(), 16)) {
		t.Errorf("freeSubnet beside a route for %s/16 = %s, %v", first.Addr(), second, ok)
	}
	if p, ok := freeSubnet("lab", "lan", 3, []netip.Prefix{freePool}); ok {
		t.Errorf("freeSubnet with all taken = %s", p)
	}
	if p, ok := freeSubnet("lab", "lan", 1000, nil); !ok || p.Bits() != 20 || p.Masked() != p {
		t.Errorf("freeSubnet for 1000 NICs = %s, %v; want a /20", p, ok)
	}
	if other, _ := freeSubnet("lab", "wan", 3, nil); other == first {
		t.Errorf("two networks have %s", first)
	}
}

// A thousand sub-kernels on one network that names no subnet have an address each.
func TestLayOutOfAThousand(t *testing.T) {
	nics := make([][]orchestrator.NIC, 1000)
	for i := range nics {
		nics[i] = []orchestrator.NIC{{}}
	}
	all, err := layOut(planOf([]orchestrator.Network{{Name: "default", Mode: "user", DHCP: orchestrator.DHCP{Enabled: true}}}, nics...), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]bool{all[0].gateway: true}
	for _, a := range all[0].addrs {
		if seen[a] || !all[0].subnet.Contains(a) {
			t.Fatalf("%s is there twice, or outside %s", a, all[0].subnet)
		}
		seen[a] = true
	}
}

func TestZone(t *testing.T) {
	networks := []orchestrator.Network{
		{Name: "lan", Mode: "user", Subnet: netip.MustParsePrefix("10.1.0.0/24"), Uplink: "none"},
		{Name: "wan", Mode: "user", Subnet: netip.MustParsePrefix("10.2.0.0/24"), Uplink: "user"},
	}
	p := planOf(networks, []orchestrator.NIC{{Network: 0}, {Network: 1}}, []orchestrator.NIC{{Network: 1}})
	p.Nodes[1].Job.NICs[0].Names = []string{"b", "www", "Host.Internal"}
	all, err := layOut(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	lan := newZone(p, all, 0)
	for name, want := range map[string]string{
		"a": "10.1.0.2", "gateway": "10.1.0.1", "www": "10.2.0.3", "b": "10.2.0.3", "host.internal": "10.1.0.1",
	} {
		if got, ok := lan.Lookup(name); !ok || len(got) != 1 || got[0].String() != want {
			t.Errorf("on lan, %s is %v; want %s", name, got, want)
		}
	}
	wan := newZone(p, all, 1)
	for name, want := range map[string]string{"a": "10.2.0.2", "host.internal": "10.2.0.3"} {
		if got, ok := wan.Lookup(name); !ok || len(got) != 1 || got[0].String() != want {
			t.Errorf("on wan, %s is %v; want %s", name, got, want)
		}
	}
	if name, ok := wan.Reverse(netip.MustParseAddr("10.2.0.3")); !ok || name != "b" {
		t.Errorf("the name of 10.2.0.3 is %q, %v", name, ok)
	}
	if _, ok := wan.Lookup("nobody"); ok {
		t.Error("a name that nobody has is known")
	}
}

func TestWakes(t *testing.T) {
	all, err := layOut(planOf([]orchestrator.Network{{Name: "lan", Mode: "user", Subnet: netip.MustParsePrefix("10.1.0.0/24"), IPv6: true}}, []orchestrator.NIC{{}}), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &segment{layout: all[0]}
	broadcast := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0}
	arp := func(target string) []byte {
		f := append(slices.Clone(broadcast), 8, 6)
		return append(append(f, make([]byte, 24)...), netip.MustParseAddr(target).AsSlice()...)
	}
	solicit := func(target netip.Addr) []byte {
		f := append(slices.Clone(broadcast), 0x86, 0xdd)
		body := make([]byte, 64)
		body[6], body[40] = 58, 135
		copy(body[48:], target.AsSlice())
		return append(f, body...)
	}
	for name, c := range map[string]struct {
		frame []byte
		want  bool
	}{
		"for its MAC":              {append(slices.Clone([]byte(s.mac)), make([]byte, 8)...), true},
		"ARP for it":               {arp("10.1.0.1"), true},
		"ARP for another":          {arp("10.1.0.2"), false},
		"solicitation of it":       {solicit(s.gateway6), true},
		"solicitation of its link": {solicit(linkLocal(s.mac)), true},
		"solicitation of another":  {solicit(netip.MustParseAddr("fe80::1")), false},
		"a broadcast":              {append(slices.Clone(broadcast), 8, 0, 1, 2, 3), false},
		"a runt":                   {broadcast[:7], false},
		"a cut ARP packet":         {arp("10.1.0.1")[:20], false},
	} {
		if got := s.wakes(c.frame); got != c.want {
			t.Errorf("%s: wakes = %v; want %v", name, got, c.want)
		}
	}
}
