package frames

import (
	"errors"
	"io"
	"runtime"

	"golang.org/x/sys/unix"
)

// turn is how many frames a reader takes before it lets others run that could: so a flood doesn't keep them waiting until the scheduler stops it.
const turn = 64

// Receive calls handle with frames that it has read into b, until Close (nil), or until the other end is closed (io.EOF) or broken.
func (f *File) Receive(b *Batch, handle func(*Batch)) error {
	var end error
	err := f.wait.Read(func(uintptr) bool {
		var again bool
		again, end = f.drain(b, handle)
		return !again
	})
	if f.closing.Load() {
		return nil
	}
	return errors.Join(end, err)
}

// drain reads what there is. It says whether to wait for more; if not, err is why.
func (f *File) drain(b *Batch, handle func(*Batch)) (again bool, err error) {
	for taken := 0; !f.closing.Load(); {
		switch err := b.read(f); {
		case err == unix.EAGAIN:
			return true, nil
		case err == unix.EINTR, err == unix.ENETDOWN, err == unix.ENOBUFS:
			// An AF_PACKET socket tells once that its interface is down, and goes on when it is up.
			continue
		case err != nil:
			return false, err
		}
		ended := b.messages[b.n-1].length == 0 && f.hungUp() // and then it reads as any number of empty messages
		for ended && b.n > 0 && b.messages[b.n-1].length == 0 {
			b.n--
		}
		if handle(b); ended {
			return false, io.EOF
		}
		if taken += b.n; taken >= turn {
			taken = 0
			runtime.Gosched()
		}
	}
	return false, nil
}

// hungUp tells the end of a connection from an empty message.
func (f *File) hungUp() bool {
	p := []unix.PollFd{{Fd: int32(f.fd)}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}
