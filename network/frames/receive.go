package frames

import (
	"io"
	"runtime"

	"golang.org/x/sys/unix"
)

// drain reads what there is. It says whether to wait for more; if not, err is why.
func (f *File) drain(buf []byte, handle func(frame []byte)) (again bool, err error) {
	for n := 0; !f.closing.Load(); {
		size, err := unix.Read(f.fd, buf)
		switch {
		case err == unix.EAGAIN:
			return true, nil
		case err == unix.EINTR, err == unix.ENETDOWN, err == unix.ENOBUFS:
			// An AF_PACKET socket tells once that its interface is down, and goes on when it is up.
			continue
		case err != nil:
			return false, err
		case size == 0 && f.hungUp():
			return false, io.EOF
		}
		handle(buf[:size])
		if n++; n%batch == 0 {
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
