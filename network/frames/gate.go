package frames

import "sync/atomic"

// A Gate counts who is using something, so that it is put away only after the last of them: a descriptor, whose number may be another's then.
// Who is inside may enter again until it is closed.
type Gate struct {
	n    atomic.Int64 // who is inside, and closed if nobody may enter
	idle chan struct{}
}

const closed = 1 << 62

// NewGate returns an open Gate.
func NewGate() *Gate { return &Gate{idle: make(chan struct{}, 1)} }

// Enter says whether the gate is open; then a Leave has to follow.
func (g *Gate) Enter() bool {
	if g.n.Add(1) < closed {
		return true
	}
	g.Leave()
	return false
}

// Leave ends what a successful Enter began.
func (g *Gate) Leave() {
	if g.n.Add(-1) == closed {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// Close lets nobody in any more, and waits until nobody is inside. It is called once.
func (g *Gate) Close() {
	for n := g.n.Add(closed); n != closed; n = g.n.Load() {
		<-g.idle
	}
}
