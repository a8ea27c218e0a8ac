package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// pieceSize is how much output goes into one frame at the most, and what the kernel holds until it is read: each piece costs system calls, and
// changes between processes, whatever its size.
const pieceSize = 256 << 10

// ttyGrace is how long the last output of a terminal is waited for after its command has ended, if others hold the terminal open. The
// kernel passes output from one end to the other by a work queue (drivers/tty/tty_buffer.c), so that an empty end means nothing yet.
const ttyGrace = 50 * time.Millisecond

// open makes the command's three descriptors, and its ends of them in c.
func (c *command) open(out *wire.Writer, e wire.Exec) ([3]*os.File, error) {
	if e.TTY {
		return c.openTTY(out, e)
	}
	var files [3]*os.File
	err := func() (err error) {
		if e.Input {
			var w *os.File
			if w, files[0], err = pipe(1); err != nil {
				return err
			}
			c.in = newInput(out, c.id, w)
		} else if files[0], err = openNull(unix.O_RDONLY); err != nil {
			return err
		}
		for i, k := range []wire.Kind{1: wire.KindStdout, 2: wire.KindStderr} {
			if i == 0 {
				continue
			}
			if e.Quiet {
				if files[i], err = openNull(unix.O_WRONLY); err != nil {
					return err
				}
				continue
			}
			var r *os.File
			if r, files[i], err = pipe(0); err != nil {
				return err
			}
			_, _ = unix.FcntlInt(files[i].Fd(), unix.F_SETPIPE_SZ, pieceSize) // a smaller pipe is only slower
			c.out = append(c.out, newOutput(out, k, c.id, r))
		}
		return nil
	}()
	if err != nil {
		closeAll(files)
		c.close()
		return files, fmt.Errorf("make its descriptors: %w", err)
	}
	return files, nil
}

// pipe makes a pipe. The end of that number, 0 to read from and 1 to write to, is ours and can be waited for; the other one is a command's. os.Pipe
// makes both to be waited for, and for a command that has to be undone.
func pipe(end int) (ours, theirs *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	if err := unix.SetNonblock(fds[end], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[end]), "|"), os.NewFile(uintptr(fds[1-end]), "|"), nil
}

// openNull opens the null device for a command.
func openNull(flags int) (*os.File, error) {
	fd, err := openFile(os.DevNull, flags, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), os.DevNull), nil
}

// openTTY makes a terminal (pts(4)): its master is ours, its slave all three descriptors of the command.
func (c *command) openTTY(out *wire.Writer, e wire.Exec) (files [3]*os.File, err error) {
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return files, fmt.Errorf("make a terminal: %w", err)
	}
	c.tty = m
	fail := func(err error) ([3]*os.File, error) {
		closeAll(files)
		m.Close()
		return files, fmt.Errorf("make a terminal: %w", err)
	}
	rc, err := m.SyscallConn()
	if err != nil {
		return fail(err)
	}
	var n int
	err = rc.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
		if err == nil {
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: e.Rows, Col: e.Cols})
		}
	})
	if err != nil {
		return fail(err)
	}
	for i := range files {
		if files[i], err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
			return fail(err)
		}
	}
	if cr, err := lookUpUser(e.User); err == nil && cr.uid != 0 {
		_ = files[0].Chown(int(cr.uid), 5) // 5: group tty, as the mount's gid option says
	}
	c.out = []*output{newOutput(out, wire.KindStdout, c.id, m)}
	c.out[0].tty = true
	if e.Input {
		c.in = newInput(out, c.id, m)
		c.in.tty = true
	}
	return files, nil
}

