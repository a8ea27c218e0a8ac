//go:build linux

package kernelnet

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func tunSegment(mtu, ports int) Segment {
	s := bridgeSegment(mtu, ports)
	s.Kind, s.Addr, s.Addr6 = Tun, netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("fd09::1/64")
	return s
}

func arpRequest(t *testing.T, mac net.HardwareAddr, from, to string) []byte {
	t.Helper()
	return serialize(t, &layers.Ethernet{SrcMAC: mac, DstMAC: broadcast, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: mac, SourceProtAddress: net.ParseIP(from).To4(), DstHwAddress: make([]byte, 6), DstProtAddress: net.ParseIP(to).To4(),
	})
}

// askARP asks for an address until it is answered for: a port that has just been made may not forward yet.
func askARP(t *testing.T, p NICFile, request []byte, of string) net.HardwareAddr {
	t.Helper()
	buf := make([]byte, 1<<17)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		write(t, p, request)
		if err := p.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := p.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatalf("read a frame: %v", err)
			}
			a, ok := decode(buf[:n]).Layer(layers.LayerTypeARP).(*layers.ARP)
			if ok && a.Operation == layers.ARPReply && net.IP(a.SourceProtAddress).String() == of {
				return a.SourceHwAddress
			}
		}
	}
	t.Fatalf("nobody answers for %s", of)
	return nil
}

// answerARP answers for the guest's address until a frame with the mark comes.
func answerARP(t *testing.T, p NICFile, address, mark string) []byte {
	t.Helper()
	return awaitFrame(t, p.File, mark, func(b []byte) bool {
		if a, ok := decode(b).Layer(layers.LayerTypeARP).(*layers.ARP); ok && net.IP(a.DstProtAddress).String() == address {
			r := *a
			r.Operation = layers.ARPReply
			r.SourceHwAddress, r.SourceProtAddress, r.DstHwAddress, r.DstProtAddress = guestMAC(0), a.DstProtAddress, a.SourceHwAddress, a.SourceProtAddress
			write(t, p, serialize(t, &layers.Ethernet{SrcMAC: guestMAC(0), DstMAC: a.SourceHwAddress, EthernetType: layers.EthernetTypeARP}, &r))
		}
		return bytes.Contains(b, []byte(mark))
	})
}

// checkUDP looks for right checksums and lengths.
func checkUDP(t *testing.T, frame []byte) {
	t.Helper()
	p := decode(frame)
	u, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok || p.ErrorLayer() != nil {
		t.Fatalf("no UDP packet: %v", p)
	}
	if err := u.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	want := u.Checksum
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}, u, gopacket.Payload(u.Payload)); err != nil {
		t.Fatal(err)
	}
	if u.Checksum != want {
		t.Errorf("UDP checksum %#x; want %#x", want, u.Checksum)
	}
}

func srcOf(p gopacket.Packet) string { return p.NetworkLayer().NetworkFlow().Src().String() }

// addressed says that a frame is from one MAC address to another.
func addressed(t *testing.T, frame []byte, from, to net.HardwareAddr) {
	t.Helper()
	if !bytes.Equal(frame[:6], to) || !bytes.Equal(frame[6:12], from) {
		t.Errorf("a frame from %s to %s; want from %s to %s", net.HardwareAddr(frame[6:12]), net.HardwareAddr(frame[:6]), from, to)
	}
}

