package netstack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echo sends everything back, and half-closes when its client does.
func echo(c *net.TCPConn) {
	io.Copy(c, c)
	c.CloseWrite()
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"bytes":     func(c *Config) { c.MAC = c.MAC[:5] },
		"IPv4":      func(c *Config) { c.Addr = netip.Prefix{} },
		"not IPv6":  func(c *Config) { c.Addr6 = c.Addr },
		"576":       func(c *Config) { c.MTU = 500 },
		"MTU 65522": func(c *Config) { c.MTU = 65522 },
		"1280":      func(c *Config) { c.MTU = 1000 },
		"no Send":   func(c *Config) { c.Send = nil },
	} {
		cfg := defaultConfig(1500)
		cfg.Send = func([]byte) {}
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New = %v; want an error with %q", err, name)
		}
	}
}

func TestLinkLocal(t *testing.T) {
	if got, want := LinkLocal(gatewayMAC), netip.MustParseAddr("fe80::ff:fe00:1"); got != want {
		t.Errorf("LinkLocal(%v) = %v; want %v", gatewayMAC, got, want)
	}
}

// TestTCPOut is a connection to the host, closed by halves, for each family.
func TestTCPOut(t *testing.T) {
	for _, gw := range []netip.Addr{gwAddr, gwAddr6} {
		t.Run(gw.String(), func(t *testing.T) {
			_, g := newPair(t, func(c *Config) { c.HostLoopback = true })
			listen := "127.0.0.1"
			if gw.Is6() {
				listen = "::1"
			}
			c := g.mustDial(t, netip.AddrPortFrom(gw, listenHost(t, listen, echo)))
			want := bytes.Repeat([]byte("0123456789"), 50_000)
			go func() {
				c.Write(want)
				c.CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
			}
		})
	}
}

// TestLoopback reaches services on all addresses, and none on loopback alone.
func TestLoopback(t *testing.T) {
	host := hostV4(t)
	_, g := newPair(t, nil)
	hello := func(c *net.TCPConn) { c.Write([]byte("hello")) }
	loopback, all := listenHost(t, "127.0.0.1", hello), listenHost(t, "0.0.0.0", hello)
	if c, err := g.dial(t, netip.AddrPortFrom(gwAddr, loopback)); err == nil {
		c.Close()
		t.Errorf("the guest is connected to a service on 127.0.0.1")
	}
	for _, a := range []netip.Addr{gwAddr, host} {
		got, err := io.ReadAll(g.mustDial(t, netip.AddrPortFrom(a, all)))
		if string(got) != "hello" || err != nil {
			t.Errorf("from %s: %q, %v", a, got, err)
		}
	}
}

func TestAllowed(t *testing.T) {
	cfg := defaultConfig(1500)
	cfg.Deny = []netip.Prefix{netip.MustParsePrefix("10.78.0.0/16"), netip.MustParsePrefix("fd78::/64")}
	r := newRules(cfg)
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "10.79.0.1": true, "2001:db8::1": true, "fd79::1": true,
		"127.0.0.1": false, "127.1.2.3": false, "0.0.0.0": false, "0.1.2.3": false, "10.77.0.9": false, "10.77.0.1": false, "10.77.0.255": false,
		"224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false, "10.78.3.4": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:192.0.2.1": false, "::127.0.0.1": false, "fe80::9": false, "ff02::9": false, "fd77::9": false, "fd78::1": false,
	} {
		if got := r.allowed(netip.MustParseAddr(addr)); got != want {
			t.Errorf("allowed(%s) = %v; want %v", addr, got, want)
		}
	}
}

func TestHostLoopbackWithoutUplink(t *testing.T) {
	host := hostV4(t)
	_, g := newPair(t, func(c *Config) { c.HostLoopback, c.Uplink = true, false })
	hello := func(c *net.TCPConn) { c.Write([]byte("hello")) }
	got, err := io.ReadAll(g.mustDial(t, netip.AddrPortFrom(gwAddr, listenHost(t, "127.0.0.1", hello))))
	if string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := g.dial(t, netip.AddrPortFrom(host, listenHost(t, "0.0.0.0", hello))); err == nil {
		t.Error("the world is reached without an uplink")
	}
}

func TestDeny(t *testing.T) {
	host := hostV4(t)
	_, g := newPair(t, func(c *Config) { c.Deny = []netip.Prefix{netip.PrefixFrom(host, 32)} })
	port := listenHost(t, "0.0.0.0", echo)
	if _, err := g.dial(t, netip.AddrPortFrom(host, port)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("dial = %v; want it refused", err)
	}
}

func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	_, g := newPair(t, func(c *Config) { c.HostLoopback = true })
	if _, err := g.dial(t, netip.AddrPortFrom(gwAddr, port)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("dial = %v; want it refused", err)
	}
}

// TestReset passes on a reset, both ways.
func TestReset(t *testing.T) {
	reset := make(chan error, 1)
	_, g := newPair(t, func(c *Config) { c.HostLoopback = true })
	fromHost := listenHost(t, "127.0.0.1", func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
	})
	toHost := listenHost(t, "127.0.0.1", func(c *net.TCPConn) {
		c.Write([]byte("xx"))
		_, err := io.Copy(io.Discard, c)
		reset <- err
	})
	c := g.mustDial(t, netip.AddrPortFrom(gwAddr, fromHost))
	c.Write([]byte("x"))
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("read = %v; want a reset", err)
	}
	c = g.mustDial(t, netip.AddrPortFrom(gwAddr, toHost))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.Close() // resets, as there is something to be read
	if err := <-reset; !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the host read %v; want a reset", err)
	}
}

