package dhcp

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// maxSpan is how many addresses of a range are counted: more than are ever given.
const maxSpan = 1 << 48

// add returns the address n after a; ok is false if there is none in its family.
func add(a netip.Addr, n uint64) (sum netip.Addr, ok bool) {
	if a.Is4() {
		b := a.As4()
		v := uint64(binary.BigEndian.Uint32(b[:])) + n
		if n > 1<<32 || v > 1<<32-1 {
			return netip.Addr{}, false
		}
		binary.BigEndian.PutUint32(b[:], uint32(v))
		return netip.AddrFrom4(b), true
	}
	b := a.As16()
	lo, carry := bits.Add64(binary.BigEndian.Uint64(b[8:]), n, 0)
	hi, carry := bits.Add64(binary.BigEndian.Uint64(b[:8]), 0, carry)
	binary.BigEndian.PutUint64(b[8:], lo)
	binary.BigEndian.PutUint64(b[:8], hi)
	return netip.AddrFrom16(b), carry == 0
}

// span is the number of addresses in r, maxSpan at most.
func (r Range) span() uint64 {
	f, l := r.First.As16(), r.Last.As16() // IPv4 is in the last four bytes
	lo, borrow := bits.Sub64(binary.BigEndian.Uint64(l[8:]), binary.BigEndian.Uint64(f[8:]), 0)
	hi, _ := bits.Sub64(binary.BigEndian.Uint64(l[:8]), binary.BigEndian.Uint64(f[:8]), borrow)
	if hi > 0 || lo >= maxSpan {
		return maxSpan
	}
	return lo + 1
}

func (r Range) contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// last is the last address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// whole is what of a subnet hosts may have.
func whole(p netip.Prefix) []Range {
	r := Range{p.Addr(), last(p)}
	switch {
	case p.Addr().Is4() && p.Bits() < 31: // RFC 3021: a /31 has neither
		r.First, r.Last = r.First.Next(), r.Last.Prev()
	case p.Addr().Is6() && p.Bits() < 127: // the subnet-router anycast address (RFC 4291, section 2.6.1)
		r.First = r.First.Next()
	}
	return []Range{r}
}

// subtract returns what of ranges is left without those of holes, in order and without overlaps.
func subtract(ranges, holes []Range) []Range {
	ranges, holes = merge(ranges), merge(holes)
	var left []Range
	for _, r := range ranges {
		for len(holes) > 0 && holes[0].Last.Less(r.First) {
			holes = holes[1:]
		}
		rest := true
		for _, h := range holes {
			if r.Last.Less(h.First) {
				break
			}
			if r.First.Less(h.First) {
				left = append(left, Range{r.First, h.First.Prev()})
			}
			if rest = h.Last.Less(r.Last); !rest {
				break
			}
			r.First = h.Last.Next()
		}
		if rest {
			left = append(left, r)
		}
	}
	return left
}

// merge sorts ranges and joins those that overlap.
func merge(ranges []Range) []Range {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b Range) int { return a.First.Compare(b.First) })
	var m []Range
	for _, r := range ranges {
		if n := len(m); n > 0 && !m[n-1].Last.Less(r.First) {
			if m[n-1].Last.Less(r.Last) {
				m[n-1].Last = r.Last
			}
			continue
		}
		m = append(m, r)
	}
	return m
}

// checkRange reports a range that isn't one of subnet; an invalid subnet allows all.
func checkRange(r Range, subnet netip.Prefix) error {
	if !r.First.IsValid() || r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First) {
		return fmt.Errorf("the range %v to %v: it has no addresses", r.First, r.Last)
	}
	if subnet.IsValid() && (!subnet.Contains(r.First) || !subnet.Contains(r.Last)) {
		return fmt.Errorf("the range %v to %v: it is not in %v", r.First, r.Last, subnet)
	}
	return nil
}
