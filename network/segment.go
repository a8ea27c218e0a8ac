package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/sekexe/sekexe/network/dhcp"
	"github.com/sekexe/sekexe/network/frames"
	"github.com/sekexe/sekexe/network/impair"
	"github.com/sekexe/sekexe/network/kernelnet"
	"github.com/sekexe/sekexe/network/names"
	"github.com/sekexe/sekexe/network/netstack"
	"github.com/sekexe/sekexe/network/pcapng"
	"github.com/sekexe/sekexe/network/vswitch"
	"github.com/sekexe/sekexe/orchestrator"
)

// A segment is a network that has been made.
type segment struct {
	*layout
	networks *Networks
	number   int            // in Plan.Networks
	deny     []netip.Prefix // what belongs to the other networks
	names    *names.Server
	capture  *pcapng.Capture // nil: none
	ctx      context.Context // ends with the networks

	dhcp *dhcp.Server // nil: none
	// heard is where clients are heard at the gateway's port; nil where they are heard elsewhere.
	heard *dhcp.Port

	// Of a network of mode user: the switch, and the gateway's port.
	sw   *vswitch.Switch
	port *vswitch.Port

	// Of the others: where the kernel has it, and the gateway's port if our stack is the gateway.
	kernel *kernelnet.Net
	at     int // segment of kernel
	gwFile *frames.File

	mu     sync.Mutex
	closed bool
	gw     *netstack.Gateway // nil: not needed yet
	relays []*impair.Relay
	owned  []interface{ Close() error } // closed at the end, last first
}

// ours says that the gateway is our own stack, and not the host's kernel, or nobody.
func (s *segment) ours() bool {
	switch {
	case s.foreign():
		return false
	case s.Scope != "host":
		return true
	case s.Bridge != "":
		return s.Uplink == "user" || s.DHCP.Enabled
	}
	return s.Uplink == "user"
}

