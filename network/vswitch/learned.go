package vswitch

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stationsPerPort bounds the addresses learned from a port: containers and bridges inside a guest. A gateway may lead to a whole network.
	stationsPerPort    = 256
	stationsPerGateway = 4096
	// stationAge is how long an address is known after its last frame.
	stationAge = 5 * time.Minute
	// stationHold is how long an address stays at its port after its last frame though another port sends from it: a guest can't take away
	// the address of one that talks.
	stationHold = time.Second
)

// learned is where the addresses are that no port has by configuration. Nobody goes through it as time
// passes: who is too old is not found, and makes room when there is none.
type learned struct {
	mu    sync.RWMutex
	ports map[address]*station
}

// A station is a learned address at a port; at another port it is another station.
type station struct {
	port *Port
	seen atomic.Int64 // a time.Duration: the Switch's clock
}

func (t *station) age(now time.Duration) time.Duration { return now - time.Duration(t.seen.Load()) }

// find returns the port of an address, nil if it is not known.
func (l *learned) find(a address, now time.Duration) *Port {
	l.mu.RLock()
	defer l.mu.RUnlock()
	t := l.ports[a]
	if t == nil || t.age(now) > stationAge {
		return nil
	}
	return t.port
}

// note remembers that a frame from a came from p. It says false if a belongs to another port, or p has too many addresses.
func (l *learned) note(a address, p *Port, now time.Duration) bool {
	l.mu.RLock()
	t := l.ports[a]
	if t != nil && t.port == p {
		t.seen.Store(int64(now))
		l.mu.RUnlock()
		return true
	}
	l.mu.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	t = l.ports[a]
	if t != nil && t.port != p && t.age(now) < stationHold {
		return false
	}
	if t == nil || t.port != p {
		if !l.room(p, now) {
			return false
		}
		if t != nil {
			t.port.stations--
		}
		t = &station{port: p}
		l.ports[a] = t
		p.stations++
	}
	t.seen.Store(int64(now))
	return true
}

// room says whether p may have one more station. At its bound the old ones go, at most once in stationHold: looking at all costs time.
func (l *learned) room(p *Port, now time.Duration) bool {
	bound := stationsPerPort
	if p.gateway {
		bound = stationsPerGateway
	}
	if p.stations < bound {
		return true
	}
	if now-p.swept < stationHold {
		return false
	}
	p.swept = now
	l.drop(func(_ address, t *station) bool { return t.port == p && t.age(now) > stationAge })
	return p.stations < bound
}

// forget removes the stations that which names.
func (l *learned) forget(which func(address, *station) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(which)
}

func (l *learned) drop(which func(address, *station) bool) {
	for a, t := range l.ports {
		if which(a, t) {
			t.port.stations--
			delete(l.ports, a)
		}
	}
}
