package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxRules bounds what Landlock is told. It is reached only where a folder that leads to a hidden one has very many entries.
const maxRules = 10000

// errTooMany says that a folder has more entries than there can be rules.
var errTooMany = errors.New("too many files to allow each of them")

// A hiding is a set of hidden files and folders, as a tree of names. Landlock can only allow: what leads to a hidden folder is allowed
// by allowing each of its other entries.
type hiding struct {
	hidden map[string]bool
	leads  map[string]bool // folders with something hidden below them
}

// newHiding makes the set of the given paths, which resolve has made absolute and free of links.
func newHiding(paths []string) *hiding {
	h := &hiding{hidden: map[string]bool{}, leads: map[string]bool{}}
	for _, p := range paths {
		h.hidden[p] = true
		for p != "/" {
			p = filepath.Dir(p)
			h.leads[p] = true
		}
	}
	return h
}

// covers says whether a path is hidden, or lies below something that is.
func (h *hiding) covers(path string) bool {
	for {
		if h.hidden[path] {
			return true
		}
		if path == "/" {
			return false
		}
		path = filepath.Dir(path)
	}
}

// visible calls add for the fewest files and folders that together are all of path but what is hidden. path itself is visible, even if it lies
// in a hidden folder.
func (h *hiding) visible(path string, add func(path string, dir bool) error) error {
	st, err := os.Lstat(path)
	if err != nil {
		return gone(err)
	}
	return h.walk(path, st.IsDir(), add)
}

func (h *hiding) walk(path string, dir bool, add func(path string, dir bool) error) error {
	if !dir || !h.leads[path] {
		return add(path, dir)
	}
	// The order doesn't matter: no sorting. What can't be listed by the user can't be read by the guest either.
	f, err := os.Open(path)
	if err != nil {
		return gone(err)
	}
	defer f.Close()
	entries, err := f.ReadDir(maxRules)
	if err != nil && len(entries) == 0 {
		return nil // an empty folder
	}
	if len(entries) == maxRules {
		return fmt.Errorf("%s: %w", path, errTooMany)
	}
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		if h.hidden[name] || e.Type()&fs.ModeSymlink != 0 { // what a link leads to has a place of its own
			continue
		}
		if err := h.walk(name, e.IsDir(), add); err != nil {
			return err
		}
	}
	return nil
}

// gone takes the errors that mean that there is nothing to see.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// resolve follows the links of an absolute path as far as it exists; what doesn't exist may be made later.
func resolve(path string) string {
	rest := ""
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		if r, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(r, rest)
		}
		if p == "/" {
			return filepath.Join("/", rest)
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}

// below says whether path is dir or lies in it. Both are clean.
func below(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
