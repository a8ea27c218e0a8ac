package frames

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// bufferSize is asked for as each end's buffer of what it has sent and the other end has not taken: some frames of the greatest MTU, for bursts
// of TCP. What a guest that doesn't read can cost is bounded by it. An ordinary user gets no more than net.core.wmem_max.
const bufferSize = 2 << 20

// Pair returns the two ends of a SOCK_SEQPACKET socketpair with buffers for a network: ours, and the one for a kernel to inherit.
func Pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	for _, fd := range fds {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize/2) != nil { // the kernel doubles it
			err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferSize/2)
			if err != nil {
				unix.Close(fds[0])
				unix.Close(fds[1])
				return nil, nil, fmt.Errorf("socketpair: set the size of its buffer: %w", err)
			}
		}
	}
	return os.NewFile(uintptr(fds[0]), "socketpair"), os.NewFile(uintptr(fds[1]), "socketpair"), nil
}