func closeAll(files [3]*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// close closes our ends, of a command that could not be started.
func (c *command) close() {
	for _, o := range c.out {
		o.f.Close()
	}
	if c.in != nil {
		c.in.f.Close()
	}
}

// An output carries one output of a command to the host, until every process that holds it has ended.
type output struct {
	out  *wire.Writer
	kind wire.Kind
	id   wire.ID
	f    *os.File
	rc   syscall.RawConn
	tty  bool
	done chan struct{} // closed at the end of the output

	// mu is held from reading a piece until it is sent: two readers can't change the order of pieces.
	mu  sync.Mutex
	buf []byte
	eof bool
}

func newOutput(w *wire.Writer, k wire.Kind, id wire.ID, f *os.File) *output {
	o := &output{out: w, kind: k, id: id, f: f, buf: make([]byte, pieceSize), done: make(chan struct{})}
	o.rc, _ = f.SyscallConn() // fails for a nil file only
	return o
}

// run sends the output as it comes. It is the only one who waits for it, and closes the file.
func (o *output) run() {
	// RawConn.Read calls the function whenever there may be something to read, for as long as it returns false.
	_ = o.rc.Read(func(fd uintptr) bool { return o.pump(int(fd)) })
	o.f.Close()
	close(o.done)
}

// pump sends what can be read without waiting. It returns true at the end of the output.
func (o *output) pump(fd int) bool {
	for {
		o.mu.Lock()
		more, end := o.piece(fd)
		o.mu.Unlock()
		if end || !more {
			return end
		}
	}
}

// piece reads and sends one piece.
func (o *output) piece(fd int) (more, end bool) {
	if o.eof {
		return false, true
	}
	n, err := unix.Read(fd, o.buf)
	switch {
	case err == unix.EINTR:
		return true, false
	case err == unix.EAGAIN:
		return false, false
	case err != nil || n == 0: // EIO: the last process has left the terminal
		o.eof = true
		return false, true
	}
	if o.out.WriteID(o.kind, o.id, o.buf[:n]) != nil {
		o.eof = true // the host is gone
	}
	return true, o.eof
}

// drain sends all that has been printed up to now.
func (o *output) drain() {
	if o.tty {
		t := time.NewTimer(ttyGrace)
		defer t.Stop()
		select {
		case <-o.done:
			return
		case <-t.C:
		}
	}
	_ = o.rc.Control(func(fd uintptr) { o.pump(int(fd)) }) // an error: it is closed, so all is sent
}

// An input carries the host's bytes to a command. The host sends no more than it has been told were taken, plus a little, so that the
// queue is bounded by its good will.
type input struct {
	out *wire.Writer
	id  wire.ID
	f   *os.File
	tty bool

	mu     sync.Mutex
	queue  []func() ([]byte, error)
	ended  bool          // the host has said that this is all
	more   chan struct{} // one token: the queue or ended has changed
	quit   chan struct{}
	quitMu sync.Once
}

func newInput(w *wire.Writer, id wire.ID, f *os.File) *input {
	return &input{out: w, id: id, f: f, more: make(chan struct{}, 1), quit: make(chan struct{})}
}

// add puts a piece into the queue; nil is the end.
func (in *input) add(piece func() ([]byte, error)) {
	in.mu.Lock()
	if piece == nil {
		in.ended = true
	} else {
		in.queue = append(in.queue, piece)
	}
	in.mu.Unlock()
	select {
	case in.more <- struct{}{}:
	default:
	}
}

// stop ends run, which may be waiting for a process that reads no more.
func (in *input) stop() {
	in.quitMu.Do(func() {
		close(in.quit)
		if !in.tty { // a terminal's master is the output's to close
			in.f.Close()
		}
	})
}

// next waits for a piece; false: there are no more.
func (in *input) next() (func() ([]byte, error), bool) {
	for {
		in.mu.Lock()
		if len(in.queue) > 0 {
			p := in.queue[0]
			in.queue = in.queue[1:]
			in.mu.Unlock()
			return p, true
		}
		ended := in.ended
		in.mu.Unlock()
		if ended {
			return nil, false
		}
		select {
		case <-in.more:
		case <-in.quit:
			return nil, false
		}
	}
}

// run writes the pieces to the command until they end or it reads no more.
func (in *input) run() {
	for {
		p, ok := in.next()
		if !ok {
			in.end()
			return
		}
		b, err := p()
		if err != nil {
			_ = in.out.Write(wire.KindNotice, []byte(err.Error()))
			in.end()
			return
		}
		if _, err := in.f.Write(b); err != nil {
			if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EIO) || err == io.ErrShortWrite {
				_ = in.out.WriteID(wire.KindInputClosed, in.id, nil)
			}
			in.stop()
			return
		}
		if in.out.WriteID(wire.KindInputTaken, in.id, wire.AppendCount(nil, len(b))) != nil {
			return
		}
	}
}

// end closes the command's input. A terminal's is ended by the character for it, as a user would.
func (in *input) end() {
	if in.tty {
		_, _ = in.f.Write([]byte{4}) // VEOF, ^D
		return
	}
	in.stop()
}
