package guest

import (
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// copyPiece is how much of a file is read at once.
const copyPiece = 128 << 10

// errUnwanted ends a copy that the host doesn't want any more.
var errUnwanted = errors.New("the host wants another copy")

// A copier sends what a pattern matches to the host.
type copier struct {
	p   *initProcess
	end wire.Copied
	buf []byte
}

// copyOut sends what a pattern matches, and how that went.
func (p *initProcess) copyOut(w wire.CopyOut) {
	c := &copier{p: p, end: wire.Copied{ID: w.ID}, buf: make([]byte, copyPiece)}
	matches := glob(w.Pattern)
	for _, m := range matches {
		if err := c.top(m); err != nil {
			return // the host is gone, or wants something else
		}
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
	return c.send(file, path.Base(file), &st)
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
		return c.file(file, &e)
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
	if c.p.copying.Load() != uint32(c.end.ID) {
		return errUnwanted
	}
	return c.p.out.Send(wire.KindCopyEntry, e)
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
			err = c.failed(child, err)
		} else {
			err = c.send(child, name+"/"+n, &st)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file sends a file without its holes.
func (c *copier) file(file string, e *wire.CopyEntry) error {
	f, err := os.Open(file)
	if err != nil {
		return c.failed(file, err)
	}
	defer f.Close()
	if err := c.entry(e); err != nil {
		return err
	}
	at, hole := int64(0), false
	for {
		n, err := f.ReadAt(c.buf, at)
		if n == 0 {
			if err != nil && err != io.EOF {
				return c.failed(file, err)
			}
			break
		}
		if c.p.copying.Load() != uint32(c.end.ID) {
			return errUnwanted
		}
		if hole = isZero(c.buf[:n]); hole {
			at = c.skipHole(f, at+int64(n))
			continue
		}
		if err := c.p.out.WriteCopyData(c.end.ID, uint64(at), c.buf[:n]); err != nil {
			return err
		}
		at += int64(n)
	}
	if hole {
		return c.p.out.WriteCopyData(c.end.ID, uint64(at), nil)
	}
	return nil
}

// skipHole returns where the next data is, or the end of the file, from an offset on.
func (c *copier) skipHole(f *os.File, at int64) int64 {
	next, err := f.Seek(at, unix.SEEK_DATA)
	if err == nil {
		return max(at, next)
	}
	if !errors.Is(err, unix.ENXIO) { // the file system knows no holes
		return at
	}
	if st, err := f.Stat(); err == nil {
		return max(at, st.Size())
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
