package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/network/frames"
	"github.com/sekexe/sekexe/network/netstack"
	"github.com/sekexe/sekexe/network/relay"
)

// The two ends of the link. All links have the same: no two are joined, and no packet leaves one.
var (
	HostAddr  = netip.MustParsePrefix("169.254.77.1/30")
	GuestAddr = netip.MustParsePrefix("169.254.77.2/30")
	HostMAC   = net.HardwareAddr{0x02, 0x53, 0x4b, 0x46, 0, 1}
	GuestMAC  = net.HardwareAddr{0x02, 0x53, 0x4b, 0x46, 0, 2}
)

// Port is where the guest listens.
const Port = 2375

// MTU is that of the link, the greatest that there is: a frame costs a guest as much as tens of thousands of bytes in it, so that it takes twice the
// time with 32000.
const MTU = netstack.MaxMTU

const headerLen = 14

// maxConns is how many connections there are at once. More wait in the socket's queue.
const maxConns = 1024

// dialTimeout is how long a guest may take to accept a connection: on a loaded host it gets little time.
const dialTimeout = 30 * time.Second

// patience is how long a frame waits for room at the guest's end: until that has got some time on a loaded host. A loss would cost TCP more, and
// what waits behind the frame is for the same guest. Who takes nothing for as long is not waited for again: see frames.File.
const patience = time.Second

// A Forward leads one socket to one guest. It must be closed.
type Forward struct {
	socket *socket
	guest  *os.File // for its kernel to inherit
	link   *frames.File
	notice func(string)

	ctx    context.Context // ends with Close, or with the guest's end of the link
	cancel context.CancelFunc
	wg     sync.WaitGroup
	reader sync.WaitGroup // of the link
	full   sync.Once      // a notice that no more files can be open
	ready  chan struct{}
	begin  func() // closes ready
	places chan struct{}
	stack  func() (*netstack.Gateway, error)
	close  func() error
}

// Open listens on a socket, whose absolute path is not there or that of a dead one. Its errors may have advice: a method Hint() string.
// Notice, if not nil, is told of trouble that ends nothing.
func Open(path string, notice func(text string)) (*Forward, error) {
	s, err := listen(path)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := frames.Pair()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: make its link to the guest: %w", path, err), s.remove())
	}
	link, err := frames.Open(ours)
	if err != nil {
		theirs.Close()
		return nil, errors.Join(fmt.Errorf("socket %s: make its link to the guest: %w", path, err), s.remove())
	}
	f := &Forward{socket: s, guest: theirs, link: link, notice: notice, ready: make(chan struct{}), places: make(chan struct{}, maxConns)}
	if notice == nil {
		f.notice = func(string) {}
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.begin = sync.OnceFunc(func() { close(f.ready) })
	f.stack = sync.OnceValues(f.newStack)
	f.close = sync.OnceValue(f.shut)
	f.wg.Go(f.accept)
	return f, nil
}

// File is the guest's end of the link: a socket that carries one Ethernet frame a message. Its kernel inherits it; Close closes this one.
func (f *Forward) File() *os.File { return f.guest }

// Ready says that the guest accepts connections: those that wait are made. It may be called again.
func (f *Forward) Ready() { f.begin() }

// Close ends all connections, and removes the socket.
func (f *Forward) Close() error { return f.close() }

func (f *Forward) shut() error {
	f.cancel()
	err := f.socket.remove()
	f.wg.Wait()
	// Nobody dials any more, so that the stack is there or never will be.
	gw, serr := f.stack()
	if serr == nil {
		serr = gw.Close()
	}
	if errors.Is(serr, net.ErrClosed) {
		serr = nil
	}
	err = errors.Join(err, serr, f.link.Close())
	f.reader.Wait()
	f.guest.Close()
	return err
}

// newStack makes our end of the link, when the first connection is to be made.
func (f *Forward) newStack() (*netstack.Gateway, error) {
	if f.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	gw, err := netstack.New(netstack.Config{
		MAC: HostMAC, Addr: HostAddr, MTU: MTU, Notice: f.notice,
		Send: func(frame []byte) { _ = f.link.Send(frame, patience) }, // one that has no room is lost, as on any wire
	})
	if err != nil {
		return nil, fmt.Errorf("socket %s: make its link to the guest: %w", f.socket.path, err)
	}
	// On a loaded host a question for the guest's address may go without an answer for long enough to be given up.
	if err := gw.SetNeighbor(GuestAddr.Addr(), GuestMAC); err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: make its link to the guest: %w", f.socket.path, err), gw.Close())
	}
	f.reader.Go(func() { f.receive(gw) })
	return gw, nil
}

// receive hands what the guest sends to the stack, until the link is closed at either end.
func (f *Forward) receive(gw *netstack.Gateway) {
	_ = f.link.Receive(frames.NewBatch(headerLen+MTU+1), func(b *frames.Batch) { // one more, to tell a giant
		for i := range b.Len() {
			gw.Input(b.Frame(i))
		}
	})
	f.cancel() // nothing of the guest's comes any more
}

// accept serves the socket until it is closed.
func (f *Forward) accept() {
	for {
		select {
		case f.places <- struct{}{}:
		case <-f.ctx.Done():
			return
		}
		c, err := f.socket.AcceptUnix()
		if err == nil {
			f.wg.Go(func() {
				defer func() { <-f.places }()
				f.carry(c)
			})
			continue
		}
		<-f.places
		if f.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			f.full.Do(func() {
				f.notice("no more files can be open: connections to " + f.socket.path + " wait; raise the limit (ulimit -n)")
			})
		}
		select { // there is nothing else to wait for
		case <-time.After(50 * time.Millisecond):
		case <-f.ctx.Done():
			return
		}
	}
}

// carry joins a connection with the guest. One that can't be made is closed.
func (f *Forward) carry(c *net.UnixConn) {
	host := relay.Unix(c)
	select {
	case <-f.ready:
	case <-f.ctx.Done():
		host.Reset()
		return
	}
	guest, err := f.dial()
	if err != nil {
		host.Reset()
		return
	}
	stop := context.AfterFunc(f.ctx, func() {
		host.Reset()
		guest.Reset()
	})
	defer stop()
	relay.Both(guest, host)
}

func (f *Forward) dial() (relay.Stream, error) {
	gw, err := f.stack()
	if err != nil {
		if f.ctx.Err() == nil {
			f.notice(err.Error())
		}
		return nil, err
	}
	ctx, cancel := context.WithTimeout(f.ctx, dialTimeout)
	defer cancel()
	c, err := gw.DialContext(ctx, "tcp", netip.AddrPortFrom(GuestAddr.Addr(), Port))
	if err != nil {
		return nil, err
	}
	return c.(relay.Stream), nil
}
