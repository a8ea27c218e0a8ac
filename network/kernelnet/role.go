//go:build linux

package kernelnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Child is called first thing by every program that calls Open or Check. In a process that is this package's child, it does the child's work, and
// doesn't return: it makes the namespaces, which a program with threads can't enter, hands the descriptors over, and ends when its parent closes
// the socket or dies.
func Child() {
	if len(os.Args) < 2 || os.Args[1] != Arg {
		return
	}
	runtime.LockOSThread() // it is this thread that changes namespaces
	c, err := net.FileConn(os.NewFile(childFD, "kernelnet"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "kernelnet: the child has no parent: %v\n", err)
		os.Exit(1)
	}
	unix.CloseOnExec(childFD)
	unix.Close(childFD) // conn is a copy
	conn := c.(*net.UnixConn)
	namespaces, err := makeNamespaces(conn)
	if err == nil {
		err = serve(conn, namespaces)
	}
	if err != nil {
		_ = send(conn, answerError(err))
		os.Exit(1)
	}
	os.Exit(0)
}

// makeNamespaces makes each segment in a namespace of its own, the first in the one that the process was born in, and sends what it has made.
func makeNamespaces(conn *net.UnixConn) ([]*os.File, error) {
	var r request
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return nil, fmt.Errorf("kernelnet: read what to make: %w", err)
	}
	var namespaces []*os.File
	for i := range r.Segments {
		if i > 0 {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("network %s: %w", r.Segments[i].Name, refused(err))
			}
		}
		ns, err := makeSegment(conn, &r, i)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", r.Segments[i].Name, advise(err))
		}
		namespaces = append(namespaces, ns)
	}
	return namespaces, send(conn, answer{Done: true})
}

// makeSegment makes one segment in the namespace that the thread is in, and sends it. It returns the namespace.
func makeSegment(conn *net.UnixConn, r *request, i int) (*os.File, error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open its namespace: %w", err)
	}
	b := &builder{Segment: &r.Segments[i], index: i, run: r.Run, noTap: r.NoTap}
	if err := b.build(); err != nil {
		return nil, err
	}
	for j := range b.parts {
		if p := &b.parts[j]; p.Kind == partSegment {
			p.HasFile, p.file = true, ns
		}
	}
	if err := sendParts(conn, b.parts); err != nil {
		return nil, fmt.Errorf("hand it over: %w", err)
	}
	for j := range b.parts {
		if p := &b.parts[j]; p.file != ns {
			p.file.Close() // what is on its way is open
		}
	}
	return ns, nil
}

// serve opens sockets in the namespaces, until the parent closes its end.
func serve(conn *net.UnixConn, namespaces []*os.File) error {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, io.EOF) || n == 0 || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		if err != nil {
			return err
		}
		var q question
		if err := json.Unmarshal(buf[:n], &q); err != nil {
			return err
		}
		a := answer{Done: true}
		if f, err := socketIn(namespaces[q.Segment], q.Network, q.At); err != nil {
			a = answerError(err)
		} else {
			a.Parts = []part{{Kind: "socket", HasFile: true, file: f}}
		}
		err = send(conn, a)
		closeParts(a.Parts)
		if err != nil {
			return err
		}
	}
}

// sendParts sends parts with their descriptors, in as many messages as it takes.
func sendParts(conn *net.UnixConn, parts []part) error {
	for len(parts) > 0 {
		n := min(batch, len(parts))
		if err := send(conn, answer{Parts: parts[:n]}); err != nil {
			return err
		}
		parts = parts[n:]
	}
	return nil
}

func send(conn *net.UnixConn, a answer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	var fds []int
	for i := range a.Parts {
		if f := a.Parts[i].file; f != nil {
			raw, err := f.SyscallConn()
			if err != nil {
				return err
			}
			// Not Fd, which makes the descriptor a blocking one.
			if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
				return err
			}
		}
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(b, oob, nil)
	return err
}

// socketIn opens a listening socket in a network namespace. The calling thread stays there.
func socketIn(ns *os.File, network string, at netip.AddrPort) (*os.File, error) {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the namespace: %w", err)
	}
	return listenSocket(network, at)
}

// listenSocket opens a socket, and listens to it if it is one of TCP.
func listenSocket(network string, at netip.AddrPort) (_ *os.File, err error) {
	family, kind := unix.AF_INET, unix.SOCK_DGRAM
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(at.Port()), Addr: as4(at.Addr())}
	if at.Addr().Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	if network == "tcp" {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err == nil && network == "tcp" {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), network), nil
}

func as4(a netip.Addr) [4]byte {
	if !a.Is4() {
		return [4]byte{}
	}
	return a.As4()
}
