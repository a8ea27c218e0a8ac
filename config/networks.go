package config

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

const (
	// implicitNetwork is the name of the network of a file that declares none.
	implicitNetwork = "default"
	maxNetworks     = 256
	defaultLease    = time.Hour
	// The greatest packets that a network may have. IPv6 asks for more than IPv4 does.
	minMTU, minMTU6, maxMTU = 576, 1280, 65521
)

// The modes of a network, its scopes and its uplinks.
const (
	modeUser     = "user"
	modeBridge   = "bridge"
	modeTun      = "tun"
	scopePrivate = "private"
	scopeHost    = "host"
	uplinkUser   = "user"
	uplinkNAT    = "nat"
	uplinkNone   = "none"
)

// A networkBlock is one network block, and who has which address there.
type networkBlock struct {
	Network
	in *instance // nil for the implicit network
	// vague means that what the network is isn't sure, and noSubnet, noSubnet6 that its subnet isn't, because of errors that are reported.
	vague, noSubnet, noSubnet6 bool
	owners                     map[netip.Addr]string // for messages: "the gateway"
	macs                       map[string]string
	nics                       int
}

// A networkSet holds the networks of a project and what is to be told apart on them.
type networkSet struct {
	*instanceSet
	// declared means that there are network blocks, so that there is no implicit network.
	declared bool
	refused  map[string]bool          // labels of blocks that are left out, because of errors that are reported
	built    map[string]*networkBlock // those that are evaluated, and the implicit one
	list     []*networkBlock
	aliases  []alias
	ports    map[hostPort]string // of the host, with the sub-kernels that they lead to
	// published counts published ports.
	published int
}

func newNetworkSet() *networkSet {
	return &networkSet{
		instanceSet: newInstanceSet(networkSchema, networkExports),
		refused:     map[string]bool{},
		built:       map[string]*networkBlock{},
		ports:       map[hostPort]string{},
	}
}

// networkExports are the attributes of a network that other expressions see.
var networkExports = map[string]func(*loader, *instance) cty.Value{
	"name": func(_ *loader, in *instance) cty.Value { return cty.StringVal(in.name) },
	"mode": export(func(d *decoder) cty.Value {
		return cty.StringVal(d.mode())
	}),
	"subnet": export(func(d *decoder) cty.Value {
		return nullable(d.subnet("subnet", ipv4))
	}),
	"subnet6": export(func(d *decoder) cty.Value {
		return nullable(d.subnet("subnet6", ipv6))
	}),
	"gateway": export(func(d *decoder) cty.Value {
		return nullable(d.address("gateway", ipv4))
	}),
	"domain": func(l *loader, in *instance) cty.Value {
		for _, b := range l.content(in.block).blocks["dhcp"] {
			d := l.nested(in, b)
			if domain := d.domain("domain"); domain != "" {
				return cty.StringVal(domain)
			}
			if d.bad {
				return failed
			}
		}
		return cty.NullVal(cty.String)
	},
}

// addNetwork makes known what an expression refers to of a network. What is chosen at the start has no value before.
func (s *scope) addNetwork(name string, ref hcl.Traversal) {
	s.addInstances(s.l.networks.instanceSet, name, ref)
	ib := s.l.networks.blocks[name]
	attr, ok := stepName(ref, 2)
	if !s.ok || !ok || len(ib.instances) == 0 {
		return
	}
	if v := ib.instances[0].exported[attr]; v == cty.NilVal || !v.IsKnown() || !v.IsNull() {
		return
	}
	if attr == "domain" {
		s.fail(ref.SourceRange(), "Missing domain", fmt.Sprintf("Network %q has no domain. Name one in its block: dhcp { domain = \"lab.internal\" }.", name))
		return
	}
	example := map[string]string{"subnet": "10.77.0.0/24", "subnet6": "fd00:1:2:3::/64", "gateway": "10.77.0.1"}[attr]
	s.fail(ref.SourceRange(), "Value not known yet", fmt.Sprintf("The %s of network %q is chosen when it starts. Name one in its block: %s = %q.", attr, name, attr, example))
}

// readNetworks gathers the network blocks.
func (l *loader) readNetworks(blocks []*block) {
	l.networks.declared = len(blocks) > 0
	var good []*block
	for _, b := range blocks {
		if validName(b.label()) {
			good = append(good, b)
		} else {
			l.networks.refused[b.label()] = true
			l.diags.errorAt(b.labelRanges[0], "Invalid name", "The name of a network consists of letters, digits, _ and -, begins with a letter or _, and has at most 63 characters."+identifierHint(b.label()))
		}
	}
	if len(good) > maxNetworks {
		l.diags.errorAt(good[maxNetworks].defRange, "Too many networks", fmt.Sprintf("A project may have %d networks. Put more nics on each.", maxNetworks))
		for _, b := range good[maxNetworks:] {
			l.networks.refused[b.label()] = true
		}
		good = good[:maxNetworks]
	}
	l.networks.read(l, good)
}

