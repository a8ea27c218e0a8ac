package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// namesDir is the folder of a Store with what names have meant.
const namesDir = "names"

// A nameRecord says what a name meant when it was looked up.
type nameRecord struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// Identity is that of the file which said so, for an image in a file.
	Identity string `json:"identity,omitempty"`
}

// The names of images that are files begin so: see config.ParseImage.
const (
	LayoutPrefix  = "oci:"
	ArchivePrefix = "docker-archive:"
)

// CutLocal takes the name of an image in a file apart. ok is false for those of a registry.
func CutLocal(name string) (prefix, path, tag string, ok bool) {
	for _, prefix := range []string{LayoutPrefix, ArchivePrefix} {
		rest, found := strings.CutPrefix(name, prefix)
		if !found {
			continue
		}
		if i := strings.IndexAny(rest, ":@"); i >= 0 {
			return prefix, rest[:i], rest[i:], true
		}
		return prefix, rest, "", true
	}
	return "", "", "", false
}

// Identity tells the state of the file that says what a local name means from all others; empty for names of a registry.
func Identity(name string) string {
	prefix, path, _, ok := CutLocal(name)
	if !ok {
		return ""
	}
	if prefix == LayoutPrefix {
		path = filepath.Join(path, "index.json")
	}
	return fileIdentity(path)
}

// fileIdentity tells the state of a file from all others.
func fileIdentity(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return "missing"
	}
	sys := st.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d:%d:%d:%d", sys.Dev, sys.Ino, sys.Size, st.ModTime().UnixNano(), sys.Ctim.Nano())
}

// nameFile is the file with what a name meant.
func (s *Store) nameFile(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.Dir, namesDir, hex.EncodeToString(sum[:16]))
}

func readName(file string) (*nameRecord, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r nameRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if !idPattern().MatchString(r.ID) {
		return nil, errors.New("no digest")
	}
	return &r, nil
}

// Find returns the image that a name, written out, meant when it was last looked up; for an image in a file, only if that is still the same. The
// error wraps fs.ErrNotExist if it isn't there.
func (s *Store) Find(name string) (*Image, error) {
	r, err := readName(s.nameFile(name))
	if err != nil || r.Name != name || r.Identity != Identity(name) {
		return nil, fmt.Errorf("image %s: find it: %w", name, fs.ErrNotExist)
	}
	return s.Get(r.ID)
}

// Remember notes what a name means. before is what Identity said before that was looked up.
func (s *Store) Remember(name, id, before string) error {
	if err := writeRecord(s.nameFile(name), nameRecord{name, id, before}); err != nil {
		return fmt.Errorf("image %s: note what it is: %w", name, err)
	}
	return nil
}

// writeRecord writes a file with JSON, in one step.
func writeRecord(file string, record any) error {
	b, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
