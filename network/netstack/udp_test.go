package netstack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// echoUDP sends datagrams back, on the host.
func echoUDP(t testing.TB, addr string) uint16 {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return uint16(c.LocalAddr().(*net.UDPAddr).Port)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// TestUDP sends datagrams of several sizes there and back, above the MTU by fragments.
func TestUDP(t *testing.T) {
	for _, gw := range []netip.Addr{gwAddr, gwAddr6} {
		t.Run(gw.String(), func(t *testing.T) {
			_, g := newPair(t, func(c *Config) { c.HostLoopback = true })
			host := "127.0.0.1"
			if gw.Is6() {
				host = "::1"
			}
			c := g.dialUDP(t, netip.AddrPortFrom(gw, echoUDP(t, host)))
			b := make([]byte, 1<<16)
			for _, size := range []int{0, 1, 1000, 1473, 9000, 40_000, 65_000} {
				want := random(size)
				if _, err := c.Write(want); err != nil {
					t.Fatal(err)
				}
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, err := c.Read(b)
				if err != nil || !bytes.Equal(b[:n], want) {
					t.Errorf("%d bytes came back of %d, %v", n, size, err)
				}
			}
		})
	}
}

// TestUDPRefused has "port unreachable" passed on.
func TestUDPRefused(t *testing.T) {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(p.LocalAddr().(*net.UDPAddr).Port)
	p.Close()
	_, g := newPair(t, func(c *Config) { c.HostLoopback = true })
	for _, a := range []netip.AddrPort{netip.AddrPortFrom(gwAddr, port), netip.MustParseAddrPort("240.0.0.1:9"), netip.MustParseAddrPort("[::7f00:1]:9")} {
		if err := refusal(g.dialUDP(t, a)); !strings.Contains(err.Error(), "refused") {
			t.Errorf("read from %s = %v; want it refused", a, err)
		}
	}
}

// refusal sends a datagram and returns what reading meets. A read that waits isn't woken by an error, so that it is repeated.
func refusal(c net.Conn) error {
	c.Write([]byte("x"))
	var err error
	for range 100 {
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err = c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "timeout") {
			break
		}
	}
	return fmt.Errorf("read: %v", err)
}

func TestUDPLoopback(t *testing.T) {
	hostV4(t)
	_, g := newPair(t, nil)
	c := g.dialUDP(t, netip.AddrPortFrom(gwAddr, echoUDP(t, "127.0.0.1")))
	if err := refusal(c); !strings.Contains(err.Error(), "refused") {
		t.Errorf("read = %v; want it refused", err)
	}
	c = g.dialUDP(t, netip.AddrPortFrom(gwAddr, echoUDP(t, "0.0.0.0")))
	c.Write([]byte("x"))
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("read from a service on all addresses: %v", err)
	}
}

// TestUDPFlood opens more flows than there may be.
func TestUDPFlood(t *testing.T) {
	gw, g := newPair(t, func(c *Config) { c.HostLoopback = true })
	to := full(netip.AddrPortFrom(gwAddr, echoUDP(t, "127.0.0.1")))
	first := g.dialUDP(t, netip.AddrPortFrom(gwAddr, to.Port))
	for range maxFlows {
		c := g.dialUDP(t, netip.AddrPortFrom(gwAddr, to.Port))
		c.Write([]byte("x"))
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	gw.flows.mu.Lock()
	n := len(gw.flows.all)
	gw.flows.mu.Unlock()
	if n > maxFlows/2 {
		t.Errorf("%d flows of one guest; want at most %d", n, maxFlows/2)
	}
	first.Write([]byte("x"))
	first.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Errorf("a flow after the flood: %v", err)
	}
}

func TestListenPacket(t *testing.T) {
	gw, g := newPair(t, func(c *Config) { c.Uplink = false })
	p, err := gw.ListenPacket(53)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gw.ListenPacket(53); err == nil {
		t.Error("a port is listened on twice")
	}
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			p.WriteTo(b[:n], from)
		}
	}()
	// The guest asks a link-local address from a global one too: the answer has to come from there.
	for _, a := range []netip.Addr{gwAddr, gwAddr6, LinkLocal(gatewayMAC)} {
		c := g.dialUDP(t, netip.AddrPortFrom(a, 53))
		c.Write([]byte("x"))
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 9)); n != 1 || err != nil {
			t.Errorf("from %s: %d, %v", a, n, err)
		}
	}
	p.Close()
	if _, _, err := p.ReadFrom(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close = %v", err)
	}
}

