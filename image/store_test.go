package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const configText = `{"architecture": "amd64", "os": "linux", "config": {"Env": ["A=b"], "WorkingDir": "work", "User": "app:", "Cmd": ["serve"]}}`

// id makes an ID of a digit.
func id(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// put makes an image of so many bytes, last used so many hours ago.
func put(t *testing.T, s *Store, id string, size, hours int) {
	t.Helper()
	err := s.Make(t.Context(), id, nil, func(root, config string) error {
		return errors.Join(os.WriteFile(root, make([]byte, size), 0o600), os.WriteFile(config, []byte(configText), 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	used := time.Now().Add(-time.Duration(hours) * time.Hour)
	if err := os.Chtimes(filepath.Join(s.folder(id), configFile), used, used); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "images")}
	if _, err := s.Find("a:b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find in a store that is empty: %v", err)
	}
	put(t, s, id("1"), 1, 0)
	if err := s.Remember("a:b", id("1"), ""); err != nil {
		t.Fatal(err)
	}
	i, err := s.Find("a:b")
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if c := i.Config; i.ID != id("1") || c.Dir != "/work" || c.User != "app" || len(c.Env) != 1 || len(c.Cmd) != 1 {
		t.Errorf("Find: %+v", i)
	}
	if _, err := s.Find("a:c"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find of another name: %v", err)
	}
	if _, err := s.Get("sha256:../../x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of what is no digest: %v", err)
	}
}

// TestFindChanged holds that the name of a file means nothing any more when the file is another.
func TestFindChanged(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "images")}
	put(t, s, id("1"), 1, 0)
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := ArchivePrefix + file + ":a/b:c"
	before := Identity(name)
	if err := s.Remember(name, id("1"), before); err != nil {
		t.Fatal(err)
	}
	i, err := s.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	_ = i.Close()
	if err := os.WriteFile(file, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find of a file that has changed: %v", err)
	}
}

func TestPrune(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "images"), Limit: 100 << 10}
	put(t, s, id("1"), 40<<10, 3)
	put(t, s, id("2"), 40<<10, 2)
	held, err := s.Get(id("1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"one": id("1"), "two": id("2")} {
		if err := s.Remember(name, id, ""); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-3 * time.Hour)
	if err := os.Chtimes(filepath.Join(s.folder(id("1")), configFile), old, old); err != nil {
		t.Fatal(err)
	}
	put(t, s, id("3"), 40<<10, 1)
	if !s.has(id("1")) || s.has(id("2")) || !s.has(id("3")) {
		t.Errorf("the oldest is held: of 1, 2 and 3 there are %v, %v and %v; want 1 and 3", s.has(id("1")), s.has(id("2")), s.has(id("3")))
	}
	if _, err := s.Find("two"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the name of a removed image: %v", err)
	}
	if names, err := filepath.Glob(filepath.Join(s.Dir, namesDir, "*")); err != nil || len(names) != 1 {
		t.Errorf("names left: %q, %v; want that of 1 alone", names, err)
	}
	_ = held.Close()
	put(t, s, id("4"), 90<<10, 0)
	if s.has(id("1")) || s.has(id("3")) || !s.has(id("4")) {
		t.Error("images that are not held are kept beyond the limit, or the new one isn't")
	}
}

func TestMakeFails(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "images")}
	failure := errors.New("failure")
	err := s.Make(t.Context(), id("1"), nil, func(root, _ string) error {
		return errors.Join(os.WriteFile(root, []byte("half"), 0o600), failure)
	})
	if !errors.Is(err, failure) || s.has(id("1")) {
		t.Errorf("Make: %v", err)
	}
	// What a killed process left goes, too.
	left := filepath.Join(s.Dir, ".new-"+strings.Repeat("1", 64))
	if err := os.MkdirAll(filepath.Join(left, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, s, id("1"), 1, 0)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.folder(id("1")), "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left is in the image: %v", err)
	}
}

// TestMakeOnce holds that the second of two waits for the first, and makes nothing.
func TestMakeOnce(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "images")}
	var builds atomic.Int32
	waits, done := make(chan struct{}), make(chan error)
	build := func(root, config string) error {
		builds.Add(1)
		go func() {
			done <- s.Make(context.Background(), id("1"), func() { close(waits) }, func(string, string) error {
				builds.Add(1)
				return nil
			})
		}()
		<-waits
		return errors.Join(os.WriteFile(root, nil, 0o600), os.WriteFile(config, []byte(configText), 0o600))
	}
	if err := s.Make(t.Context(), id("1"), nil, build); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || builds.Load() != 1 {
		t.Errorf("the second: %v; %d builds, want 1", err, builds.Load())
	}
}

// TestMakeWaitEnds holds that who waits can be interrupted.
func TestMakeWaitEnds(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "images")}
	err := s.Make(t.Context(), id("1"), nil, func(root, config string) error {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Make(ctx, id("1"), cancel, func(string, string) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Make: %v, want that it was cancelled", err)
		}
		return errors.Join(os.WriteFile(root, nil, 0o600), os.WriteFile(config, []byte(configText), 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestParseConfig(t *testing.T) {
	for text, want := range map[string]string{
		`{"os": "linux", "architecture": "arm64"}`: "for linux/arm64",
		`{"os": "windows"}`:                        "for windows/",
		`{`:                                        "read its configuration",
		strings.Repeat(" ", maxConfig+1):           "more than",
	} {
		if c, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseConfig(%.50s): %+v, %v; want an error with %q", text, c, err, want)
		}
	}
}
