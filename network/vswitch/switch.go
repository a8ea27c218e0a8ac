package vswitch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekexe/sekexe/network/frames"
)

const (
	headerLen = 14
	tagLen    = 4
)

// A Config says how a Switch behaves.
type Config struct {
	MTU      int                // greatest length of a frame's payload; VLAN tags come on top
	Isolated bool               // ports talk with gateways only, not with each other
	Capture  func(frame []byte) // is called with each frame that the switch forwards, concurrently, before it does; nil: nobody looks
}

// A Switch joins ports to one segment. Its methods are safe for concurrent use.
type Switch struct {
	config  Config
	fixed   atomic.Pointer[fixed]
	learned learned
	start   time.Time // of the clock that stations and floods are measured by

	mu     sync.Mutex     // held to replace fixed
	open   map[*Port]bool // ports to close; those whose other end is gone are not in fixed
	closed bool
}

// fixed is what changes only with the ports. It is never written to, only replaced, so that frames find their way without a lock.
type fixed struct {
	ports []*Port
	macs  map[address]*Port
}

// An address is a MAC address as a number: the first octet is the highest.
type address uint64

func addressOf(b []byte) address {
	return address(binary.BigEndian.Uint16(b))<<32 | address(binary.BigEndian.Uint32(b[2:]))
}

// group says whether an address is a multicast or the broadcast.
func (a address) group() bool { return a>>40&1 != 0 }

// reserved says whether it is one of those that a bridge doesn't forward (IEEE 802.1D, 7.12.6): spanning tree, pause, LLDP.
func (a address) reserved() bool { return a&^0xf == 0x0180c2000000 }

// New returns a Switch without ports. Close it when it is no longer used.
func New(c Config) *Switch {
	s := &Switch{config: c, start: time.Now(), open: map[*Port]bool{}}
	s.fixed.Store(&fixed{})
	s.learned.ports = map[address]*station{}
	return s
}

func (s *Switch) now() time.Duration { return time.Since(s.start) }

var (
	errClosed = errors.New("the switch is closed")
	errTaken  = errors.New("another port has this address")
)

// add makes p one of the ports.
func (s *Switch) add(p *Port, mac net.HardwareAddr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.open[p] = true
	old := s.fixed.Load()
	macs := old.macs
	if mac != nil {
		if len(mac) != 6 || addressOf(mac).group() {
			return fmt.Errorf("%s is not the address of a station", mac)
		}
		p.mac = addressOf(mac)
		if macs[p.mac] != nil {
			return fmt.Errorf("%s: %w", mac, errTaken)
		}
		macs = maps.Clone(old.macs)
		if macs == nil {
			macs = map[address]*Port{}
		}
		macs[p.mac] = p
	}
	s.fixed.Store(&fixed{ports: append(slices.Clip(old.ports), p), macs: macs})
	if mac != nil {
		s.learned.forget(func(a address, _ *station) bool { return a == p.mac })
	}
	return nil
}

// remove takes p from the ports. Frames that are on their way to it may still come.
func (s *Switch) remove(p *Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.fixed.Load()
	macs := old.macs
	if macs[p.mac] == p {
		macs = maps.Clone(macs)
		delete(macs, p.mac)
	}
	ports := slices.DeleteFunc(slices.Clone(old.ports), func(q *Port) bool { return q == p })
	s.fixed.Store(&fixed{ports: ports, macs: macs})
	s.learned.forget(func(_ address, t *station) bool { return t.port == p })
}

// Close closes all ports.
func (s *Switch) Close() error {
	s.mu.Lock()
	s.closed = true
	ports := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	var errs []error
	for _, p := range ports {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// forward sends a frame from p on. It says whether it did.
func (s *Switch) forward(p *Port, frame []byte) bool {
	t := s.fixed.Load()
	target, ok := s.route(t, p, frame)
	switch {
	case !ok:
		return false
	case target == nil:
		return s.flood(t, p, frame)
	}
	s.capture(frame)
	target.send(frame, p.patience)
	return true
}

// forwardBatch sends frames from p on, those in a row that have one target at once. It returns how many.
func (s *Switch) forwardBatch(p *Port, b *frames.Batch) (n int) {
	t := s.fixed.Load()
	for i := 0; i < b.Len(); {
		target, ok := s.route(t, p, b.Frame(i))
		if !ok {
			i++
			continue
		}
		if target == nil || target.out != nil {
			if s.forward(p, b.Frame(i)) {
				n++
			}
			i++
			continue
		}
		first := i
		for next := target; ok && next == target; {
			s.capture(b.Frame(i))
			if i++; i == b.Len() {
				break
			}
			next, ok = s.route(t, p, b.Frame(i))
		}
		target.writeBatch(b, first, i, p.patience)
		n += i - first
	}
	return n
}

// route returns the port that a frame from p is for, nil if it is for all, and whether it may be sent.
func (s *Switch) route(t *fixed, p *Port, frame []byte) (target *Port, ok bool) {
	if !s.fits(frame) {
		return nil, false
	}
	to, from := addressOf(frame), addressOf(frame[6:])
	if to.reserved() || !s.admit(t, p, from) {
		return nil, false
	}
	if target = t.macs[to]; target == nil && !to.group() {
		target = s.learned.find(to, s.now())
	}
	return target, target == nil || target != p && s.mayTalk(p, target)
}

// fits says whether a frame has a header and is none longer than the MTU allows, with the VLAN tags that it has.
func (s *Switch) fits(frame []byte) bool {
	over := len(frame) - headerLen - s.config.MTU
	if len(frame) < headerLen || over > 2*tagLen {
		return false
	}
	for at := headerLen - 2; over > 0 && at+tagLen <= len(frame); at += tagLen {
		switch binary.BigEndian.Uint16(frame[at:]) {
		case 0x8100, 0x88a8:
			over -= tagLen
		default:
			return false
		}
	}
	return over <= 0
}

// admit says whether p may send from an address, and notes that it did.
func (s *Switch) admit(t *fixed, p *Port, from address) bool {
	if from == p.mac && from != 0 {
		return true
	}
	if from.group() || from == 0 || t.macs[from] != nil {
		return false
	}
	return s.learned.note(from, p, s.now())
}

func (s *Switch) mayTalk(p, q *Port) bool { return !s.config.Isolated || p.gateway || q.gateway }

func (s *Switch) capture(frame []byte) {
	if s.config.Capture != nil {
		s.config.Capture(frame)
	}
}

// flood sends a frame to every port that p may talk to.
func (s *Switch) flood(t *fixed, p *Port, frame []byte) bool {
	if !p.gateway && !p.flood.allow(len(t.ports), len(frame), s.now()) {
		return false
	}
	s.capture(frame)
	for _, q := range t.ports {
		if q != p && s.mayTalk(p, q) {
			q.send(frame, 0)
		}
	}
	return true
}