// buildNetworks evaluates all networks.
func (l *loader) buildNetworks() {
	for _, ib := range l.networks.order {
		if !l.expand(ib, ib.defRange()) || ib.failed {
			continue
		}
		n := l.buildNetwork(ib.instances[0])
		for _, other := range l.networks.list {
			n.checkOverlap(l, other)
		}
		n.checkHostRoutes(l)
		l.networks.built[n.Name] = n
		l.networks.list = append(l.networks.list, n)
	}
}

func (l *loader) buildNetwork(in *instance) *networkBlock {
	c := l.content(in.block)
	d := l.decoderOf(in)
	n := newNetworkBlock(in.name)
	n.in = in
	n.Range = toRange(in.block.defRange)
	d.kindOf(n)
	n.Uplink = d.uplink(n)
	d.subnets(n)
	n.MTU = d.mtu("mtu", n.IPv6)
	n.Isolated = d.boolean("isolated", false)
	n.HostLoopback = d.hostLoopback(n)
	n.Capture = d.capture(n)
	n.DHCP.Enabled = n.Bridge == ""
	if v := d.get("gateway"); v != nil {
		n.Gateway = d.address("gateway", ipv4)
		n.take(d, v, n.Gateway, "the gateway")
	}
	for _, b := range c.blocks["impair"] {
		n.Impair = l.buildImpair(in, b)
	}
	for _, b := range c.blocks["dhcp"] {
		l.buildDHCP(n, b)
	}
	n.checkJoined(l)
	return n
}

// newNetworkBlock returns a network that has nothing but defaults.
func newNetworkBlock(name string) *networkBlock {
	return &networkBlock{
		Network: Network{Name: name, Mode: modeUser, Uplink: uplinkUser, DHCP: DHCP{Enabled: true, Lease: defaultLease}},
		owners:  map[netip.Addr]string{}, macs: map[string]string{},
	}
}

func (d *decoder) mode() string { return d.oneOf("mode", modeUser, modeUser, modeBridge, modeTun) }

// kindOf decodes the mode, scope and bridge of a network.
func (d *decoder) kindOf(n *networkBlock) {
	_, ok := tried(d, func() bool {
		n.Mode, n.Bridge = d.mode(), d.bridge()
		n.Scope = d.oneOf("scope", "", scopePrivate, scopeHost)
		return true
	})
	n.vague = !ok
	scope, bridge := d.get("scope"), d.get("bridge")
	switch {
	case n.vague:
	case bridge != nil && n.Mode != modeBridge:
		d.error(bridge, "Attribute of another mode", fmt.Sprintf("A network of mode %q has no bridge. Say mode = \"bridge\", or remove this.", n.Mode))
	case scope != nil && n.Mode == modeUser:
		d.error(scope, "Attribute of another mode", "A network of mode \"user\" is in sekexe's own process, and has no scope. Say mode = \"bridge\" or \"tun\", or remove this.")
	case bridge != nil && n.Scope == scopePrivate:
		d.error(scope, "Scope of a joined bridge", "A bridge that is joined is in the host's namespace. Say scope = \"host\", or remove bridge, and the network has one of its own.")
	}
	n.vague = n.vague || d.bad
	switch {
	case n.Scope != "":
	case n.Bridge != "":
		n.Scope = scopeHost
	case n.Mode != modeUser:
		n.Scope = scopePrivate
	}
}

// bridge returns the name of a bridge of the host.
func (d *decoder) bridge() string {
	s, ok := tried(d, func() string { return d.str("bridge", "") })
	v := d.get("bridge")
	if v == nil || !ok {
		return ""
	}
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/:") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		d.error(v, "Invalid name of a bridge", fmt.Sprintf("%q can't name a network interface: 1 to 15 characters, and no slash, colon or space. `ip link show type bridge` lists the bridges of this machine.", s))
		return ""
	}
	return s
}

func (d *decoder) uplink(n *networkBlock) string {
	usual := uplinkUser
	switch {
	case n.Bridge != "":
		usual = uplinkNone
	case n.Mode == modeTun && n.Scope == scopeHost:
		usual = uplinkNAT
	}
	u := d.oneOf("uplink", usual, uplinkUser, uplinkNAT, uplinkNone)
	switch v := d.get("uplink"); {
	case !n.vague && v != nil && u == uplinkUser && n.Mode == modeTun && n.Scope == scopeHost:
		d.error(v, "Uplink not possible", "The host's kernel routes between its own links by itself. Say uplink = \"nat\" or \"none\", or scope = \"private\".")
	case n.vague || u != uplinkNAT:
	case n.Scope != scopeHost:
		d.error(v, "Uplink not possible", "The host's kernel translates addresses for networks in its own namespace only. Say scope = \"host\" (with mode bridge or tun, as root), or uplink = \"user\".")
	case n.Bridge != "":
		d.error(v, "Uplink not possible", "A bridge that is joined is not altered, and what it reaches is the host's business. Remove uplink, or say uplink = \"user\".")
	}
	return u
}

