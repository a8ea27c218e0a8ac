package netstack

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func mustUDP(t *testing.T, g *guest, local tcpip.FullAddress) *gonet.UDPConn {
	t.Helper()
	c, err := gonet.DialUDP(g.stack, &local, nil, protocolOf(toNetip(local.Addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// arpFor is a question for an address.
func arpFor(a netip.Addr) []byte {
	f := make([]byte, header.EthernetMinimumSize+header.ARPSize)
	header.Ethernet(f).Encode(&header.EthernetFields{SrcAddr: tcpip.LinkAddress(guestMAC), DstAddr: header.EthernetBroadcastAddress, Type: header.ARPProtocolNumber})
	h := header.ARP(f[header.EthernetMinimumSize:])
	h.SetIPv4OverEthernet()
	h.SetOp(header.ARPRequest)
	copy(h.HardwareAddressSender(), guestMAC)
	copy(h.ProtocolAddressSender(), guestAddr.AsSlice())
	copy(h.ProtocolAddressTarget(), a.AsSlice())
	return f
}

// solicit is the same for IPv6.
func solicit(a netip.Addr) []byte {
	const size = header.ICMPv6NeighborSolicitMinimumSize + 8
	f := make([]byte, header.EthernetMinimumSize+header.IPv6MinimumSize+size)
	group := header.SolicitedNodeAddr(fromNetip(a))
	header.Ethernet(f).Encode(&header.EthernetFields{SrcAddr: tcpip.LinkAddress(guestMAC), DstAddr: header.EthernetAddressFromMulticastIPv6Address(group), Type: header.IPv6ProtocolNumber})
	ip := header.IPv6(f[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv6Fields{PayloadLength: size, TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: 255, SrcAddr: fromNetip(guestAddr6), DstAddr: group})
	h := header.ICMPv6(ip[header.IPv6MinimumSize:])
	h.SetType(header.ICMPv6NeighborSolicit)
	ns := header.NDPNeighborSolicit(h.MessageBody())
	ns.SetTargetAddress(fromNetip(a))
	ns.Options().Serialize(header.NDPOptionsSerializer{header.NDPSourceLinkLayerAddressOption(guestMAC)})
	h.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: h, Src: ip.SourceAddress(), Dst: ip.DestinationAddress()}))
	return f
}

// TestNeighbours answers questions for the gateway's addresses, as a router, and none for others.
func TestNeighbours(t *testing.T) {
	cfg := defaultConfig(1500)
	var sent [][]byte
	cfg.Send = func(f []byte) { sent = append(sent, bytes.Clone(f)) }
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for f, want := range map[string]bool{
		string(arpFor(gwAddr)): true, string(arpFor(netip.MustParseAddr("10.77.0.9"))): false, string(arpFor(netip.MustParseAddr("192.0.2.1"))): false,
		string(solicit(gwAddr6)): true, string(solicit(LinkLocal(gatewayMAC))): true, string(solicit(netip.MustParseAddr("fd77::9"))): false,
	} {
		sent = nil
		g.Input([]byte(f))
		if got := len(sent) == 1; got != want {
			t.Errorf("%d answers to %x; want one: %v", len(sent), f, want)
			continue
		}
		if want && sent[0][12] == 0x86 {
			const flagsAt = header.EthernetMinimumSize + header.IPv6MinimumSize + 4
			if sent[0][flagsAt]&0x80 == 0 {
				t.Errorf("an advertisement of the gateway's doesn't say that it is a router: %x", sent[0])
			}
		}
	}
}

// syn is a SYN to a port of the gateway's.
func syn(mac byte, from uint16, port uint16) []byte {
	f := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+header.TCPMinimumSize)
	src := tcpip.LinkAddress([]byte{2, 0, 0, 0, 1, mac})
	header.Ethernet(f).Encode(&header.EthernetFields{SrcAddr: src, DstAddr: tcpip.LinkAddress(gatewayMAC), Type: header.IPv4ProtocolNumber})
	ip := header.IPv4(f[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber),
		SrcAddr: tcpip.AddrFrom4([4]byte{10, 77, 0, mac}), DstAddr: fromNetip(gwAddr)})
	ip.SetChecksum(^ip.CalculateChecksum())
	h := header.TCP(ip[header.IPv4MinimumSize:])
	h.Encode(&header.TCPFields{SrcPort: from, DstPort: port, SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1000})
	h.SetChecksum(^h.CalculateChecksum(checksum.Combine(header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), header.TCPMinimumSize), 0)))
	return f
}

