package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	headerEthernet = 14
	headerIPv4     = 20
	headerIPv6     = 40
	headerUDP      = 8

	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	protocolUDP    = 17
	protocolICMPv6 = 58
)

// A packet is a frame taken apart: the addresses, and what IP carries.
type packet struct {
	mac      net.HardwareAddr // of the sender
	src, dst netip.Addr
	protocol uint8
	hopLimit uint8
	payload  []byte
	// srcPort, dstPort and data are those of a datagram of UDP.
	srcPort, dstPort uint16
	data             []byte
}

// parse takes a frame apart that has a whole packet of IPv4 or IPv6 in it; ok is false for others. Nothing is copied.
//
// The checksum of UDP is not looked at: a frame from the host's kernel need not have one yet, as it would be filled in by the hardware that
// isn't there (checksum offload).
func parse(frame []byte) (p packet, ok bool) {
	if len(frame) < headerEthernet || frame[6]&1 != 0 {
		return p, false
	}
	p.mac = net.HardwareAddr(frame[6:12])
	switch body := frame[headerEthernet:]; binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		ok = p.parse4(body)
	case etherIPv6:
		ok = p.parse6(body)
	}
	if !ok {
		return p, false
	}
	if p.protocol == protocolUDP {
		return p, p.parseUDP()
	}
	return p, true
}

func (p *packet) parse4(b []byte) bool {
	if len(b) < headerIPv4 || b[0]>>4 != 4 {
		return false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	// A fragment has no more than a part of a message.
	if header < headerIPv4 || total < header || total > len(b) || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 || checksum(0, b[:header]) != 0 {
		return false
	}
	p.src, p.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	p.hopLimit, p.protocol, p.payload = b[8], b[9], b[header:total]
	return true
}

// parse6 takes no extension headers: clients send none.
func (p *packet) parse6(b []byte) bool {
	if len(b) < headerIPv6 || b[0]>>4 != 6 {
		return false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n > len(b)-headerIPv6 {
		return false
	}
	p.src, p.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	p.protocol, p.hopLimit, p.payload = b[6], b[7], b[headerIPv6:headerIPv6+n]
	return true
}

func (p *packet) parseUDP() bool {
	b := p.payload
	if len(b) < headerUDP {
		return false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < headerUDP || n > len(b) {
		return false
	}
	p.srcPort, p.dstPort, p.data = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), b[headerUDP:n]
	return true
}

// udp is a datagram with its checksum.
func udp(src, dst netip.AddrPort, data []byte) []byte {
	b := make([]byte, headerUDP, headerUDP+len(data))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(headerUDP+len(data)))
	b = append(b, data...)
	sum := checksum(pseudo(src.Addr(), dst.Addr(), protocolUDP, len(b)), b)
	if sum == 0 {
		sum = 0xffff // zero would mean that there is none
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// frame4 is a packet of IPv4 in a frame.
func frame4(from, to net.HardwareAddr, src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	b := ethernet(from, to, etherIPv4, headerIPv4+len(payload))
	h := b[headerEthernet : headerEthernet+headerIPv4]
	h[0] = 4<<4 | headerIPv4/4
	binary.BigEndian.PutUint16(h[2:], uint16(headerIPv4+len(payload)))
	h[8], h[9] = 64, protocol
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(0, h))
	copy(b[headerEthernet+headerIPv4:], payload)
	return b
}

// frame6 is a packet of IPv6 in a frame. The hop limit is the one that neighbour discovery wants (RFC 4861, section 4.2).
func frame6(from, to net.HardwareAddr, src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	b := ethernet(from, to, etherIPv6, headerIPv6+len(payload))
	h := b[headerEthernet : headerEthernet+headerIPv6]
	h[0] = 6 << 4
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h[6], h[7] = protocol, 255
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	copy(b[headerEthernet+headerIPv6:], payload)
	return b
}

func ethernet(from, to net.HardwareAddr, kind uint16, n int) []byte {
	b := make([]byte, headerEthernet+n)
	copy(b, to)
	copy(b[6:], from)
	binary.BigEndian.PutUint16(b[12:], kind)
	return b
}

// pseudo is the sum of the pseudo-header (RFC 768; RFC 8200, section 8.1).
func pseudo(src, dst netip.Addr, protocol uint8, n int) uint32 {
	sum := uint32(protocol) + uint32(n)
	for _, a := range []netip.Addr{src, dst} {
		b := a.AsSlice()
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	return sum
}

// checksum is the Internet checksum (RFC 1071) of b, added to sum.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b)) // 65,535 bytes can't overflow it
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
