package guest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A dhcpClient gets a lease for one NIC and keeps it (RFC 2131). It is asleep between, without a timer but the one for the next renewal.
type dhcpClient struct {
	mac      [6]byte
	hostname string
	host     dhcpHost
	// got is called with each lease, and with nil when one is lost.
	got func(*lease) error
	// notice is told of what goes wrong after the first lease.
	notice func(error)

	xid   uint32
	began int64         // when the client began to ask for a lease
	wait  time.Duration // how long the next answer is waited for
	limit time.Duration // of wait
	last  error         // what went wrong with the last try, for the message
}

// A dhcpHost is what the client needs of the world; tests have one with a clock of its own.
type dhcpHost interface {
	// packets opens a socket for a NIC that has no address yet. datagrams opens one for a NIC that has.
	packets() (dhcpSocket, error)
	datagrams() (dhcpSocket, error)
	// now is a clock in nanoseconds; sleep returns when it shows a time.
	now() int64
	sleep(until int64)
}

// A dhcpSocket carries messages to and from a server's port.
type dhcpSocket interface {
	send(to ip4, message []byte) error
	// receive waits for a message until a time; errNoAnswer: there was none.
	receive(b []byte, until int64) (int, error)
	close()
}

var errNoAnswer = errors.New("nobody answered")

const (
	// firstWait is how long the first answer is waited for: a gateway of ours takes less than a millisecond. It doubles with each try.
	firstWait = 100 * time.Millisecond
	// bootLimit and idleLimit bound that while the sub-kernel boots, and later.
	bootLimit = 4 * time.Second
	idleLimit = 64 * time.Second
	// requestTries is how often the server that made an offer is asked for it.
	requestTries = 3
)

// An exchange is a conversation that begins with a DISCOVER.
type exchange struct {
	socket dhcpSocket
	asked  int64 // when the first DISCOVER with the number at hand was sent
}

// begin sends the first DISCOVER, to which the answer may come while the init does other things.
func (c *dhcpClient) begin() (*exchange, error) {
	s, err := c.host.packets()
	if err != nil {
		return nil, err
	}
	c.began, c.wait, c.last = c.host.now(), firstWait, nil
	x := &exchange{socket: s}
	c.renumber(x)
	if err := c.discover(x); err != nil {
		s.close()
		return nil, err
	}
	return x, nil
}

// renumber begins anew: answers to what was asked before are none any more.
func (c *dhcpClient) renumber(x *exchange) { c.xid, x.asked = rand.Uint32(), c.host.now() }

func (c *dhcpClient) discover(x *exchange) error {
	q := c.query(dhcpDiscover)
	return x.socket.send(broadcast4, q.encode())
}

// query is a query of a kind with what all have.
func (c *dhcpClient) query(kind byte) query {
	secs := min((c.host.now()-c.began)/int64(time.Second), 0xffff)
	return query{kind: kind, xid: c.xid, secs: uint16(secs), mac: c.mac, hostname: c.hostname}
}

// run finishes an exchange within a time, which the result of got, or the failure, says to first; and then keeps the lease, for ever.
func (c *dhcpClient) run(x *exchange, timeout time.Duration, first func(error)) {
	c.limit = bootLimit
	l, err := c.finish(x, c.began+int64(timeout))
	if err == nil {
		err = c.got(l)
	}
	first(err)
	if err != nil {
		return
	}
	c.limit = idleLimit
	for l != nil {
		c.keep(l)
		c.take(nil)
		l = c.again()
	}
}

// take takes a lease on, or the loss of one, as got does it.
func (c *dhcpClient) take(l *lease) bool {
	err := c.got(l)
	if err != nil {
		c.notice(err)
	}
	return err == nil
}

// again gets a lease after one was lost, however long that takes. It returns nil if there is no device any more.
func (c *dhcpClient) again() *lease {
	for {
		x, err := c.begin()
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err == nil {
			if l, err := c.finish(x, never); err == nil && c.take(l) {
				return l
			}
		}
		c.host.sleep(c.host.now() + int64(c.limit))
	}
}

// never is a time that doesn't come.
const never = 1<<63 - 1

// finish asks until there is a lease or the time is up, and ends the exchange.
func (c *dhcpClient) finish(x *exchange, deadline int64) (*lease, error) {
	defer x.socket.close()
	for {
		until := min(c.next(), deadline)
		l, err := c.round(x, until, deadline)
		if err == nil {
			return l, nil
		}
		if silent := errors.Is(err, errNoAnswer); !silent {
			c.host.sleep(until) // whoever refuses at once is not asked at once again
			c.renumber(x)       // without an answer the same is asked again: a server may be slow
		} else if c.last != nil {
			err = c.last
		}
		c.last = err
		if c.host.now() >= deadline {
			return nil, c.last
		}
		if err := c.discover(x); errors.Is(err, unix.ENXIO) { // there is no device any more
			return nil, err
		} else if err != nil {
			c.last = err // such as ENETDOWN: it may come up again
		}
	}
}

// next is when an answer is no longer waited for. Each wait is twice as long as the one before, give or take a quarter, so that many
// clients that began together don't go on together.
func (c *dhcpClient) next() int64 {
	w := int64(c.wait)
	c.wait = min(2*c.wait, c.limit)
	return c.host.now() + w - w/4 + rand.Int64N(w/2+1)
}

