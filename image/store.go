package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// FileSystem is that of the file at Image.Path.
const FileSystem = "ext4"

// The files of an image's folder.
const (
	rootFile   = "root.ext4"
	configFile = "config.json"
)

// DefaultLimit is how much the images of a Store may take, in bytes, before those that were used least recently go.
const DefaultLimit = 20 << 30

// A Store is a folder with images, each in a folder named by the digest of its configuration, which stands for all that is in it: the
// configuration has the digests of the layers' contents. Archives of images lie there in the same way, by digests of their own. Several processes
// may use it at once.
type Store struct {
	Dir string
	// Limit is how much disk space the images may take, in bytes, before those that were used least recently go; 0: DefaultLimit.
	Limit int64
}

// An Image is an image of a Store. It stays there until Close.
type Image struct {
	// ID is the digest of the configuration: sha256: and 64 digits.
	ID string
	// Path is the file with the image's root, of the type FileSystem. It must not be written to.
	Path   string
	Config Config
	held   *os.File
}

// Close lets the Store remove the image if it needs the space.
func (i *Image) Close() error { return i.held.Close() }

var idPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^sha256:[0-9a-f]{64}$`) })

// folder is the folder of an image.
func (s *Store) folder(id string) string { return filepath.Join(s.Dir, id[len("sha256:"):]) }

// Get returns an image. The error wraps fs.ErrNotExist if there is none of that ID.
func (s *Store) Get(id string) (*Image, error) {
	if !idPattern().MatchString(id) {
		return nil, fmt.Errorf("image %q: find it: no digest: %w", id, fs.ErrNotExist)
	}
	dir := s.folder(id)
	path := filepath.Join(dir, rootFile)
	f, err := holdFile(path)
	if err != nil {
		return nil, fmt.Errorf("image %s: find it: %w", id, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("image %s: find it: %w", id, err)
	}
	c, err := ParseConfig(b)
	if err != nil {
		f.Close()
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Join(dir, configFile), now, now) // what is used last goes last; a folder that can't be written loses nothing
	return &Image{ID: id, Path: path, Config: *c, held: f}, nil
}

// holdFile opens a file with a lock that keeps it from being removed.
func holdFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		f.Close()
		return nil, err
	}
	if !sameFile(f, path) { // removed in between
		f.Close()
		return nil, fs.ErrNotExist
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

// sameFile says whether path is still the open file.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// has says whether an image is there.
func (s *Store) has(id string) bool {
	_, _, err := s.data(id)
	return err == nil
}

// data returns the file with what an image or an archive is there for, and the one whose time says when it was used.
func (s *Store) data(id string) (data, used string, err error) {
	dir := s.folder(id)
	if used = filepath.Join(dir, configFile); exists(used) {
		return filepath.Join(dir, rootFile), used, nil
	}
	if data = filepath.Join(dir, archiveFile); exists(data) {
		return data, data, nil
	}
	return "", "", fs.ErrNotExist
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Make makes an image unless it is there: build writes its root and its configuration to files in a folder, which becomes the image's in one
// step if there is no error, and is removed otherwise. Of several at once one builds, and the others wait, of which they are told by waiting.
func (s *Store) Make(ctx context.Context, id string, waiting func(), build func(root, config string) error) error {
	return s.make(ctx, id, waiting, func(dir string) error { return build(filepath.Join(dir, rootFile), filepath.Join(dir, configFile)) })
}

// make is Make for whatever build writes into a folder.
func (s *Store) make(ctx context.Context, id string, waiting func(), build func(dir string) error) error {
	if !idPattern().MatchString(id) {
		return fmt.Errorf("image %q: make it: no digest", id)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("image: make the folder for images: %w", err)
	}
	lock, err := s.lock(ctx, id, waiting)
	if err != nil {
		return fmt.Errorf("image %s: lock it: %w", id, err)
	}
	defer lock.Close()
	if s.has(id) {
		return nil
	}
	dir := filepath.Join(s.Dir, ".new-"+filepath.Base(s.folder(id)))
	if err := os.RemoveAll(dir); err != nil { // of a process that was killed
		return fmt.Errorf("image %s: remove what was left of it: %w", id, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("image %s: make its folder: %w", id, err)
	}
	if err := build(dir); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if err := os.Rename(dir, s.folder(id)); err != nil {
		return errors.Join(fmt.Errorf("image %s: put it into its place: %w", id, err), os.RemoveAll(dir))
	}
	s.prune(id)
	return nil
}

// lock waits for the right to make an image. The lock file may be removed by whoever has that right, and nobody else.
func (s *Store) lock(ctx context.Context, id string, waiting func()) (*os.File, error) {
	path := s.folder(id) + ".lock"
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil {
			if waiting != nil {
				waiting()
			}
			if err := wait(ctx, f); err != nil {
				return nil, err
			}
		}
		if sameFile(f, path) {
			return f, nil
		}
		f.Close()
	}
}

// wait waits for a lock. A call that waits can't be interrupted: it goes on in vain if ctx ends.
func wait(ctx context.Context, f *os.File) error {
	got := make(chan error, 1)
	go func() { got <- flock(f, unix.LOCK_EX) }()
	select {
	case err := <-got:
		if err != nil {
			f.Close()
		}
		return err
	case <-ctx.Done():
		go func() { <-got; f.Close() }()
		return ctx.Err()
	}
}