// subnets decodes the subnets of a network.
func (d *decoder) subnets(n *networkBlock) {
	var ok, ok6 bool
	n.Subnet, ok = tried(d, func() netip.Prefix { return d.subnet("subnet", ipv4) })
	n.Subnet6, ok6 = tried(d, func() netip.Prefix { return d.subnet("subnet6", ipv6) })
	n.noSubnet, n.noSubnet6 = !ok, !ok6
	named := d.get("subnet6") != nil
	n.IPv6 = d.boolean("ipv6", named)
	if v := d.get("ipv6"); v != nil && named && !n.IPv6 {
		d.error(v, "Attributes exclude each other", "The network has a subnet6, and so IPv6. Remove one of the two.")
		n.noSubnet6 = true
	}
}

// mtu returns a number of bytes, or 0 if it is not set.
func (d *decoder) mtu(name string, ipv6 bool) int {
	low := minMTU
	if ipv6 {
		low = minMTU6
	}
	return d.wholeNumber(name, 0, low, maxMTU)
}

func (d *decoder) hostLoopback(n *networkBlock) bool {
	on := d.boolean("host_loopback", false)
	if v := d.get("host_loopback"); v != nil && on && !n.vague && n.Scope == scopeHost && n.Uplink != uplinkUser {
		d.error(v, "Loopback out of reach", "The gateway of this network is the host's kernel, which leads nobody to 127.0.0.1. Say uplink = \"user\", or remove this.")
	}
	return on
}

// capture returns the path of a capture. No two networks write to one file.
func (d *decoder) capture(n *networkBlock) string {
	v := d.get("capture")
	if v == nil {
		return ""
	}
	path := d.hostPath(v)
	if path == "" {
		return ""
	}
	dir := filepath.Dir(path)
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		d.error(v, "Capture not possible", fmt.Sprintf("%s. Make the folder, or name a file in another one.", statError(dir, err)))
	case !st.IsDir():
		d.error(v, "Capture not possible", fmt.Sprintf("%s is no folder. Name a file in one that exists.", dir))
	default:
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			d.error(v, "Capture not possible", fmt.Sprintf("%s is a folder. Name a file in it.", path))
		}
	}
	for _, other := range d.l.networks.list {
		if other.Capture == path {
			d.error(v, "Duplicate capture", fmt.Sprintf("Network %q writes to this file. Name another one.", other.Name))
		}
	}
	return path
}

// checkOverlap reports subnets of two networks that have addresses in common.
func (n *networkBlock) checkOverlap(l *loader, other *networkBlock) {
	d := l.decoderOf(n.in)
	for _, s := range []struct {
		name      string
		own, them netip.Prefix
	}{{"subnet", n.Subnet, other.Subnet}, {"subnet6", n.Subnet6, other.Subnet6}} {
		if s.own.IsValid() && s.them.IsValid() && s.own.Overlaps(s.them) {
			d.error(d.get(s.name), "Overlapping subnets", fmt.Sprintf("%s has addresses of %s, the subnet of network %q. Take another one.", s.own, s.them, other.Name))
		}
	}
}

// checkHostRoutes reports a subnet that has addresses which the machine has another way to. In the machine's own network namespace that can't
// go well; elsewhere only those addresses are out of the sub-kernels' reach.
func (n *networkBlock) checkHostRoutes(l *loader) {
	if l.opts.HostRoutes == nil || n.Bridge != "" || n.vague {
		return
	}
	d := l.decoderOf(n.in)
	for _, s := range []struct {
		name string
		own  netip.Prefix
	}{{"subnet", n.Subnet}, {"subnet6", n.Subnet6}} {
		if !s.own.IsValid() {
			continue
		}
		for _, route := range l.opts.HostRoutes() {
			if !route.Overlaps(s.own) {
				continue
			}
			text := fmt.Sprintf("%s has addresses of %s, which this machine has a way to. ", s.own, route)
			if n.Scope == scopeHost {
				d.error(d.get(s.name), "Subnet in use", text+"Take another one.")
			} else {
				l.diags.warnAt(d.get(s.name).attr.Expr.Range(), "Subnet in use", text+"The sub-kernels won't reach what is there. Take another subnet if they should.")
			}
			break
		}
	}
}