func TestChecksum(t *testing.T) {
	for _, mtu := range []int{1500, 65000} {
		t.Run(strconv.Itoa(mtu), func(t *testing.T) { checksum100MB(t, mtu) })
	}
}

func checksum100MB(t *testing.T, mtu int) {
	_, g := newPair(t, func(c *Config) { c.HostLoopback, c.MTU = true, mtu })
	const size = 100 << 20
	sent := make(chan [32]byte, 1)
	port := listenHost(t, "127.0.0.1", func(c *net.TCPConn) {
		h := sha256.New()
		r := rand.NewChaCha8([32]byte{byte(mtu)})
		io.Copy(io.MultiWriter(c, h), io.LimitReader(r, size))
		sent <- [32]byte(h.Sum(nil))
	})
	h := sha256.New()
	n, err := io.Copy(h, g.mustDial(t, netip.AddrPortFrom(gwAddr, port)))
	if got, want := [32]byte(h.Sum(nil)), <-sent; n != size || err != nil || got != want {
		t.Errorf("%d bytes, %v, checksum right: %v", n, err, got == want)
	}
}

func TestManyConnections(t *testing.T) {
	const n = 200
	_, g := newPair(t, func(c *Config) { c.HostLoopback = true })
	var all sync.WaitGroup
	var open atomic.Int32
	together := make(chan struct{})
	port := listenHost(t, "127.0.0.1", func(c *net.TCPConn) {
		if open.Add(1) == n {
			close(together)
		}
		echo(c)
	})
	for range n {
		all.Go(func() {
			c, err := g.dial(t, netip.AddrPortFrom(gwAddr, port))
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case <-together:
			case <-time.After(20 * time.Second):
				t.Error("not all connections at once")
				return
			}
			c.Write([]byte("hello"))
			c.CloseWrite()
			if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
	all.Wait()
}

// TestDialIn is a published port's way in.
func TestDialIn(t *testing.T) {
	gw, g := newPair(t, nil)
	l := g.listen(t, 80)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).IP.String())
			c.Close()
		}
	}()
	c, err := gw.DialContext(t.Context(), "tcp", netip.AddrPortFrom(guestAddr, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); string(got) != gwAddr.String() || err != nil {
		t.Errorf("read %q, %v; want the gateway's address", got, err)
	}
	if _, err := gw.DialContext(t.Context(), "tcp", netip.AddrPortFrom(guestAddr, 81)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial to a closed port = %v; want it refused", err)
	}
}

func TestListen(t *testing.T) {
	gw, g := newPair(t, func(c *Config) { c.Uplink = false })
	l, err := gw.Listen(53)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gw.Listen(53); err == nil {
		t.Error("a port is listened on twice")
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, c.LocalAddr().String())
			c.Close()
		}
	}()
	for _, a := range []netip.Addr{gwAddr, gwAddr6, LinkLocal(gatewayMAC)} {
		want := netip.AddrPortFrom(a, 53)
		got, err := io.ReadAll(g.mustDial(t, want))
		if string(got) != want.String() || err != nil {
			t.Errorf("read %q, %v; want %v", got, err, want)
		}
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v", err)
	}
	if _, err := g.dial(t, netip.AddrPortFrom(gwAddr, 53)); err == nil {
		t.Error("a closed listener is reached")
	}
}

// TestClose closes a gateway with everything open.
func TestClose(t *testing.T) {
	host := hostV4(t)
	gw, g := newPair(t, nil)
	hold := make(chan struct{})
	port := listenHost(t, "0.0.0.0", func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		<-hold
	})
	defer close(hold)
	g.mustDial(t, netip.AddrPortFrom(gwAddr, port)).Write([]byte("x"))
	g.mustDial(t, netip.AddrPortFrom(host, port)).CloseWrite()
	go g.dial(t, netip.MustParseAddrPort("192.0.2.1:1")) // is never answered
	g.dialUDP(t, netip.AddrPortFrom(host, port)).Write([]byte("x"))
	l, err := gw.Listen(1000)
	if err != nil {
		t.Fatal(err)
	}
	g.mustDial(t, netip.AddrPortFrom(gwAddr, 1000)) // is never accepted
	p, err := gw.ListenPacket(1000)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { _, _, err := p.ReadFrom(make([]byte, 1)); ended <- err }()
	g.listen(t, 80)
	c, err := gw.DialContext(t.Context(), "tcp", netip.AddrPortFrom(guestAddr, 80))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()

	begin := time.Now()
	gw.Close()
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("Close took %v", d)
	}
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("a read went well when the gateway closed")
		}
	}
	if _, err := l.Accept(); err == nil {
		t.Error("Accept went well when the gateway closed")
	}
	if _, err := gw.DialContext(t.Context(), "tcp", netip.AddrPortFrom(guestAddr, 80)); err == nil {
		t.Error("DialContext went well when the gateway closed")
	}
	gw.Input(make([]byte, 60))
	g.dialUDP(t, netip.AddrPortFrom(host, port)).Write([]byte("x"))
}
