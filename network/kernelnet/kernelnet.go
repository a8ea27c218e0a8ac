//go:build linux

// Package kernelnet makes what networks need of the host's kernel: bridges, taps, veth pairs, routes and rules, by netlink.
//
// Open makes the segments of a Spec and gives descriptors of them: for each port one that carries an Ethernet frame a read or write, for a
// gateway in this process one more of the same kind, and packet sockets to hear DHCP or everything by.
//
// In scope private each segment has a network namespace of its own, which a child process makes, in a user namespace for those who are
// not root: see Child. Nothing but the descriptors keeps such a namespace; when the last process that has one has ended, however it
// has, the kernel removes the namespace with all that is in it. In scope host everything is made in this process's network namespace, which
// takes root. What the kernel doesn't remove by itself there is written down first, so that Sweep can: see state.
//
// Where /dev/net/tun can't be opened, a port is a pair of veth devices, with a packet socket on its far end. That carries no frames with
// VLAN tags: the kernel takes the tags off before it shows a frame to a packet socket, so that such frames are dropped.
package kernelnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"sync"
)

// Scopes and kinds.
const (
	Private = "private" // a network namespace for each segment
	Host    = "host"    // the network namespace of this process

	Bridge = "bridge" // one Ethernet, by a bridge
	Tun    = "tun"    // a link to each port, between which the kernel routes
)

// A Spec says what to make.
type Spec struct {
	Scope    string // Private or Host
	Run      string // the run's id, unique on the host, of letters and digits
	Segments []Segment

	// StateDir is the folder in which runs of scope host write down what they have changed. Empty: StateDir, the constant.
	StateDir string

	noTap bool // for tests: as if there were no /dev/net/tun
}

// A Segment is one network.
type Segment struct {
	Name   string // for messages, and for the alias of what is made in scope host
	Kind   string // Bridge or Tun
	Bridge string // scope host: a bridge to join, which isn't altered; it has its own addresses, so that Addr, Addr6 and NAT mean nothing
	MTU    int    // 0: 1500, or that of the bridge to join
	// Addr and Addr6 are the gateway's, with the length of the subnet's prefix; each may be the zero Prefix. Without Netstack the kernel has
	// them: on the bridge, or on every port of a tun segment.
	Addr, Addr6 netip.Prefix
	Netstack    bool             // the gateway is in this process, at GatewayPort
	GatewayMAC  net.HardwareAddr // the gateway's, as guests see it; none: one is chosen, which Net.MAC tells
	NAT         bool             // scope host, without Netstack: masquerade what goes out, and forward the answers
	Isolated    bool             // ports reach the gateway only, not each other
	Capture     bool             // open the files of Net.Capture
	Ports       []Port
}

// A Port is where one NIC is joined to a segment.
type Port struct {
	Name string // for messages
	// MAC is the guest's. On a bridge that is joined, where another run has it, another one is chosen, which Net.PortMAC tells; FixedMAC
	// makes that an error.
	MAC      net.HardwareAddr
	FixedMAC bool
	// Addr and Addr6 are the guest's. In a tun segment frames reach it by them alone, so that each has to be known; each may be the zero Addr.
	Addr, Addr6 netip.Addr
}

// A NICFile is a descriptor that carries one Ethernet frame a read or write, without a header of the device's own.
type NICFile struct {
	*os.File
	Socket bool // a packet socket, fit for recvmmsg; else it is a tap, which isn't
}

// A Listener hears the frames of DHCPv4 and DHCPv6 clients and of router solicitations, and sends frames to their senders.
type Listener struct {
	File      *os.File         // one frame a read or write
	MAC       net.HardwareAddr // the source of frames that are sent
	LinkLocal netip.Addr       // the router's address on the link; invalid: there is no IPv6
	Port      int              // the port of a tun segment; -1: it hears all of a bridge
}

// A Net is what Open made. Its methods may be called by several goroutines at once, but not after Close.
type Net struct {
	segments []Segment
	parts    []part
	child    *child // of scope private, as long as it is needed
	state    *state // of scope host
	notices  []string
}

// Open makes the segments. When it returns an error, nothing is left of what it made.
func Open(ctx context.Context, s Spec) (*Net, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.Scope == Host {
		return openHost(ctx, &s)
	}
	return openPrivate(ctx, &s)
}

