//go:build linux

package kernelnet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Arg is the first argument of a program that makes it this package's child: see Child.
const Arg = "sekexe-kernelnet"

// childFD is the child's descriptor of the socket to its parent.
const childFD = 3

// batch is how many descriptors go in one message; the kernel takes 253 (SCM_MAX_FD).
const batch = 200

// A request is what the child has to make, on its standard input.
type request struct {
	Run      string
	NoTap    bool
	Segments []Segment
}

// A question is what the child is asked for later: a socket.
type question struct {
	Segment int
	Network string
	At      netip.AddrPort
}

// An answer is one message of the child's: parts, with their descriptors, in order; an error; or that it is done.
type answer struct {
	Parts []part
	Done  bool
	Error string
	Hint  string
	Errno syscall.Errno // the error's cause, if it is one of the kernel's
}

// A child is the process that makes the namespaces, from the parent's side.
type child struct {
	mu    sync.Mutex // of one question with its answer
	conn  *net.UnixConn
	cmd   *exec.Cmd
	ended chan struct{} // closed when it was waited for
	said  bytes.Buffer  // to its stderr: nothing, but if it panics
}

// openPrivate has the child make the segments. Root tries without a user namespace first: that's quicker, and may be allowed where the other isn't.
func openPrivate(ctx context.Context, s *Spec) (*Net, error) {
	var flags uintptr = unix.CLONE_NEWNET
	if os.Geteuid() != 0 {
		flags |= unix.CLONE_NEWUSER
	}
	n, err := openBy(ctx, s, flags)
	if errors.Is(err, unix.EPERM) && flags&unix.CLONE_NEWUSER == 0 {
		n, err = openBy(ctx, s, flags|unix.CLONE_NEWUSER)
	}
	return n, err
}

func openBy(ctx context.Context, s *Spec, flags uintptr) (*Net, error) {
	c, err := startChild(&request{Run: s.Run, NoTap: s.noTap, Segments: s.Segments}, flags)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })
	n := &Net{segments: s.Segments}
	err = c.receive(func(p []part) { n.parts = append(n.parts, p...) })
	if !stop() && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		closeParts(n.parts)
		_ = c.close()
		return nil, err
	}
	if needed(s.Segments) {
		n.child = c
		return n, nil
	}
	if err := c.close(); err != nil {
		closeParts(n.parts)
		return nil, err
	}
	return n, nil
}

// needed says whether the child is, after it has made the segments: to open sockets in the namespaces, which others may not enter.
func needed(segments []Segment) bool {
	for i := range segments {
		if !segments[i].Netstack {
			return true
		}
	}
	return false
}

// startChild starts this program again, in namespaces of its own.
func startChild(r *request, flags uintptr) (*child, error) {
	input, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("kernelnet: tell the child what to make: %w", err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("kernelnet: make a socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "kernelnet"), os.NewFile(uintptr(fds[1]), "kernelnet")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, fmt.Errorf("kernelnet: make a socket: %w", err)
	}
	c := &child{conn: conn.(*net.UnixConn), ended: make(chan struct{})}
	c.cmd = exec.Command("/proc/self/exe", Arg)
	c.cmd.Args[0] = os.Args[0]
	c.cmd.Stdin, c.cmd.Stderr, c.cmd.ExtraFiles = bytes.NewReader(input), &c.said, []*os.File{theirs}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if flags&unix.CLONE_NEWUSER != 0 {
		c.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		c.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	if err := c.start(); err != nil {
		conn.Close()
		return nil, refused(err)
	}
	return c, nil
}

// start starts the process, and has it waited for. The thread that starts it must live as long as it: a parent-death signal is sent at the
// end of the parent's thread.
func (c *child) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // how it ended, receive and close find out by the socket
			close(c.ended)
		}
	}()
	return <-started
}

// receive takes the child's answers until it is done, or says what is wrong.
func (c *child) receive(take func([]part)) error {
	buf, oob := make([]byte, 1<<18), make([]byte, unix.CmsgSpace(4*batch))
	for {
		a, err := readAnswer(c.conn, buf, oob)
		if err != nil {
			return c.died(err)
		}
		take(a.Parts)
		if a.Error != "" {
			return &childError{a.Error, a.Hint, a.Errno}
		}
		if a.Done {
			return nil
		}
	}
}

// died says how the child ended, if that is why nothing can be read of it.
func (c *child) died(err error) error {
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("kernelnet: hear of the child: %w", err)
	}
	_ = c.conn.Close()
	<-c.ended
	text := strings.TrimSpace(c.said.String())
	if first, _, more := strings.Cut(text, "\n"); more {
		text = first
	}
	return fmt.Errorf("kernelnet: the child ended early: %s: %s", c.cmd.ProcessState, text)
}

// A childError is what the child said.
type childError struct {
	text, hint string
	errno      syscall.Errno
}

func (e *childError) Error() string { return e.text }
func (e *childError) Hint() string  { return e.hint }
func (e *childError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

// answerError is the answer that says an error.
func answerError(err error) answer {
	a := answer{Error: err.Error(), Hint: hintOf(err)}
	errors.As(err, &a.Errno)
	return a
}

// readAnswer reads one message and gives its parts their files.
func readAnswer(conn *net.UnixConn, buf, oob []byte) (*answer, error) {
	n, oobn, flags, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 && oobn == 0 {
		return nil, io.EOF
	}
	var fds []int
	if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 {
		fds, _ = unix.ParseUnixRights(&messages[0])
	}
	var a answer
	err = json.Unmarshal(buf[:n], &a)
	for i := range a.Parts {
		if p := &a.Parts[i]; p.HasFile && len(fds) > 0 {
			p.file, fds = os.NewFile(uintptr(fds[0]), string(p.Kind)), fds[1:]
		} else if p.HasFile && err == nil {
			err = withHint(errors.New("a descriptor was lost"), `raise the limit of open files, by "ulimit -n"`)
		}
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	if err == nil && flags&(unix.MSG_TRUNC) != 0 {
		err = errors.New("a message was cut")
	}
	if err != nil {
		closeParts(a.Parts)
		return nil, err
	}
	return &a, nil
}

// listen asks the child for a socket.
func (c *child) listen(segment int, network string, at netip.AddrPort) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q, err := json.Marshal(question{segment, network, at})
	if err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(q); err != nil {
		return nil, err
	}
	var parts []part
	err = c.receive(func(p []part) { parts = append(parts, p...) })
	if err != nil {
		closeParts(parts)
		return nil, err
	}
	return parts[0].file, nil
}

// close ends the child, which ends at the end of the socket, and waits for it.
func (c *child) close() error {
	err := c.conn.Close()
	<-c.ended
	if !c.cmd.ProcessState.Success() && c.said.Len() > 0 {
		err = errors.Join(err, fmt.Errorf("kernelnet: the child: %s: %s", c.cmd.ProcessState, strings.TrimSpace(c.said.String())))
	}
	return err
}
