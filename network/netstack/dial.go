package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// DialContext connects to an address of the segment, from the gateway's. The network is tcp or udp. A connection of TCP has CloseWrite, and
// Reset.
func (g *Gateway) DialContext(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	c, err := g.dial(ctx, network, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
	if err != nil {
		return nil, fmt.Errorf("dial %s %s: %w", network, addr, err)
	}
	return c, nil
}

func (g *Gateway) dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	from := g.localFor(addr.Addr())
	if !from.IsValid() {
		return nil, errors.New("the network has no IPv6")
	}
	if g.own(addr.Addr()) {
		return nil, errors.New("the gateway has no services that it would connect to")
	}
	g.gate.RLock()
	if g.closed {
		g.gate.RUnlock()
		return nil, net.ErrClosed
	}
	g.wg.Add(1)
	defer g.wg.Done()
	g.gate.RUnlock()

	local := tcpip.FullAddress{NIC: nic, Addr: fromNetip(from)}
	remote := tcpip.FullAddress{NIC: nic, Addr: fromNetip(addr.Addr()), Port: addr.Port()}
	switch network {
	case "tcp":
		return g.dialTCP(ctx, local, remote)
	case "udp":
		c, err := gonet.DialUDP(g.stack, &local, &remote, protocolOf(addr.Addr()))
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	return nil, errors.New("neither tcp nor udp")
}

func (g *Gateway) dialTCP(ctx context.Context, local, remote tcpip.FullAddress) (net.Conn, error) {
	wq := &waiter.Queue{}
	ep, terr := g.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(toNetip(remote.Addr)), wq)
	if terr != nil {
		return nil, reason(terr)
	}
	entry, done := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	terr = ep.Bind(local)
	if terr == nil {
		terr = ep.Connect(remote)
	}
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-done:
			terr = ep.LastError()
		case <-ctx.Done():
			ep.Close()
			return nil, ctx.Err()
		case <-g.ctx.Done():
			ep.Close()
			return nil, net.ErrClosed
		}
	}
	if terr != nil {
		ep.Close()
		return nil, reason(terr)
	}
	c := g.newConn(wq, ep)
	if !g.tcp.remember(c) {
		c.Reset()
		return nil, net.ErrClosed
	}
	return c, nil
}