// TestSYNFlood has one guest open connections that it never completes: its share is bounded, another guest is served, and Close ends them.
func TestSYNFlood(t *testing.T) {
	var notices atomic.Int32
	gw, g := newPair(t, func(c *Config) {
		c.HostLoopback = true
		c.Notice = func(string) { notices.Add(1) }
	})
	port := listenHost(t, "127.0.0.1", echo)
	for i := range 3 * maxOpening {
		gw.Input(syn(66, uint16(1000+i), port))
	}
	gw.tcp.mu.Lock()
	n := len(gw.tcp.opening)
	gw.tcp.mu.Unlock()
	if n > maxOpening/2 {
		t.Errorf("%d half-open connections; want at most %d", n, maxOpening/2)
	}
	if notices.Load() != 1 {
		t.Errorf("%d notices; want one", notices.Load())
	}
	c := g.mustDial(t, netip.AddrPortFrom(gwAddr, port))
	c.Write([]byte("x"))
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("another guest isn't served: %v", err)
	}
}

// TestWants drops frames that are none of the gateway's business.
func TestWants(t *testing.T) {
	r := newRules(defaultConfig(1500))
	good := syn(9, 1, 1)
	change := func(at int, b ...byte) []byte {
		f := bytes.Clone(good)
		copy(f[at:], b)
		return f
	}
	for name, c := range map[string]struct {
		frame []byte
		want  bool
	}{
		"to the gateway":       {good, true},
		"to a foreign address": {change(30, 192, 0, 2, 1), true},
		"empty":                {nil, false},
		"runt":                 {good[:13], false},
		"short":                {good[:20], false},
		"giant":                {append(bytes.Clone(good), make([]byte, 1500)...), false},
		"to another MAC":       {change(0, 2, 9), false},
		"broadcast":            {change(0, 255, 255, 255, 255, 255, 255), false},
		"from a group":         {change(6, 3), false},
		"from our MAC":         {change(6, gatewayMAC...), false},
		"from our address":     {change(26, 10, 77, 0, 1), false},
		"from elsewhere":       {change(26, 10, 78, 0, 1), false},
		"to a group":           {change(30, 224, 0, 0, 1), false},
		"to the broadcast":     {change(30, 10, 77, 0, 255), false},
		"of an unknown kind":   {change(12, 0x88, 0xcc), false},
	} {
		if _, got := r.wants(c.frame); got != c.want {
			t.Errorf("a frame %s is wanted: %v; want %v", name, got, c.want)
		}
	}
}

// FuzzInput has a gateway take anything.
func FuzzInput(f *testing.F) {
	for _, s := range [][]byte{arpFor(gwAddr), solicit(gwAddr6), solicit(LinkLocal(gatewayMAC)), syn(9, 1, 53), syn(9, 1, 1), echoRequest(gwAddr), echoRequest(guestAddr)} {
		f.Add(s)
	}
	cfg := defaultConfig(1500)
	cfg.Uplink = false
	cfg.Send = func(b []byte) {
		if len(b) < header.EthernetMinimumSize || len(b) > header.EthernetMinimumSize+1500 {
			f.Errorf("a frame of %d bytes", len(b))
		}
	}
	g, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { g.Close() })
	if _, err := g.Listen(53); err != nil {
		f.Fatal(err)
	}
	if _, err := g.ListenPacket(53); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g.Input(b)
		// Most bytes would fail at the addresses: let them be right.
		if len(b) >= header.EthernetMinimumSize+header.IPv4MinimumSize {
			b = bytes.Clone(b)
			copy(b, gatewayMAC)
			switch {
			case b[12] == 8 && b[13] == 0:
				copy(b[26:], guestAddr.AsSlice())
			case b[12] == 0x86 && len(b) >= header.EthernetMinimumSize+header.IPv6MinimumSize:
				copy(b[22:], guestAddr6.AsSlice())
			}
			g.Input(b)
		}
	})
}
