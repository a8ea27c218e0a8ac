package names

import (
	"net/netip"
	"sync"
)

// A limiter bounds what is under way, in all and for each client.
type limiter struct {
	most int

	mu      sync.Mutex
	total   int
	clients map[netip.Addr]int // only of those that have something under way
}

func newLimiter(most int) *limiter { return &limiter{most: most, clients: map[netip.Addr]int{}} }

// acquire counts one more for a client until release is called, or says that it would be one too many.
func (l *limiter) acquire(client netip.Addr) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.most || l.clients[client] >= l.most/clientFraction {
		return nil, false
	}
	l.total++
	l.clients[client]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		if l.clients[client]--; l.clients[client] == 0 {
			delete(l.clients, client)
		}
	}, true
}
