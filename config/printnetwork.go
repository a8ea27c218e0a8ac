package config

import (
	"fmt"
	"strconv"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

func writeNetwork(body *hclwrite.Body, n *Network) {
	b := newBlock(body, "network", n.Name)
	b.str("mode", n.Mode)
	b.str("scope", n.Scope)
	b.str("bridge", n.Bridge)
	b.str("subnet", optional(n.Subnet))
	b.flag("ipv6", n.IPv6)
	b.str("subnet6", optional(n.Subnet6))
	b.str("gateway", optional(n.Gateway))
	b.str("uplink", n.Uplink)
	b.positive("mtu", n.MTU)
	b.flag("isolated", n.Isolated)
	b.flag("host_loopback", n.HostLoopback)
	b.str("capture", n.Capture)
	b.dhcp(&n.DHCP)
	b.impair(n.Impair)
}

func (b blockWriter) dhcp(c *DHCP) {
	d := b.nested("dhcp")
	d.body.SetAttributeValue("enabled", cty.BoolVal(c.Enabled))
	d.strings("range", texts(c.Ranges))
	d.strings("exclude", texts(c.Exclude))
	d.str("lease", formatDuration(c.Lease))
	if c.RouterSet && len(c.Router) == 0 {
		d.body.SetAttributeValue("router", cty.EmptyTupleVal)
	}
	d.strings("router", texts(c.Router))
	d.strings("dns", texts(c.DNS))
	d.strings("ntp", texts(c.NTP))
	d.str("domain", c.Domain)
	d.strings("search", c.Search)
	d.stringMap("routes", routeTexts(c.Routes), nil)
	d.stringMap("options", optionTexts(c.Options), nil)
	d.stringMap("reservations", hostTexts(c.Hosts), nil)
}

// impair writes an impair block, if there is one.
func (b blockWriter) impair(c *Impair) {
	if c == nil {
		return
	}
	i := b.nested("impair")
	i.duration("delay", c.Delay)
	i.duration("jitter", c.Jitter)
	i.part("loss", c.Loss)
	i.part("duplicate", c.Duplicate)
	if c.Rate > 0 {
		i.str("rate", formatRate(c.Rate))
	}
}

// nics writes the NICs and published ports of a sub-kernel.
func (b blockWriter) nics(s *Subkernel) {
	for i := range s.NICs {
		nic := &s.NICs[i]
		n := b.nested("nic", nic.Network)
		n.str("address", optional(nic.Address))
		n.str("address6", optional(nic.Address6))
		n.str("mac", nic.MAC)
		n.positive("mtu", nic.MTU)
		n.body.SetAttributeValue("dhcp", cty.BoolVal(nic.DHCP))
		n.strings("aliases", nic.Aliases)
		n.impair(nic.Impair)
	}
}

// positive writes a number, unless it is 0.
func (b blockWriter) positive(name string, n int) {
	if n > 0 {
		b.number(name, n)
	}
}

func (b blockWriter) part(name string, f float64) {
	if f > 0 {
		b.body.SetAttributeValue(name, cty.NumberFloatVal(f))
	}
}

// optional returns the text of an address or subnet, or "" if it is not set.
func optional[T interface {
	fmt.Stringer
	IsValid() bool
}](v T) string {
	if !v.IsValid() {
		return ""
	}
	return v.String()
}

// texts returns the elements of a list as the language takes them.
func texts[T fmt.Stringer](list []T) []string {
	out := []string{}
	for _, v := range list {
		out = append(out, v.String())
	}
	return out
}

// routeTexts returns the routers of routes by destination.
func routeTexts(routes []Route) map[string]string {
	out := make(map[string]string, len(routes))
	for _, r := range routes {
		out[r.Dst.String()] = r.Via.String()
	}
	return out
}

// hostTexts returns the addresses of reservations by MAC.
func hostTexts(hosts []DHCPHost) map[string]string {
	out := make(map[string]string, len(hosts))
	for _, h := range hosts {
		out[h.MAC] = h.Addr.String()
	}
	return out
}

// optionTexts returns options of DHCP as the language takes them.
func optionTexts(options map[int]string) map[string]string {
	out := make(map[string]string, len(options))
	for n, value := range options {
		out[strconv.Itoa(n)] = formatOption(value)
	}
	return out
}
