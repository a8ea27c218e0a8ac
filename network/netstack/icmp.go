package netstack

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A verdict is a "destination unreachable": its codes in ICMP and in ICMPv6.
type verdict struct{ code4, code6 byte }

var (
	netUnreachable  = verdict{0, 0}
	hostUnreachable = verdict{1, 3}
	portUnreachable = verdict{3, 4}
	prohibited      = verdict{13, 1}
)

// quote returns the head of a packet, as errors about it show it.
func quote(p *stack.PacketBuffer) []byte {
	const room = 128
	b := make([]byte, 0, room)
	b = append(b, p.NetworkHeader().Slice()...)
	b = append(b, p.TransportHeader().Slice()...)
	if n := min(room-len(b), p.Data().Size()); n > 0 {
		if d, ok := p.Data().PullUp(n); ok {
			b = append(b, d...)
		}
	}
	return b
}

// unreachable tells a guest that a packet of its has not arrived: in the name of the destination if that has refused it, else in ours.
func (g *Gateway) unreachable(quote []byte, v verdict) {
	if len(quote) == 0 || !g.stack.AllowICMPMessage() {
		return
	}
	src, dst := header.IPv4(quote).SourceAddress, header.IPv4(quote).DestinationAddress
	v6 := header.IPVersion(quote) == header.IPv6Version
	if v6 {
		src, dst = header.IPv6(quote).SourceAddress, header.IPv6(quote).DestinationAddress
	}
	guest := toNetip(src())
	from := g.localFor(guest)
	if v == portUnreachable {
		from = toNetip(dst())
	}
	msg := make([]byte, header.ICMPv4MinimumSize, header.ICMPv4MinimumSize+len(quote))
	msg[0], msg[1] = byte(header.ICMPv4DstUnreachable), v.code4
	if v6 {
		msg[0], msg[1] = byte(header.ICMPv6DstUnreachable), v.code6
	}
	g.sendICMP(nil, from, guest, append(msg, quote...))
}

// sendICMP sends a message without its checksum to a guest, by a route that is known or by its own.
func (g *Gateway) sendICMP(r *stack.Route, from, to netip.Addr, msg []byte) {
	if r == nil {
		own, err := g.route(from, to)
		if err != nil {
			return
		}
		defer own.Release()
		r = own
	}
	proto := header.ICMPv4ProtocolNumber
	binary.BigEndian.PutUint16(msg[2:], 0)
	var sum uint16
	if to.Is6() {
		proto = header.ICMPv6ProtocolNumber
		sum = r.PseudoHeaderChecksum(proto, uint16(len(msg)))
	}
	binary.BigEndian.PutUint16(msg[2:], ^checksum.Checksum(msg, sum))
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: buffer.MakeWithData(msg)})
	defer p.DecRef()
	p.TransportProtocolNumber = proto
	_ = r.WritePacket(stack.NetworkHeaderParams{Protocol: proto, TTL: r.DefaultTTL(), TOS: stack.DefaultTOS}, p)
}

// ping is what a flow of echoes knows of its socket.
type ping struct {
	raw bool   // a raw socket, which sees other echoes as well
	id  uint16 // our identifier; that of the other kind of socket is chosen by the kernel
}

// echoSize is the size of the header of an echo: type, code, checksum, identifier, sequence number.
const echoSize = 8

// handleEcho takes an ICMP message. It returns false for what the stack answers itself, as the echo requests for our own addresses.
func (g *Gateway) handleEcho(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	dst := toNetip(id.LocalAddress)
	if g.own(dst) {
		return false
	}
	msg := append([]byte(nil), p.TransportHeader().Slice()...)
	if d := p.Data(); d.Size() > 0 {
		b, ok := d.PullUp(d.Size())
		if !ok {
			return true
		}
		msg = append(msg, b...)
	}
	if len(msg) < echoSize || msg[0] != echoType(dst, true) {
		return true
	}
	k := flowKey{echoProtocol(dst), netip.AddrPortFrom(toNetip(id.RemoteAddress), binary.BigEndian.Uint16(msg[4:])), netip.AddrPortFrom(dst, 0)}
	f := g.flows.find(k)
	if f == nil {
		if f = g.openEcho(k, p); f == nil {
			return true
		}
	}
	g.ping(f, msg)
	return true
}

