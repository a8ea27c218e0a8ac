//go:build linux

package kernelnet

import (
	"crypto/sha256"
	"fmt"
	"net"
)

// A claim is a MAC address that a run uses on a bridge which it has joined. Those of the plan are the same in each run of a file, of which there
// may be several at once.
type claim struct{ Bridge, MAC string }

// claimMACs notes the MAC addresses of the ports on joined bridges in the record, and gives those another one that a living run has there.
func (r *record) claimMACs(builders []*builder, living []*record) error {
	owner := map[claim]string{}
	for _, l := range living {
		if l.Namespace == r.Namespace {
			for _, c := range l.MACs {
				owner[c] = l.Run
			}
		}
	}
	take := func(c claim) {
		owner[c] = r.Run
		r.MACs = append(r.MACs, c)
	}
	for _, b := range builders {
		if b.Bridge == "" {
			continue
		}
		if b.Netstack && b.GatewayMAC != nil {
			c := claim{b.Bridge, b.GatewayMAC.String()}
			if run, used := owner[c]; used {
				return withHint(fmt.Errorf("network %s: be the gateway on the bridge %s: run %s is it", b.Name, b.Bridge, run), "end that run first, or give the network another name and subnet")
			}
			take(c)
		}
		for i := range b.Ports {
			p := &b.Ports[i]
			c := claim{b.Bridge, p.MAC.String()}
			if run, used := owner[c]; used && p.FixedMAC {
				return withHint(fmt.Errorf("network %s: give %s the MAC address %s: run %s has it on the bridge %s", b.Name, p.Name, p.MAC, run, b.Bridge),
					"leave mac out, and a free one is chosen")
			}
			given := p.MAC
			for try := 1; owner[c] != ""; try++ {
				p.MAC = anotherMAC(given, try)
				c.MAC = p.MAC.String()
			}
			take(c)
		}
	}
	return nil
}

// anotherMAC is a locally administered address made of one that is in use, the same each time.
func anotherMAC(mac net.HardwareAddr, try int) net.HardwareAddr {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", mac, try))
	return net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
}
