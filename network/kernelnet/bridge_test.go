//go:build linux

package kernelnet

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var gatewayMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}

func bridgeSegment(mtu, ports int) Segment {
	return Segment{Name: "lan", Kind: Bridge, MTU: mtu, Netstack: true, GatewayMAC: gatewayMAC, Ports: guestPorts(ports)}
}

func TestBridge(t *testing.T) {
	eachTransport(t, func(t *testing.T, noTap bool, mtu int) {
		n := open(t, Spec{Scope: Private, noTap: noTap, Segments: []Segment{bridgeSegment(mtu, 3)}})
		a, b, c, gw := n.PortFile(0, 0), n.PortFile(0, 1), n.PortFile(0, 2), n.GatewayPort(0)
		if noTap && !a.Socket {
			t.Errorf("Socket = false; want a packet socket")
		}
		if got := n.MAC(0); got.String() != gatewayMAC.String() {
			t.Errorf("MAC = %s; want %s", got, gatewayMAC)
		}
		if got := n.MTU(0); got != mtu {
			t.Errorf("MTU = %d; want %d", got, mtu)
		}
		write(t, a, raw(t, guestMAC(0), broadcast, "to all", mtu+14))
		for _, f := range []NICFile{b, c, gw} {
			if got := await(t, f.File, "to all", ""); len(got) != mtu+14 {
				t.Errorf("a frame of %d bytes came as one of %d", mtu+14, len(got))
			}
		}
		write(t, gw, raw(t, gatewayMAC, guestMAC(1), "to b", mtu+14))
		write(t, b, raw(t, guestMAC(1), guestMAC(0), "to a", 60))
		write(t, c, raw(t, guestMAC(2), gatewayMAC, "to gateway", 60))
		await(t, b.File, "to b", "")
		await(t, a.File, "to a", "to b")
		await(t, gw.File, "to gateway", "to a")
		// Nobody but the guests speaks here.
		for _, f := range []NICFile{a, b, c, gw} {
			empty(t, f.File, "after all was read")
		}
	})
}

func TestBridgeIsolated(t *testing.T) {
	for _, noTap := range []bool{false, true} {
		s := bridgeSegment(0, 2)
		s.Isolated = true
		n := open(t, Spec{Scope: Private, noTap: noTap, Segments: []Segment{s}})
		a, b, gw := n.PortFile(0, 0), n.PortFile(0, 1), n.GatewayPort(0)
		write(t, a, raw(t, guestMAC(0), guestMAC(1), "secret", 60))
		write(t, a, raw(t, guestMAC(0), broadcast, "secret", 60))
		write(t, gw, raw(t, gatewayMAC, broadcast, "from gateway", 60))
		await(t, gw.File, "secret", "")
		await(t, b.File, "from gateway", "secret")
		await(t, a.File, "from gateway", "")
	}
}

// TestBridgeSpoofed has a guest use another's MAC address and the gateway's. Both keep theirs.
func TestBridgeSpoofed(t *testing.T) {
	n := open(t, Spec{Scope: Private, Segments: []Segment{bridgeSegment(0, 3)}})
	victim, thief, other, gw := n.PortFile(0, 0), n.PortFile(0, 1), n.PortFile(0, 2), n.GatewayPort(0)
	for range 5 {
		write(t, thief, raw(t, guestMAC(0), broadcast, "spoofed", 60))
		write(t, thief, raw(t, gatewayMAC, broadcast, "spoofed", 60))
	}
	write(t, other, raw(t, guestMAC(2), guestMAC(0), "for the victim", 60))
	write(t, other, raw(t, guestMAC(2), gatewayMAC, "for the gateway", 60))
	write(t, other, raw(t, guestMAC(2), broadcast, "for all", 60))
	await(t, victim.File, "for the victim", "")
	await(t, gw.File, "for the gateway", "")
	await(t, thief.File, "for all", "for the")
}

