package netstack

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

var (
	gatewayMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	guestMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	guestAddr  = netip.MustParseAddr("10.77.0.2")
	guestAddr6 = netip.MustParseAddr("fd77::2")
	gwAddr     = netip.MustParseAddr("10.77.0.1")
	gwAddr6    = netip.MustParseAddr("fd77::1")
)

// A guest is a stack at the other end of the gateway's segment.
type guest struct {
	stack *stack.Stack
	link  *link
	// seen, if not nil, gets what the gateway sends as well.
	seen func([]byte)

	in, out chan *[]byte
	wg      sync.WaitGroup
	done    chan struct{}
}

// queueLength is how many frames wait each way, as in a socket.
const queueLength = 1024

func newGuest(mtu int) *guest {
	g := &guest{in: make(chan *[]byte, queueLength), out: make(chan *[]byte, queueLength), done: make(chan struct{})}
	cfg := Config{MAC: guestMAC, MTU: mtu, Send: enqueue(g.out)}
	g.link = newLink(cfg)
	g.stack = newStack()
	return g
}

var testFrames = sync.Pool{New: func() any {
	b := make([]byte, 0, MaxMTU+14)
	return &b
}}

// enqueue copies frames into a queue, and drops them if it is full.
func enqueue(q chan *[]byte) func([]byte) {
	return func(f []byte) {
		b := testFrames.Get().(*[]byte)
		*b = append((*b)[:0], f...)
		select {
		case q <- b:
		default:
			testFrames.Put(b)
		}
	}
}

func (g *guest) pump(q chan *[]byte, to func([]byte)) {
	g.wg.Go(func() {
		for {
			select {
			case f := <-q:
				to(*f)
				testFrames.Put(f)
			case <-g.done:
				return
			}
		}
	})
}

func (g *guest) deliver(f []byte) {
	if g.seen != nil {
		g.seen(f)
	}
	e := header.Ethernet(f)
	dst := e.DestinationAddress()
	if dst == g.link.mac || header.IsMulticastEthernetAddress(dst) || dst == header.EthernetBroadcastAddress {
		g.link.deliver(e.Type(), f)
	}
}

// start makes the guest's NIC and joins it with a gateway.
func (g *guest) start(t testing.TB, gw *Gateway) {
	t.Helper()
	check := func(err tcpip.Error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(g.stack.CreateNIC(nic, g.link))
	for _, a := range []netip.Prefix{netip.PrefixFrom(guestAddr, 24), netip.PrefixFrom(guestAddr6, 64), netip.PrefixFrom(LinkLocal(guestMAC), 64)} {
		check(g.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: protocolOf(a.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: fromNetip(a.Addr()), PrefixLen: a.Bits()}}, stack.AddressProperties{}))
		s, err := tcpip.NewSubnet(fromNetip(a.Masked().Addr()), tcpip.MaskFromBytes(net.CIDRMask(a.Bits(), a.Addr().BitLen())))
		if err != nil {
			t.Fatal(err)
		}
		g.stack.AddRoute(tcpip.Route{Destination: s, NIC: nic})
	}
	g.stack.AddRoute(tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: fromNetip(gwAddr), NIC: nic})
	g.stack.AddRoute(tcpip.Route{Destination: header.IPv6EmptySubnet, Gateway: fromNetip(gwAddr6), NIC: nic})
	g.pump(g.out, gw.Input)
	g.pump(g.in, g.deliver)
}

func (g *guest) close() {
	close(g.done)
	g.wg.Wait()
	g.stack.Destroy()
}

func defaultConfig(mtu int) Config {
	return Config{MAC: gatewayMAC, Addr: netip.PrefixFrom(gwAddr, 24), Addr6: netip.PrefixFrom(gwAddr6, 64), MTU: mtu, Uplink: true}
}

// newPair returns a gateway with one guest.
func newPair(t testing.TB, change func(*Config)) (*Gateway, *guest) {
	t.Helper()
	cfg := defaultConfig(1500)
	if change != nil {
		change(&cfg)
	}
	g := newGuest(cfg.MTU)
	cfg.Send = enqueue(g.in)
	if cfg.Notice == nil {
		cfg.Notice = func(s string) { t.Log("notice:", s) }
	}
	gw, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.start(t, gw)
	t.Cleanup(func() {
		if err := gw.Close(); err != nil {
			t.Error(err)
		}
		g.close()
		noGoroutines(t)
	})
	return gw, g
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: fromNetip(a.Addr()), Port: a.Port()}
}

// dial connects from the guest.
func (g *guest) dial(t testing.TB, a netip.AddrPort) (*gonet.TCPConn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, g.stack, full(a), protocolOf(a.Addr()))
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func (g *guest) mustDial(t testing.TB, a netip.AddrPort) *gonet.TCPConn {
	t.Helper()
	c, err := g.dial(t, a)
	if err != nil {
		t.Fatalf("dial %s from the guest: %v", a, err)
	}
	return c
}

func (g *guest) dialUDP(t testing.TB, a netip.AddrPort) *gonet.UDPConn {
	t.Helper()
	to := full(a)
	c, err := gonet.DialUDP(g.stack, nil, &to, protocolOf(a.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// listen listens on the guest.
func (g *guest) listen(t testing.TB, port uint16) *gonet.TCPListener {
	t.Helper()
	l, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// hostV4 returns the host's own address, which connections to the gateway reach.
func hostV4(t testing.TB) netip.Addr {
	t.Helper()
	a := hostAddr(true)
	if !a.IsValid() {
		t.Fatal("the host has no address but loopback: give it one")
	}
	return a
}

// listenHost listens on the host and serves each connection; its port is returned.
func listenHost(t testing.TB, addr string, serve func(*net.TCPConn)) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// noGoroutines fails if goroutines of this package or the stack are left.
func noGoroutines(t testing.TB) {
	t.Helper()
	var left string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // nothing says when one has ended
		b := make([]byte, 1<<20)
		left = ""
		for _, s := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n") {
			if (strings.Contains(s, "network/netstack.") || strings.Contains(s, "gvisor.dev")) && !strings.Contains(s, "noGoroutines") && !strings.Contains(s, "testing.(*T).Run") && !strings.Contains(s, "testing.(*B).Run") {
				left += s + "\n\n"
			}
		}
		if left == "" {
			return
		}
	}
	t.Errorf("goroutines are left:\n%s", left)
}
