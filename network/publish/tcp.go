package publish

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/network/relay"
)

const dialTimeout = 10 * time.Second

// accept serves one TCP port until it is closed.
func (s *Set) accept(l *net.TCPListener, guest func() (netip.AddrPort, bool)) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case err == nil:
			s.take(relay.TCP(c), guest)
		case s.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			// Accepting goes on when files are free again; there is nothing else to wait for.
			if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
				s.say("files", "no more files can be open: connections to published ports wait; raise the limit (ulimit -n)")
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// take carries a connection in the background, or resets it if there are too many.
func (s *Set) take(c relay.Stream, guest func() (netip.AddrPort, bool)) {
	select {
	case s.conns <- struct{}{}:
	default:
		s.say("connections", "published ports have too many connections at once: more are refused until some have ended")
		c.Reset()
		return
	}
	s.wg.Go(func() {
		defer func() { <-s.conns }()
		s.carry(c, guest)
	})
}

// carry joins a connection with the guest. If that doesn't listen, it is reset, as one to a closed port is.
func (s *Set) carry(c relay.Stream, guest func() (netip.AddrPort, bool)) {
	to, known := guest()
	if !known {
		c.Reset()
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	g, err := s.dial(ctx, "tcp", to)
	if err != nil {
		c.Reset()
		return
	}
	inner, ok := g.(relay.Stream)
	if t, host := g.(*net.TCPConn); host {
		inner, ok = relay.TCP(t), true
	}
	if !ok {
		_ = g.Close()
		c.Reset()
		return
	}
	stop := context.AfterFunc(s.ctx, func() {
		c.Reset()
		inner.Reset()
	})
	defer stop()
	relay.Both(inner, c)
}
