package docker

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxConns is how many connections of the host's there are at once; the host makes no more.
const maxConns = 1024

// serveForward joins each connection with what listens on a socket, until the listener is closed.
func serveForward(l net.Listener, socket string) {
	places := make(chan struct{}, maxConns)
	for {
		places <- struct{}{}
		c, err := l.Accept()
		switch {
		case err == nil:
			go func() {
				defer func() { <-places }()
				join(c.(*net.TCPConn), socket)
			}()
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			time.Sleep(50 * time.Millisecond) // until others have ended: nothing says when
		}
		<-places
	}
}

// join copies both ways until both have ended. An end that is closed by halves makes the other one so, as docker attach needs it.
func join(host *net.TCPConn, socket string) {
	defer host.Close()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		reset(host)
		return
	}
	defer conn.Close()
	dockerd := conn.(*net.UnixConn)
	var wg sync.WaitGroup
	wg.Go(func() { toDockerd(dockerd, host) })
	fromDockerd(host, dockerd)
	wg.Wait()
}

func toDockerd(dockerd *net.UnixConn, host *net.TCPConn) {
	switch rerr, werr := pass(dockerd, host); {
	case werr != nil:
		// It refuses something, and has answered and closed before it has read everything: the client still has to get that.
		_, _ = io.Copy(io.Discard, host)
	case rerr != nil:
		_ = dockerd.Close() // the client is gone
	default:
		_ = dockerd.CloseWrite()
	}
}

func fromDockerd(host *net.TCPConn, dockerd *net.UnixConn) {
	if _, werr := pass(host, dockerd); werr != nil {
		_ = dockerd.Close()
		reset(host)
		return
	}
	// An error of reading is an end as well: dockerd has closed with something unread.
	_ = host.CloseWrite()
}

// buffers hold what is on its way.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 128<<10)
	return &b
}}

// pass copies until src ends, which is no error, or one of the two fails.
func pass(dst io.Writer, src io.Reader) (rerr, werr error) {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n, rerr := src.Read(*b)
		if n > 0 {
			if _, werr := dst.Write((*b)[:n]); werr != nil {
				return nil, werr
			}
		}
		if rerr == io.EOF {
			return nil, nil
		}
		if rerr != nil {
			return rerr, nil
		}
	}
}

// reset ends a connection at once, and tells the peer so.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
