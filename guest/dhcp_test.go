package guest

import (
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A scriptedHost is a world for a client: a clock that only waiting moves, and a server.
type scriptedHost struct {
	clock int64
	end   int64 // when the world ends: whoever waits for longer is ended
	sent  []sentQuery
	// server answers a query with messages that come after so long.
	server func(q sentQuery) []delayed
	queue  []delayed
	opened []string
}

type sentQuery struct {
	at      time.Duration
	to      ip4
	kind    byte
	message []byte
}

type delayed struct {
	after   time.Duration
	message []byte
}

func (h *scriptedHost) packets() (dhcpSocket, error) {
	h.opened = append(h.opened, "packets")
	return h, nil
}

func (h *scriptedHost) datagrams() (dhcpSocket, error) {
	h.opened = append(h.opened, "datagrams")
	return h, nil
}

func (h *scriptedHost) now() int64 { return h.clock }

func (h *scriptedHost) sleep(until int64) {
	if until > h.end {
		runtime.Goexit()
	}
	h.clock = max(h.clock, until)
}

func (h *scriptedHost) send(to ip4, message []byte) error {
	q := sentQuery{at: time.Duration(h.clock), to: to, message: message, kind: message[atOptions+2]}
	h.sent = append(h.sent, q)
	if h.server != nil {
		for _, d := range h.server(q) {
			h.queue = append(h.queue, delayed{q.at + d.after, d.message})
		}
	}
	return nil
}

func (h *scriptedHost) receive(b []byte, until int64) (int, error) {
	for i, d := range h.queue {
		if int64(d.after) <= max(until, h.clock) {
			h.clock = max(h.clock, int64(d.after))
			h.queue = append(h.queue[:i:i], h.queue[i+1:]...)
			return copy(b, d.message), nil
		}
	}
	h.sleep(until)
	return 0, errNoAnswer
}

func (h *scriptedHost) close() { h.queue = nil }

var testMAC = [6]byte{2, 0, 0, 0, 0, 5}

// respond makes a server's message of a query: options are bytes as they are sent.
func respond(q []byte, kind byte, addr ip4, options ...byte) []byte {
	b := append([]byte(nil), q[:atOptions]...)
	b[0] = 2
	copy(b[atYIAddr:], addr[:])
	b = append(b, optKind, 1, kind, optServer, 4, 10, 0, 0, 1)
	return append(append(b, options...), optEnd)
}

func seconds(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{optSeconds, 4}, n) }

// play runs a client in a world until the world ends, and returns what it got, "-" for a loss, and the error of its first lease.
func play(h *scriptedHost, timeout time.Duration) (got []string, first error) {
	first = errors.New("first was not called")
	c := &dhcpClient{mac: testMAC, hostname: "box", host: h, notice: func(error) {}}
	c.got = func(l *lease) error {
		if l == nil {
			got = append(got, "-")
		} else {
			got = append(got, l.addr.String())
		}
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		x, err := c.begin()
		if err != nil {
			first = err
			return
		}
		c.run(x, timeout, func(err error) { first = err })
	}()
	<-done
	return got, first
}

func kinds(h *scriptedHost) string {
	var s []string
	for _, q := range h.sent {
		k := map[byte]string{dhcpDiscover: "discover", dhcpRequest: "request"}[q.kind]
		if q.to != broadcast4 {
			k += "!" // to one server
		}
		s = append(s, k)
	}
	return strings.Join(s, " ")
}

// grants is a server that offers, and grants, an address for so long.
func grants(addr ip4, lasting uint32) func(q sentQuery) []delayed {
	return func(q sentQuery) []delayed {
		kind := byte(dhcpOffer)
		if q.kind == dhcpRequest {
			kind = dhcpAck
		}
		return []delayed{{time.Millisecond, respond(q.message, kind, addr, seconds(lasting)...)}}
	}
}

