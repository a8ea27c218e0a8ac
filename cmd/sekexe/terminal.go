package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/sekexe/sekexe/orchestrator"
)

// escape is the key that, pressed three times in a row, ends a sub-kernel whose terminal ours is: Ctrl-].
const escape = 0x1d

// A descriptor is an Input on a file descriptor of this process. It waits by poll(2), so that a read can be given up, and leaves the
// descriptor as it is: making it non-blocking would change it for the others who have it too.
type descriptor struct {
	fd int
	// escaped, if set, is called when the escape key was pressed three times.
	escaped func()
	presses int
}

// Read implements orchestrator.Input.
func (d *descriptor) Read(ctx context.Context, p []byte) (int, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return 0, err
	}
	defer unix.Close(wake)
	stop := context.AfterFunc(ctx, func() { _, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer func() {
		if !stop() { // it has been called: it must have ended before the descriptor is closed
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}}, -1)
		}
	}()
	for {
		fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if fds[0].Revents == 0 {
			continue
		}
		n, err := unix.Read(d.fd, p)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		n += d.fill(p[n:])
		d.watchEscape(p[:n])
		return n, nil
	}
}

// fill reads what is there already: a pipe gives little at once, and each piece has a price of its own on the way to the guest.
func (d *descriptor) fill(p []byte) int {
	n := 0
	for n < len(p) {
		fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
		if r, err := unix.Poll(fds, 0); err != nil || r == 0 || fds[0].Revents&unix.POLLIN == 0 {
			return n
		}
		k, err := unix.Read(d.fd, p[n:])
		if err != nil || k <= 0 { // the next Read will find the same
			return n
		}
		n += k
	}
	return n
}

// watchEscape counts presses of the escape key.
func (d *descriptor) watchEscape(p []byte) {
	if d.escaped == nil {
		return
	}
	for _, b := range p {
		if b != escape {
			d.presses = 0
			continue
		}
		if d.presses++; d.presses == 3 {
			d.escaped()
		}
	}
}

// stdin is this process's input, as a command should get it; nil if it is closed or has nothing.
func stdin() *descriptor {
	var st unix.Stat_t
	if err := unix.Fstat(0, &st); err != nil {
		return nil
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3) { // /dev/null
		return nil
	}
	if st.Mode&unix.S_IFMT == unix.S_IFIFO {
		_, _ = unix.FcntlInt(0, unix.F_SETPIPE_SZ, stdinPipe) // a smaller one is only slower
	}
	return &descriptor{fd: 0}
}

// stdinPipe is the size, in bytes, that a pipe on stdin is brought to.
const stdinPipe = 1 << 20

// A console is this process's terminal, lent to a command of a guest.
type console struct {
	tty    *orchestrator.TTY
	state  *term.State
	resize chan orchestrator.WindowSize
	ch     chan os.Signal
	once   sync.Once
	done   sync.WaitGroup
}

// takeTerminal makes the terminal raw, so that every key goes to the guest, and follows its size. It must be given back. Without a
// terminal on stdin, the command gets one of the usual size.
func takeTerminal() (*console, error) {
	c := &console{tty: &orchestrator.TTY{Size: orchestrator.WindowSize{Rows: 24, Cols: 80}}}
	if !term.IsTerminal(0) {
		return c, nil
	}
	var err error
	if c.state, err = term.MakeRaw(0); err != nil {
		return nil, errors.New("terminal: make it raw: " + err.Error())
	}
	if s, ok := windowSize(); ok {
		c.tty.Size = s
	}
	c.resize = make(chan orchestrator.WindowSize, 1)
	c.tty.Resize = c.resize
	c.ch = make(chan os.Signal, 1)
	signal.Notify(c.ch, unix.SIGWINCH)
	c.done.Go(func() {
		for range c.ch {
			if s, ok := windowSize(); ok {
				c.offer(s)
			}
		}
	})
	return c, nil
}

// offer puts a size where the guest's side finds it, in place of one that it hasn't taken yet.
func (c *console) offer(s orchestrator.WindowSize) {
	for {
		select {
		case c.resize <- s:
			return
		default:
		}
		select {
		case <-c.resize:
		default:
		}
	}
}

func windowSize() (orchestrator.WindowSize, bool) {
	w, h, err := term.GetSize(0)
	return orchestrator.WindowSize{Rows: uint16(h), Cols: uint16(w)}, err == nil
}

// giveBack restores the terminal. It may be called more than once, from any goroutine.
func (c *console) giveBack() {
	c.once.Do(func() {
		if c.state == nil {
			return
		}
		signal.Stop(c.ch)
		close(c.ch)
		c.done.Wait()
		_ = term.Restore(0, c.state) // nothing can be done, and nobody be told, if it fails
	})
}
