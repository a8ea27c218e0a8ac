package guest

import (
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Package os finds out of each file that it opens whether it could be waited for: five system calls, of which each is a stop of the whole guest.
// These two are for the files that every boot reads and writes, and that never block.

// readFile reads a whole file. Its errors are those of os.ReadFile.
func readFile(name string) ([]byte, error) {
	fd, err := openFile(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 4096)
	for {
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
			if len(b) == cap(b) {
				b = append(b, 0)[:len(b)]
			}
		}
	}
}

// writeFile makes a file with a text, or gives one that is there another text. Its errors are those of os.WriteFile. Files of the kernel's take the
// text in one call.
func writeFile(name, text string, perm uint32) error {
	fd, err := openFile(name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, perm)
	if err != nil {
		return err
	}
	for len(text) > 0 && err == nil {
		var n int
		switch n, err = unix.Write(fd, []byte(text)); {
		case errors.Is(err, unix.EINTR):
			err = nil
		case err == nil && n == 0:
			err = io.ErrShortWrite
		case err == nil:
			text = text[n:]
		}
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

func openFile(name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, perm)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return -1, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
}
