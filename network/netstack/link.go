package netstack

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A link is the stack's NIC: Ethernet frames, each made in one piece.
type link struct {
	mac    tcpip.LinkAddress
	mtu    int
	send   func([]byte)
	frames sync.Pool // *[]byte of the largest frame
	upper  atomic.Pointer[stack.NetworkDispatcher]
}

var _ stack.LinkEndpoint = (*link)(nil)

func newLink(cfg Config) *link {
	l := &link{mac: tcpip.LinkAddress(cfg.MAC), mtu: cfg.MTU, send: cfg.Send}
	l.frames.New = func() any {
		b := make([]byte, 0, cfg.MTU+header.EthernetMinimumSize)
		return &b
	}
	return l
}

// deliver hands a frame to the stack, which works on a copy.
func (l *link) deliver(proto tcpip.NetworkProtocolNumber, frame []byte) {
	d := l.upper.Load()
	if d == nil {
		return
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(buffer.NewViewWithData(frame))})
	defer p.DecRef()
	p.LinkHeader().Consume(header.EthernetMinimumSize)
	p.PktType = tcpip.PacketHost
	(*d).DeliverNetworkPacket(proto, p)
}

// WritePackets implements stack.LinkWriter.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	b := l.frames.Get().(*[]byte)
	defer l.frames.Put(b)
	for _, p := range pkts.AsSlice() {
		if p.Size() > cap(*b) {
			continue // nothing that the stack makes is
		}
		f := (*b)[:0]
		views, offset := p.AsViewList()
		for v := views.Front(); v != nil; v = v.Next() {
			s := v.AsSlice()
			f = append(f, s[min(offset, len(s)):]...)
			offset = max(offset-len(s), 0)
		}
		l.send(f)
	}
	return pkts.Len(), nil
}

// AddHeader implements stack.NetworkLinkEndpoint.
func (l *link) AddHeader(p *stack.PacketBuffer) {
	header.Ethernet(p.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: l.mac,
		DstAddr: p.EgressRoute.RemoteLinkAddress,
		Type:    p.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.NetworkLinkEndpoint.
func (l *link) ParseHeader(p *stack.PacketBuffer) bool {
	_, ok := p.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Attach implements stack.NetworkLinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.upper.Store(nil)
		return
	}
	l.upper.Store(&d)
}

// IsAttached implements stack.NetworkLinkEndpoint.
func (l *link) IsAttached() bool { return l.upper.Load() != nil }

// Capabilities implements stack.NetworkLinkEndpoint. Frames come through memory and not over a wire, and may be of a sender that leaves
// checksums to a device, so that checking them is of no use.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload | stack.CapabilityResolutionRequired
}

// MTU implements stack.NetworkLinkEndpoint.
func (l *link) MTU() uint32 { return uint32(l.mtu) }

// SetMTU implements stack.NetworkLinkEndpoint: it is fixed.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength implements stack.NetworkLinkEndpoint.
func (l *link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress implements stack.NetworkLinkEndpoint.
func (l *link) LinkAddress() tcpip.LinkAddress { return l.mac }

// SetLinkAddress implements stack.NetworkLinkEndpoint: it is fixed.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Wait implements stack.NetworkLinkEndpoint.
func (l *link) Wait() {}

// ARPHardwareType implements stack.NetworkLinkEndpoint.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// Close implements stack.NetworkLinkEndpoint.
func (l *link) Close() {}

// SetOnCloseAction implements stack.NetworkLinkEndpoint.
func (l *link) SetOnCloseAction(func()) {}
