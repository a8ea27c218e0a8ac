package relay

import "sync"

// Sizes of buffers: large ones for few connections, small ones for many.
const (
	SmallBuffer = 16 << 10
	LargeBuffer = 256 << 10
)

var small, large sync.Pool

// GetBuffer returns a buffer of SmallBuffer or LargeBuffer, with anything in it.
func GetBuffer(size int) []byte {
	if p, ok := poolOf(size).Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, size)
}

// PutBuffer gives back what GetBuffer returned.
func PutBuffer(b []byte) {
	b = b[:cap(b)]
	poolOf(cap(b)).Put(&b)
}

func poolOf(size int) *sync.Pool {
	if size == LargeBuffer {
		return &large
	}
	return &small
}