func echoProtocol(a netip.Addr) tcpip.TransportProtocolNumber {
	if a.Is4() {
		return header.ICMPv4ProtocolNumber
	}
	return header.ICMPv6ProtocolNumber
}

func echoType(a netip.Addr, request bool) byte {
	switch {
	case a.Is4() && request:
		return byte(header.ICMPv4Echo)
	case a.Is4():
		return byte(header.ICMPv4EchoReply)
	case request:
		return byte(header.ICMPv6EchoRequest)
	}
	return byte(header.ICMPv6EchoReply)
}

func (g *Gateway) openEcho(k flowKey, p *stack.PacketBuffer) *flow {
	target, ok := g.target(k.dst)
	if !ok {
		v := prohibited
		if !g.cfg.Uplink {
			v = netUnreachable
		}
		g.unreachable(quote(p), v)
		return nil
	}
	c, pg, err := dialEcho(target.Addr())
	if err == nil {
		var f *flow
		if f, err = g.flows.open(k, p, c, pg); err == nil {
			return f
		}
		_ = c.Close()
		return nil
	}
	switch {
	case outOfFiles(err):
		g.noticeFiles()
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EPROTONOSUPPORT):
		g.notice("ping", "guests can't ping the world: the host doesn't let us send echo requests; have root run: sysctl -w net.ipv4.ping_group_range='0 2147483647'")
		g.unreachable(quote(p), prohibited)
	default:
		g.unreachable(quote(p), hostUnreachable)
	}
	return nil
}

// dialEcho opens a socket for echo requests to one address: one that any user may have, if the host allows it, or a raw one.
func dialEcho(to netip.Addr) (net.Conn, ping, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	var sa unix.Sockaddr = &unix.SockaddrInet4{}
	if to.Is4() {
		sa = &unix.SockaddrInet4{Addr: to.As4()}
	} else {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		sa = &unix.SockaddrInet6{Addr: to.As16()}
	}
	var pg ping
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		pg = ping{raw: true, id: uint16(rand.Uint32())}
		var rawErr error
		if fd, rawErr = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto); rawErr != nil {
			return nil, pg, err
		}
	}
	if err := unix.Connect(fd, sa); err != nil {
		_ = unix.Close(fd)
		return nil, pg, err
	}
	file := os.NewFile(uintptr(fd), "echo")
	defer file.Close()
	c, err := net.FileConn(file)
	return c, pg, err
}

// ping sends a guest's echo request to the world.
func (g *Gateway) ping(f *flow, msg []byte) {
	binary.BigEndian.PutUint16(msg[2:], 0)
	if f.ping.raw {
		binary.BigEndian.PutUint16(msg[4:], f.ping.id)
		if f.key.dst.Addr().Is4() { // the kernel does it for IPv6, and for the other kind of socket
			binary.BigEndian.PutUint16(msg[2:], ^checksum.Checksum(msg, 0))
		}
	}
	g.flows.send(f, msg)
}

// pong hands an echo reply to the guest. Raw sockets of IPv4 give the packet with its header.
func (g *Gateway) pong(f *flow, msg []byte) {
	if f.ping.raw && f.key.dst.Addr().Is4() {
		var err error
		if msg, err = trimIPv4(msg); err != nil {
			return
		}
	}
	if len(msg) < echoSize || msg[0] != echoType(f.key.dst.Addr(), false) || f.ping.raw && binary.BigEndian.Uint16(msg[4:]) != f.ping.id {
		return
	}
	binary.BigEndian.PutUint16(msg[4:], f.key.src.Port())
	g.sendICMP(f.route, f.key.dst.Addr(), f.key.src.Addr(), msg)
}

func trimIPv4(b []byte) ([]byte, error) {
	if len(b) < header.IPv4MinimumSize {
		return nil, io.ErrUnexpectedEOF
	}
	n := int(b[0]&15) * 4
	if n < header.IPv4MinimumSize || n > len(b) {
		return nil, io.ErrUnexpectedEOF
	}
	return b[n:], nil
}