// round makes a lease of the answer to a DISCOVER: the server grants one at once (RFC 4039), or offers one, for which it is asked then.
func (c *dhcpClient) round(x *exchange, until, deadline int64) (*lease, error) {
	r, err := c.answer(x.socket, until, func(r *reply) bool { return r.kind == dhcpOffer || r.kind == dhcpAck })
	if err != nil {
		return nil, err
	}
	if r.kind == dhcpAck {
		return leaseOf(r, x.asked)
	}
	if _, err := leaseOf(r, x.asked); err != nil {
		return nil, fmt.Errorf("the server %v offered what can't be: %w", r.server, err)
	}
	q := c.query(dhcpRequest)
	q.address, q.server = r.addr, r.server
	for range requestTries {
		asked := c.host.now()
		if asked >= deadline {
			break
		}
		if err := x.socket.send(broadcast4, q.encode()); err != nil {
			return nil, err
		}
		a, err := c.answer(x.socket, min(c.next(), deadline), func(a *reply) bool {
			return a.server == q.server && (a.kind == dhcpAck || a.kind == dhcpNak)
		})
		if err == nil {
			return c.granted(a, asked)
		}
		if !errors.Is(err, errNoAnswer) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the server %v offered %v and didn't grant it", q.server, q.address)
}

var errRefused = errors.New("the server refused the address that it had offered")

// granted is the lease of an ACK.
func (c *dhcpClient) granted(r *reply, asked int64) (*lease, error) {
	if r.kind == dhcpNak {
		return nil, errRefused
	}
	l, err := leaseOf(r, asked)
	if err != nil {
		return nil, fmt.Errorf("the server %v granted what can't be: %w", r.server, err)
	}
	return l, nil
}

// answer waits for an answer that is wanted.
func (c *dhcpClient) answer(s dhcpSocket, until int64, wanted func(*reply) bool) (*reply, error) {
	b := make([]byte, maxMessage)
	var bad error
	for {
		n, err := s.receive(b, until)
		if err == errNoAnswer && bad != nil {
			return nil, bad
		}
		if err != nil {
			return nil, err
		}
		r, err := parseReply(b[:n], c.xid, c.mac)
		if err == nil && wanted(r) {
			return r, nil
		}
		if err != nil && err != errNoReply {
			bad = fmt.Errorf("an answer can't be read: %w", err)
		}
		if c.host.now() >= until { // somebody floods us
			return nil, errNoAnswer
		}
	}
}

// keep renews the lease for as long as that works, and returns when it is lost.
func (c *dhcpClient) keep(l *lease) {
	for l != nil {
		if l.seconds == forever {
			c.host.sleep(never)
			continue
		}
		// A tenth of the time earlier, for some: what was started together needn't be renewed together.
		t1 := l.t1 * int64(time.Second)
		c.host.sleep(l.from + t1 - rand.Int64N(t1/10+1))
		next := c.renew(l)
		if next != nil && !c.take(next) {
			next = nil
		}
		l = next
	}
}

// renew asks the lease's server for it until T2, and any server from then on. It returns nil if the lease is over.
func (c *dhcpClient) renew(l *lease) *lease {
	t2, end := l.from+l.t2*int64(time.Second), l.from+l.seconds*int64(time.Second)
	c.xid, c.began = rand.Uint32(), c.host.now()
	var s dhcpSocket
	defer func() {
		if s != nil {
			s.close()
		}
	}()
	for {
		now := c.host.now()
		if now >= end {
			return nil
		}
		to, last := l.server, t2
		if now >= t2 || to == (ip4{}) {
			to, last = broadcast4, end
		}
		// Half of what is left, as the RFC says, though not a minute at least: leases may be short here.
		until := now + min(max((last-now)/2, int64(time.Second)), end-now)
		if s == nil {
			s, _ = c.open() // an error is one of the moment: such as somebody else on the port
		}
		if s == nil {
			c.host.sleep(until)
			continue
		}
		if next, over := c.renewOnce(s, l, to, until); next != nil || over {
			return next
		}
	}
}

// open opens a socket for a renewal: one of packets if somebody else has the port.
func (c *dhcpClient) open() (dhcpSocket, error) {
	s, err := c.host.datagrams()
	if err != nil {
		s, err = c.host.packets()
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// renewOnce asks one time. over says that the lease is lost.
func (c *dhcpClient) renewOnce(s dhcpSocket, l *lease, to ip4, until int64) (next *lease, over bool) {
	q := c.query(dhcpRequest)
	q.ciaddr = l.addr.addr
	asked := c.host.now()
	if s.send(to, q.encode()) != nil {
		c.host.sleep(until) // such as ENETDOWN
		return nil, false
	}
	r, err := c.answer(s, until, func(r *reply) bool { return r.kind == dhcpAck || r.kind == dhcpNak })
	if err != nil {
		if !errors.Is(err, errNoAnswer) {
			c.host.sleep(until)
		}
		return nil, false
	}
	next, err = c.granted(r, asked)
	if err != nil {
		if r.kind == dhcpAck {
			c.host.sleep(until)
		}
		return nil, r.kind == dhcpNak
	}
	if next.server == (ip4{}) {
		next.server = l.server
	}
	return next, false
}

// noLease is the failure of a NIC that got no lease in time.
func noLease(nic string, timeout time.Duration, err error) error {
	text := err.Error()
	if errors.Is(err, errNoAnswer) {
		text = "nobody answered in " + strconv.FormatFloat(timeout.Seconds(), 'g', -1, 64) + "s"
	}
	return &hintError{fmt.Errorf("NIC %s: get a lease: %s", nic, text),
		"see whether the network has a DHCP server that hears this sub-kernel, or set the address without one: dhcp = false"}
}
