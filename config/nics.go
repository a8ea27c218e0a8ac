package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

const (
	// maxNICs bounds the NICs of one sub-kernel.
	maxNICs = 32
	// networkNone is the value of network that leaves a sub-kernel without a NIC.
	networkNone = "none"
)

// An alias is a further name of a sub-kernel, and where it stands.
type alias struct {
	network, subkernel string
	at                 *attrValue
}

// subkernelAddress returns the fixed address of an instance's first NIC as expressions see it; null if it has none.
func subkernelAddress(l *loader, in *instance) cty.Value {
	nics := l.instanceContent(in).blocks["nic"]
	if len(nics) == 0 {
		return cty.NullVal(cty.String)
	}
	d := l.nested(in, nics[0])
	if a := d.address("address", ipv4); !d.bad {
		return nullable(a)
	}
	return failed
}

// buildNICs fills in the NICs of a sub-kernel: those of its blocks, or the one on the implicit network.
func (l *loader) buildNICs(in *instance, s *Subkernel, c content) {
	d := &decoder{l: l, schema: subkernelSchema, attrs: c.attrs, in: in}
	none := d.noNetwork()
	blocks := c.blocks["nic"]
	if len(blocks) > maxNICs {
		l.diags.errorAt(blocks[maxNICs].defRange, "Too many nics", fmt.Sprintf("A sub-kernel may have %d. Remove the others.", maxNICs))
		blocks = blocks[:maxNICs]
	}
	for _, b := range blocks {
		s.NICs = append(s.NICs, l.buildNIC(in, b))
	}
	if len(blocks) == 0 && !none && !l.networks.declared {
		l.networkOf(implicitNetwork).nics++
		s.NICs = []NIC{{Network: implicitNetwork, DHCP: true, Range: s.Range}}
	}
	l.buildPublish(d, s)
}

// noNetwork decodes the network attribute, which can only say that there is none.
func (d *decoder) noNetwork() bool {
	v := d.get("network")
	if v == nil || !d.text(v, "\"none\"") {
		return false
	}
	name := v.val.AsString()
	if name == networkNone {
		return true
	}
	hint := "Networks stand in nic blocks: nic \"NETWORK\" {}."
	if d.l.networks.blocks[name] != nil || name == implicitNetwork && !d.l.networks.declared {
		hint = fmt.Sprintf("Write nic %q {} instead.", name)
	}
	d.error(v, "Unknown value", fmt.Sprintf("\"network\" takes \"none\" only. %s", hint))
	return true
}

// networkOf returns a network by its name, or nil if there is none. It makes the implicit one where that is meant.
func (l *loader) networkOf(name string) *networkBlock {
	if n := l.networks.built[name]; n != nil || l.networks.declared || name != implicitNetwork {
		return n
	}
	n := newNetworkBlock(implicitNetwork)
	n.Implicit = true
	l.networks.built[name] = n
	l.networks.list = append(l.networks.list, n)
	return n
}

func (l *loader) buildNIC(in *instance, b *block) NIC {
	c := l.content(b)
	d := &decoder{l: l, schema: nicSchema, attrs: c.attrs, in: in}
	nic := NIC{
		Network:  b.label(),
		Address:  d.address("address", ipv4),
		Address6: d.address("address6", ipv6),
		MAC:      d.mac("mac"),
		Aliases:  d.aliases(b.label()),
		Range:    toRange(b.defRange),
	}
	for _, ib := range c.blocks["impair"] {
		nic.Impair = l.buildImpair(in, ib)
	}
	n := l.networkOf(b.label())
	if n == nil {
		l.checkUnknownNetwork(b)
		nic.MTU, nic.DHCP = d.mtu("mtu", false), d.boolean("dhcp", true)
		return nic
	}
	n.nics++
	nic.MTU = d.nicMTU(n)
	nic.DHCP = d.nicDHCP(n, b, nic)
	owner := fmt.Sprintf("a nic of %s", in.name)
	n.take(d, d.get("address"), nic.Address, owner)
	n.takeMAC(d, d.get("mac"), nic.MAC, owner)
	if v := d.get("address6"); v != nil && nic.Address6.IsValid() {
		if !n.IPv6 && !n.noSubnet6 {
			d.error(v, "Address without a subnet", fmt.Sprintf("Network %q has no IPv6. Add it there: subnet6 = \"fd00:1:2:3::/64\".", n.Name))
		} else {
			n.take(d, v, nic.Address6, owner)
		}
	}
	return nic
}