func TestPacketDeadline(t *testing.T) {
	gw, _ := newPair(t, nil)
	p, err := gw.ListenPacket(53)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{-time.Second, time.Millisecond} {
		p.SetReadDeadline(time.Now().Add(d))
		if _, _, err := p.ReadFrom(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read = %v; want the deadline", err)
		}
	}
	read := make(chan error)
	p.SetReadDeadline(time.Time{})
	go func() { _, _, err := p.ReadFrom(make([]byte, 1)); read <- err }()
	p.SetReadDeadline(time.Now())
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read = %v; want the deadline", err)
	}
}

func TestDialInUDP(t *testing.T) {
	gw, g := newPair(t, nil)
	to := tcpip.FullAddress{NIC: nic, Addr: fromNetip(guestAddr), Port: 99}
	s := mustUDP(t, g, to)
	go func() {
		b := make([]byte, 99)
		n, from, err := s.ReadFrom(b)
		if err == nil {
			s.WriteTo(b[:n], from)
		}
	}()
	c, err := gw.DialContext(t.Context(), "udp", netip.AddrPortFrom(guestAddr, 99))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("hello"))
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 99)
	if n, err := c.Read(b); string(b[:n]) != "hello" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

// pinger has the guest's own ping socket.
func (g *guest) ping(t *testing.T, a netip.Addr, size int) ([]byte, error) {
	t.Helper()
	var wq waiter.Queue
	proto := icmp.ProtocolNumber4
	if a.Is6() {
		proto = icmp.ProtocolNumber6
	}
	ep, err := g.stack.NewEndpoint(proto, protocolOf(a), &wq)
	if err != nil {
		t.Fatal(err)
	}
	defer ep.Close()
	if err := ep.Connect(tcpip.FullAddress{NIC: nic, Addr: fromNetip(a)}); err != nil {
		t.Fatal(err)
	}
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	msg := append([]byte{echoType(a, true), 0, 0, 0, 0, 0, 0, 7}, random(size)...)
	if _, err := ep.Write(bytes.NewReader(msg), tcpip.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		return nil, os.ErrDeadlineExceeded
	}
	var b bytes.Buffer
	if _, err := ep.Read(&b, tcpip.ReadOptions{}); err != nil {
		return nil, errors.New(err.String())
	}
	return b.Bytes(), nil
}

// TestPing asks the gateway, and the host by the gateway.
func TestPing(t *testing.T) {
	host := hostV4(t)
	_, g := newPair(t, nil)
	for _, a := range []netip.Addr{gwAddr, gwAddr6, LinkLocal(gatewayMAC), host} {
		if a == host {
			if c, _, err := dialEcho(host); err != nil {
				t.Logf("this host doesn't let us ping: %v", err)
				continue
			} else {
				c.Close()
			}
		}
		for _, size := range []int{0, 56, 4000} {
			got, err := g.ping(t, a, size)
			if err != nil || len(got) != echoSize+size || got[0] != echoType(a, false) || binary.BigEndian.Uint16(got[6:]) != 7 || !bytes.Equal(got[echoSize:], random(size)) {
				t.Errorf("ping %s with %d bytes: %d bytes, %v", a, size, len(got), err)
			}
		}
	}
}

// TestPingDenied is answered by an error.
func TestPingDenied(t *testing.T) {
	cfg := defaultConfig(1500)
	cfg.Uplink = false
	unreachable := make(chan bool, 8)
	cfg.Send = func(f []byte) {
		if f[12] == 6 && f[13] == 8 || len(f) < 36 || f[23] != byte(header.ICMPv4ProtocolNumber) {
			return
		}
		unreachable <- f[34] == byte(header.ICMPv4DstUnreachable) && checksum.Checksum(f[34:], 0) == 0xffff
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	g.Input(arpFor(gwAddr)) // lets the gateway know the guest
	g.Input(echoRequest(netip.MustParseAddr("192.0.2.1")))
	select {
	case ok := <-unreachable:
		if !ok {
			t.Error("the answer is no \"unreachable\", or its checksum is wrong")
		}
	case <-time.After(10 * time.Second):
		t.Error("no answer")
	}
}

// echoRequest is a ping of the guest's.
func echoRequest(to netip.Addr) []byte {
	f := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+echoSize)
	header.Ethernet(f).Encode(&header.EthernetFields{SrcAddr: tcpip.LinkAddress(guestMAC), DstAddr: tcpip.LinkAddress(gatewayMAC), Type: header.IPv4ProtocolNumber})
	ip := header.IPv4(f[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber), SrcAddr: fromNetip(guestAddr), DstAddr: fromNetip(to)})
	ip.SetChecksum(^ip.CalculateChecksum())
	m := ip[header.IPv4MinimumSize:]
	m[0], m[7] = byte(header.ICMPv4Echo), 7
	binary.BigEndian.PutUint16(m[2:], ^checksum.Checksum(m, 0))
	return f
}
