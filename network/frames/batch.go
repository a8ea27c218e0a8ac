package frames

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Batch holds frames that were read in one system call, and are written so. That halves the cost of a frame of 1500 bytes.
type Batch struct {
	n        int // frames
	size     int // of a buffer
	buffers  []byte
	iovecs   []unix.Iovec
	messages []message
}

// A message is a struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      uint32
}

// batchBytes and batchFrames bound the buffers of a Batch, but to two at least. What isn't used of them takes no memory.
const (
	batchBytes  = 512 << 10
	batchFrames = 64
)

// NewBatch returns room for frames of this size. A longer one is cut to it, so it is to be longer than any good frame.
func NewBatch(size int) *Batch {
	n := min(max(batchBytes/size, 2), batchFrames)
	b := &Batch{size: size, buffers: make([]byte, n*size), iovecs: make([]unix.Iovec, n), messages: make([]message, n)}
	for i := range b.messages {
		b.iovecs[i].Base = &b.buffers[i*size]
		b.messages[i].header.Iov = &b.iovecs[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// Len is how many frames there are.
func (b *Batch) Len() int { return b.n }

// Frame returns the frame with this index, which is valid until the handler of Receive returns.
func (b *Batch) Frame(i int) []byte {
	return b.buffers[i*b.size : i*b.size+int(b.messages[i].length)]
}

// read fills b from f.
func (b *Batch) read(f *File) error {
	b.n = 0
	if !f.socket {
		n, err := unix.Read(f.fd, b.buffers[:b.size])
		if err == nil {
			b.n, b.messages[0].length = 1, uint32(n)
		}
		return err
	}
	for i := range b.iovecs {
		b.iovecs[i].SetLen(b.size)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(f.fd), uintptr(unsafe.Pointer(&b.messages[0])), uintptr(len(b.messages)),
		unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(b)
	if errno != 0 {
		return errno
	}
	b.n = int(n)
	return nil
}

// SendBatch writes the frames of b from the index from up to but without to, as Send does, and returns how many it did.
func (f *File) SendBatch(b *Batch, from, to int, patience time.Duration) (sent int) {
	if !f.users.Enter() {
		return 0
	}
	defer f.users.Leave()
	for i := from; i < to; i++ {
		b.iovecs[i].SetLen(int(b.messages[i].length))
	}
	for at := from; at < to; {
		n, err := f.writeBatch(b, at, to)
		at += n
		sent += n
		switch {
		case n > 0:
			f.drained()
		case err != ErrFull:
			at++ // there is something about this one
		case !f.waited(patience):
			return sent
		}
	}
	return sent
}

// writeBatch writes some of the frames; none if there is an error.
func (f *File) writeBatch(b *Batch, from, to int) (n int, err error) {
	if !f.socket {
		if err := f.write(b.Frame(from)); err != nil {
			return 0, err
		}
		return 1, nil
	}
	r, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(f.fd), uintptr(unsafe.Pointer(&b.messages[from])), uintptr(to-from),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	runtime.KeepAlive(b)
	switch errno {
	case 0:
		return int(r), nil
	case unix.EAGAIN, unix.ENOBUFS:
		return 0, ErrFull
	}
	return 0, errno
}