// checkUnknownNetwork reports the label of a nic block that names no network, unless that has an error of its own.
func (l *loader) checkUnknownNetwork(b *block) {
	name := b.label()
	if l.networks.blocks[name] != nil || l.networks.refused[name] {
		return
	}
	known := slices.Sorted(maps.Keys(l.networks.blocks))
	if !l.networks.declared {
		known = []string{implicitNetwork}
	}
	l.diags.errorAt(b.labelRanges[0], "Unknown network", fmt.Sprintf("There is no network %q. Declare it with a block: network %q {}.%s", name, name, suggestion(name, known)))
}

func (d *decoder) nicMTU(n *networkBlock) int {
	mtu, ok := tried(d, func() int { return d.mtu("mtu", n.IPv6) })
	if v := d.get("mtu"); v != nil && ok && n.MTU > 0 && mtu > n.MTU {
		d.error(v, "MTU beyond the network's", fmt.Sprintf("Network %q carries packets of %d bytes. Take at most that, or raise the network's mtu.", n.Name, n.MTU))
	}
	return mtu
}

// nicDHCP decides whether the guest asks for its address. Who runs a DHCP server on a bridge that is joined is not known; it can't give out a
// fixed address.
func (d *decoder) nicDHCP(n *networkBlock, b *block, nic NIC) bool {
	fixed := nic.Address.IsValid()
	dhcp, ok := tried(d, func() bool { return d.boolean("dhcp", n.DHCP.Enabled || n.Bridge != "" && !fixed) })
	switch v := d.get("dhcp"); {
	case !ok || n.vague:
	case v != nil && dhcp && fixed && !n.DHCP.Enabled:
		d.error(v, "Address that nobody gives out", fmt.Sprintf("Network %q has no DHCP server of sekexe's, so that none gives out %s. Remove dhcp, and the guest's init sets the address.", n.Name, nic.Address))
	case !dhcp && !fixed && d.get("address") == nil && n.Bridge != "":
		d.l.diags.errorAt(b.defRange, "Missing address", fmt.Sprintf("Which addresses are free on %s, which is joined, is not known to sekexe. Name one with address, or say dhcp = true.", n.Bridge))
	}
	return dhcp
}

// aliases returns further names of the sub-kernel.
func (d *decoder) aliases(network string) []string {
	var out []string
	for _, v := range d.matchingTexts("aliases", "a name, or a list of them", domains, "Invalid alias", "%q is not a name of DNS. Write letters, digits, hyphens, and dots between labels, such as \"db\" or \"db.prod\".") {
		out = append(out, v.val.AsString())
		d.l.networks.aliases = append(d.l.networks.aliases, alias{network: network, subkernel: d.in.name, at: v})
	}
	return out
}

// checkAliases warns of aliases that are the host name of another sub-kernel on the same network.
func (l *loader) checkAliases(subs []Subkernel) {
	if len(l.networks.aliases) == 0 {
		return
	}
	names := map[[2]string]string{} // the sub-kernel of a network and host name
	for i := range subs {
		for _, nic := range subs[i].NICs {
			names[[2]string{nic.Network, strings.ToLower(subs[i].Hostname)}] = subs[i].Name
		}
	}
	for _, a := range l.networks.aliases {
		name := a.at.val.AsString()
		if other := names[[2]string{a.network, strings.ToLower(name)}]; other != "" && other != a.subkernel {
			l.diags.warnAt(a.at.attr.Expr.Range(), "Alias of another's name", fmt.Sprintf("%q is the host name of %s on network %q, and leads there. Choose another alias.", name, other, a.network))
		}
	}
}
