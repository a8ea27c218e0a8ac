package seed

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Copy makes an empty file the same as the seed: where the file system can do that by sharing its blocks, else by copying what isn't a hole.
func (s *Seed) Copy(to *os.File) error {
	if err := unix.IoctlFileClone(int(to.Fd()), int(s.File.Fd())); err == nil {
		return nil
	}
	if err := to.Truncate(s.Note.Size); err != nil {
		return err
	}
	for at := int64(0); ; {
		start, err := unix.Seek(int(s.File.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole follows
		}
		if err != nil {
			return fmt.Errorf("look for its data: %w", err)
		}
		if at, err = unix.Seek(int(s.File.Fd()), start, unix.SEEK_HOLE); err != nil {
			return fmt.Errorf("look for its data: %w", err)
		}
		if err := copyRange(to, s.File, start, at); err != nil {
			return err
		}
	}
}

// copyRange copies a part of a file to the same place of another.
func copyRange(to, from *os.File, start, end int64) error {
	in, out := start, start
	for in < end {
		n, err := unix.CopyFileRange(int(from.Fd()), &in, int(to.Fd()), &out, int(end-in), 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("copy it: %w", err)
		}
		if n == 0 {
			return errors.New("copy it: it has become shorter")
		}
	}
	return nil
}
