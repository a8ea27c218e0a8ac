// Package frames reads and writes Ethernet frames on descriptors that carry one frame a message: an end of a SOCK_SEQPACKET socketpair, a
// tap (IFF_NO_PI, no vnet header), or an AF_PACKET socket. Who is at the other end is not trusted: it can't block a writer for long, and
// what it sends is bounded by the reader's buffer.
package frames

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrFull says that the other end doesn't take frames as fast as they come: this one is lost.
var ErrFull = errors.New("the receiver is full")

// A File is a descriptor that carries frames. Its methods are safe for concurrent use, but for Receive, which has one caller.
type File struct {
	fd     int
	socket bool
	file   *os.File        // owns fd
	ready  *os.File        // an epoll descriptor that is readable when fd is: see newReady
	wait   syscall.RawConn // of ready

	closing atomic.Bool
	users   *Gate       // of fd
	stuck   atomic.Bool // the other end let a patient Send down, and has not drained since
}

// Open takes over f, which is closed in any case: only the File's Close closes the descriptor from now on.
func Open(f *os.File) (*File, error) {
	defer f.Close()
	fd, err := duplicate(f)
	if err != nil {
		return nil, fmt.Errorf("%s: duplicate: %w", f.Name(), err)
	}
	file := os.NewFile(uintptr(fd), f.Name())
	ready, err := newReady(fd)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: watch: %w", f.Name(), err)
	}
	wait, err := ready.SyscallConn()
	if err != nil { // it is open, so it has one
		panic(err)
	}
	t := &File{fd: fd, file: file, ready: ready, wait: wait, users: NewGate()}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	t.socket = err == nil
	if t.socket && domain == unix.AF_PACKET {
		// What the host itself sends there is none of ours. A kernel before 4.20 doesn't know the option.
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	return t, nil
}

// duplicate gives a non-blocking descriptor of f's open file. It leaves f alone, whose method Fd would make it blocking again.
func duplicate(f *os.File) (fd int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	if cerr := c.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, cerr
	}
	if err != nil {
		return -1, err
	}
	return fd, unix.SetNonblock(fd, true)
}

// newReady returns an epoll descriptor that watches only whether fd can be read. Go's own poller would watch whether it can be written too,
// and so wake up for each frame that the other end takes.
func newReady(fd int) (*os.File, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP})
	if err == nil {
		err = unix.SetNonblock(ep, true)
	}
	if err != nil {
		unix.Close(ep)
		return nil, err
	}
	return os.NewFile(uintptr(ep), "epoll"), nil
}

// Name is the name of the file that was opened.
func (f *File) Name() string { return f.file.Name() }

// Close ends Receive, and waits for its handler and for Sends in progress; so none of them may call it.
func (f *File) Close() error {
	if f.closing.Swap(true) {
		return nil
	}
	err := f.ready.Close()
	f.users.Close()
	return errors.Join(err, f.file.Close())
}

// Send writes a frame. If the other end is full, it waits for it as long as patience says; but who once let a patient Send down is not waited
// for again before it has taken most of what it was sent. So a guest that doesn't read costs those who send to it this time once.
func (f *File) Send(frame []byte, patience time.Duration) error {
	if !f.users.Enter() {
		return os.ErrClosed
	}
	defer f.users.Leave()
	for {
		switch err := f.write(frame); {
		case err == nil:
			f.drained()
			return nil
		case err != ErrFull || !f.waited(patience):
			return err
		}
	}
}

// waited says whether to try again after the other end was full.
func (f *File) waited(patience time.Duration) bool {
	if patience == 0 || f.stuck.Load() {
		return false
	}
	ok := f.writable(patience)
	f.stuck.Store(!ok)
	return ok
}

// drained notes after a success that the other end may be waited for again, if so.
func (f *File) drained() {
	if f.stuck.Load() && f.writable(0) {
		f.stuck.Store(false)
	}
}

func (f *File) write(frame []byte) error {
	for {
		var err error
		if f.socket {
			err = unix.Send(f.fd, frame, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		} else {
			_, err = unix.Write(f.fd, frame)
		}
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN, unix.ENOBUFS:
			return ErrFull
		}
		return err
	}
}

// writable waits until the other end has taken most of what it was sent: a unix socket polls as writable when three quarters are free.
func (f *File) writable(patience time.Duration) bool {
	p := []unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p, int(patience.Milliseconds()))
	return err == nil && n == 1 && p[0].Revents&unix.POLLOUT != 0
}
