package orchestrator

import (
	"fmt"
	"net/netip"
	"strings"
)

// writeNetworks lists the networks.
func (p *Plan) writeNetworks(b *strings.Builder) {
	if len(p.Networks) == 0 {
		return
	}
	b.WriteString("\nnetworks\n")
	for i := range p.Networks {
		fmt.Fprintf(b, "  %s: %s\n", escape(p.Networks[i].Name), escape(strings.Join(networkTraits(&p.Networks[i]), ", ")))
	}
}

// networkTraits are what is to be known of a network, in words.
func networkTraits(n *Network) []string {
	traits := []string{n.Mode}
	switch {
	case n.Bridge != "":
		traits = append(traits, "joins "+n.Bridge)
	case n.Scope == "host":
		traits = append(traits, "in the host's namespace")
	}
	if n.Subnet.IsValid() {
		traits = append(traits, n.Subnet.String())
	} else if n.Bridge == "" {
		traits = append(traits, "a free subnet")
	}
	switch {
	case n.Subnet6.IsValid():
		traits = append(traits, n.Subnet6.String())
	case n.IPv6:
		traits = append(traits, "IPv6")
	}
	if n.Uplink == "none" {
		traits = append(traits, "no uplink")
	} else {
		traits = append(traits, "uplink "+n.Uplink)
	}
	if n.HostLoopback {
		traits = append(traits, "reaches the host's loopback")
	}
	traits = append(traits, dhcpTraits(&n.DHCP)...)
	if n.MTU != 0 {
		traits = append(traits, fmt.Sprintf("MTU %d", n.MTU))
	}
	if n.Isolated {
		traits = append(traits, "isolated")
	}
	if n.Impair != nil {
		traits = append(traits, impairText(n.Impair))
	}
	if n.Capture != "" {
		traits = append(traits, "captured in "+n.Capture)
	}
	return traits
}

func dhcpTraits(d *DHCP) []string {
	if !d.Enabled {
		return []string{"no DHCP"}
	}
	var traits []string
	for _, r := range d.Ranges {
		traits = append(traits, fmt.Sprintf("DHCP %s-%s", r.First, r.Last))
	}
	if d.Domain != "" {
		traits = append(traits, "domain "+d.Domain)
	}
	return traits
}

// impairText says what a bad line does.
func impairText(i *Impair) string {
	var words []string
	if i.Delay > 0 {
		words = append(words, "delay "+i.Delay.String())
	}
	if i.Jitter > 0 {
		words = append(words, "jitter "+i.Jitter.String())
	}
	if i.Loss > 0 {
		words = append(words, fmt.Sprintf("loss %g%%", i.Loss*100))
	}
	if i.Duplicate > 0 {
		words = append(words, fmt.Sprintf("duplicates %g%%", i.Duplicate*100))
	}
	if i.Rate > 0 {
		words = append(words, fmt.Sprintf("%d bit/s", i.Rate))
	}
	return strings.Join(words, ", ")
}

// writeNICs lists a node's NICs and published ports.
func (p *Plan) writeNICs(b *strings.Builder, job *Job) {
	for i := range job.NICs {
		n := &job.NICs[i]
		words := []string{p.Networks[n.Network].Name}
		for _, a := range []netip.Addr{n.Address, n.Address6} {
			if a.IsValid() {
				words = append(words, a.String())
			}
		}
		if !n.DHCP {
			words = append(words, "no DHCP")
		}
		words = append(words, n.MAC.String())
		if own := n.Impair; own != nil && own != p.Networks[n.Network].Impair {
			words = append(words, impairText(own))
		}
		fmt.Fprintf(b, "    nic %s: %s\n", n.Name, escape(strings.Join(words, ", ")))
	}
	for _, pub := range job.Publish {
		fmt.Fprintf(b, "    publish %s\n", publishText(&pub))
	}
}

// publishText is HOST:PORT -> PORT/PROTO, with ranges; without a port of the host where one will be chosen.
func publishText(p *Publish) string {
	ports := func(first, last int) string {
		if last > first {
			return fmt.Sprintf("%d-%d", first, last)
		}
		return fmt.Sprint(first)
	}
	host := p.Host.String()
	if p.Host.Is6() {
		host = "[" + host + "]"
	}
	if p.HostPort == 0 {
		return fmt.Sprintf("%s, a free port -> %s/%s", host, ports(p.Port, p.PortEnd), p.Proto)
	}
	return fmt.Sprintf("%s:%s -> %s/%s", host, ports(p.HostPort, p.HostPortEnd), ports(p.Port, p.PortEnd), p.Proto)
}

type jsonNetwork struct {
	Name    string `json:"name"`
	Mode    string `json:"mode"`
	Scope   string `json:"scope"`
	Bridge  string `json:"bridge"`
	Subnet  string `json:"subnet"`  // empty: a free one is chosen
	Subnet6 string `json:"subnet6"` // the same, if ipv6
	IPv6    bool   `json:"ipv6"`
	Uplink  string `json:"uplink"`
	DHCP    bool   `json:"dhcp"`
	Domain  string `json:"domain"`
}

type jsonPlanNIC struct {
	Name     string `json:"name"`
	Network  string `json:"network"`
	MAC      string `json:"mac"`
	Address  string `json:"address"`
	Address6 string `json:"address6"`
}

func (p *Plan) jsonNetworks() []jsonNetwork {
	out := make([]jsonNetwork, len(p.Networks))
	for i := range p.Networks {
		n := &p.Networks[i]
		out[i] = jsonNetwork{
			Name: n.Name, Mode: n.Mode, Scope: n.Scope, Bridge: n.Bridge, IPv6: n.IPv6, Uplink: n.Uplink, DHCP: n.DHCP.Enabled, Domain: n.DHCP.Domain,
		}
		if n.Subnet.IsValid() {
			out[i].Subnet = n.Subnet.String()
		}
		if n.Subnet6.IsValid() {
			out[i].Subnet6 = n.Subnet6.String()
		}
	}
	return out
}

func (p *Plan) jsonNICs(job *Job) []jsonPlanNIC {
	out := make([]jsonPlanNIC, len(job.NICs))
	for i := range job.NICs {
		n := &job.NICs[i]
		out[i] = jsonPlanNIC{Name: n.Name, Network: p.Networks[n.Network].Name, MAC: n.MAC.String()}
		if n.Address.IsValid() {
			out[i].Address = n.Address.String()
		}
		if n.Address6.IsValid() {
			out[i].Address6 = n.Address6.String()
		}
	}
	return out
}

func jsonPublish(ports []Publish) []string {
	out := make([]string, len(ports))
	for i := range ports {
		out[i] = publishText(&ports[i])
	}
	return out
}
