package netstack

import (
	"errors"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// handleDatagrams has the stack give us what is no connection.
func (g *Gateway) handleDatagrams() {
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, g.handleUDP)
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, g.handleEcho)
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber6, g.handleEcho)
}

// handleUDP takes a datagram. It returns false for what is to be answered by "port unreachable".
func (g *Gateway) handleUDP(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	data, ok := payload(p)
	if !ok {
		return true
	}
	src := netip.AddrPortFrom(toNetip(id.RemoteAddress), id.RemotePort)
	dst := netip.AddrPortFrom(toNetip(id.LocalAddress), id.LocalPort)
	if g.own(dst.Addr()) {
		if c := g.ports.packet(dst.Port()); c != nil {
			c.put(src, dst.Addr(), data)
			return true
		}
	}
	k := flowKey{header.UDPProtocolNumber, src, dst}
	f := g.flows.find(k)
	if f == nil {
		target, ok := g.target(dst)
		if !ok {
			if !g.cfg.Uplink && !g.own(dst.Addr()) {
				g.unreachable(quote(p), netUnreachable)
				return true
			}
			return false
		}
		if f = g.openUDP(k, p, target); f == nil {
			return true
		}
	}
	g.flows.send(f, data)
	return true
}

// payload returns what a datagram carries, by its own word.
func payload(p *stack.PacketBuffer) ([]byte, bool) {
	h := header.UDP(p.TransportHeader().Slice())
	n := int(h.Length()) - header.UDPMinimumSize
	if n < 0 || n > p.Data().Size() {
		return nil, false
	}
	if n == 0 {
		return nil, true
	}
	return p.Data().PullUp(n)
}

func (g *Gateway) openUDP(k flowKey, p *stack.PacketBuffer, target netip.AddrPort) *flow {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target))
	if err != nil {
		switch {
		case outOfFiles(err):
			g.noticeFiles()
		case g.ctx.Err() == nil:
			g.unreachable(quote(p), hostUnreachable)
		}
		return nil
	}
	f, err := g.flows.open(k, p, c, ping{})
	if err != nil {
		_ = c.Close()
		return nil
	}
	return f
}

// sendUDP sends a datagram to a guest, in fragments if it is large.
func sendUDP(r *stack.Route, src, dst netip.AddrPort, data []byte) error {
	size := header.UDPMinimumSize + len(data)
	if size > 0xffff {
		return errors.New("datagram too large")
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: header.UDPMinimumSize + int(r.MaxHeaderLength()),
		Payload:            buffer.MakeWithData(data),
	})
	defer p.DecRef()
	p.TransportProtocolNumber = udp.ProtocolNumber
	h := header.UDP(p.TransportHeader().Push(header.UDPMinimumSize))
	h.Encode(&header.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: uint16(size)})
	sum := r.PseudoHeaderChecksum(udp.ProtocolNumber, uint16(size))
	sum = h.CalculateChecksum(checksum.Combine(sum, p.Data().Checksum()))
	if sum != 0xffff { // 0 would say that there is none
		sum = ^sum
	}
	h.SetChecksum(sum)
	err := r.WritePacket(stack.NetworkHeaderParams{Protocol: udp.ProtocolNumber, TTL: r.DefaultTTL(), TOS: stack.DefaultTOS}, p)
	return failure("send", err)
}
