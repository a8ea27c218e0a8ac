//go:build linux

package kernelnet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A builder makes one segment in the network namespace of the calling thread.
type builder struct {
	*Segment
	nl      *netlink.Handle
	index   int    // the segment's
	run     string // the run's id
	host    bool   // scope host: what others have there must not be touched
	noTap   bool
	parts   []part
	peers   map[int]string // the names of the far ends of veth pairs, by the index of the near end
	ports   []int          // the indexes of the ports' links, or of their near ends
	gateway int            // that of the gateway's port; 0: there is none
	bridge  int
}

// build makes the segment. What it has opened is in parts, even when it returns an error.
func (b *builder) build() error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer nl.Close()
	b.nl, b.peers = nl, map[int]string{}
	if b.MTU == 0 && b.Bridge == "" {
		b.MTU = 1500
	}
	if b.Kind == Tun {
		return b.buildTun()
	}
	return b.buildBridge()
}

// A linkKind is a letter for the names of links.
type linkKind string

const (
	linkBridge  linkKind = "b"
	linkGateway linkKind = "g" // the gateway's port
	linkPort    linkKind = "p"
	farGateway  linkKind = "h" // the far ends of veth pairs
	farPort     linkKind = "q"
)

// name is the name of a link. In a namespace of the run's own it is short; in the host's it begins with the run's tag.
func (b *builder) name(k linkKind, n int) string {
	name := string(k)
	if k == linkPort || k == farPort {
		name += strconv.Itoa(n)
	}
	if b.host {
		return hostTag(b.run) + strconv.Itoa(b.index) + name
	}
	return name
}

// alias marks a link in the host's namespace as ours.
func (b *builder) alias() string { return strings.TrimSpace(aliasPrefix(b.run) + b.Name) }

// mac is a MAC address that is the same whenever the same thing is made. Its first byte is greater than that of any NIC's, because a bridge that
// was not given one takes the least of its ports'.
func (b *builder) mac(what string) net.HardwareAddr {
	h := sha256.Sum256([]byte(b.run + "\x00" + strconv.Itoa(b.index) + "\x00" + what))
	return net.HardwareAddr{0xfe, h[0], h[1], h[2], h[3], h[4]}
}

// gatewayMAC is that of the gateway, as guests see it.
func (b *builder) gatewayMAC() net.HardwareAddr {
	if b.GatewayMAC != nil {
		return b.GatewayMAC
	}
	m := b.mac("gateway")
	m[0] = 0x02
	return m
}

// port makes a tap or a veth pair, and keeps its descriptor as a part. It returns the index of the link, or of the pair's near end, which is
// down.
func (b *builder) port(kind partKind, near, far linkKind, n int, mac net.HardwareAddr) (int, error) {
	name := b.name(near, n)
	var f *os.File
	var err error
	if !b.noTap {
		f, err = openTap(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENODEV) {
			f, b.noTap = nil, true
		} else if err != nil {
			return 0, err
		}
	}
	if f == nil {
		f, err = b.veth(name, b.name(far, n))
	}
	if err != nil {
		return 0, err
	}
	b.parts = append(b.parts, part{Kind: kind, Segment: b.index, Port: n, Socket: b.noTap, HasFile: true, file: f})
	l, err := b.nl.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("%s: find it: %w", name, err)
	}
	if b.noTap {
		b.peers[l.Attrs().Index] = b.name(far, n)
	}
	return l.Attrs().Index, b.prepare(l, mac)
}

// prepare sets what every link of ours has.
func (b *builder) prepare(l netlink.Link, mac net.HardwareAddr) error {
	name := l.Attrs().Name
	if err := b.nl.LinkSetHardwareAddr(l, mac); err != nil {
		return fmt.Errorf("%s: set its MAC address: %w", name, err)
	}
	if err := b.nl.LinkSetMTU(l, b.MTU); err != nil {
		return fmt.Errorf("%s: set its MTU of %d: %w", name, b.MTU, err)
	}
	if err := b.nl.LinkSetTxQLen(l, b.queue()); err != nil {
		return fmt.Errorf("%s: set its queue's length: %w", name, err)
	}
	// Addresses of its own would have the kernel speak up on a guest's link.
	if err := b.nl.LinkSetIP6AddrGenMode(l, in6AddrGenModeNone); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%s: have it make no IPv6 address: %w", name, err)
	}
	if !b.host {
		return nil
	}
	if err := b.nl.LinkSetAlias(l, b.alias()); err != nil {
		return fmt.Errorf("%s: set its alias: %w", name, err)
	}
	return nil
}

const in6AddrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE of linux/if_link.h

// queue is how many frames a port may hold for a guest that doesn't read them: at most some 16 MB.
func (b *builder) queue() int { return max(64, min(1000, 16<<20/b.MTU)) }

// veth makes a pair, and opens a packet socket on the far end, which is up and silent.
func (b *builder) veth(near, far string) (*os.File, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = near, b.MTU
	if err := b.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: far, PeerMTU: uint32(b.MTU)}); err != nil {
		return nil, fmt.Errorf("make the veth pair %s and %s: %w", near, far, err)
	}
	l, err := b.nl.LinkByName(far)
	if err != nil {
		return nil, fmt.Errorf("%s: find it: %w", far, err)
	}
	if err := b.prepare(l, b.mac(far)); err != nil {
		return nil, err
	}
	if err := b.nl.LinkSetARPOff(l); err != nil {
		return nil, fmt.Errorf("%s: turn ARP off: %w", far, err)
	}
	quiet(far)
	for _, name := range []string{near, far} {
		if err := offloadsOff(name); err != nil {
			return nil, err
		}
	}
	if err := b.up(l.Attrs().Index); err != nil {
		return nil, err
	}
	return packetSocket(l.Attrs().Index, usePort)
}

// up sets a link up.
func (b *builder) up(index int) error {
	if err := b.nl.LinkSetUp(link(index)); err != nil {
		return fmt.Errorf("link %d: set it up: %w", index, err)
	}
	return nil
}

// link is a link of which only the index is needed.
func link(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// address gives a link an address, which is in use at once: nobody else has it.
func (b *builder) address(index int, p netip.Prefix, scope netlink.Scope) error {
	a := &netlink.Addr{IPNet: ipNet(p), Scope: int(scope)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := b.nl.AddrAdd(link(index), a); err != nil {
		return fmt.Errorf("add the address %s: %w", p, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// single is the prefix that is one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// linkLocal is the router's address on every link of ours that has IPv6.
var linkLocal = netip.MustParsePrefix("fe80::1/64")

// socketPart opens a packet socket as a part.
func (b *builder) socketPart(kind partKind, use packetUse, index, port int) error {
	f, err := packetSocket(index, use)
	if err != nil {
		return err
	}
	p := part{Kind: kind, Segment: b.index, Port: port, Socket: true, HasFile: true, file: f}
	if use == useListen {
		p.MAC = b.gatewayMAC()
		if b.Addr6.IsValid() {
			p.LinkLocal = linkLocal.Addr()
		}
	}
	b.parts = append(b.parts, p)
	return nil
}

// tell adds what the caller of Open learns of the segment as a whole.
func (b *builder) tell(mac net.HardwareAddr) {
	b.parts = append(b.parts, part{Kind: partSegment, Segment: b.index, MAC: mac, MTU: b.MTU})
}
