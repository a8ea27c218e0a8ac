package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// The messages of DHCP (RFC 2131), as far as a client needs them. They have a codec of their own because the init pays for each page of its
// program at each boot: with github.com/insomniacslk/dhcp/dhcpv4, which brings package net, it is 200 KB larger, and a run has 25 stops and
// 100 page faults more, even if nothing is asked of it. What is read here may come from another guest that plays the server, so that every
// length is checked, and what can't be right is refused as a whole.

// The kinds of message (RFC 2132, 9.6).
const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpAck      = 5
	dhcpNak      = 6
)

// The options that are sent or read.
const (
	optMask       = 1
	optRouter     = 3
	optDNS        = 6
	optHostname   = 12
	optDomain     = 15
	optMTU        = 26
	optBroadcast  = 28
	optAddress    = 50
	optSeconds    = 51
	optOverload   = 52
	optKind       = 53
	optServer     = 54
	optParameters = 55
	optMaxSize    = 57
	optT1         = 58
	optT2         = 59
	optClientID   = 61
	optRapid      = 80 // RFC 4039
	optSearch     = 119
	optRoutes     = 121
	optEnd        = 255
)

// Where the fields of a message are.
const (
	atXID, atSecs, atCIAddr, atYIAddr, atCHAddr, atSName, atFile, atCookie, atOptions = 4, 8, 12, 16, 28, 44, 108, 236, 240
	cookie                                                                            = 0x63825363
	// minMessage is the length that a message of BOOTP has: some servers drop shorter ones.
	minMessage = 300
	// maxMessage is the greatest datagram that a server may send here.
	maxMessage = 1500
)

// A query is a message to the server.
type query struct {
	kind     byte
	xid      uint32
	secs     uint16
	mac      [6]byte
	hostname string
	// ciaddr is the address that the client has; address, instead, is the one that it wants from server.
	ciaddr, address, server ip4
}

func (q *query) encode() []byte {
	b := make([]byte, atOptions, minMessage)
	b[0], b[1], b[2] = 1, 1, byte(len(q.mac)) // a request, Ethernet
	binary.BigEndian.PutUint32(b[atXID:], q.xid)
	binary.BigEndian.PutUint16(b[atSecs:], q.secs)
	copy(b[atCIAddr:], q.ciaddr[:])
	copy(b[atCHAddr:], q.mac[:])
	binary.BigEndian.PutUint32(b[atCookie:], cookie)
	b = append(b, optKind, 1, q.kind)
	b = append(b, optClientID, byte(1+len(q.mac)), 1)
	b = append(b, q.mac[:]...)
	if q.kind == dhcpDiscover {
		b = append(b, optRapid, 0)
	}
	for _, o := range []struct {
		code byte
		addr ip4
	}{{optAddress, q.address}, {optServer, q.server}} {
		if o.addr != (ip4{}) {
			b = append(append(b, o.code, 4), o.addr[:]...)
		}
	}
	if n := len(q.hostname); n > 0 && n < 256 {
		b = append(append(b, optHostname, byte(n)), q.hostname...)
	}
	b = append(b, optMaxSize, 2, maxMessage>>8, maxMessage&0xff)
	b = append(b, optParameters, 12, optMask, optRouter, optDNS, optDomain, optMTU, optBroadcast, optSeconds, optServer, optT1, optT2,
		optSearch, optRoutes, optEnd)
	for len(b) < minMessage {
		b = append(b, 0)
	}
	return b
}

var (
	errNoReply = errors.New("it is no answer to us")
	errOptions = errors.New("an option goes on behind the end")
)

// A reply is a message from the server.
type reply struct {
	kind   byte
	addr   ip4
	server ip4
	// areas are where options are: the field of that name, and where that says so file and sname.
	areas [][]byte
}

// parseReply reads an answer to the query with that number from that address.
func parseReply(b []byte, xid uint32, mac [6]byte) (*reply, error) {
	if len(b) < atOptions || b[0] != 2 || b[1] != 1 || b[2] != byte(len(mac)) || binary.BigEndian.Uint32(b[atXID:]) != xid ||
		[6]byte(b[atCHAddr:]) != mac || binary.BigEndian.Uint32(b[atCookie:]) != cookie {
		return nil, errNoReply
	}
	r := &reply{addr: ip4(b[atYIAddr:]), areas: [][]byte{b[atOptions:]}}
	over, err := r.option(optOverload, 1)
	if err != nil {
		return nil, err
	}
	if len(over) == 1 && over[0]&1 != 0 {
		r.areas = append(r.areas, b[atFile:atCookie])
	}
	if len(over) == 1 && over[0]&2 != 0 {
		r.areas = append(r.areas, b[atSName:atFile])
	}
	kind, err := r.option(optKind, 1)
	if err != nil {
		return nil, err
	}
	if len(kind) != 1 {
		return nil, errNoReply
	}
	r.kind = kind[0]
	r.server, err = r.address(optServer)
	return r, err
}

