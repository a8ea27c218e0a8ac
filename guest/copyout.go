package guest

import (
	"bytes"
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// copyPiece is how much of a file is read at once, and about how much is sent at once: each write on the line costs, whatever its size.
const copyPiece = 128 << 10

// errUnwanted ends a copy that the host doesn't want any more.
var errUnwanted = errors.New("the host wants another copy")

// A copier sends what a pattern matches to the host.
type copier struct {
	p   *initProcess
	end wire.Copied
	buf []byte
	// frames go out together, small files being many.
	frames bytes.Buffer
	out    *wire.Writer
}

// copyOut sends what a pattern matches, and how that went.
func (p *initProcess) copyOut(w wire.CopyOut) {
	c := &copier{p: p, end: wire.Copied{ID: w.ID}, buf: make([]byte, copyPiece)}
	c.out = wire.NewWriter(&c.frames)
	matches := glob(w.Pattern)
	for _, m := range matches {
		if err := c.top(m); err != nil {
			return // the host is gone, or wants something else
		}
	}
	if c.flush(0) != nil {
		return
	}
	c.end.Missing = len(matches) == 0
	_ = p.out.Send(wire.KindCopied, &c.end)
}

// glob returns what a pattern matches. A name that has special characters, and exists as it is, is meant as it is.
func glob(pattern string) []string {
	found := []string{"/"}
	for _, part := range strings.Split(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if _, err := os.Stat(path.Join(dir, part)); err == nil {
				next = append(next, path.Join(dir, part))
				continue
			}
			if !strings.ContainsAny(part, `*?[\`) {
				continue
			}
			names := readNames(dir)
			for _, n := range names {
				if ok, _ := path.Match(part, n); ok && (n[0] != '.' || part[0] == '.') { // as in a shell
					next = append(next, path.Join(dir, n))
				}
			}
		}
		found = next
	}
	return found
}

// readNames returns the sorted names in a folder; none if it can't be read.
func readNames(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	slices.Sort(names)
	return names
}

// top sends a match. A link is followed: it is what it leads to that is wanted.
func (c *copier) top(file string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return c.failed(file, err)
	}
	name := path.Base(file)
	if name == "/" {
		name = "root"
	}
	return c.send(file, name, &st)
}

// failed notes a file that can't be read.
func (c *copier) failed(file string, err error) error {
	if c.end.Failed++; c.end.Failed == 1 {
		c.end.Error = file + ": " + underlying(err).Error()
	}
	return nil
}

// send sends a file, or a folder with all that is in it. Its error ends the copy.
func (c *copier) send(file, name string, st *unix.Stat_t) error {
	e := wire.CopyEntry{ID: c.end.ID, Name: name, Mode: st.Mode & 0o7777, MTime: st.Mtim.Nano()}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Type = wire.TypeFolder
		if err := c.entry(&e); err != nil {
			return err
		}
		return c.folder(file, name)
	case unix.S_IFREG:
		return c.file(file, &e, st.Size)
	case unix.S_IFLNK:
		link, err := os.Readlink(file)
		if err != nil {
			return c.failed(file, err)
		}
		e.Type, e.Link = wire.TypeLink, link
		return c.entry(&e)
	}
	c.end.Skipped++
	return nil
}

func (c *copier) entry(e *wire.CopyEntry) error {
	_ = c.out.Send(wire.KindCopyEntry, e) // to memory
	return c.flush(copyPiece / 2)
}

func (c *copier) data(at int64, b []byte) error {
	_ = c.out.WriteCopyData(c.end.ID, uint64(at), b)
	return c.flush(copyPiece / 2)
}

// flush sends what has come together, if it is more than a number of bytes.
func (c *copier) flush(more int) error {
	if c.frames.Len() <= more {
		return nil
	}
	if c.p.copying.Load() != uint32(c.end.ID) {
		return errUnwanted
	}
	err := c.p.out.WriteFrames(c.frames.Bytes())
	c.frames.Reset()
	return err
}

func (c *copier) folder(file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return c.failed(file, err)
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		return c.failed(file, err)
	}
	for _, n := range names {
		var st unix.Stat_t
		child := file + "/" + n
		if err := unix.Lstat(child, &st); err != nil {
			_ = c.failed(child, err)
			continue
		}
		if err := c.send(child, name+"/"+n, &st); err != nil {
			return err
		}
	}
	return nil
}

// file sends a file without its holes. The system calls are plain ones: package os makes more of them.
func (c *copier) file(file string, e *wire.CopyEntry, size int64) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return c.failed(file, err)
	}
	defer unix.Close(fd)
	if err := c.entry(e); err != nil {
		return err
	}
	at, hole := int64(0), false
	for {
		n, err := unix.Pread(fd, c.buf, at)
		if err != nil {
			return c.failed(file, err)
		}
		if n == 0 {
			break
		}
		if hole = isZero(c.buf[:n]); hole {
			at = skipHole(fd, at+int64(n))
		} else if err := c.data(at, c.buf[:n]); err != nil {
			return err
		} else {
			at += int64(n)
		}
		if n < len(c.buf) && at == size {
			break
		}
	}
	if hole {
		return c.data(at, nil)
	}
	return nil
}

// skipHole returns where the next data is, or the end of the file, from an offset on.
func skipHole(fd int, at int64) int64 {
	next, err := unix.Seek(fd, at, unix.SEEK_DATA)
	switch {
	case err == nil:
		return max(at, next)
	case err != unix.ENXIO: // the file system knows no holes
		return at
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil {
		return max(at, st.Size)
	}
	return at
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
