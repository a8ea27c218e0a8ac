package dhcp

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// start serves on a loopback address, and returns a client's socket and the server's address.
func start(t *testing.T, addr string, serve func(context.Context, net.PacketConn) error) (*net.UDPConn, net.Addr) {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(addr)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
		conn.Close()
		client.Close()
	})
	return client, conn.LocalAddr()
}

func exchange(t *testing.T, client *net.UDPConn, to net.Addr, b []byte) []byte {
	t.Helper()
	for _, b := range [][]byte{{1, 2, 3}, b} { // what is malformed is passed over
		if _, err := client.WriteTo(b, to); err != nil {
			t.Fatal(err)
		}
	}
	answer := make([]byte, maxMessage)
	n, from, err := client.ReadFrom(answer)
	if err != nil || from.String() != to.String() {
		t.Fatalf("an answer from %v, %v; want one from %v", from, err, to)
	}
	return answer[:n]
}

func TestServe(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Subnet, c.Ranges = netip.MustParsePrefix("127.0.0.0/8"), ranges("127.0.0.1")
	})
	client, to := start(t, "127.0.0.1", w.Serve)
	m := message(dhcpv4.MessageTypeRequest, mac(1), dhcpv4.WithClientIP(ip("127.0.0.1")))
	resp, err := dhcpv4.FromBytes(exchange(t, client, to, m.ToBytes()))
	if err != nil || resp.MessageType() != dhcpv4.MessageTypeAck || resp.YourIPAddr.String() != "127.0.0.1" {
		t.Errorf("answer = %v, %v", resp, err)
	}
	if n := w.Dropped(); n != 1 {
		t.Errorf("dropped %d; want the malformed one", n)
	}
}

func TestServeV6(t *testing.T) {
	w := newWorld(t, everything)
	client, to := start(t, "::1", w.ServeV6)
	resp, err := dhcpv6.MessageFromBytes(exchange(t, client, to, message6(dhcpv6.MessageTypeInformationRequest, 1).ToBytes()))
	if err != nil || resp.MessageType != dhcpv6.MessageTypeReply || len(resp.Options.DNS()) != 1 {
		t.Errorf("answer = %v, %v", resp, err)
	}
	if n := w.Dropped(); n != 1 {
		t.Errorf("dropped %d; want the malformed one", n)
	}
}

func TestServeEndsWithItsConn(t *testing.T) {
	w := newWorld(t, nil)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := w.Serve(t.Context(), conn); err != nil {
		t.Errorf("Serve = %v", err)
	}
}
