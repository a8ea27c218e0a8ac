// Package relay joins two byte streams: a connection of a guest with one of the host.
package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// A Stream is one end of a connection that can be closed by halves, or reset.
type Stream interface {
	io.ReadWriteCloser
	// CloseWrite says that nothing more follows.
	CloseWrite() error
	// Reset ends the connection at once, and tells the peer so: by RST, where it is TCP.
	Reset()
}

// A WriteError is what writing met, apart from what reading did.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return fmt.Sprintf("write: %v", e.Err) }
func (e *WriteError) Unwrap() error { return e.Err }

// TCP returns a connection of the host's as a Stream.
func TCP(c *net.TCPConn) Stream { return tcp{c} }

type tcp struct{ *net.TCPConn }

func (t tcp) Reset() {
	_ = t.SetLinger(0)
	_ = t.Close()
}

// Unix returns a connection of a socket of the host's as a Stream. A reset of it is a close: the peer reads the end.
func Unix(c *net.UnixConn) Stream { return local{c} }

type local struct{ *net.UnixConn }

func (l local) Reset() { _ = l.Close() }

// Both copies both ways until both have ended, and closes both. An end that is closed by halves makes the other one so; one that fails
// resets the other.
func Both(a, b Stream) {
	var wg sync.WaitGroup
	var there, back error
	wg.Go(func() { there = pass(a, b) })
	back = pass(b, a)
	wg.Wait()
	if there != nil || back != nil {
		a.Reset()
		b.Reset()
	}
	_ = a.Close()
	_ = b.Close()
}

// pass copies one way. When it can't write, it leaves the other way alone: that one ends by itself, and may still have the reason to deliver,
// as of a server that answers and closes before it has read everything.
func pass(dst, src Stream) error {
	_, err := Copy(dst, src)
	var w *WriteError
	switch {
	case err == nil:
		_ = dst.CloseWrite()
	case !errors.As(err, &w):
		dst.Reset()
		src.Reset()
	}
	return err
}

// Copy copies from src to dst until src ends, by the ReadFrom or WriteTo of a guest's connection if one of the two is that.
func Copy(dst, src Stream) (int64, error) {
	_, host := src.(tcp) // the net package's own WriteTo would hide what is behind it
	if w, ok := src.(io.WriterTo); ok && !host {
		return w.WriteTo(dst)
	}
	_, host = dst.(tcp)
	if r, ok := dst.(io.ReaderFrom); ok && !host {
		return r.ReadFrom(src)
	}
	b := GetBuffer(LargeBuffer)
	defer PutBuffer(b)
	var total int64
	for {
		n, err := src.Read(b)
		if n > 0 {
			if _, werr := dst.Write(b[:n]); werr != nil {
				return total, &WriteError{werr}
			}
			total += int64(n)
		}
		switch {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
	}
}
