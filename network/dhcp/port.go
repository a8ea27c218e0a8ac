package dhcp

import (
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/ndp"
)

const (
	serverPort4, clientPort4 = 67, 68
	serverPort6, clientPort6 = 547, 546

	typeRouterSolicitation = 133
	solicitLength          = 8 // without options
)

var (
	broadcastMAC  = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	broadcastAddr = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	// allServers is where clients of DHCPv6 send all they have to say (RFC 8415, section 7.1).
	allServers  = netip.MustParseAddr("ff02::1:2")
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	allRouters  = netip.MustParseAddr("ff02::2")
	anyAddr6    = netip.IPv6Unspecified()
)

// A Port is a place where clients are heard as Ethernet frames: a port of a switch, a bridge, or one tap.
type Port struct {
	server    *Server
	mac       net.HardwareAddr
	linkLocal netip.Addr
	send      func(frame []byte)
}

// Port returns a Port that answers from mac, and with IPv6 from linkLocal. If that isn't valid, IPv6 is not answered. send is called with each
// whole frame to send, which it may keep; it must not call Input.
func (s *Server) Port(mac net.HardwareAddr, linkLocal netip.Addr, send func(frame []byte)) *Port {
	return &Port{server: s, mac: mac, linkLocal: linkLocal, send: send}
}

// Input takes a frame that was heard, without its FCS, and answers it if it is a message of DHCP or a router solicitation. It reports whether
// the frame was for a server of DHCP alone, so that nobody else need see it. It neither keeps nor changes frame.
func (p *Port) Input(frame []byte) bool {
	pkt, ok := parse(frame)
	if !ok {
		return false
	}
	s := p.server
	switch {
	case pkt.protocol == protocolUDP && pkt.dstPort == serverPort4 && s.cfg.Subnet.IsValid() && (pkt.dst == broadcastAddr || pkt.dst == s.cfg.Server):
		p.input4(&pkt)
		return true
	case !s.cfg.Subnet6.IsValid() || !p.linkLocal.IsValid():
	case pkt.protocol == protocolUDP && pkt.dstPort == serverPort6 && pkt.dst == allServers:
		p.input6(&pkt)
		return true
	case pkt.protocol == protocolICMPv6 && p.solicits(&pkt):
		p.advertise(pkt.mac, pkt.src)
	}
	return false
}

// input4 answers a message of DHCPv4. A client speaks for its own MAC only: nothing here relays.
func (p *Port) input4(pkt *packet) {
	req, err := dhcpv4.FromBytes(pkt.data)
	if err != nil || string(req.ClientHWAddr) != string(pkt.mac) {
		p.server.drop()
		return
	}
	resp := p.server.HandleV4(req)
	if resp == nil {
		return
	}
	to, dst := pkt.mac, receiver4(req, resp)
	if broadcasts(req, resp) {
		to, dst = broadcastMAC, broadcastAddr
	}
	src := p.server.cfg.Server
	d := udp(netip.AddrPortFrom(src, serverPort4), netip.AddrPortFrom(dst, clientPort4), resp.ToBytes())
	p.send(frame4(p.mac, to, src, dst, protocolUDP, d))
}

// input6 answers a message of DHCPv6, from a link-local address (RFC 8415, section 17).
func (p *Port) input6(pkt *packet) {
	m, err := decode6(pkt.data)
	if err != nil || !pkt.src.IsLinkLocalUnicast() {
		p.server.drop()
		return
	}
	resp := p.server.handle6(m, append(net.HardwareAddr(nil), pkt.mac...))
	if resp == nil {
		return
	}
	d := udp(netip.AddrPortFrom(p.linkLocal, serverPort6), netip.AddrPortFrom(pkt.src, clientPort6), resp.ToBytes())
	p.send(frame6(p.mac, pkt.mac, p.linkLocal, pkt.src, protocolUDP, d))
}

// solicits reports whether a packet is a valid router solicitation (RFC 4861, section 6.1.1).
func (p *Port) solicits(pkt *packet) bool {
	b := pkt.payload
	if len(b) < solicitLength || b[0] != typeRouterSolicitation || b[1] != 0 || pkt.hopLimit != 255 ||
		!pkt.src.IsLinkLocalUnicast() && pkt.src != anyAddr6 || pkt.dst != allRouters && pkt.dst != p.linkLocal {
		return false
	}
	for o := b[solicitLength:]; len(o) > 0; {
		if len(o) < 8 || o[1] == 0 || int(o[1])*8 > len(o) || pkt.src == anyAddr6 && o[0] == byte(ndp.Source) {
			return false
		}
		o = o[int(o[1])*8:]
	}
	return checksum(pseudo(pkt.src, pkt.dst, protocolICMPv6, len(b)), b) == 0
}

// Advertise sends a router advertisement to all hosts. It is for the owner to call, every few minutes.
func (p *Port) Advertise() {
	s := p.server
	s.lock() // so that leases that have ended are noticed, even if no client is heard any more
	s.unlock()
	if s.cfg.Subnet6.IsValid() && p.linkLocal.IsValid() {
		p.advertise(allNodesMAC, allNodes)
	}
}

// advertise sends a router advertisement in a frame to one MAC; a host that has no address yet is sent what all hosts are. So an answer goes to
// who asked, and needs no limit of its rate (RFC 4861, section 6.2.6).
func (p *Port) advertise(to net.HardwareAddr, dst netip.Addr) {
	if dst == anyAddr6 {
		dst = allNodes
	}
	b, err := ndp.MarshalMessageChecksum(p.server.advertisement(p.mac), p.linkLocal, dst)
	if err != nil {
		p.server.drop()
		return
	}
	p.send(frame6(p.mac, to, p.linkLocal, dst, protocolICMPv6, b))
}
