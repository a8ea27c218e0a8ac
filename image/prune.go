package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A kept image is one that prune looks at.
type kept struct {
	id   string
	size int64
	used time.Time
}

// prune removes the images that were used least recently until the others fit, but not keep, and none that somebody holds.
func (s *Store) prune(keep string) {
	limit := s.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	images := s.list()
	var total int64
	for _, i := range images {
		total += i.size
	}
	slices.SortFunc(images, func(a, b kept) int { return a.used.Compare(b.used) })
	for _, i := range images {
		if total <= limit {
			break
		}
		if i.id != keep && s.remove(i.id) {
			total -= i.size
		}
	}
	s.forget()
	s.forgetArchives()
}

// list lists the images.
func (s *Store) list() []kept {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return nil
	}
	var images []kept
	for _, e := range entries {
		id := "sha256:" + e.Name()
		if !idPattern().MatchString(id) {
			continue
		}
		data, clock, err := s.data(id)
		if err != nil {
			continue
		}
		used, err := os.Stat(clock)
		if err != nil {
			continue
		}
		st, err := os.Stat(data)
		if err != nil {
			continue
		}
		images = append(images, kept{id, st.Sys().(*syscall.Stat_t).Blocks * 512, used.ModTime()})
	}
	return images
}

// remove removes an image that nobody holds or makes.
func (s *Store) remove(id string) bool {
	lock, err := os.OpenFile(s.folder(id)+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	defer lock.Close()
	if flock(lock, unix.LOCK_EX|unix.LOCK_NB) != nil || !sameFile(lock, lock.Name()) {
		return false
	}
	path, _, err := s.data(id)
	if err != nil {
		return false
	}
	data, err := os.Open(path)
	if err != nil {
		return false
	}
	defer data.Close()
	if flock(data, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	if os.RemoveAll(s.folder(id)) != nil {
		return false
	}
	_ = os.Remove(lock.Name()) // while it is locked: see lock
	return true
}

// forget removes the names of images that are gone.
func (s *Store) forget() {
	files, err := filepath.Glob(filepath.Join(s.Dir, namesDir, "*"))
	if err != nil {
		return
	}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), ".") {
			continue
		}
		if r, err := readName(f); err != nil || !s.has(r.ID) {
			_ = os.Remove(f)
		}
	}
}
