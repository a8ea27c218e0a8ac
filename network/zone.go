package network

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/sekexe/sekexe/orchestrator"
)

// The names of a gateway, where no sub-kernel has them.
var gatewayNames = []string{"gateway", "host.internal"}

// A zone answers for the names of one network. It never changes: the addresses of NICs are decided before anything boots.
type zone struct {
	addrs   map[string][]netip.Addr
	reverse map[netip.Addr]string
}

// newZone makes the zone of network at. The names of sub-kernels that are on other networks only are known too, because a router may lead
// there; those of its own network hide them.
func newZone(p *orchestrator.Plan, all []*layout, at int) *zone {
	z := &zone{addrs: map[string][]netip.Addr{}, reverse: map[netip.Addr]string{}}
	z.addNetwork(p, all[at])
	for _, n := range gatewayNames {
		if _, ok := z.addrs[n]; !ok {
			z.add(n, all[at].gateway, all[at].gateway6)
		}
	}
	for i, l := range all {
		if i == at {
			continue
		}
		other := &zone{addrs: map[string][]netip.Addr{}, reverse: z.reverse}
		other.addNetwork(p, l)
		for name, addrs := range other.addrs {
			if _, ok := z.addrs[name]; !ok {
				z.addrs[name] = addrs
			}
		}
	}
	return z
}

func (z *zone) addNetwork(p *orchestrator.Plan, l *layout) {
	taken := map[string]place{}
	for i, at := range l.places {
		for _, name := range p.Nodes[at.job].Job.NICs[at.nic].Names {
			name = strings.ToLower(name)
			// Two NICs of one sub-kernel are one name with two addresses; two sub-kernels of one name are an error that config warns of, and
			// the first has it.
			if first, ok := taken[name]; ok && first.job != at.job {
				continue
			}
			taken[name] = at
			z.add(name, l.addrs[i], l.addrs6[i])
		}
	}
}

func (z *zone) add(name string, addrs ...netip.Addr) {
	for _, a := range addrs {
		if !a.IsValid() || slices.Contains(z.addrs[name], a) {
			continue
		}
		z.addrs[name] = append(z.addrs[name], a)
		if _, ok := z.reverse[a]; !ok {
			z.reverse[a] = name
		}
	}
}

// Lookup implements names.Zone.
func (z *zone) Lookup(name string) ([]netip.Addr, bool) {
	a, ok := z.addrs[name]
	return a, ok
}

// Reverse implements names.Zone.
func (z *zone) Reverse(a netip.Addr) (string, bool) {
	n, ok := z.reverse[a]
	return n, ok
}