func TestClientAsks(t *testing.T) {
	addr := ip4{10, 0, 0, 9}
	for _, tc := range []struct {
		name   string
		server func(h *scriptedHost) func(q sentQuery) []delayed
		want   string // what it got
		sent   string
		within time.Duration
		err    string
	}{
		{"in two steps", func(*scriptedHost) func(sentQuery) []delayed { return grants(addr, forever) },
			"10.0.0.9/8", "discover request", 2 * time.Millisecond, ""},
		{"in one step", func(*scriptedHost) func(sentQuery) []delayed {
			return func(q sentQuery) []delayed {
				return []delayed{{time.Millisecond, respond(q.message, dhcpAck, addr, seconds(forever)...)}}
			}
		}, "10.0.0.9/8", "discover", time.Millisecond, ""},
		{"a server that takes its time", func(h *scriptedHost) func(sentQuery) []delayed {
			return func(q sentQuery) []delayed {
				if len(h.sent) > 1 {
					return nil
				}
				return []delayed{{600 * time.Millisecond, respond(q.message, dhcpAck, addr, seconds(forever)...)}}
			}
		}, "10.0.0.9/8", "discover discover discover", 600 * time.Millisecond, ""},
		{"a server that takes its offer back", func(h *scriptedHost) func(sentQuery) []delayed {
			ok := grants(addr, forever)
			return func(q sentQuery) []delayed {
				if len(h.sent) == 2 {
					return []delayed{{0, respond(q.message, dhcpNak, ip4{})}}
				}
				return ok(q)
			}
		}, "10.0.0.9/8", "discover request discover request", 200 * time.Millisecond, ""},
		{"nobody", func(*scriptedHost) func(sentQuery) []delayed { return nil }, "", "discover discover discover discover discover", 2 * time.Second,
			"nobody answered"},
		{"a server that only offers", func(*scriptedHost) func(sentQuery) []delayed {
			return func(q sentQuery) []delayed {
				if q.kind == dhcpRequest {
					return nil
				}
				return []delayed{{0, respond(q.message, dhcpOffer, addr, seconds(60)...)}}
			}
		}, "", "discover request request request discover request", 2 * time.Second, "the server 10.0.0.1 offered 10.0.0.9 and didn't grant it"},
		{"a server that offers nonsense", func(*scriptedHost) func(sentQuery) []delayed {
			return func(q sentQuery) []delayed {
				return []delayed{{0, respond(q.message, dhcpOffer, ip4{127, 0, 0, 1}, seconds(60)...)}}
			}
		}, "", "discover discover discover discover discover", 2 * time.Second, "127.0.0.1 is no address for us"},
		{"a server with a broken option", func(*scriptedHost) func(sentQuery) []delayed {
			return func(q sentQuery) []delayed {
				return []delayed{{0, respond(q.message, dhcpOffer, addr, optMask, 200)}}
			}
		}, "", "discover discover discover discover discover", 2 * time.Second, "an option goes on behind the end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &scriptedHost{end: int64(time.Hour)}
			h.server = tc.server(h)
			got, err := play(h, 2*time.Second)
			if strings.Join(got, " ") != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("it got %q, error %v; want %q, error %q", got, err, tc.want, tc.err)
			}
			if s := kinds(h); !strings.HasPrefix(s, tc.sent) {
				t.Errorf("it sent %q; want %q", s, tc.sent)
			}
			if h.clock > int64(tc.within) {
				t.Errorf("it took %v; want no more than %v", time.Duration(h.clock), tc.within)
			}
		})
	}
}

// TestClientRenews lets a lease of 100 s be renewed at its half, then not any more, and the server come back after its end.
func TestClientRenews(t *testing.T) {
	h := &scriptedHost{end: int64(200 * time.Second)}
	addr := ip4{10, 0, 0, 9}
	h.server = func(q sentQuery) []delayed {
		if q.at > 60*time.Second && q.at < 160*time.Second {
			return nil
		}
		return grants(addr, 100)(q)
	}
	got, err := play(h, time.Second)
	if g := strings.Join(got, " "); err != nil || g != "10.0.0.9/8 10.0.0.9/8 - 10.0.0.9/8" {
		t.Fatalf("it got %q, error %v", g, err)
	}
	s := kinds(h)
	rest, ok := strings.CutPrefix(s, "discover request request! ")
	if !ok {
		t.Fatalf("it sent %q", s)
	}
	// Half of what is left, each time: some to the server, then some to all, then from the start.
	alone, all, anew := strings.Count(rest, "request!"), strings.Index(rest, "request r"), strings.Index(rest, "discover")
	if alone < 3 || alone > 8 || all < 0 || anew < all {
		t.Errorf("it sent %q: want a few requests to the server, a few to all, and then the beginning", s)
	}
	renewal := h.sent[2]
	if renewal.at < 44*time.Second || renewal.at > 51*time.Second || renewal.to != (ip4{10, 0, 0, 1}) || ip4(renewal.message[atCIAddr:]) != addr {
		t.Errorf("it renewed after %v at %v for %v", renewal.at, renewal.to, renewal.message[atCIAddr:atCIAddr+4])
	}
	if o := strings.Join(h.opened, " "); o != "packets datagrams datagrams packets" {
		t.Errorf("it opened %q", o)
	}
}

// TestClientHearsNAK lets a server refuse the renewal: the address goes at once, and another one comes.
func TestClientHearsNAK(t *testing.T) {
	h := &scriptedHost{end: int64(60 * time.Second)}
	h.server = func(q sentQuery) []delayed {
		switch {
		case ip4(q.message[atCIAddr:]) == ip4{10, 0, 0, 9}:
			return []delayed{{0, respond(q.message, dhcpNak, ip4{})}}
		case q.at > 40*time.Second:
			return grants(ip4{10, 0, 0, 10}, 100)(q)
		}
		return grants(ip4{10, 0, 0, 9}, 100)(q)
	}
	if got, err := play(h, time.Second); err != nil || strings.Join(got, " ") != "10.0.0.9/8 - 10.0.0.10/8" {
		t.Errorf("it got %q, error %v", got, err)
	}
}

// TestClientOutlivesAFlood gives it nothing but messages of others, one a millisecond.
func TestClientOutlivesAFlood(t *testing.T) {
	h := &scriptedHost{end: int64(time.Hour)}
	h.server = func(q sentQuery) (flood []delayed) {
		for i := range 1200 {
			flood = append(flood, delayed{time.Duration(i) * time.Millisecond, make([]byte, 300)})
		}
		return flood
	}
	_, err := play(h, time.Second)
	if !errors.Is(err, errNoAnswer) || h.clock > int64(1100*time.Millisecond) {
		t.Errorf("it ended with %v after %v", err, time.Duration(h.clock))
	}
	if n := len(h.sent); n < 3 || n > 6 {
		t.Errorf("it sent %d messages; want a few", n)
	}
}

func TestNoLeaseSaysWhy(t *testing.T) {
	err := noLease("eth0", 10*time.Second, errNoAnswer)
	var h *hintError
	if err.Error() != "NIC eth0: get a lease: nobody answered in 10s" || !errors.As(err, &h) || h.hint == "" {
		t.Errorf("noLease() = %v", err)
	}
}