// lastHost is the last address of an IPv4 subnet but the broadcast address.
func lastHost(p netip.Prefix) string {
	b := p.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(b[:]) | (1<<(32-p.Bits()) - 1)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, last-1))).String()
}

// checkJoined reports what can't be chosen on a bridge that others are on, too.
func (n *networkBlock) checkJoined(l *loader) {
	if n.vague || n.Bridge == "" || n.noSubnet {
		return
	}
	what := ""
	switch {
	case n.DHCP.Enabled:
		what = "its DHCP server gives out"
	case n.Uplink == uplinkUser:
		what = "its gateway can have"
	default:
		return
	}
	if n.Subnet.IsValid() {
		if d := l.decoderOf(n.in); !n.Gateway.IsValid() && d.get("gateway") == nil {
			l.diags.errorAt(n.in.block.defRange, "Missing gateway", fmt.Sprintf("The network has a gateway of its own on %s, at an address that must be nobody's there, which sekexe can't tell. Name one: gateway = %q.",
				n.Bridge, lastHost(n.Subnet)))
		}
		return
	}
	l.diags.errorAt(n.in.block.defRange, "Missing subnet", fmt.Sprintf("Which addresses there are on %s is not sekexe's to choose. Say which ones %s: subnet = \"192.168.1.0/24\".", n.Bridge, what))
}

// holds reports whether a is an address that the network may have, and tells why not.
func (n *networkBlock) holds(d *decoder, v *attrValue, a netip.Addr) bool {
	subnet, unsure, attr := n.Subnet, n.noSubnet, "subnet"
	example := netip.PrefixFrom(a, 24).Masked()
	if a.Is6() {
		subnet, unsure, attr = n.Subnet6, n.noSubnet6, "subnet6"
		example = netip.PrefixFrom(a, 64).Masked()
	}
	switch {
	case unsure || n.vague:
		return false
	case !subnet.IsValid():
		d.error(v, "Address without a subnet", fmt.Sprintf("Network %q has no %s that is known before it starts. Name one in its block: %s = %q.", n.Name, attr, attr, example))
		return false
	case !subnet.Contains(a):
		d.error(v, "Address outside of the subnet", fmt.Sprintf("%s is not in %s, the %s of network %q. Take one that is.", a, subnet, attr, n.Name))
		return false
	case a == subnet.Addr() || a.Is4() && a == broadcast(subnet):
		d.error(v, "Address not usable", fmt.Sprintf("%s is the first or last address of %s, which nobody can have. Take one between them.", a, subnet))
		return false
	}
	return true
}

// take gives an address to its owner, whom messages name.
func (n *networkBlock) take(d *decoder, v *attrValue, a netip.Addr, owner string) {
	if !a.IsValid() || !n.holds(d, v, a) {
		return
	}
	if other, taken := n.owners[a]; taken {
		d.error(v, "Duplicate address", fmt.Sprintf("%s on network %q is the address of %s. Take another one.", a, n.Name, other))
		return
	}
	n.owners[a] = owner
}

// takeMAC gives a MAC address to its owner.
func (n *networkBlock) takeMAC(d *decoder, v *attrValue, mac, owner string) {
	if mac == "" {
		return
	}
	if other, taken := n.macs[mac]; taken {
		d.error(v, "Duplicate MAC address", fmt.Sprintf("%s on network %q is the MAC address of %s. Take another one.", mac, n.Name, other))
		return
	}
	n.macs[mac] = owner
}

// finishNetworks checks the networks with the NICs that they have got, and returns them.
func (l *loader) finishNetworks() []Network {
	var out []Network
	for _, n := range l.networks.list {
		if n.Subnet.IsValid() {
			n.checkRoom(l)
		}
		if n.nics == 0 && !l.diags.HasErrors() {
			l.diags.warnAt(n.in.block.defRange, "Unused network", fmt.Sprintf("No sub-kernel has a nic on network %q. Add one, nic %q {}, or remove the network.", n.Name, n.Name))
		}
		out = append(out, n.Network)
	}
	return out
}

// checkRoom reports a subnet that has fewer addresses than there are to be given.
func (n *networkBlock) checkRoom(l *loader) {
	room, need := 1<<(32-n.Subnet.Bits())-2, n.nics+len(n.DHCP.Hosts)
	what := ""
	if n.Bridge == "" || n.Gateway.IsValid() {
		need++
		what = " and the gateway"
	}
	if need > room {
		d := l.decoderOf(n.in)
		d.error(d.get("subnet"), "Subnet too small", fmt.Sprintf("%s has room for %d, and with the nics on it%s there are %d. Take a larger one.", n.Subnet, room, what, need))
	}
}
