//go:build linux

package kernelnet

import (
	"net"
	"strings"
	"testing"
)

func TestClaimMACs(t *testing.T) {
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }
	build := func(gateway bool, ports ...Port) []*builder {
		s := &Segment{Name: "lan", Kind: Bridge, Bridge: "br0", Netstack: gateway, GatewayMAC: mac(1), Ports: ports}
		return []*builder{{Segment: &Segment{Name: "own", Kind: Bridge, Ports: []Port{{MAC: mac(9)}}}}, {Segment: s}}
	}
	first := &record{Run: "first", Namespace: "here"}
	if err := first.claimMACs(build(true, Port{MAC: mac(2)}, Port{MAC: mac(3), FixedMAC: true}), nil); err != nil || len(first.MACs) != 3 {
		t.Fatalf("the first run has %v, %v", first.MACs, err)
	}

	second := &record{Run: "second", Namespace: "here"}
	b := build(false, Port{MAC: mac(2)}, Port{MAC: mac(4), FixedMAC: true})
	if err := second.claimMACs(b, []*record{first}); err != nil {
		t.Fatal(err)
	}
	chosen := b[1].Ports[0].MAC
	if chosen.String() == mac(2).String() || chosen[0] != 2 || b[1].Ports[1].MAC.String() != mac(4).String() {
		t.Errorf("the second run has %v and %v", chosen, b[1].Ports[1].MAC)
	}
	third := &record{Run: "third", Namespace: "here"}
	b = build(false, Port{MAC: mac(2)})
	if err := third.claimMACs(b, []*record{first, second}); err != nil || b[1].Ports[0].MAC.String() == chosen.String() || b[1].Ports[0].MAC.String() == mac(2).String() {
		t.Errorf("the third run has %v, %v", b[1].Ports[0].MAC, err)
	}

	for name, b := range map[string][]*builder{
		"the bridge br0: run first is it":            build(true),
		"02:00:00:00:00:03: run first has it on the": build(false, Port{Name: "x eth0", MAC: mac(3), FixedMAC: true}),
	} {
		if err := (&record{Run: "other", Namespace: "here"}).claimMACs(b, []*record{first}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q in it", err, name)
		}
		if err := (&record{Run: "other", Namespace: "elsewhere"}).claimMACs(b, []*record{first}); err != nil {
			t.Errorf("in another namespace: %v", err)
		}
	}
}
