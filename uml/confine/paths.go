package confine

import (
	"errors"
	"io"
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

// visible allows rights to the fewest files and folders that together are all of path but what is hidden. path itself is visible, even if
// it lies in a hidden folder.
func (h *hiding) visible(path string, r *ruleset, rights uint64) error {
	st, err := os.Lstat(path)
	if err != nil {
		return gone(err)
	}
	if !st.IsDir() || !h.leads[path] {
		return r.allow(path, st.IsDir(), rights)
	}
	return h.entries(path, r, rights)
}

// entries allows rights to what is in a folder, but for what is hidden.
func (h *hiding) entries(path string, r *ruleset, rights uint64) error {
	f, err := os.Open(path)
	if err != nil { // what the user can't list, the guest can't either
		return gone(err)
	}
	defer f.Close()
	folder := int(f.Fd())
	entries, err := f.ReadDir(maxRules) // in no order, which would cost more
	if err != nil && !errors.Is(err, io.EOF) {
		return gone(err)
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 { // what a link leads to has a place of its own
			continue
		}
		name := path + "/" + e.Name()
		if path == "/" {
			name = "/" + e.Name()
		}
		switch {
		case h.hidden[name]:
			continue
		case h.leads[name] && e.IsDir():
			err = h.entries(name, r, rights)
		default:
			err = r.allowAt(folder, e.Name(), e.IsDir(), rights)
		}
		if err != nil {
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

// A resolver follows the links of paths, and remembers where the folders lead that it has seen.
type resolver map[string]resolved

type resolved struct {
	path   string
	exists bool
}

// resolve follows the links of an absolute path as far as it exists; what doesn't exist may be made later.
func (r resolver) resolve(path string) string { return r.look(filepath.Clean(path)).path }

func (r resolver) look(path string) resolved {
	if path == "/" {
		return resolved{"/", true}
	}
	if known, ok := r[path]; ok {
		return known
	}
	dir := r.look(filepath.Dir(path))
	res := resolved{path: filepath.Join(dir.path, filepath.Base(path))}
	if dir.exists {
		st, err := os.Lstat(res.path)
		res.exists = err == nil
		if err == nil && st.Mode()&fs.ModeSymlink != 0 {
			if to, err := filepath.EvalSymlinks(res.path); err == nil {
				res.path = to
			} else {
				res.exists = false
			}
		}
	}
	r[path] = res
	return res
}

// below says whether path is dir or lies in it. Both are clean.
func below(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
