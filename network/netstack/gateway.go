package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// MaxMTU is the largest MTU of a segment: that of the kernel's vector device.
const MaxMTU = 65521

// Config says what a gateway is.
type Config struct {
	MAC net.HardwareAddr
	// Addr is the gateway's address with the length of the segment's prefix.
	Addr netip.Prefix
	// Addr6 is the same for IPv6; if it is not valid, there is no IPv6.
	Addr6 netip.Prefix
	// MTU is that of the segment, at most MaxMTU.
	MTU int
	// Send takes a frame to the segment. It doesn't block, doesn't keep the slice, and doesn't call Input.
	Send func(frame []byte)
	// Uplink lets guests reach the world. Without, only the gateway's own services answer.
	Uplink bool
	// HostLoopback makes connections to the gateway's addresses go to the host's loopback, with or without Uplink. If not set, they go, with
	// Uplink, to an address of the host that is not loopback, so that services on loopback alone are never reached.
	HostLoopback bool
	// Deny are prefixes that guests are never connected to.
	Deny []netip.Prefix
	// Notice, if not nil, is called once for each kind of trouble.
	Notice func(text string)
}

// A Gateway is the gateway of one segment.
type Gateway struct {
	cfg   Config
	link  *link
	stack *stack.Stack
	rules rules

	ctx    context.Context // done when the gateway closes
	cancel context.CancelFunc
	wg     sync.WaitGroup // everything that runs for guests

	gate   sync.RWMutex // held for reading by Input
	closed bool         // below gate

	tcp   forwarder
	flows flows
	ports ports

	noticed sync.Map // kinds of notices that were given
}

// nic is the number of the only NIC of the stack.
const nic = 1

// New returns a gateway, which starts at once. Close ends it.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g := &Gateway{cfg: cfg, link: newLink(cfg)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.rules = newRules(cfg)
	g.stack = newStack()
	if err := g.configure(); err != nil {
		g.cancel()
		g.stack.Destroy()
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.flows.init(g)
	g.tcp.init(g)
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, g.tcp.handle)
	g.handleDatagrams()
	return g, nil
}

func (c *Config) validate() error {
	switch {
	case len(c.MAC) != 6:
		return fmt.Errorf("MAC address %v: not of 6 bytes", c.MAC)
	case !c.Addr.IsValid() || !c.Addr.Addr().Is4():
		return fmt.Errorf("address %v: not IPv4 with a prefix's length", c.Addr)
	case c.Addr6.IsValid() && (!c.Addr6.Addr().Is6() || c.Addr6.Addr().Is4In6()):
		return fmt.Errorf("address %v: not IPv6", c.Addr6)
	case c.MTU < 576 || c.MTU > MaxMTU:
		return fmt.Errorf("MTU %d: not from 576 to %d", c.MTU, MaxMTU)
	case c.Addr6.IsValid() && c.MTU < 1280:
		return fmt.Errorf("MTU %d: less than the 1280 of IPv6", c.MTU)
	case c.Send == nil:
		return errors.New("no Send")
	}
	return nil
}

// LinkLocal returns the IPv6 link-local address that belongs to a MAC address.
func LinkLocal(mac net.HardwareAddr) netip.Addr {
	if len(mac) != 6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// SetNeighbor says which MAC address has an address of the segment, so that nobody is asked for it.
func (g *Gateway) SetNeighbor(addr netip.Addr, mac net.HardwareAddr) error {
	return failure("set neighbor "+addr.String(), g.stack.AddStaticNeighbor(nic, protocolOf(addr), fromNetip(addr), tcpip.LinkAddress(mac)))
}

// Input takes a frame from the segment. It doesn't block and doesn't keep the slice.
func (g *Gateway) Input(frame []byte) {
	proto, ok := g.rules.wants(frame)
	if !ok {
		return
	}
	g.gate.RLock()
	defer g.gate.RUnlock()
	if !g.closed {
		g.link.deliver(proto, frame)
	}
}

// Close ends all connections and flows, and waits for every goroutine.
func (g *Gateway) Close() error {
	g.gate.Lock()
	was := g.closed
	g.closed = true
	g.gate.Unlock()
	if was {
		return nil
	}
	g.cancel()
	g.flows.close()
	g.ports.close()
	done := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(done)
	}()
	// A handshake can't be told to end before it has begun to wait, and doesn't say when it does.
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for waiting := true; waiting; {
		g.tcp.abort()
		select {
		case <-done:
			waiting = false
		case <-again.C:
		}
	}
	g.stack.Destroy()
	return nil
}

// notice says what is wrong, once for each kind.
func (g *Gateway) notice(kind, format string, a ...any) {
	if _, was := g.noticed.LoadOrStore(kind, true); was || g.cfg.Notice == nil {
		return
	}
	g.cfg.Notice(fmt.Sprintf(format, a...))
}

// own reports whether an address is one of the gateway's.
func (g *Gateway) own(a netip.Addr) bool { return g.rules.own(a) }

// localFor returns the gateway's address that speaks to addr, or none.
func (g *Gateway) localFor(addr netip.Addr) netip.Addr {
	switch {
	case addr.Is4():
		return g.cfg.Addr.Addr()
	case !g.cfg.Addr6.IsValid():
		return netip.Addr{}
	case addr.IsLinkLocalUnicast():
		return g.rules.linkLocal
	}
	return g.cfg.Addr6.Addr()
}

func fromNetip(a netip.Addr) tcpip.Address {
	if a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}

func toNetip(a tcpip.Address) netip.Addr {
	if a.Len() == 4 {
		return netip.AddrFrom4(a.As4())
	}
	return netip.AddrFrom16(a.As16())
}
