package vswitch

import (
	"sync"
	"time"
)

// A guest's broadcasts, multicasts and frames to unknown addresses are copied to all ports, so that a flood of them would fill the buffers of
// all. floodRate bounds the copies of one port in a second, and floodBurst those at once. A copy of a long frame counts for more, one for each
// floodUnit bytes: 100 MB/s is the bound for these.
const (
	floodRate  = 50_000
	floodBurst = 20_000
	floodUnit  = 2048
)

// A floodLimit is the token bucket of one port.
type floodLimit struct {
	mu     sync.Mutex
	tokens float64
	last   time.Duration
	used   bool
}

// allow says whether a frame of this size may be sent to so many ports. A network with more ports than tokens is flooded all the same: with what
// there is.
func (f *floodLimit) allow(ports, size int, now time.Duration) bool {
	cost := min(float64(ports*(1+size/floodUnit)), floodBurst)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.used {
		f.used, f.tokens = true, floodBurst
	} else {
		f.tokens = min(f.tokens+(now-f.last).Seconds()*floodRate, floodBurst)
	}
	f.last = now
	if f.tokens < cost {
		return false
	}
	f.tokens -= cost
	return true
}
