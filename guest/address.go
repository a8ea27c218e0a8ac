package guest

import (
	"fmt"
	"strconv"
	"strings"
)

// Addresses are written out here, because package net/netip, with what it does at each start of a program, would cost every boot as much as
// a few of the mounts do: 90 KB more of a program, and 60 page faults of the host.

// An ip4 is an IPv4 address; the zero one stands for none.
type ip4 [4]byte

var broadcast4 = ip4{255, 255, 255, 255}

func (a ip4) String() string {
	b := make([]byte, 0, len("255.255.255.255"))
	for i, n := range a {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	return string(b)
}

// A prefix4 is an IPv4 address and the length of its network's prefix.
type prefix4 struct {
	addr ip4
	bits int
}

func (p prefix4) String() string { return p.addr.String() + "/" + strconv.Itoa(p.bits) }

// mask returns a mask of so many bits.
func mask(bits int) ip4 {
	var m ip4
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// contains says whether an address is one of p's network.
func (p prefix4) contains(a ip4) bool {
	m := mask(p.bits)
	for i := range a {
		if (a[i]^p.addr[i])&m[i] != 0 {
			return false
		}
	}
	return true
}

// broadcast is the last address of p's network.
func (p prefix4) broadcast() ip4 {
	a, m := p.addr, mask(p.bits)
	for i := range a {
		a[i] |= ^m[i]
	}
	return a
}

// parseIP4 reads an address as inet_pton(3) does.
func parseIP4(s string) (ip4, error) {
	var a ip4
	rest, more := s, true
	for i := range a {
		var part string
		if !more {
			return ip4{}, fmt.Errorf("%q is no IPv4 address", s)
		}
		part, rest, more = strings.Cut(rest, ".")
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || len(part) > 1 && part[0] == '0' {
			return ip4{}, fmt.Errorf("%q is no IPv4 address", s)
		}
		a[i] = byte(n)
	}
	if more {
		return ip4{}, fmt.Errorf("%q is no IPv4 address", s)
	}
	return a, nil
}

func parsePrefix4(s string) (prefix4, error) {
	addr, bits, err := splitPrefix(s, 32)
	if err != nil {
		return prefix4{}, err
	}
	a, err := parseIP4(addr)
	return prefix4{a, bits}, err
}

// splitPrefix splits ADDRESS/BITS.
func splitPrefix(s string, most int) (addr string, bits int, err error) {
	addr, length, ok := strings.Cut(s, "/")
	n, err := strconv.ParseUint(length, 10, 8)
	if !ok || err != nil || int(n) > most {
		return "", 0, fmt.Errorf("%q is no address with the length of a prefix", s)
	}
	return addr, int(n), nil
}

// An ip6 is an IPv6 address.
type ip6 [16]byte

// parseIP6 reads an address in hexadecimal groups of which :: may stand for some; nobody sends those that end like one of IPv4.
func parseIP6(s string) (ip6, error) {
	var a ip6
	head, tail, gap := strings.Cut(s, "::")
	h, ok1 := groups(head)
	t, ok2 := groups(tail)
	n := len(h) + len(t)
	if !ok1 || !ok2 || gap && n > 14 || !gap && n != 16 {
		return ip6{}, fmt.Errorf("%q is no IPv6 address", s)
	}
	copy(a[:], h)
	copy(a[16-len(t):], t)
	return a, nil
}

// groups reads groups of 16 bits.
func groups(s string) ([]byte, bool) {
	if s == "" {
		return nil, true
	}
	var b []byte
	for _, g := range strings.Split(s, ":") {
		n, err := strconv.ParseUint(g, 16, 16)
		if err != nil || len(g) > 4 {
			return nil, false
		}
		b = append(b, byte(n>>8), byte(n))
	}
	return b, true
}
