package kernel

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// inspectedDir is the folder below the cache folder with what kernels said of themselves, lpjDir the one with what boots have taught.
const (
	inspectedDir = "inspected"
	lpjDir       = "lpj"
)

// maxRemembered is how many files either folder holds at most. The oldest go first.
const maxRemembered = 64

// A record is the first line of a file in inspectedDir, in JSON. The symbols of the configuration that are wanted follow.
type record struct {
	Format   uint32   `json:"format"`
	Path     string   `json:"path"`
	Identity identity `json:"identity"`
	Version  string   `json:"version"`
	Seccomp  bool     `json:"seccomp"`
	// Length is that of the configuration, Sum its CRC-32 (IEEE), against half-written and damaged files.
	Length int    `json:"length"`
	Sum    uint32 `json:"sum"`
}

// recordFormat is another whenever inspection looks for something else.
var recordFormat = crc32.ChecksumIEEE([]byte("1 " + strings.Join(wanted, " ")))

// maxRecord bounds a file of inspectedDir, in bytes.
const maxRecord = 64 << 10

var errRecord = errors.New("is no record of a kernel")

// encodeRecord makes the file that remembers a kernel.
func encodeRecord(i *Info) ([]byte, error) {
	line, err := json.Marshal(record{
		Format: recordFormat, Path: i.Path, Identity: i.id, Version: i.Version, Seccomp: i.Seccomp,
		Length: len(i.config.text), Sum: crc32.ChecksumIEEE([]byte(i.config.text)),
	})
	if err != nil {
		return nil, err
	}
	return append(append(line, '\n'), i.config.text...), nil
}

// decodeRecord reads it. What is not a whole record is an error.
func decodeRecord(b []byte) (*Info, error) {
	line, text, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return nil, errRecord
	}
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	if r.Format != recordFormat || r.Length != len(text) || r.Sum != crc32.ChecksumIEEE(text) || !filepath.IsAbs(r.Path) {
		return nil, errRecord
	}
	if _, err := parseRelease(r.Version); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	a := answers{version: r.Version, seccomp: r.Seccomp, config: Config{string(text)}}
	if !strings.HasSuffix(a.config.text, "\n") || a.config.State("UML") != Builtin {
		return nil, errRecord
	}
	return fromAnswers(r.Path, r.Identity, a), nil
}

// recordPath is the file for a kernel.
func (f *Finder) recordPath(path string) string {
	return filepath.Join(f.CacheDir, inspectedDir, hash(path))
}

// hash makes a file name of texts.
func hash(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// recall returns what was found out about a file, if it is still the same. Whatever is wrong with the cache only means to find out again.
func (f *Finder) recall(path string, id identity) (*Info, bool) {
	if f.CacheDir == "" {
		return nil, false
	}
	b, err := readBounded(f.recordPath(path), maxRecord)
	if err != nil {
		return nil, false
	}
	info, err := decodeRecord(b)
	if err != nil || info.Path != path || info.id != id {
		return nil, false
	}
	return info, true
}

// remember writes it down, if it can.
func (f *Finder) remember(i *Info) {
	if f.CacheDir == "" {
		return
	}
	b, err := encodeRecord(i)
	if err != nil || len(b) > maxRecord {
		return
	}
	store(f.recordPath(i.Path), b)
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !isRegular(st.Mode()) || st.Size() > limit {
		return nil, fmt.Errorf("%s: is no regular file of at most %d bytes", path, limit)
	}
	b := make([]byte, st.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// store writes a file in one step and keeps its folder small. The cache is a convenience: where it can't be written, all works without.
func store(path string, b []byte) {
	dir := filepath.Dir(path)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Close())
	if err != nil || os.Rename(f.Name(), path) != nil {
		_ = os.Remove(f.Name())
		return
	}
	prune(dir, time.Now())
}

const tempPrefix = ".new-"

// prune removes the oldest files of a cache folder, and what a killed process was writing.
func prune(dir string, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= maxRemembered {
		return
	}
	type file struct {
		name string
		time time.Time
	}
	var files []file
	for _, e := range entries {
		st, err := e.Info()
		switch {
		case err != nil || !isRegular(st.Mode()):
		case !strings.HasPrefix(e.Name(), tempPrefix):
			files = append(files, file{e.Name(), st.ModTime()})
		case now.Sub(st.ModTime()) > time.Hour:
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	slices.SortFunc(files, func(a, b file) int { return b.time.Compare(a.time) })
	for _, f := range files[min(len(files), maxRemembered):] {
		_ = os.Remove(filepath.Join(dir, f.name))
	}
}
