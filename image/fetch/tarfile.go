package fetch

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/klauspost/compress/zstd"
)

// maxFiles bounds the entries of an archive with images, and maxSmall what is read of one into memory, in bytes.
const (
	maxFiles = 1 << 18
	maxSmall = 8 << 20
)

// A tarFile is an open archive, in which files are found by their names.
type tarFile struct {
	f       *os.File
	entries map[string]section
	// compression is the program that the file was compressed by; empty: none. f is another file then, which has no name.
	compression string
}

// A section is where the contents of a file lie in an archive.
type section struct{ offset, size int64 }

// openTar opens an archive, whatever it is compressed by; scratch is the folder for what it is unpacked to.
func openTar(ctx context.Context, path, scratch string) (*tarFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t := &tarFile{f: f}
	if t.compression, err = compressionOf(f); err == nil && t.compression != "" {
		t.f, err = unpacked(ctx, f, t.compression, scratch)
		f.Close()
	}
	if err != nil {
		if t.f != nil {
			t.f.Close()
		}
		return nil, err
	}
	if t.entries, err = listTar(ctx, t.f); err != nil {
		t.f.Close()
		return nil, err
	}
	return t, nil
}

func (t *tarFile) close() { t.f.Close() }

const magicZstd = "\x28\xb5\x2f\xfd"

// magics are what compressed files begin with.
var magics = []struct{ name, magic string }{{"gzip", "\x1f\x8b"}, {"bzip2", "BZh"}, {"zstd", magicZstd}, {"xz", "\xfd7zXZ\x00"}}

// compressionOf says what a file is compressed by; empty: nothing known. It reads from the file's beginning, and goes back there.
func compressionOf(f io.ReadSeeker) (string, error) {
	var b [8]byte
	n, err := io.ReadFull(f, b[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	for _, m := range magics {
		if bytes.HasPrefix(b[:n], []byte(m.magic)) {
			return m.name, nil
		}
	}
	return "", nil
}

// unpacked decompresses a file into one without a name: parts of it are read several times, in any order.
func unpacked(ctx context.Context, r io.Reader, compression, scratch string) (*os.File, error) {
	switch r = bufio.NewReaderSize(r, 1<<20); compression {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case "bzip2":
		r = bzip2.NewReader(r)
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	default:
		return nil, &Error{text: "it is compressed by " + compression + ", which is not known here", hint: "decompress it: " + compression + " -dk FILE"}
	}
	f, err := os.CreateTemp(scratch, ".unpacked-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		var n int64
		n, err = io.Copy(f, io.LimitReader(&boundReader{ctx, io.NopCloser(r)}, maxContents+1))
		if err == nil && n > maxContents {
			err = fmt.Errorf("it has more than %d bytes", int64(maxContents))
		}
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("decompress it: %w", err)
	}
	return f, nil
}

// listTar finds the plain files of an archive. Package tar reads whole blocks and seeks over contents, so that the file's position behind a header
// is where the contents begin.
func listTar(ctx context.Context, f io.ReadSeeker) (map[string]section, error) {
	entries := map[string]section{}
	for r, n := tar.NewReader(f), 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && n >= maxFiles {
			err = fmt.Errorf("it has more than %d entries", maxFiles)
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || isSparse(h) {
			continue
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		entries[path.Clean(h.Name)] = section{at, h.Size}
	}
}

// isSparse says whether an entry's contents don't lie in the archive as they are.
func isSparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if len(k) > 11 && k[:11] == "GNU.sparse." {
			return true
		}
	}
	return false
}

// has says whether there is a file of that name.
func (t *tarFile) has(name string) bool {
	_, ok := t.entries[name]
	return ok
}

// open opens a file of the archive.
func (t *tarFile) open(name string) (*io.SectionReader, error) {
	s, ok := t.entries[path.Clean(name)]
	if !ok {
		return nil, fmt.Errorf("it has no file %q", name)
	}
	return io.NewSectionReader(t.f, s.offset, s.size), nil
}

// small reads a file of the archive that is expected to be small.
func (t *tarFile) small(name string) ([]byte, error) {
	r, err := t.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxSmall {
		return nil, fmt.Errorf("its file %q has more than %d bytes", name, maxSmall)
	}
	b := make([]byte, r.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it is cut off")
		}
		return nil, fmt.Errorf("read its file %q: %w", name, err)
	}
	return b, nil
}