var runID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9-]{0,63}$`) })

// check finds what no kernel would be needed for to see that it is wrong. The file's author is told of it elsewhere, by diagnostics.
func (s *Spec) check() error {
	if s.Scope != Private && s.Scope != Host {
		return fmt.Errorf("kernelnet: unknown scope %q", s.Scope)
	}
	if !runID().MatchString(s.Run) {
		return fmt.Errorf("kernelnet: the run's id %q: it must be of letters, digits and hyphens", s.Run)
	}
	for i := range s.Segments {
		if err := s.Segments[i].check(s.Scope); err != nil {
			return fmt.Errorf("network %s: %w", s.Segments[i].Name, err)
		}
	}
	return nil
}

func (s *Segment) check(scope string) error {
	switch {
	case s.Kind != Bridge && s.Kind != Tun:
		return fmt.Errorf("unknown kind %q", s.Kind)
	case s.Bridge != "" && (scope != Host || s.Kind != Bridge):
		return errors.New("only a bridge of scope host can join one of the host's")
	case s.NAT && (scope != Host || s.Netstack || s.Bridge != ""):
		return errors.New("only the host's kernel as a gateway masquerades")
	case s.Netstack && s.Kind == Tun && scope == Host:
		return withHint(errors.New("a routed network of the host's has the host's kernel as its gateway"), `use scope = "private", or uplink = "nat"`)
	case s.MTU != 0 && (s.MTU < minMTU || s.MTU > maxMTU):
		return fmt.Errorf("an MTU of %d: it must be from %d to %d", s.MTU, minMTU, maxMTU)
	case s.Addr6.IsValid() && s.MTU != 0 && s.MTU < minMTU6:
		return fmt.Errorf("an MTU of %d: IPv6 needs %d", s.MTU, minMTU6)
	case s.Addr.IsValid() && !s.Addr.Addr().Is4(), s.Addr6.IsValid() && !s.Addr6.Addr().Is6():
		return errors.New("an address of the other family")
	}
	return nil
}

const (
	minMTU  = 576
	minMTU6 = 1280
	maxMTU  = 65521 // of a tap: 65535 less the Ethernet header
)

// PortFile is the descriptor of a port: for the process of a sub-kernel. It may be closed before the Net is, which else closes it.
func (n *Net) PortFile(segment, port int) NICFile {
	p := n.find(partPort, segment, port)
	return NICFile{p.file, p.Socket}
}

// GatewayPort is the gateway's port of a segment with Netstack: one frame a read or write. The Net closes it.
func (n *Net) GatewayPort(segment int) NICFile {
	p := n.find(partGateway, segment, 0)
	return NICFile{p.file, p.Socket}
}

// Listeners are where DHCP is heard, where it isn't at GatewayPort: at each port of a tun segment, and on a bridge whose gateway is the
// kernel. The Net closes them.
func (n *Net) Listeners(segment int) []Listener {
	var out []Listener
	for i := range n.parts {
		p := &n.parts[i]
		if p.Kind == partListener && p.Segment == segment {
			out = append(out, Listener{File: p.file, MAC: p.MAC, LinkLocal: p.LinkLocal, Port: p.Port})
		}
	}
	return out
}

// Capture are packet sockets from which all frames of a segment with Capture can be read: of a bridge one; of a tun segment one for each port,
// in order. They fill, and then lose frames, until they are read. The Net closes them.
func (n *Net) Capture(segment int) []*os.File {
	var out []*os.File
	for i := range n.parts {
		if p := &n.parts[i]; p.Kind == partCapture && p.Segment == segment {
			out = append(out, p.file)
		}
	}
	return out
}

// MAC is the gateway's, as guests see it: GatewayMAC, if that was given. Of a bridge that was joined it is the bridge's.
func (n *Net) MAC(segment int) net.HardwareAddr { return n.find(partSegment, segment, 0).MAC }

// PortMAC is the MAC address of the guest at a port.
func (n *Net) PortMAC(segment, port int) net.HardwareAddr { return n.segments[segment].Ports[port].MAC }

// MTU is that of a segment's ports: of a bridge that was joined it is the bridge's.
func (n *Net) MTU(segment int) int { return n.find(partSegment, segment, 0).MTU }

// Notices are things that a user of scope host may want to know, a sentence each.
func (n *Net) Notices() []string { return n.notices }

// find is the part of that kind; one without a file if there is none.
func (n *Net) find(kind partKind, segment, port int) *part {
	for i := range n.parts {
		if p := &n.parts[i]; p.Kind == kind && p.Segment == segment && p.Port == port {
			return p
		}
	}
	return &part{}
}

// ListenUDP opens a socket on each of the gateway's addresses, of a segment whose gateway is the kernel.
func (n *Net) ListenUDP(segment, port int) ([]*net.UDPConn, error) {
	return listenAll(n, segment, "udp", port, func(f *os.File) (*net.UDPConn, error) {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return nil, err
		}
		return c.(*net.UDPConn), nil
	})
}

// ListenTCP is ListenUDP for TCP.
func (n *Net) ListenTCP(segment, port int) ([]*net.TCPListener, error) {
	return listenAll(n, segment, "tcp", port, func(f *os.File) (*net.TCPListener, error) {
		l, err := net.FileListener(f)
		if err != nil {
			return nil, err
		}
		return l.(*net.TCPListener), nil
	})
}

// listenAll opens the sockets; all or none.
func listenAll[T interface{ Close() error }](n *Net, segment int, network string, port int, wrap func(*os.File) (T, error)) ([]T, error) {
	s := &n.segments[segment]
	var out []T
	for _, a := range []netip.Addr{s.Addr.Addr(), s.Addr6.Addr()} {
		if !a.IsValid() || s.Netstack || s.Bridge != "" {
			continue
		}
		at := netip.AddrPortFrom(a, uint16(port))
		f, err := n.socket(segment, network, at)
		if err == nil {
			var c T
			c, err = wrap(f)
			f.Close()
			out = append(out, c)
		}
		if err != nil {
			for _, c := range out[:max(0, len(out)-1)] {
				c.Close()
			}
			return nil, fmt.Errorf("network %s: listen on %s %s: %w", s.Name, network, at, err)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("network %s: listen on %s port %d: the kernel has no address of it", s.Name, network, port)
	}
	return out, nil
}

// socket opens one socket where the segment is.
func (n *Net) socket(segment int, network string, at netip.AddrPort) (*os.File, error) {
	if n.child != nil {
		return n.child.listen(segment, network, at)
	}
	return listenSocket(network, at)
}

// Close closes every descriptor that is still open, and in scope host removes what was made and puts back what was changed.
func (n *Net) Close() error {
	closeParts(n.parts)
	var err error
	if n.child != nil {
		err = n.child.close()
	}
	if n.state != nil {
		err = errors.Join(err, n.state.undo())
	}
	return err
}