func TestTun(t *testing.T) {
	eachTransport(t, func(t *testing.T, noTap bool, mtu int) {
		n := open(t, Spec{Scope: Private, noTap: noTap, Segments: []Segment{tunSegment(mtu, 3)}})
		a, b, gw := n.PortFile(0, 0), n.PortFile(0, 1), n.GatewayPort(0)

		// The kernel answers for everybody at the guest's link, and for guests at the gateway's.
		for _, to := range []string{"10.9.0.12", "10.9.0.1"} {
			if got := askARP(t, a, arpRequest(t, guestMAC(0), "10.9.0.11", to), to); !bytes.Equal(got, gatewayMAC) {
				t.Errorf("%s is at %s; want %s", to, got, gatewayMAC)
			}
		}
		kernelMAC := askARP(t, gw, arpRequest(t, gatewayMAC, "10.9.0.1", "10.9.0.12"), "10.9.0.12")

		// Guest to guest, of the greatest size.
		big := string(bytes.Repeat([]byte{'x'}, mtu-28-len("to b"))) + "to b"
		write(t, a, udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "10.9.0.12", 7, big))
		got := await(t, b.File, "to b", "")
		addressed(t, got, gatewayMAC, guestMAC(1))
		if len(got) != mtu+14 || decode(got).Layer(layers.LayerTypeIPv4).(*layers.IPv4).TTL != 63 {
			t.Errorf("a frame of %d bytes: %v", len(got), decode(got))
		}
		checkUDP(t, got)
		// To the gateway and beyond, and back.
		write(t, a, udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "10.9.0.1", 7, "to the gateway"))
		addressed(t, await(t, gw.File, "to the gateway", "to b"), kernelMAC, gatewayMAC)
		write(t, a, udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "192.0.2.1", 7, "to the world"))
		addressed(t, await(t, gw.File, "to the world", ""), kernelMAC, gatewayMAC)
		write(t, gw, udp(t, gatewayMAC, kernelMAC, "192.0.2.1", "10.9.0.11", 7, "from the world"))
		addressed(t, await(t, a.File, "from the world", ""), gatewayMAC, guestMAC(0))
		// IPv6 likewise.
		write(t, a, udp(t, guestMAC(0), gatewayMAC, "fd09::11", "fd09::12", 7, "6 to b"))
		addressed(t, await(t, b.File, "6 to b", ""), gatewayMAC, guestMAC(1))
		write(t, a, udp(t, guestMAC(0), gatewayMAC, "fd09::11", "2001:db8::1", 7, "6 to the world"))
		addressed(t, await(t, gw.File, "6 to the world", "6 to b"), kernelMAC, gatewayMAC)
		write(t, gw, udp(t, gatewayMAC, kernelMAC, "2001:db8::1", "fd09::11", 7, "6 from the world"))
		addressed(t, await(t, a.File, "6 from the world", ""), gatewayMAC, guestMAC(0))
	})
}

func TestTunNeighbours(t *testing.T) {
	n := open(t, Spec{Scope: Private, Segments: []Segment{tunSegment(0, 2)}})
	for _, c := range []struct {
		file     NICFile
		mac      net.HardwareAddr
		from, to string
	}{
		{n.PortFile(0, 0), guestMAC(0), "fd09::11", "fd09::12"}, {n.PortFile(0, 0), guestMAC(0), "fd09::11", "fd09::1"},
		{n.PortFile(0, 1), guestMAC(1), "fe80::1234", "fe80::1"}, {n.GatewayPort(0), gatewayMAC, "fd09::1", "fd09::11"},
	} {
		write(t, c.file, solicitation(t, c.mac, c.from, c.to))
		awaitFrame(t, c.file.File, "advertisement of "+c.to, func(b []byte) bool {
			a, ok := decode(b).Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
			return ok && a.TargetAddress.String() == c.to
		})
	}
}

func solicitation(t *testing.T, mac net.HardwareAddr, from, to string) []byte {
	t.Helper()
	target := net.ParseIP(to)
	group := net.IP{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, target[13], target[14], target[15]}
	ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255, SrcIP: net.ParseIP(from), DstIP: group}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip)
	return serialize(t, &layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0xff, target[13], target[14], target[15]}, EthernetType: layers.EthernetTypeIPv6},
		ip, icmp, &layers.ICMPv6NeighborSolicitation{TargetAddress: target, Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: mac}}})
}

// TestTunSpoofed has a guest use another's addresses: nothing of it comes anywhere.
func TestTunSpoofed(t *testing.T) {
	n := open(t, Spec{Scope: Private, Segments: []Segment{tunSegment(0, 3)}})
	a, b := n.PortFile(0, 0), n.PortFile(0, 1)
	write(t, a, udp(t, guestMAC(0), gatewayMAC, "10.9.0.13", "10.9.0.12", 7, "spoofed"))
	write(t, a, udp(t, guestMAC(0), gatewayMAC, "192.0.2.1", "10.9.0.12", 7, "spoofed"))
	write(t, a, udp(t, guestMAC(0), gatewayMAC, "fd09::13", "fd09::12", 7, "spoofed"))
	write(t, a, udp(t, guestMAC(0), gatewayMAC, "2001:db8::1", "fd09::12", 7, "spoofed"))
	write(t, a, udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "10.9.0.12", 7, "honest"))
	await(t, b.File, "honest", "spoofed")
}

