package netstack

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/sekexe/sekexe/network/relay"
)

// A conn is a TCP connection with a guest. It keeps no buffer while it waits.
type conn struct {
	*gonet.TCPConn
	g    *Gateway
	ep   tcpip.Endpoint
	wq   *waiter.Queue
	once sync.Once
	done chan struct{} // closed by Close and Reset
}

var (
	_ relay.Stream  = (*conn)(nil)
	_ io.WriterTo   = (*conn)(nil)
	_ io.ReaderFrom = (*conn)(nil)
)

// Guests that are gone without a word: their connections end after a quarter of an hour. One that is only stopped for some minutes keeps them.
const (
	keepaliveIdle     = 5 * time.Minute
	keepaliveInterval = time.Minute
	keepaliveCount    = 10
)

func (g *Gateway) newConn(wq *waiter.Queue, ep tcpip.Endpoint) *conn {
	idle, interval := tcpip.KeepaliveIdleOption(keepaliveIdle), tcpip.KeepaliveIntervalOption(keepaliveInterval)
	_ = ep.SetSockOpt(&idle)
	_ = ep.SetSockOpt(&interval)
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, keepaliveCount)
	ep.SocketOptions().SetKeepAlive(true)
	return &conn{TCPConn: gonet.NewTCPConn(wq, ep), g: g, ep: ep, wq: wq, done: make(chan struct{})}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.ep.Close()
		c.g.tcp.forget(c)
	})
	return nil
}

// Reset implements relay.Stream.
func (c *conn) Reset() {
	c.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
	_ = c.Close()
}

// reason makes an error of the host's kind of one of the stack's.
func reason(err tcpip.Error) error {
	switch err.(type) {
	case nil:
		return nil
	case *tcpip.ErrConnectionReset:
		return unix.ECONNRESET
	case *tcpip.ErrConnectionRefused:
		return unix.ECONNREFUSED
	case *tcpip.ErrTimeout:
		return unix.ETIMEDOUT
	case *tcpip.ErrHostUnreachable, *tcpip.ErrHostDown:
		return unix.EHOSTUNREACH
	case *tcpip.ErrNetworkUnreachable:
		return unix.ENETUNREACH
	case *tcpip.ErrClosedForSend:
		return unix.EPIPE
	case *tcpip.ErrInvalidEndpointState, *tcpip.ErrAborted, *tcpip.ErrConnectionAborted:
		return net.ErrClosed
	}
	return failure("TCP", err)
}

// chunk is how much is copied at once: less when many connections might each hold some.
func (c *conn) chunk() int {
	if c.g.tcp.count() > budget/relay.LargeBuffer {
		return relay.SmallBuffer
	}
	return relay.LargeBuffer
}

// WriteTo copies what the guest sends until it sends no more.
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	c.wq.EventRegister(&entry)
	defer c.wq.EventUnregister(&entry)
	var total int64
	for {
		n, err := c.writeSome(w)
		total += n
		switch err {
		case nil:
		case io.EOF:
			return total, nil
		case errWait:
			select {
			case <-readable:
			case <-c.done:
				return total, net.ErrClosed
			}
		default:
			return total, err
		}
	}
}

// errWait says that nothing can be done yet.
var errWait = errors.New("not ready")

func (c *conn) writeSome(w io.Writer) (int64, error) {
	b := relay.GetBuffer(c.chunk())
	defer relay.PutBuffer(b)
	s := tcpip.SliceWriter(b)
	r, terr := c.ep.Read(&s, tcpip.ReadOptions{})
	switch terr.(type) {
	case nil:
	case *tcpip.ErrWouldBlock:
		return 0, errWait
	case *tcpip.ErrClosedForReceive:
		return 0, io.EOF
	default:
		return 0, reason(terr)
	}
	if tuner, ok := c.ep.(interface{ ModerateRecvBuf(int) }); ok {
		tuner.ModerateRecvBuf(r.Count)
	}
	if _, err := w.Write(b[:r.Count]); err != nil {
		return 0, &relay.WriteError{Err: err}
	}
	return int64(r.Count), nil
}

