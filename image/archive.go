package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// archiveFile is the file in the folder of an archive that was made of something else, and archivesDir the folder of a Store with what files
// have been found to hold.
const (
	archiveFile = "archive.tar"
	archivesDir = "archives"
)

// An Archive is a file with images that every Docker daemon can load. What was made of another file stays in its Store until Close.
type Archive struct {
	// Path is the file: the one that was asked for, or what was made of it.
	Path string
	// Contents is a digest that stands for the images and their names.
	Contents string
	// Names are those of the images.
	Names []string
	held  *os.File // nil: the file is no Store's
}

// Close lets the Store remove the archive if it needs the space.
func (a *Archive) Close() error {
	if a.held == nil {
		return nil
	}
	return a.held.Close()
}

// An ArchiveRecord says what a file, or a folder with an image layout, has been found to hold.
type ArchiveRecord struct {
	Path     string   `json:"path"`
	Identity string   `json:"identity"` // see FileIdentity
	Contents string   `json:"contents"`
	Names    []string `json:"names"`
	// Made is the ID of what was made of it; empty: Docker daemons load it as it is.
	Made string `json:"made,omitempty"`
}

// A NamedConfig is an image in an archive: the digest of its configuration, which stands for all that is in it, and its names.
type NamedConfig struct {
	Digest string
	Names  []string
}

// ContentsOf returns the digest that stands for images and their names, in whatever order they are.
func ContentsOf(images []NamedConfig) string {
	var lines []string
	for _, i := range images {
		lines = append(lines, i.Digest+" "+strings.Join(slices.Sorted(slices.Values(i.Names)), " "))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte("images\n" + strings.Join(lines, "\n")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ArchiveIdentity tells the state of a file with images, or of a folder with an image layout, from all others.
func ArchiveIdentity(path string) string {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, "index.json")
	}
	return fileIdentity(path)
}

// archiveRecord is the file with what is known of one.
func (s *Store) archiveRecord(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(s.Dir, archivesDir, hex.EncodeToString(sum[:16]))
}

// FindArchive returns the archive of a file or a folder at an absolute path, if nothing about that has changed since it was looked at. The
// error wraps fs.ErrNotExist if it has, or was never looked at.
func (s *Store) FindArchive(path string) (*Archive, error) {
	r, err := readArchiveRecord(s.archiveRecord(path))
	if err != nil || r.Path != path || r.Identity != ArchiveIdentity(path) {
		return nil, fmt.Errorf("image %s: find it: %w", path, fs.ErrNotExist)
	}
	a := &Archive{Path: path, Contents: r.Contents, Names: r.Names}
	if r.Made == "" {
		return a, nil
	}
	a.Path = filepath.Join(s.folder(r.Made), archiveFile)
	if a.held, err = holdFile(a.Path); err != nil {
		return nil, fmt.Errorf("image %s: find what was made of it: %w", path, err)
	}
	now := time.Now()
	_ = os.Chtimes(a.Path, now, now) // what is used last goes last
	return a, nil
}

func readArchiveRecord(file string) (*ArchiveRecord, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r ArchiveRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if !idPattern().MatchString(r.Contents) || r.Made != "" && !idPattern().MatchString(r.Made) {
		return nil, errors.New("no digest")
	}
	return &r, nil
}

// RememberArchive notes what a file holds.
func (s *Store) RememberArchive(r ArchiveRecord) error {
	if err := writeRecord(s.archiveRecord(r.Path), r); err != nil {
		return fmt.Errorf("image %s: note what it is: %w", r.Path, err)
	}
	return nil
}

// MakeArchive makes an archive of an ID unless it is there, as Make makes an image: build writes it to a file.
func (s *Store) MakeArchive(ctx context.Context, id string, waiting func(), build func(file string) error) error {
	return s.make(ctx, id, waiting, func(dir string) error { return build(filepath.Join(dir, archiveFile)) })
}

// forgetArchives removes what is known of files that are others by now, or whose archive is gone.
func (s *Store) forgetArchives() {
	files, err := filepath.Glob(filepath.Join(s.Dir, archivesDir, "*"))
	if err != nil {
		return
	}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), ".") {
			continue
		}
		if r, err := readArchiveRecord(f); err != nil || r.Identity != ArchiveIdentity(r.Path) || r.Made != "" && !s.has(r.Made) {
			_ = os.Remove(f)
		}
	}
}