// prefixes are the network's subnets.
func (s *segment) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []netip.Prefix{s.subnet, s.subnet6} {
		if p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

// indexOf returns where a NIC stands among the places.
func (s *segment) indexOf(at place) int { return s.index[at] }

// open makes what serves the segment. The kernel's part of it has been made before.
func (s *segment) open(ctx context.Context) error {
	s.ctx = ctx
	if s.Network.Capture != "" {
		c, err := pcapng.Open(s.Network.Capture, s.Name)
		if err != nil {
			return fmt.Errorf("capture: %w", err)
		}
		s.capture = c
		s.owned = append(s.owned, c)
	}
	if s.Network.DHCP.Enabled {
		var err error
		if s.dhcp, err = dhcp.New(s.dhcpConfig()); err != nil {
			return err
		}
	}
	if s.Mode == "user" {
		s.openSwitch()
		return nil
	}
	return s.openKernel(ctx)
}

// openSwitch makes the switch of a network of mode user.
func (s *segment) openSwitch() {
	c := vswitch.Config{MTU: s.mtu, Isolated: s.Isolated}
	if s.capture != nil {
		c.Capture = s.capture.Frame
	}
	s.sw = vswitch.New(c)
	s.port = s.sw.Attach("gateway", s.mac, s.input)
	s.hear(s.port.Input)
	s.owned = append(s.owned, s.sw)
}

// hear makes the place where DHCP clients are heard at the gateway's port.
func (s *segment) hear(send func(frame []byte)) {
	if s.dhcp == nil {
		return
	}
	s.heard = s.dhcp.Port(s.mac, linkLocal(s.mac), send)
	s.advertise(s.heard)
}

// advertisePeriod is the time between two router advertisements that nobody asked for (RFC 4861, section 6.2.1: MaxRtrAdvInterval).
const advertisePeriod = 200 * time.Second

// advertise announces the IPv6 router at a port for as long as the networks are there.
func (s *segment) advertise(p *dhcp.Port) {
	if !s.IPv6 {
		return
	}
	s.networks.tasks.Go(func() {
		t := time.NewTicker(advertisePeriod)
		defer t.Stop()
		for {
			select {
			case <-s.ctx.Done():
				return
			case <-t.C:
				p.Advertise()
			}
		}
	})
}

// input takes a frame from the segment at the gateway's port.
func (s *segment) input(frame []byte) {
	if s.heard != nil && s.heard.Input(frame) {
		return
	}
	if gw := s.gatewayFor(frame); gw != nil {
		gw.Input(frame)
	}
}

// output sends a frame of the gateway's into the segment.
func (s *segment) output(frame []byte) {
	if s.port != nil {
		s.port.Input(frame)
		return
	}
	_ = s.gwFile.Send(frame, 0) // a frame that has no room is lost, as on any wire
}

// gatewayFor returns the gateway's stack if it is there, or if the frame is a reason to make it.
func (s *segment) gatewayFor(frame []byte) *netstack.Gateway {
	s.mu.Lock()
	gw := s.gw
	s.mu.Unlock()
	if gw != nil || !s.wakes(frame) {
		return gw
	}
	gw, err := s.stack()
	if err != nil {
		s.networks.o.Notice(err.Error())
	}
	return gw
}

// stack returns the gateway's stack, and makes it if it isn't there yet. A nil one without an error means that the networks are being closed.
func (s *segment) stack() (*netstack.Gateway, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gw != nil || s.closed {
		return s.gw, nil
	}
	c := netstack.Config{
		MAC: s.mac, Addr: netip.PrefixFrom(s.gateway, s.subnet.Bits()), MTU: s.mtu, Send: s.output, Uplink: s.Uplink == "user",
		HostLoopback: s.HostLoopback, Deny: s.deny, Notice: func(text string) { s.networks.o.Notice("network " + s.Name + ": " + text) },
	}
	if s.IPv6 {
		c.Addr6 = netip.PrefixFrom(s.gateway6, s.subnet6.Bits())
	}
	gw, err := netstack.New(c)
	if err != nil {
		return nil, fmt.Errorf("network %s: make its gateway: %w", s.Name, err)
	}
	pc, err := gw.ListenPacket(53)
	if err == nil {
		var l net.Listener
		if l, err = gw.Listen(53); err == nil {
			s.serveNames(pc, l)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network %s: serve names: %w", s.Name, err), gw.Close())
	}
	s.gw = gw
	return gw, nil
}

// serveNames answers for names until the networks are closed.
func (s *segment) serveNames(pc net.PacketConn, l net.Listener) {
	s.networks.tasks.Go(func() {
		if err := s.names.Serve(s.ctx, pc, l); err != nil && s.ctx.Err() == nil {
			s.networks.o.Notice(fmt.Sprintf("network %s: serve names: %v", s.Name, err))
		}
	})
}

// dial connects to a sub-kernel.
func (s *segment) dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	if !s.ours() {
		var d net.Dialer
		return d.DialContext(ctx, network, addr.String())
	}
	gw, err := s.stack()
	if err != nil {
		return nil, err
	}
	if gw == nil {
		return nil, net.ErrClosed
	}
	return gw.DialContext(ctx, network, addr)
}

// attach connects one NIC.
func (s *segment) attach(at place, nic orchestrator.NIC) (*orchestrator.Link, error) {
	l := &orchestrator.Link{
		NIC: nic, NetworkName: s.Name, MTU: s.mtu, LeaseTimeout: LeaseTimeout, Search: s.search(),
	}
	if nic.MTU != 0 {
		l.MTU = min(nic.MTU, s.mtu)
	}
	i := s.indexOf(at)
	l.Addr, l.Addr6 = s.addrOf(i)
	l.NIC.DHCP = nic.DHCP && (s.DHCP.Enabled || s.Bridge != "")
	s.route(l)
	var err error
	if s.sw != nil {
		l.File, err = s.plug(nic)
		l.Socket = true
		return l, err
	}
	l.File, l.Socket, err = s.kernelLink(i, nic)
	return l, err
}

// route tells a guest that doesn't ask by DHCP of the way out and the name servers.
func (s *segment) route(l *orchestrator.Link) {
	routers, servers := s.routers(), s.nameServers()
	if len(routers) > 0 {
		l.Router = routers[0]
	}
	l.DNS = servers
	if s.IPv6 && s.Uplink != "none" && s.gateway6.IsValid() {
		l.Router6 = s.gateway6
	}
}

// routers are the default routers of the network.
func (s *segment) routers() []netip.Addr {
	switch {
	case s.DHCP.RouterSet:
		return s.DHCP.Router
	case s.Uplink != "none" && s.gateway.IsValid():
		return []netip.Addr{s.gateway}
	}
	return nil
}

// nameServers are those of the network.
func (s *segment) nameServers() []netip.Addr {
	switch {
	case len(s.DHCP.DNS) > 0:
		return s.DHCP.DNS
	case s.gateway.IsValid():
		return []netip.Addr{s.gateway}
	}
	return nil
}

// search are the domains in which names are looked for.
func (s *segment) search() []string {
	if len(s.DHCP.Search) > 0 {
		return s.DHCP.Search
	}
	if s.DHCP.Domain != "" {
		return []string{s.DHCP.Domain}
	}
	return nil
}

// plug makes a new port of the switch and returns the NIC's end.
func (s *segment) plug(nic orchestrator.NIC) (*os.File, error) {
	ours, theirs, err := frames.Pair()
	if err != nil {
		return nil, err
	}
	if _, err := s.sw.AttachFile(ours, nic.MAC, false, impairment(nic.Impair)); err != nil {
		theirs.Close()
		return nil, err
	}
	return theirs, nil
}

// impairment is what a bad line does, in the terms of package impair; nil: nothing.
func impairment(i *orchestrator.Impair) *impair.Config {
	if i == nil {
		return nil
	}
	return &impair.Config{Delay: i.Delay, Jitter: i.Jitter, Loss: i.Loss, Duplicate: i.Duplicate, Rate: i.Rate}
}

// close ends all that serves the segment.
func (s *segment) close() error {
	s.mu.Lock()
	s.closed = true
	gw, relays := s.gw, s.relays
	s.mu.Unlock()
	var errs []error
	if gw != nil {
		errs = append(errs, gw.Close())
	}
	for _, r := range relays {
		errs = append(errs, r.Close())
	}
	for i := len(s.owned) - 1; i >= 0; i-- {
		errs = append(errs, s.owned[i].Close())
	}
	return errors.Join(errs...)
}
