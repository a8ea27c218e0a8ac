package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// any4 has a port chosen.
var any4 = netip.MustParseAddrPort("127.0.0.1:0")

// dialHost has services of the host as guests.
func dialHost(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr.String())
}

// listen publishes ports until the test's end, when no goroutine is left.
func listen(t *testing.T, ports ...Port) *Set {
	t.Helper()
	s, err := Listen(t.Context(), ports, dialHost, func(n string) { t.Log("notice:", n) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		b := make([]byte, 1<<20)
		for _, g := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n") {
			if strings.Contains(g, "publish.(*") {
				t.Errorf("a goroutine is left:\n%s", g)
			}
		}
	})
	return s
}

// serve has a TCP service.
func serve(t *testing.T, f func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				f(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func dial(t *testing.T, network string, a netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial(network, a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestTCP(t *testing.T) {
	guest := serve(t, func(c *net.TCPConn) {
		io.Copy(c, c)
		c.CloseWrite()
	})
	s := listen(t, Port{Host: any4, Guest: At(guest), Proto: "tcp"})
	c := dial(t, "tcp", s.Bound()[0])
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		c.Write(want)
		c.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(c); !bytes.Equal(got, want) || err != nil {
		t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
	}
}

// TestNotYet resets what comes before the guest is there, or before it listens.
func TestNotYet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	s := listen(t,
		Port{Host: any4, Guest: func() (netip.AddrPort, bool) { return netip.AddrPort{}, false }, Proto: "tcp"},
		Port{Host: any4, Guest: At(closed), Proto: "tcp"})
	for _, a := range s.Bound() {
		c, err := net.Dial("tcp", a.String())
		if err == nil {
			c.SetDeadline(time.Now().Add(20 * time.Second))
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("dial and read = %v; want a reset", err)
		}
	}
}

// TestClash binds nothing if one port is taken, and says what to do.
func TestClash(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := free.Addr().(*net.TCPAddr).AddrPort()
	free.Close()
	addr := taken.Addr().(*net.TCPAddr).AddrPort()
	_, err = Listen(t.Context(), []Port{{Host: first, Guest: At(addr), Proto: "tcp"}, {Host: addr, Guest: At(addr), Proto: "tcp"}}, dialHost, nil)
	if err == nil || !strings.Contains(err.Error(), "publish "+addr.String()+"/tcp: the port is in use") {
		t.Fatalf("Listen = %v; want that %s is in use", err, addr)
	}
	again, err := net.Listen("tcp", first.String())
	if err != nil {
		t.Fatalf("the first port is still bound: %v", err)
	}
	again.Close()
}

func TestUnknown(t *testing.T) {
	for want, p := range map[string]Port{
		"neither tcp nor udp":      {Host: any4, Proto: "sctp"},
		"the host has no such":     {Host: netip.MustParseAddrPort("192.0.2.1:1"), Proto: "udp"},
		"port 0/icmp: the protoco": {Proto: "icmp"},
	} {
		if _, err := Listen(t.Context(), []Port{p}, dialHost, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen = %v; want %q", err, want)
		}
	}
}

// echoUDP sends back who asked, and what.
func echoUDP(t *testing.T) netip.AddrPort {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			p.WriteTo(b[:n], from)
		}
	}()
	t.Cleanup(func() {
		p.Close()
		<-done
	})
	return p.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestUDP(t *testing.T) {
	s := listen(t, Port{Host: any4, Guest: At(echoUDP(t)), Proto: "udp"})
	for range maxClients + 10 { // the oldest ones are forgotten
		c := dial(t, "udp", s.Bound()[0])
		for _, want := range []string{"a", strings.Repeat("b", 60_000)} {
			io.WriteString(c, want)
			b := make([]byte, 1<<16)
			if n, err := c.Read(b); string(b[:n]) != want || err != nil {
				t.Fatalf("read %d bytes, %v; want %d", n, err, len(want))
			}
		}
	}
}

// TestClose ends a connection that both sides hold.
func TestClose(t *testing.T) {
	hold := make(chan struct{})
	s := listen(t,
		Port{Host: any4, Guest: At(serve(t, func(c *net.TCPConn) { <-hold })), Proto: "tcp"},
		Port{Host: any4, Guest: At(echoUDP(t)), Proto: "udp"})
	defer close(hold)
	c := dial(t, "tcp", s.Bound()[0])
	io.WriteString(dial(t, "udp", s.Bound()[1]), "x")
	s.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still there")
	}
	if _, err := net.Dial("tcp", s.Bound()[0].String()); err == nil {
		t.Error("the port is still there")
	}
}