// source is a connection of the host's: what ReadFrom needs of it.
type source interface {
	syscall.Conn
	SetReadDeadline(time.Time) error
}

// ReadFrom copies to the guest what a connection of the host's sends, from its socket into the stack's own memory.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	src, ok := r.(source)
	if !ok {
		return c.readPlain(r)
	}
	rc, err := src.SyscallConn()
	if err != nil {
		return 0, err
	}
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	c.wq.EventRegister(&entry)
	defer c.wq.EventUnregister(&entry)
	// While there is nothing to read, an end of the guest's side would go unseen.
	end := waiter.NewFunctionEntry(waiter.EventHUp|waiter.EventErr, func(waiter.EventMask) { _ = src.SetReadDeadline(time.Unix(1, 0)) })
	c.wq.EventRegister(&end)
	defer c.wq.EventUnregister(&end)

	if c.ep.Readiness(waiter.EventHUp)&waiter.EventHUp != 0 {
		return 0, net.ErrClosed
	}
	p := pump{c: c}
	for {
		if err := rc.Read(p.move); err != nil {
			p.err = err
		}
		switch p.err {
		case nil:
			p.throttle()
		case io.EOF:
			return p.total, nil
		case errWait:
			select {
			case <-writable:
			case <-c.done:
				return p.total, net.ErrClosed
			}
		default:
			return p.total, p.err
		}
	}
}

// readPlain is ReadFrom for anything.
func (c *conn) readPlain(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// A pump moves data from a socket into the stack.
type pump struct {
	c      *conn
	total  int64
	err    error // of the last move; errWait: the guest must take some first
	socket socket
	small  bool          // the last move was of few bytes
	slow   time.Duration // how long was waited after it
}

// move is called by the runtime's poller; false means that the socket has nothing.
func (p *pump) move(fd uintptr) bool {
	p.socket = socket{fd: int(fd), most: p.c.chunk()}
	p.err = nil
	n, terr := p.c.ep.Write(&p.socket, tcpip.WriteOptions{})
	p.total += n
	switch {
	case p.socket.err != nil:
		p.err = p.socket.err
	case terr != nil:
		if _, full := terr.(*tcpip.ErrWouldBlock); full {
			p.err = errWait
		} else {
			p.err = &relay.WriteError{Err: reason(terr)}
		}
	case n == 0:
		return p.ended()
	}
	p.small = n > 0 && n < smallWrite
	return true
}

// ended finds out whether a socket without data has come to its end.
func (p *pump) ended() bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(p.socket.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN:
		return false
	case err == unix.EINTR:
	case err != nil:
		p.err = err
	case n == 0:
		p.err = io.EOF
	}
	return true
}

// Each write to the stack costs it hundreds of bytes, however small it is. So a guest that takes nothing gets what dribbles in by larger pieces.
const (
	smallWrite = 512
	fewBytes   = 4096
)

func (p *pump) throttle() {
	if !p.small || !p.c.queued(fewBytes) {
		p.slow = 0
		return
	}
	p.slow = min(max(2*p.slow, 5*time.Millisecond), time.Second)
	t := time.NewTimer(p.slow)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.c.done:
	}
}

// queued reports whether the guest has n bytes or more to take yet. The stack tells only whether the buffer is full, so that it is made that
// small for the question.
func (c *conn) queued(n int64) bool {
	o := c.ep.SocketOptions()
	was := o.GetSendBufferSize()
	o.SetSendBufferSize(n, false)
	room := c.ep.Readiness(waiter.WritableEvents)&waiter.WritableEvents != 0
	o.SetSendBufferSize(was, false)
	return !room
}

// A socket is what there is to read in one.
type socket struct {
	fd, most int
	err      error
}

// Len implements tcpip.Payloader.
func (s *socket) Len() int {
	n, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
	if err != nil {
		s.err = err
		return 0
	}
	return min(n, s.most)
}

// Read implements tcpip.Payloader.
func (s *socket) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(s.fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			s.err = err
			return 0, err
		case n == 0:
			s.err = io.ErrUnexpectedEOF
			return 0, s.err
		}
		return n, nil
	}
}
