package dhcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

var (
	gatewayMAC       = net.HardwareAddr{2, 0xff, 0, 0, 0, 1}
	gatewayLinkLocal = netip.MustParseAddr("fe80::1")
)

// A link is a Port and what it sent.
type link struct {
	*world
	*Port
	sent [][]byte
}

func newLink(t *testing.T, change func(*Config)) *link {
	l := &link{world: newWorld(t, change)}
	l.Port = l.Server.Port(gatewayMAC, gatewayLinkLocal, func(f []byte) { l.sent = append(l.sent, f) })
	return l
}

// frameOf4 is a message in a frame, between addresses with their ports.
func frameOf4(m *dhcpv4.DHCPv4, src, dst string, to net.HardwareAddr) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return frame4(m.ClientHWAddr, to, s.Addr(), d.Addr(), protocolUDP, udp(s, d, m.ToBytes()))
}

func frameOf6(m dhcpv6.DHCPv6, n int) []byte {
	s, d := netip.AddrPortFrom(linkLocal(n), clientPort6), netip.AddrPortFrom(allServers, serverPort6)
	return frame6(mac(n), net.HardwareAddr{0x33, 0x33, 0, 1, 0, 2}, s.Addr(), d.Addr(), protocolUDP, udp(s, d, m.ToBytes()))
}

func solicitation(src, dst string, options ...byte) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	b := append([]byte{typeRouterSolicitation, 0, 0, 0, 0, 0, 0, 0}, options...)
	binary.BigEndian.PutUint16(b[2:], checksum(pseudo(s, d, protocolICMPv6, len(b)), b))
	return frame6(mac(1), net.HardwareAddr{0x33, 0x33, 0, 0, 0, 2}, s, d, protocolICMPv6, b)
}

// describe says where the only frame went that was sent, after it has looked at the frame with other eyes than those that wrote it.
func (l *link) describe() string {
	l.Helper()
	if len(l.sent) == 0 {
		return "nothing"
	}
	if len(l.sent) > 1 {
		l.Fatalf("%d frames were sent", len(l.sent))
	}
	f := l.sent[0]
	l.sent = nil
	if !bytes.Equal(f[6:12], gatewayMAC) {
		l.Errorf("the sender is %x", f[6:12])
	}
	b := f[14:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0800:
		h, err := ipv4.ParseHeader(b)
		if err != nil || h.TotalLen != len(b) || sum(b[:20]) != 0xffff || h.TTL == 0 {
			l.Fatalf("header %v, %v", h, err)
		}
		return fmt.Sprintf("%x %v:%d to %v:%d", f[:6], h.Src, port(b[20:]), h.Dst, port(b[22:])) + udpSum(b[12:20], b[20:])
	case 0x86dd:
		h, err := ipv6.ParseHeader(b)
		if err != nil || h.PayloadLen != len(b)-40 || h.HopLimit != 255 {
			l.Fatalf("header %v, %v", h, err)
		}
		if h.NextHeader == 58 {
			return fmt.Sprintf("%x %v to %v", f[:6], h.Src, h.Dst) + icmpSum(b[8:40], b[40:])
		}
		return fmt.Sprintf("%x [%v]:%d to [%v]:%d", f[:6], h.Src, port(b[40:]), h.Dst, port(b[42:])) + udpSum(b[8:40], b[40:])
	}
	return fmt.Sprintf("%x", f)
}