func TestTunIsolated(t *testing.T) {
	s := tunSegment(0, 2)
	s.Isolated = true
	n := open(t, Spec{Scope: Private, Segments: []Segment{s}})
	a, b, gw := n.PortFile(0, 0), n.PortFile(0, 1), n.GatewayPort(0)
	write(t, a, udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "10.9.0.12", 7, "secret"))
	write(t, a, udp(t, guestMAC(0), gatewayMAC, "fd09::11", "fd09::12", 7, "secret"))
	write(t, a, udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "10.9.0.1", 7, "to the gateway"))
	kernelMAC := net.HardwareAddr(await(t, gw.File, "to the gateway", "secret")[6:12])
	write(t, gw, udp(t, gatewayMAC, kernelMAC, "10.9.0.1", "10.9.0.12", 7, "from the gateway"))
	await(t, b.File, "from the gateway", "secret")
}

func TestTunListeners(t *testing.T) {
	for _, noTap := range []bool{false, true} {
		s := tunSegment(0, 2)
		s.Capture = true
		n := open(t, Spec{Scope: Private, noTap: noTap, Segments: []Segment{s}})
		l := n.Listeners(0)
		if len(l) != 2 {
			t.Fatalf("Listeners: %d; want 2", len(l))
		}
		for i := range l {
			if l[i].Port != i || l[i].LinkLocal.String() != "fe80::1" || !bytes.Equal(l[i].MAC, gatewayMAC) {
				t.Errorf("Listeners[%d] = %+v", i, l[i])
			}
			testListener(t, l[i], n.PortFile(0, i))
		}
		c := n.Capture(0)
		if len(c) != 2 {
			t.Fatalf("Capture: %d files; want 2", len(c))
		}
		write(t, n.PortFile(0, 0), udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "10.9.0.12", 7, "between guests"))
		await(t, c[0], "between guests", "")
		await(t, c[1], "between guests", "")
	}
}

// testListener sends frames by a port of guest 0 or another, of which the listener hears those of DHCP and router solicitations, and no others.
func testListener(t *testing.T, l Listener, p NICFile) {
	t.Helper()
	mac := guestMAC(max(0, l.Port))
	write(t, p, udp(t, mac, broadcast, "0.0.0.0", "255.255.255.255", 68, "other"))
	write(t, p, udp(t, mac, broadcast, "0.0.0.0", "255.255.255.255", 67, "DHCPv4"))
	write(t, p, udp(t, mac, net.HardwareAddr{0x33, 0x33, 0, 1, 0, 2}, "fe80::99", "ff02::1:2", 546, "other"))
	write(t, p, udp(t, mac, net.HardwareAddr{0x33, 0x33, 0, 1, 0, 2}, "fe80::99", "ff02::1:2", 547, "DHCPv6"))
	await(t, l.File, "DHCPv4", "other")
	await(t, l.File, "DHCPv6", "other")
	write(t, p, solicitation(t, mac, "fe80::99", "fe80::1"))
	ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255, SrcIP: net.ParseIP("fe80::99"), DstIP: net.ParseIP("ff02::2")}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeRouterSolicitation, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip)
	write(t, p, serialize(t, &layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv6}, ip, icmp, &layers.ICMPv6RouterSolicitation{}))
	awaitFrame(t, l.File, "router solicitation", func(b []byte) bool {
		if decode(b).Layer(layers.LayerTypeICMPv6NeighborSolicitation) != nil {
			t.Error("the listener hears neighbour solicitations")
		}
		return decode(b).Layer(layers.LayerTypeICMPv6RouterSolicitation) != nil
	})
	write(t, l.File, raw(t, l.MAC, mac, "an offer", 60))
	await(t, p.File, "an offer", "")
}
