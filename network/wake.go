package network

import (
	"bytes"
	"encoding/binary"
)

// The few numbers of protocols that tell whether a frame is meant for the gateway: RFC 826, RFC 8200, RFC 4861.
const (
	etherLen     = 14
	etherARP     = 0x0806
	etherIPv6    = 0x86dd
	protoICMPv6  = 58
	neighborAsks = 135 // neighbour solicitation
)

// wakes says whether a frame is a reason to make the gateway's stack: it is for the gateway's own address, or asks for that. All that a guest
// sends by itself when its NICs go up isn't.
func (s *segment) wakes(frame []byte) bool {
	if len(frame) < etherLen || s.Mode != "user" && !s.ours() || !s.gateway.IsValid() {
		return false
	}
	if bytes.Equal(frame[:6], s.mac) {
		return true
	}
	body := frame[etherLen:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP: // for IPv4 over Ethernet: the address that is asked for is the last of the packet
		return len(body) >= 28 && bytes.Equal(body[24:28], s.gateway.AsSlice())
	case etherIPv6: // the target of a solicitation follows its type, code, checksum and four reserved bytes
		if len(body) < 40+24 || body[6] != protoICMPv6 || body[40] != neighborAsks {
			return false
		}
		ll := linkLocal(s.mac)
		target := body[48:64]
		return bytes.Equal(target, ll.AsSlice()) || s.gateway6.IsValid() && bytes.Equal(target, s.gateway6.AsSlice())
	}
	return false
}
