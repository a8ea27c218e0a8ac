package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// An Origin says where a kernel's source is to come from. Exactly one of Path, Version and Suite is set.
type Origin struct {
	// Path is a folder or a tarball.
	Path string
	// Version is a release of kernel.org, fetched from Mirror; an empty Mirror is KernelOrg.
	Version, Mirror string
	// Suite is one of Debian's: the source is its newest linux-source package.
	Suite string
}

// ErrUnknown says that a source was never fetched here, so that nobody knows what it is without asking the network.
var ErrUnknown = errors.New("it was never fetched here")

// String says in words where the source comes from.
func (o Origin) String() string {
	switch {
	case o.Path != "":
		return o.Path
	case o.Suite != "":
		return "Debian " + o.Suite
	case o.Mirror != "" && o.Mirror != KernelOrg:
		return o.Mirror + " " + o.Version
	}
	return "kernel.org " + o.Version
}

// Fetch finds the source, which may take long, and remembers it for Known.
func (o Origin) Fetch(ctx context.Context, cacheDir string) (*Source, error) {
	downloads := filepath.Join(cacheDir, "source")
	var s *Source
	var err error
	switch {
	case o.Path != "":
		s, err = OpenSource(ctx, o.Path)
	case o.Suite != "":
		s, err = Debian(ctx, o.Suite, downloads)
	default:
		mirror := o.Mirror
		if mirror == "" {
			mirror = KernelOrg
		}
		s, err = Download(ctx, mirror, o.Version, downloads)
	}
	if err != nil {
		return nil, err
	}
	o.remember(cacheDir, s)
	return s, nil
}

// Known returns the source without asking the network: of a release or a suite what Fetch has found last, which may be gone by now; a folder or
// a tarball as it is now. The error is ErrUnknown where nothing was fetched yet.
func (o Origin) Known(ctx context.Context, cacheDir string) (*Source, error) {
	k, err := o.recall(cacheDir)
	if o.Path == "" {
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", o, ErrUnknown)
		}
		return k.source(), nil
	}
	if err == nil && k.Stamp != "" && k.Stamp == stamp(o.Path) {
		return k.source(), nil // a tarball that need not be read again
	}
	return o.Fetch(ctx, cacheDir)
}

// A known is what is known of a source: a file of knownDir, in JSON.
type known struct {
	Schema  int    `json:"schema"` // 1
	Of      string `json:"of"`     // the Origin, in words
	Origin  string `json:"origin"`
	Version string `json:"version"`
	Hash    string `json:"sha256"`
	Tarball string `json:"tarball,omitempty"`
	// Stamp tells whether the user's tarball is still the same file.
	Stamp string `json:"stamp,omitempty"`
}

// knownDir is the folder below the cache folder with what is known of sources.
const knownDir = "source/known"

func (k *known) source() *Source {
	return &Source{Origin: k.Origin, Version: k.Version, Hash: k.Hash, Tarball: k.Tarball}
}

// file is where it is remembered.
func (o Origin) file(cacheDir string) string {
	sum := sha256.Sum256([]byte(o.String()))
	return filepath.Join(cacheDir, knownDir, hex.EncodeToString(sum[:12])+".json")
}

// remember writes down what a source is, if it can: without, it is found out again. Of a folder nothing tells whether it has changed but to
// look at all of it.
func (o Origin) remember(cacheDir string, s *Source) {
	if s.Dir != "" {
		return
	}
	k := known{Schema: 1, Of: o.String(), Origin: s.Origin, Version: s.Version, Hash: s.Hash, Tarball: s.Tarball}
	if o.Path != "" {
		k.Stamp = stamp(o.Path)
	}
	b, err := json.Marshal(k)
	if err != nil {
		return
	}
	name := o.file(cacheDir)
	if os.MkdirAll(filepath.Dir(name), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return
	}
	_, err = f.Write(b)
	if errors.Join(err, f.Close()) != nil || os.Rename(f.Name(), name) != nil {
		_ = os.Remove(f.Name())
	}
}

// recall reads it.
func (o Origin) recall(cacheDir string) (*known, error) {
	b, err := os.ReadFile(o.file(cacheDir))
	if err != nil {
		return nil, err
	}
	k, err := decodeKnown(b)
	if err == nil && k.Of != o.String() {
		err = errors.New("it is about another source")
	}
	return k, err
}

// decodeKnown reads a file of knownDir.
func decodeKnown(b []byte) (*known, error) {
	var k known
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, err
	}
	if sum, err := hex.DecodeString(k.Hash); err != nil || len(sum) != sha256.Size || k.Schema != 1 || k.Version == "" || strings.ContainsAny(k.Version, "/\x00") {
		return nil, errors.New("it says nothing of a source")
	}
	return &k, nil
}

// stamp tells one file from another, and from itself when it has changed; empty: it is none.
func stamp(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ""
	}
	return fmt.Sprintf("%d %d %d %d %d", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
}

// Built returns the kernel that was built of a source by a recipe, of these and nothing else; nil: it is not there.
func Built(cacheDir string, s *Source, r Recipe) (*Result, error) {
	fragment, err := r.text()
	if err != nil {
		return nil, err
	}
	b := &builder{key: key(s, r, fragment)}
	b.final = filepath.Join(cacheDir, "kernels", b.key)
	return b.cached(), nil
}
