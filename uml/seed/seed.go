package seed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/uml/ext4"
)

// Kept is how many seeds a folder keeps: those that were used last.
const Kept = 3

// A Folder is one with seeds: seed-KEY.ext4, and beside it seed-KEY.json, the note.
type Folder string

// A Note says what is in a seed. Its file's time is when the seed was last used.
type Note struct {
	Size   int64     `json:"size"`   // of the disk, in bytes
	Images []string  `json:"images"` // names
	Docker string    `json:"docker"` // version of the daemon that prepared it
	Made   time.Time `json:"made"`
}

// A Seed is an open one, for reading alone.
type Seed struct {
	File *os.File
	Note Note
}

// Close closes it.
func (s *Seed) Close() error { return s.File.Close() }

func (f Folder) disk(key string) string { return filepath.Join(string(f), "seed-"+key+".ext4") }
func (f Folder) note(key string) string { return filepath.Join(string(f), "seed-"+key+".json") }
func (f Folder) lock(key string) string { return filepath.Join(string(f), "seed-"+key+".lock") }

// Open returns a seed that is there and whole. The error wraps fs.ErrNotExist if there is none.
func (f Folder) Open(key string) (*Seed, error) {
	b, err := os.ReadFile(f.note(key))
	if err != nil {
		return nil, err
	}
	s := &Seed{}
	if err := json.Unmarshal(b, &s.Note); err != nil {
		return nil, fmt.Errorf("%s: read it: %w", f.note(key), err)
	}
	if s.File, err = os.Open(f.disk(key)); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		s.File.Close()
		return nil, fmt.Errorf("%s: %w", f.disk(key), err)
	}
	now := time.Now()
	_ = os.Chtimes(f.note(key), now, now) // those used last are kept; where that can't be written nothing is removed either
	return s, nil
}

func (s *Seed) check() error {
	st, err := s.File.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	if st.Size() != s.Note.Size {
		return fmt.Errorf("it has %d bytes in place of %d", st.Size(), s.Note.Size)
	}
	return ext4.CheckClean(s.File, st.Size())
}

// Make returns a seed. If it isn't there, or is damaged, prepare makes it: it writes a file system to an empty file, which becomes the seed in one
// step if there is no error, and is removed otherwise. Of several at once one prepares, and the others wait, after waiting was called.
func (f Folder) Make(ctx context.Context, key string, waiting func(), prepare func(disk *os.File) (Note, error)) (*Seed, error) {
	if s, err := f.Open(key); err == nil {
		return s, nil
	}
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return nil, err
	}
	lock, err := takeLock(ctx, f.lock(key), waiting)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = os.Remove(lock.Name()) // while it is locked: see takeLock
		lock.Close()
	}()
	if s, err := f.Open(key); err == nil { // another has prepared it
		return s, nil
	}
	if err := f.make(key, prepare); err != nil {
		return nil, err
	}
	f.prune(key)
	return f.Open(key)
}

// make prepares a seed. The lock is held.
func (f Folder) make(key string, prepare func(disk *os.File) (Note, error)) (err error) {
	name := filepath.Join(string(f), ".seed-"+key+".new")
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return err
	}
	disk, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer disk.Close()
	defer func() {
		if err != nil {
			_ = os.Remove(name)
		}
	}()
	note, err := prepare(disk)
	if err != nil {
		return err
	}
	s := &Seed{File: disk, Note: note}
	if err := s.check(); err != nil {
		return fmt.Errorf("the disk that was prepared: %w", err)
	}
	if err := disk.Sync(); err != nil {
		return fmt.Errorf("write it to the disk: %w", err)
	}
	// An old disk must not be taken for that of the new note.
	if err := os.Remove(f.disk(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.writeNote(key, note); err != nil {
		return err
	}
	return os.Rename(name, f.disk(key))
}

func (f Folder) writeNote(key string, n Note) error {
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(string(f), ".seed-"+key+".note")
	if err := os.WriteFile(name, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(name, f.note(key))
}

// takeLock waits for the right to make a seed. The lock file may be removed by whoever has that right, and nobody else.
func takeLock(ctx context.Context, path string, waiting func()) (*os.File, error) {
	for {
		l, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if flock(l, unix.LOCK_EX|unix.LOCK_NB) != nil {
			waiting()
			if err := wait(ctx, l); err != nil {
				return nil, err
			}
		}
		if isCurrent(l) {
			return l, nil
		}
		l.Close()
	}
}

// wait waits for a lock. A call that waits can't be interrupted: it goes on in vain if ctx ends.
func wait(ctx context.Context, l *os.File) error {
	got := make(chan error, 1)
	go func() { got <- flock(l, unix.LOCK_EX) }()
	select {
	case err := <-got:
		if err != nil {
			l.Close()
		}
		return err
	case <-ctx.Done():
		go func() { <-got; l.Close() }()
		return ctx.Err()
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

// isCurrent says whether an open file still has its name.
func isCurrent(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(open, named)
}

// prune removes the seeds that were used least recently, but for the one of a key. Who uses one has it open, and keeps it so.
func (f Folder) prune(keep string) {
	notes, err := filepath.Glob(filepath.Join(escapePattern(string(f)), "seed-*.json"))
	if err != nil {
		return
	}
	type kept struct {
		key  string
		used time.Time
	}
	var others []kept
	for _, n := range notes {
		key := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(n), "seed-"), ".json")
		if st, err := os.Stat(n); err == nil && key != keep {
			others = append(others, kept{key, st.ModTime()})
		}
	}
	slices.SortFunc(others, func(a, b kept) int { return b.used.Compare(a.used) })
	for _, o := range others[min(Kept-1, len(others)):] {
		_ = os.Remove(f.disk(o.key))
		_ = os.Remove(f.note(o.key))
	}
}

// escapePattern makes a pattern that means the path alone.
func escapePattern(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
