package netstack

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

func newStack() *stack.Stack {
	return stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol, ipv6.NewProtocolWithOptions(ipv6.Options{
			// We are the router, and nothing else has our address.
			NDPConfigs: ipv6.NDPConfigurations{},
			DADConfigs: stack.DADConfigurations{},
		})},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
}

// failure makes an error of one of the stack's, which are not errors.
func failure(what string, err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", what, err)
}

// configure gives the stack its NIC, addresses, routes, and the ways of its TCP.
func (g *Gateway) configure() error {
	s := g.stack
	errs := []error{failure("create NIC", s.CreateNIC(nic, g.link))}
	add := func(p netip.Prefix) {
		proto := ipv4.ProtocolNumber
		if p.Addr().Is6() {
			proto = ipv6.ProtocolNumber
		}
		a := tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: tcpip.AddressWithPrefix{Address: fromNetip(p.Addr()), PrefixLen: p.Bits()}}
		errs = append(errs, failure("add address "+p.String(), s.AddProtocolAddress(nic, a, stack.AddressProperties{})))
		s.AddRoute(tcpip.Route{Destination: a.AddressWithPrefix.Subnet(), NIC: nic})
	}
	add(g.cfg.Addr)
	if g.cfg.Addr6.IsValid() {
		add(g.cfg.Addr6)
		add(netip.PrefixFrom(g.rules.linkLocal, 64))
		// A router says in its advertisements that it is one: a guest would drop its default route if they didn't.
		_, err := s.SetNICForwarding(nic, ipv6.ProtocolNumber, true)
		errs = append(errs, failure("forward IPv6", err))
	}
	// Whatever comes to our MAC address is for us, and we answer in its destination's name. Input lets through no question for an address
	// of somebody else.
	errs = append(errs, failure("accept all", s.SetPromiscuousMode(nic, true)), failure("answer for all", s.SetSpoofing(nic, true)))
	return errors.Join(append(errs, g.tuneTCP())...)
}

// tuneTCP sets what a gateway beside its guests does best with.
func (g *Gateway) tuneTCP() error {
	sack := tcpip.TCPSACKEnabled(true)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	congestion := tcpip.CongestionControlOption("cubic")
	// A segment has no old duplicates that would have to be waited for, and a guest takes its ports again soon.
	wait := tcpip.TCPTimeWaitTimeoutOption(time.Second)
	linger := tcpip.TCPLingerTimeoutOption(20 * time.Second)
	var errs []error
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &congestion, &wait, &linger} {
		errs = append(errs, failure(fmt.Sprintf("set %T", o), g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o)))
	}
	return errors.Join(append(errs, g.limitBuffers(0))...)
}

// Memory of TCP: budget is what all the connections of a gateway may take each way, roughly; a single one takes at most maxBuffer.
const (
	minBuffer     = 32 << 10
	defaultBuffer = 1 << 20
	maxBuffer     = 4 << 20
	budget        = 64 << 20
)

// bufferSize is what one of n connections may take each way.
func bufferSize(n int) int { return min(max(budget/max(n, 1), minBuffer), maxBuffer) }

// limitBuffers sets how large the buffers of connections get while there are n. Those of earlier ones stay as they are: each was within its
// share, so that the sum of all is within a few times the budget.
func (g *Gateway) limitBuffers(n int) error {
	size := bufferSize(n)
	first := min(size, defaultBuffer)
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: first, Max: size}
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: first, Max: size}
	return errors.Join(
		failure("set receive buffers", g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &rcv)),
		failure("set send buffers", g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &snd)))
}

// protocolOf returns the stack's number of an address's family.
func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

// route finds the way from an address, ours or in the name of another's, to a guest.
func (g *Gateway) route(from, to netip.Addr) (*stack.Route, error) {
	r, err := g.stack.FindRoute(nic, fromNetip(from), fromNetip(to), protocolOf(to), false)
	if err != nil {
		return nil, failure("route to "+to.String(), err)
	}
	return r, nil
}