func port(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// sum is the ones' complement sum, 0xffff for what has a right checksum in it.
func sum(b []byte) (s uint32) {
	if len(b)%2 == 1 {
		b = append(slices.Clone(b), 0)
	}
	for i := 0; i < len(b); i += 2 {
		if s += uint32(b[i])<<8 | uint32(b[i+1]); s > 0xffff {
			s -= 0xffff
		}
	}
	return s
}

func udpSum(addrs, b []byte) string {
	if int(port(b[4:])) != len(b) {
		return fmt.Sprintf(", with the length %d", port(b[4:]))
	}
	if port(b[6:]) == 0 || sum(slices.Concat(addrs, []byte{0, 17}, b[4:6], b)) != 0xffff {
		return ", with a wrong checksum"
	}
	return ""
}

func icmpSum(addrs, b []byte) string {
	if sum(slices.Concat(addrs, []byte{0, 58}, binary.BigEndian.AppendUint16(nil, uint16(len(b))), b)) != 0xffff {
		return ", with a wrong checksum"
	}
	return ""
}

// RFC 2131, section 4.1.
func TestWhereAnswersGo(t *testing.T) {
	const (
		unset, every, us = "0.0.0.0:68", "255.255.255.255:67", "10.0.0.1:67"
		request          = dhcpv4.MessageTypeRequest
	)
	for _, tt := range []struct {
		name string
		f    []byte
		want string
	}{
		{"offer", frameOf4(message(dhcpv4.MessageTypeDiscover, mac(1), asking("10.0.0.9")), unset, every, broadcastMAC),
			"020000000001 10.0.0.1:67 to 10.0.0.9:68"},
		{"offer, broadcast", frameOf4(message(dhcpv4.MessageTypeDiscover, mac(1), asking("10.0.0.9"), dhcpv4.WithBroadcast(true)), unset, every, broadcastMAC),
			"ffffffffffff 10.0.0.1:67 to 255.255.255.255:68"},
		{"acknowledgement", frameOf4(message(request, mac(1), asking("10.0.0.9")), unset, every, broadcastMAC),
			"020000000001 10.0.0.1:67 to 10.0.0.9:68"},
		{"renewal", frameOf4(message(request, mac(1), dhcpv4.WithClientIP(ip("10.0.0.9"))), "10.0.0.9:68", us, gatewayMAC),
			"020000000001 10.0.0.1:67 to 10.0.0.9:68"},
		{"renewal, broadcast", frameOf4(message(request, mac(1), dhcpv4.WithClientIP(ip("10.0.0.9")), dhcpv4.WithBroadcast(true)), "10.0.0.9:68", us, gatewayMAC),
			"020000000001 10.0.0.1:67 to 10.0.0.9:68"},
		{"refusal", frameOf4(message(request, mac(1), dhcpv4.WithClientIP(ip("10.9.0.9"))), "10.9.0.9:68", us, gatewayMAC),
			"ffffffffffff 10.0.0.1:67 to 255.255.255.255:68"},
		{"information", frameOf4(message(dhcpv4.MessageTypeInform, mac(1), dhcpv4.WithClientIP(ip("10.0.0.9"))), "10.0.0.9:68", every, broadcastMAC),
			"020000000001 10.0.0.1:67 to 10.0.0.9:68"},
		{"advertise", frameOf6(message6(dhcpv6.MessageTypeSolicit, 1, ""), 1), "020000000001 [fe80::1]:547 to [fe80::ff:fe00:1]:546"},
	} {
		l := newLink(t, nil)
		before := slices.Clone(tt.f)
		if !l.Input(tt.f) {
			t.Errorf("%s: the frame is for others, too", tt.name)
		}
		if got := l.describe(); got != tt.want {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
		if !bytes.Equal(before, tt.f) {
			t.Errorf("%s: the frame was changed", tt.name)
		}
		if n := l.Dropped(); n != 0 {
			t.Errorf("%s: %d dropped", tt.name, n)
		}
	}
}

// change returns f with a byte changed and the checksum of IPv4 made right again.
func change(f []byte, at int, b byte) []byte {
	f = slices.Clone(f)
	f[at] = b
	if binary.BigEndian.Uint16(f[12:]) == 0x0800 && at < 34 && at != 24 {
		h := f[14:34]
		h[10], h[11] = 0, 0
		binary.BigEndian.PutUint16(h[10:], checksum(0, h))
	}
	return f
}

func TestFramesForOthers(t *testing.T) {
	discover := frameOf4(message(dhcpv4.MessageTypeDiscover, mac(1)), "0.0.0.0:68", "255.255.255.255:67", broadcastMAC)
	sol := frameOf6(message6(dhcpv6.MessageTypeSolicit, 1, ""), 1)
	v4, v6 := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")
	for _, tt := range []struct {
		name  string
		f     []byte
		mine  bool
		drops uint64
	}{
		{"discover", discover, true, 0},
		{"solicit", sol, true, 0},
		{"nothing", nil, false, 0},
		{"a runt", discover[:13], false, 0},
		{"a cut one", discover[:100], false, 0},
		{"with padding", append(slices.Clone(discover), 1, 2, 3), true, 0},
		{"of another type", change(discover, 13, 6), false, 0},
		{"from a group", change(discover, 6, 3), false, 0},
		{"of another version", change(discover, 14, 0x65), false, 0},
		{"with half a header", change(discover, 14, 0x44), false, 0},
		{"with a wrong checksum", change(discover, 24, discover[24]^1), false, 0},
		{"a fragment", change(discover, 20, 0x20), false, 0},
		{"another fragment", change(discover, 21, 1), false, 0},
		{"which must not be fragmented", change(discover, 20, 0x40), true, 0},
		{"of TCP", change(discover, 23, 6), false, 0},
		{"to another server", change(discover, 33, 254), false, 0},
		{"to another port", change(discover, 37, 69), false, 0},
		{"a datagram longer than its packet", change(discover, 38, 0xff), false, 0},
		{"no message", change(discover, 42+236, 0), true, 1},
		{"for another MAC", change(discover, 42+28+5, 9), true, 1},
		{"by a relay", change(discover, 42+24, 10), true, 0},
		{"DHCPv6 to another group", change(sol, 14+39, 9), false, 0},
		{"DHCPv6 to another port", change(sol, 14+43, 9), false, 0},
		{"DHCPv6 from a global address", change(sol, 14+8, 0x20), true, 1},
		{"DHCPv6 longer than its frame", change(sol, 18, 9), false, 0},
		{"DHCPv6, malformed", change(sol, 14+40+8+6, 9), true, 1},
	} {
		l := newLink(t, nil)
		if got := l.Input(tt.f); got != tt.mine || l.Dropped() != tt.drops {
			t.Errorf("%s: Input = %t, dropped %d; want %t, %d", tt.name, got, l.Dropped(), tt.mine, tt.drops)
		}
		if got := len(l.sent) > 0; got != (tt.mine && tt.drops == 0 && tt.name != "by a relay") {
			t.Errorf("%s: answered = %t", tt.name, got)
		}
	}
	for _, tt := range []struct{ subnet, subnet6 netip.Prefix }{{v4, netip.Prefix{}}, {netip.Prefix{}, v6}} {
		l := newLink(t, func(c *Config) { c.Subnet, c.Subnet6 = tt.subnet, tt.subnet6 })
		if got4, got6 := l.Input(discover), l.Input(sol); got4 != tt.subnet.IsValid() || got6 != tt.subnet6.IsValid() {
			t.Errorf("with %v and %v: Input = %t, %t", tt.subnet, tt.subnet6, got4, got6)
		}
	}
}

func TestSolicitations(t *testing.T) {
	lla := append([]byte{1, 1}, mac(1)...)
	good := solicitation("fe80::ff:fe00:1", "ff02::2", lla...)
	to := "020000000001 fe80::1 to "
	for _, tt := range []struct {
		name string
		f    []byte
		want string
	}{
		{"good", good, to + "fe80::ff:fe00:1"},
		{"to the router", solicitation("fe80::ff:fe00:1", "fe80::1"), to + "fe80::ff:fe00:1"},
		{"without an address", solicitation("::", "ff02::2"), to + "ff02::1"},
		{"without an address, but with a MAC", solicitation("::", "ff02::2", lla...), "nothing"},
		{"from afar", change(good, 14+7, 254), "nothing"},
		{"from a global address", solicitation("fd00::5", "ff02::2"), "nothing"},
		{"to another", solicitation("fe80::5", "ff02::5"), "nothing"},
		{"with a wrong checksum", change(good, 14+42, good[14+42]^1), "nothing"},
		{"of another code", change(good, 14+41, 1), "nothing"},
		{"of another type", change(good, 14+40, 135), "nothing"},
		{"with an empty option", solicitation("fe80::5", "ff02::2", 1, 0, 0, 0, 0, 0, 0, 0), "nothing"},
		{"with half an option", solicitation("fe80::5", "ff02::2", 1, 2, 0, 0, 0, 0, 0, 0), "nothing"},
		{"with a piece of an option", solicitation("fe80::5", "ff02::2", 1), "nothing"},
	} {
		l := newLink(t, nil)
		if l.Input(tt.f) {
			t.Errorf("%s: the frame is for the server alone", tt.name)
		}
		if got := l.describe(); got != tt.want {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
	}
}

func TestAdvertisement(t *testing.T) {
	l := newLink(t, everything)
	l.Advertise()
	if len(l.sent) != 1 {
		t.Fatalf("%d frames were sent", len(l.sent))
	}
	m, err := ndp.ParseMessage(l.sent[0][14+40:])
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.describe(), "333300000001 fe80::1 to ff02::1"; got != want {
		t.Errorf("it went %s; want %s", got, want)
	}
	ra := m.(*ndp.RouterAdvertisement)
	if !ra.ManagedConfiguration || !ra.OtherConfiguration || ra.RouterLifetime != routerLifetime || ra.CurrentHopLimit != 64 {
		t.Errorf("advertisement = %+v", ra)
	}
	var got []string
	for _, o := range ra.Options {
		got = append(got, fmt.Sprintf("%+v", o))
	}
	want := []string{
		"&{Direction:1 Addr:02:ff:00:00:00:01}",
		"&{PrefixLength:64 OnLink:true AutonomousAddressConfiguration:true ValidLifetime:24h0m0s PreferredLifetime:24h0m0s Prefix:fd00::}",
		"&{MTU:9000}",
		"&{Lifetime:24h0m0s Servers:[fd00::1]}",
		"&{Lifetime:24h0m0s DomainNames:[lab.test]}",
		"&{Lifetime:24h0m0s DomainNames:[test]}",
	}
	if !slices.Equal(got, want) {
		t.Errorf("options = %q; want %q", got, want)
	}

	l = newLink(t, func(c *Config) { c.Stateless6, c.MTU = true, 576 })
	ra = l.advertisement(gatewayMAC)
	if ra.ManagedConfiguration || ra.RouterLifetime != 0 || len(ra.Options) != 2 || ra.Options[1].(*ndp.PrefixInformation).OnLink {
		t.Errorf("advertisement = %+v", ra)
	}
	l.Server.cfg.Subnet6 = netip.Prefix{}
	if l.Advertise(); len(l.sent) != 0 {
		t.Error("without IPv6 there is an advertisement")
	}
}

// A lease's end is noticed by the next advertisement, if no client is heard.
func TestAdvertiseNoticesTheEnd(t *testing.T) {
	l := newLink(t, nil)
	addr := l.lease(mac(1))
	l.clock = l.clock.Add(time.Hour)
	l.Advertise()
	if got, want := l.told(), fmt.Sprintf("[leased %s expired %s]", addr, addr); got != want {
		t.Errorf("events = %s; want %s", got, want)
	}
}
