//go:build linux

package kernelnet

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func (b *builder) buildBridge() error {
	if !b.host && !b.kernelGateway() {
		setSysctls(false, "net/ipv6/conf/default/disable_ipv6=1", "net/ipv4/ip_forward=0")
	}
	if !b.host {
		// Rules for IP have nothing to say of a guest's frames, whatever is in them. They are on by default where br_netfilter is loaded.
		setSysctls(false, "net/bridge/bridge-nf-call-iptables=0", "net/bridge/bridge-nf-call-ip6tables=0", "net/bridge/bridge-nf-call-arptables=0")
	}
	mac := b.gatewayMAC()
	var err error
	if b.Bridge != "" {
		mac, err = b.join()
	} else {
		err = b.makeBridge(mac)
	}
	if err != nil {
		return err
	}
	b.tell(mac)
	if b.Netstack {
		b.gateway, err = b.bridgePort(partGateway, linkGateway, farGateway, 0, b.gatewayMAC(), false)
		if err != nil {
			return fmt.Errorf("the gateway's port: %w", err)
		}
	}
	for i, p := range b.Ports {
		if _, err := b.bridgePort(partPort, linkPort, farPort, i, p.MAC, b.Isolated); err != nil {
			return fmt.Errorf("the port of %s: %w", p.Name, err)
		}
	}
	if b.Bridge == "" {
		if err := b.finishBridge(); err != nil {
			return err
		}
	}
	return b.bridgeSockets(mac)
}

// kernelGateway says whether the kernel has the gateway's addresses, on a bridge of ours.
func (b *builder) kernelGateway() bool { return !b.Netstack && b.Bridge == "" }

// makeBridge makes a bridge of our own, without spanning tree: nothing but our ports is joined by it.
func (b *builder) makeBridge(mac net.HardwareAddr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = b.name(linkBridge, 0), b.MTU
	if b.kernelGateway() {
		attrs.HardwareAddr = mac
	} else {
		attrs.HardwareAddr = b.mac("bridge") // the gateway's is somebody else's
	}
	snooping := false
	if err := b.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("make the bridge %s: %w", attrs.Name, err)
	}
	l, err := b.nl.LinkByName(attrs.Name)
	if err != nil {
		return fmt.Errorf("%s: find it: %w", attrs.Name, err)
	}
	b.bridge = l.Attrs().Index
	if err := b.prepare(l, attrs.HardwareAddr); err != nil {
		return err
	}
	if !b.kernelGateway() {
		quiet(attrs.Name)
	}
	return b.boundLearning()
}

// maxLearned bounds how many MAC addresses a bridge learns, of a guest that makes them up. Those of ports are there without learning.
const maxLearned = 4096

// boundLearning has the bridge remember only so many addresses. Kernels before 6.7 don't know the attribute, and ignore it.
func (b *builder) boundLearning() error {
	const iflaBrFDBMaxLearned = 49 // IFLA_BR_FDB_MAX_LEARNED of linux/if_link.h
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(b.bridge)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(iflaBrFDBMaxLearned, nl.Uint32Attr(maxLearned))
	req.AddData(info)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("bound what the bridge learns: %w", err)
	}
	return nil
}

// join finds the host's bridge. It returns its MAC address.
func (b *builder) join() (net.HardwareAddr, error) {
	l, err := b.nl.LinkByName(b.Bridge)
	if err != nil {
		return nil, withHint(fmt.Errorf("join the bridge %s: %w", b.Bridge, err), `make it, by "ip link add `+b.Bridge+` type bridge", or leave bridge out, and one is made`)
	}
	if l.Type() != "bridge" {
		return nil, withHint(fmt.Errorf("join the bridge %s: it is a link of type %s", b.Bridge, l.Type()), "name a bridge, to which the host's NIC may belong")
	}
	a := l.Attrs()
	if b.MTU > a.MTU {
		return nil, withHint(fmt.Errorf("join the bridge %s: its MTU is %d, and the network's %d", b.Bridge, a.MTU, b.MTU), fmt.Sprintf("set mtu = %d, or leave it out", a.MTU))
	}
	b.bridge, b.MTU = a.Index, a.MTU // a port with less would lessen that of the bridge
	return a.HardwareAddr, nil
}

// bridgePort makes a port and joins it to the bridge. The port's own MAC address is bound to it, so that no other port can take it over.
func (b *builder) bridgePort(kind partKind, near, far linkKind, n int, mac net.HardwareAddr, isolated bool) (int, error) {
	index, err := b.port(kind, near, far, n, b.mac(string(near)+b.name(near, n)))
	if err != nil {
		return 0, err
	}
	quiet(b.name(near, n))
	l := link(index)
	if err := b.nl.LinkSetMasterByIndex(l, b.bridge); err != nil {
		return 0, fmt.Errorf("join it to the bridge: %w", err)
	}
	if isolated {
		if err := b.nl.LinkSetIsolated(l, true); err != nil {
			return 0, fmt.Errorf("isolate it: %w", err)
		}
	}
	if mac != nil {
		err := b.nl.NeighSet(&netlink.Neigh{
			LinkIndex: index, Family: unix.AF_BRIDGE, State: unix.NUD_NOARP, Flags: unix.NTF_MASTER | netlink.NTF_STICKY, HardwareAddr: mac,
		})
		if err != nil {
			return 0, fmt.Errorf("bind %s to it: %w", mac, err)
		}
	}
	b.ports = append(b.ports, index)
	return index, b.up(index)
}

// finishBridge gives the bridge the gateway's addresses, if they are the kernel's, and sets it up.
func (b *builder) finishBridge() error {
	if !b.kernelGateway() {
		return b.up(b.bridge)
	}
	if !b.host {
		setSysctls(false, "net/ipv4/ip_forward=0", "net/ipv6/conf/all/forwarding=0")
	}
	name := b.name(linkBridge, 0)
	setSysctls(false, "net/ipv6/conf/"+name+"/accept_ra=0", "net/ipv4/conf/"+name+"/rp_filter=1")
	if b.Addr.IsValid() {
		if err := b.address(b.bridge, b.Addr, netlink.SCOPE_UNIVERSE); err != nil {
			return err
		}
	}
	if !b.Addr6.IsValid() {
		quiet(name)
		return b.up(b.bridge)
	}
	if err := b.address(b.bridge, linkLocal, netlink.SCOPE_LINK); err != nil {
		return err
	}
	if err := b.address(b.bridge, b.Addr6, netlink.SCOPE_UNIVERSE); err != nil {
		return err
	}
	return b.up(b.bridge)
}

// bridgeSockets opens what hears a bridge: DHCP's frames only where the gateway's port doesn't.
func (b *builder) bridgeSockets(mac net.HardwareAddr) error {
	if !b.Netstack {
		if err := b.socketPart(partListener, useListen, b.bridge, -1); err != nil {
			return err
		}
		p := &b.parts[len(b.parts)-1]
		p.MAC = mac
		if b.Bridge != "" {
			p.LinkLocal = b.linkLocalOf(b.bridge)
		}
	}
	if b.Capture {
		return b.socketPart(partCapture, useCapture, b.bridge, 0)
	}
	return nil
}
