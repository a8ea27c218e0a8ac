package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// mode is that of a socket: only its owner connects.
const mode = 0o600

// A hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }

// A socket is one that is listened on.
type socket struct {
	*net.UnixListener
	path string
	// file is what bind has made there. Another may be in its place when it is to be removed.
	file fs.FileInfo
}

// listen makes a socket at an absolute path. One that is there and that nobody listens on is replaced: it is what a killed process has left.
func listen(path string) (*socket, error) {
	s, err := claim(path)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, &hinted{fmt.Errorf("socket %s: make it: there is no such folder", path), "make the folder first, or name another path"}
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
		return nil, &hinted{fmt.Errorf("socket %s: make it: %w", path, err), "name a path in a folder that you may write to"}
	case err != nil:
		return nil, fmt.Errorf("socket %s: make it: %w", path, err)
	}
	return s, nil
}

// claim listens under a name of its own, and then gives the file the name that is wanted: so that who finds a socket there that refuses a
// connection knows that it is a dead one.
func claim(path string) (_ *socket, err error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	at := folder(dir)
	own := at.name(".sekexe-" + random())
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// The file gets the mode of the socket's own inode, less the umask (net/unix/af_unix.c).
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), mode) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "unix", own)
	if err != nil {
		return nil, cause(err)
	}
	s := &socket{UnixListener: l.(*net.UnixListener), path: path}
	s.SetUnlinkOnClose(false)
	defer func() {
		_ = os.Remove(own)
		if err != nil {
			l.Close()
		}
	}()
	if s.file, err = os.Lstat(own); err != nil {
		return nil, cause(err)
	}
	return s, at.take(own, filepath.Base(path))
}

// A folder is the descriptor of one. Names by way of it are short: an address holds 107 bytes of a path.
type folder int

func (f folder) name(base string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", int(f), base) }

// take gives a socket its name, in place of what is dead there. The name is never without a socket then: who has looked at a dead one, and meets a
// live one when they change places, changes back, and gives up.
func (f folder) take(own, base string) error {
	name := f.name(base)
	for range 10 { // others may do the same
		if err := os.Link(own, name); !errors.Is(err, os.ErrExist) {
			return cause(err)
		}
		if err := replaceable(name); err != nil {
			return err
		}
		err := unix.Renameat2(unix.AT_FDCWD, own, unix.AT_FDCWD, name, unix.RENAME_EXCHANGE)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if errors.Is(err, unix.EINVAL) { // the file system can't
			err = os.Rename(own, name)
			return cause(err)
		}
		if err != nil {
			return err
		}
		if err := replaceable(own); err != nil {
			return errors.Join(err, unix.Renameat2(unix.AT_FDCWD, own, unix.AT_FDCWD, name, unix.RENAME_EXCHANGE))
		}
		return nil // what was there goes with the name of our own
	}
	return errors.New("others make it, too")
}

// replaceable says why what is there may not be removed.
func replaceable(name string) error {
	st, err := os.Lstat(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return cause(err)
	case st.Mode().Type() != os.ModeSocket:
		return &hinted{errors.New("there is something else, which is no socket"), "remove it, or name another path"}
	}
	c, err := net.Dial("unix", name)
	switch {
	case err == nil:
		c.Close()
		return &hinted{errors.New("another program listens there"), "end that, which may be another run of sekexe, or name another path"}
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return nil
	}
	return &hinted{fmt.Errorf("there is a socket, and whether somebody listens on it can't be told: %w", cause(err)), "remove it if nobody needs it, or name another path"}
}

// remove removes the file, if it is still this one, and ends listening.
func (s *socket) remove() error {
	var err error
	if st, e := os.Lstat(s.path); e == nil && os.SameFile(st, s.file) {
		err = os.Remove(s.path)
	}
	return errors.Join(err, s.Close())
}

// cause is an error without the path by way of a descriptor, which says nothing to the user.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func random() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