func TestBridgeCapture(t *testing.T) {
	s := bridgeSegment(9000, 2)
	s.Capture = true
	n := open(t, Spec{Scope: Private, Segments: []Segment{s}})
	c := n.Capture(0)
	if len(c) != 1 {
		t.Fatalf("Capture: %d files; want 1", len(c))
	}
	write(t, n.PortFile(0, 0), raw(t, guestMAC(0), guestMAC(1), "between guests", 9014))
	if got := await(t, c[0], "between guests", ""); len(got) != 9014 {
		t.Errorf("a frame of 9014 bytes was captured as one of %d", len(got))
	}
	write(t, n.GatewayPort(0), raw(t, gatewayMAC, guestMAC(1), "from gateway", 60))
	await(t, c[0], "from gateway", "between guests") // each once
}

// TestKernelGateway has the kernel be the gateway of a private bridge: its sockets hear guests, and their answers are whole packets.
func TestKernelGateway(t *testing.T) {
	eachTransport(t, func(t *testing.T, noTap bool, mtu int) {
		s := bridgeSegment(mtu, 1)
		s.Netstack, s.Addr, s.Addr6 = false, netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("fd09::1/64")
		n := open(t, Spec{Scope: Private, noTap: noTap, Segments: []Segment{s}})
		conns, err := n.ListenUDP(0, 5300)
		if err != nil || len(conns) != 2 {
			t.Fatalf("ListenUDP = %v, %v; want two sockets", conns, err)
		}
		p := n.PortFile(0, 0)
		if got := askARP(t, p, arpRequest(t, guestMAC(0), "10.9.0.11", "10.9.0.1"), "10.9.0.1"); !bytes.Equal(got, gatewayMAC) {
			t.Errorf("10.9.0.1 is at %s; want %s", got, gatewayMAC)
		}
		write(t, p, udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "10.9.0.1", 5300, "a question"))
		buf := make([]byte, 100)
		conns[0].SetDeadline(time.Now().Add(patience))
		k, from, err := conns[0].ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:k]) != "a question" {
			t.Fatalf("ReadFrom = %q, %v", buf[:k], err)
		}
		if _, err := conns[0].WriteToUDPAddrPort([]byte("an answer"), from); err != nil {
			t.Fatal(err)
		}
		checkUDP(t, answerARP(t, p, "10.9.0.11", "an answer"))
		if l, err := n.ListenTCP(0, 5300); err != nil || len(l) != 2 {
			t.Errorf("ListenTCP = %v, %v; want two listeners", l, err)
		} else {
			l[0].Close()
			l[1].Close()
		}
		if _, err := n.ListenUDP(0, 5300); err == nil {
			t.Errorf("ListenUDP on a port in use: no error")
		}
		l := n.Listeners(0)
		if len(l) != 1 || l[0].Port != -1 || l[0].LinkLocal.String() != "fe80::1" || !bytes.Equal(l[0].MAC, gatewayMAC) {
			t.Fatalf("Listeners = %+v", l)
		}
		testListener(t, l[0], p)
		conns[0].Close()
		conns[1].Close()
	})
}

// TestVLAN sends a frame with a tag: it comes as it is, or, where a packet socket can't show the tag, not at all.
func TestVLAN(t *testing.T) {
	eachTransport(t, func(t *testing.T, noTap bool, mtu int) {
		n := open(t, Spec{Scope: Private, noTap: noTap, Segments: []Segment{bridgeSegment(mtu, 2)}})
		a, b := n.PortFile(0, 0), n.PortFile(0, 1)
		tagged := serialize(t, &layers.Ethernet{SrcMAC: guestMAC(0), DstMAC: guestMAC(1), EthernetType: layers.EthernetTypeDot1Q},
			&layers.Dot1Q{VLANIdentifier: 7, Type: 0x88b5}, gopacket.Payload("tagged, of at least 60 bytes, which is as short as a frame gets"))
		write(t, a, tagged)
		write(t, a, raw(t, guestMAC(0), guestMAC(1), "untagged", 60))
		if b.Socket {
			await(t, b.File, "untagged", "tagged, of")
		} else if got := await(t, b.File, "tagged, of", ""); !bytes.Equal(got, tagged) {
			t.Errorf("a tagged frame came as %x; want %x", got, tagged)
		}
	})
}