// option returns an option's value, which is so many bytes long, or with 0 of any length, put together from all parts that it has (RFC 3396).
// It returns nil if there is none.
func (r *reply) option(code byte, length int) ([]byte, error) {
	var value []byte
	for _, b := range r.areas {
		for len(b) > 0 && b[0] != optEnd {
			if b[0] == 0 { // padding
				b = b[1:]
				continue
			}
			if len(b) < 2 || len(b) < 2+int(b[1]) {
				return nil, errOptions
			}
			if b[0] == code {
				value = append(value, b[2:2+int(b[1])]...)
			}
			b = b[2+int(b[1]):]
		}
	}
	if length > 0 && len(value) > 0 && len(value) != length {
		return nil, badOption(code)
	}
	return value, nil
}

func badOption(code byte) error { return fmt.Errorf("its option %d can't be right", code) }

// address is an option that is one address.
func (r *reply) address(code byte) (ip4, error) {
	b, err := r.option(code, 4)
	if len(b) != 4 {
		return ip4{}, err
	}
	return ip4(b), nil
}

// addresses is an option that is a list of addresses.
func (r *reply) addresses(code byte) ([]ip4, error) {
	b, err := r.option(code, 0)
	if err != nil {
		return nil, err
	}
	if len(b)%4 != 0 {
		return nil, badOption(code)
	}
	var list []ip4
	for ; len(b) > 0; b = b[4:] {
		list = append(list, ip4(b))
	}
	return list, nil
}

// number is an option that is a number of so many bytes; 0: there is none.
func (r *reply) number(code byte, length int) (n uint32, err error) {
	b, err := r.option(code, length)
	for _, c := range b {
		n = n<<8 | uint32(c)
	}
	return n, err
}

// A destination is a network, and the router to it; without one it is on the link.
type destination struct {
	net    prefix4
	router ip4
}

// routes are the classless static routes (RFC 3442).
func (r *reply) routes() ([]destination, error) {
	b, err := r.option(optRoutes, 0)
	if err != nil {
		return nil, err
	}
	var list []destination
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > 32 || len(b) < 1+n+4 {
			return nil, badOption(optRoutes)
		}
		d := destination{net: prefix4{bits: bits}, router: ip4(b[1+n:])}
		copy(d.net.addr[:], b[1:1+n])
		for i, m := range mask(bits) {
			d.net.addr[i] &= m
		}
		list, b = append(list, d), b[1+n+4:]
	}
	return list, nil
}

// search is the list of search domains: that of RFC 3397, or else the one domain.
func (r *reply) search() ([]string, error) {
	b, err := r.option(optSearch, 0)
	if err != nil {
		return nil, err
	}
	if len(b) > 0 {
		return searchList(b)
	}
	b, err = r.option(optDomain, 0)
	var list []string
	for _, n := range strings.Fields(strings.TrimRight(string(b), "\x00")) {
		if domainName(n) {
			list = append(list, n)
		}
	}
	return list, err
}

// searchList reads names that are compressed as those of DNS are (RFC 1035, 4.1.4).
func searchList(b []byte) ([]string, error) {
	var list []string
	for at := 0; at < len(b); {
		name, next, ok := compressedName(b, at)
		if !ok {
			return nil, badOption(optSearch)
		}
		if domainName(name) {
			list = append(list, name)
		}
		at = next
	}
	return list, nil
}

// compressedName reads the name at an offset, and returns what is behind it. A pointer leads to before the part that it ends, so that
// there is an end to it.
func compressedName(b []byte, at int) (name string, next int, ok bool) {
	limit := at
	for at < len(b) {
		n := int(b[at])
		switch {
		case n == 0:
			if next == 0 {
				next = at + 1
			}
			return name, next, true
		case n >= 0xc0 && at+1 < len(b):
			if next == 0 {
				next = at + 2
			}
			to := n&0x3f<<8 | int(b[at+1])
			if to >= limit {
				return "", 0, false
			}
			at, limit = to, to
		case n < 0x40 && at+1+n <= len(b) && len(name) < 256:
			if name != "" {
				name += "."
			}
			name += string(b[at+1 : at+1+n])
			at += 1 + n
		default:
			return "", 0, false
		}
	}
	return "", 0, false
}

// domainName says whether a name may stand in resolv.conf: nothing but letters, digits, hyphens, underscores and dots between them.
func domainName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for _, l := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		if len(l) == 0 || len(l) > 63 {
			return false
		}
		for _, c := range []byte(l) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
