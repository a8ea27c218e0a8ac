package build

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// A Source is where a kernel's source comes from.
type Source struct {
	// Origin says it in words, for provenance: a path, "kernel.org 7.2.1", "Debian sid linux-source-7.2 7.2.13-1".
	Origin string
	// Version is the kernel's, such as 7.2.13.
	Version string
	// Hash is the SHA-256 of the tarball, or of the names, sizes and times of a folder's files, in hexadecimal.
	Hash string
	// Exactly one of the two is set: Dir is a folder that is never written to, Tarball a file that is unpacked.
	Dir, Tarball string
}

// OpenSource looks at a folder or a tarball.
func OpenSource(ctx context.Context, path string) (*Source, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", path, err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, withHint(fmt.Errorf("source %s: look at it: %w", path, underlying(err)), "name the folder or the tarball of a kernel's source")
	}
	if st.IsDir() {
		return openFolder(path)
	}
	return openTarball(ctx, path)
}

func underlying(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func openFolder(dir string) (*Source, error) {
	origin := dir
	dir, err := filepath.EvalSymlinks(dir) // what is walked may not be a link
	if err != nil {
		return nil, fmt.Errorf("source %s: find it: %w", origin, underlying(err))
	}
	f, err := os.Open(filepath.Join(dir, "Makefile"))
	if err != nil {
		return nil, withHint(fmt.Errorf("source %s: find its Makefile: %w", dir, underlying(err)), "name the top folder of a kernel's source")
	}
	defer f.Close()
	version, err := makefileVersion(f)
	if err != nil {
		return nil, withHint(fmt.Errorf("source %s: read its Makefile: %w", dir, err), "name the top folder of a kernel's source")
	}
	if _, err := os.Stat(filepath.Join(dir, ".config")); err == nil {
		return nil, withHint(fmt.Errorf("source %s: build from it: it has been built in", dir), "clean it with make ARCH=um mrproper, or use a fresh copy")
	}
	if _, err := os.Stat(filepath.Join(dir, editsFile)); err == nil {
		return nil, withHint(fmt.Errorf("source %s: build from it: it is a copy that sekexe has edited", dir), "use a fresh copy")
	}
	hash, err := hashFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("source %s: hash it: %w", dir, err)
	}
	return &Source{Origin: origin, Version: version, Hash: hash, Dir: dir}, nil
}

// makefileVersion reads VERSION, PATCHLEVEL, SUBLEVEL and EXTRAVERSION, the first lines of a kernel's Makefile.
func makefileVersion(r io.Reader) (string, error) {
	v := map[string]string{}
	sc := bufio.NewScanner(r)
	for n := 0; sc.Scan() && n < 20; n++ {
		if k, val, ok := strings.Cut(sc.Text(), "="); ok {
			v[strings.TrimSpace(k)] = strings.TrimSpace(val)
		}
	}
	if err := sc.Err(); err != nil {
		return "", err
	}
	version := v["VERSION"] + "." + v["PATCHLEVEL"] + "." + v["SUBLEVEL"]
	if !versionPattern().MatchString(version) {
		return "", errors.New("it has no kernel version in its first lines")
	}
	return version + v["EXTRAVERSION"], nil
}

var versionPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`) })

// hashFolder hashes what tells a changed tree from an unchanged one without reading a gigabyte.
func hashFolder(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\x00%d\x00%d\x00%v\n", rel, i.Size(), i.ModTime().UnixNano(), i.Mode())
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func openTarball(ctx context.Context, path string) (*Source, error) {
	hash, err := hashFile(path)
	if err != nil {
		return nil, fmt.Errorf("source %s: hash it: %w", path, err)
	}
	s := &Source{Origin: path, Hash: hash, Tarball: path}
	found := errors.New("found")
	err = eachTarFile(ctx, path, func(name string, r io.Reader) error {
		// The first folder is the source's own, such as linux-7.2.13/.
		if _, rest, ok := strings.Cut(strings.TrimPrefix(name, "./"), "/"); !ok || rest != "Makefile" {
			return nil
		}
		v, err := makefileVersion(r)
		if err != nil {
			return err
		}
		s.Version = v
		return found
	})
	switch {
	case errors.Is(err, found):
		return s, nil
	case err == nil:
		err = errors.New("it has no Makefile in its first folder")
	}
	return nil, withHint(fmt.Errorf("source %s: read it: %w", path, err), "name a kernel's source: linux-VERSION.tar, .tar.gz, .tar.xz or .tar.zst")
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", underlying(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// decompressors are the programs for the endings of tarballs. They are the ones that tar(1) itself calls.
var decompressors = map[string]string{".xz": "xz", ".gz": "gzip", ".tgz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}

// eachTarFile calls f for the regular files of a tarball until it returns an error.
func eachTarFile(ctx context.Context, path string, f func(name string, r io.Reader) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var r io.Reader
	if prog := decompressors[filepath.Ext(path)]; prog != "" {
		cmd := exec.CommandContext(ctx, prog, "-dc", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() { cancel(); _ = cmd.Wait() }() // what it says of being ended early is of no interest
		r = out
	} else {
		file, err := os.Open(path)
		if err != nil {
			return underlying(err)
		}
		defer file.Close()
		r = file
	}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if err := f(h.Name, tr); err != nil {
				return err
			}
		}
	}
}

// prepare puts the source into dir and makes sekexe's edits there. A tarball is unpacked by tar(1), which is many times as fast as anything here. The
// folder appears in one step.
func (s *Source) prepare(ctx context.Context, dir string, unmodified bool) error {
	if _, err := os.Stat(dir); err == nil {
		return nil // an earlier build did
	}
	tmp := dir + ".partial"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return fmt.Errorf("source: unpack it: %w", err)
	}
	if s.Dir != "" {
		if err := link(s.Dir, tmp); err != nil {
			return fmt.Errorf("source %s: link to its files: %w", s.Dir, err)
		}
	} else if err := run(ctx, "", nil, "tar", "-C", tmp, "--strip-components=1", "--no-same-owner", "-xf", s.Tarball); err != nil {
		return fmt.Errorf("source %s: unpack it: %w", s.Tarball, err)
	}
	if !unmodified {
		if err := applyEdits(tmp); err != nil {
			return err
		}
	}
	return os.Rename(tmp, dir)
}

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

// Hint says what to do.
func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }

func withHint(err error, hint string) error { return &hinted{err, hint} }
