package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A release that was fetched once is known without a network, one that was not isn't.
func TestKnownRelease(t *testing.T) {
	body := []byte("a tarball")
	sum := sha256.Sum256(body)
	mux := http.NewServeMux()
	mux.HandleFunc("/v7.x/sha256sums.asc", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s  linux-7.2.1.tar.xz\n", hex.EncodeToString(sum[:]))
	})
	mux.HandleFunc("/v7.x/linux-7.2.1.tar.xz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	server := httptest.NewServer(mux)
	cache := t.TempDir()
	o := Origin{Version: "7.2.1", Mirror: server.URL}
	if s, err := o.Known(context.Background(), cache); !errors.Is(err, ErrUnknown) {
		t.Errorf("Known() before Fetch = %+v, %v; want ErrUnknown", s, err)
	}
	fetched, err := o.Fetch(context.Background(), cache)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	s, err := o.Known(context.Background(), cache)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fetched, s); diff != "" {
		t.Errorf("Known() (-fetched +known):\n%s", diff)
	}
	for _, other := range []Origin{{Version: "7.2.2", Mirror: server.URL}, {Version: "7.2.1"}, {Suite: "sid"}} {
		if s, err := other.Known(context.Background(), cache); !errors.Is(err, ErrUnknown) {
			t.Errorf("Known() of %s = %+v, %v; want ErrUnknown", other, s, err)
		}
	}
	if err := os.WriteFile(o.file(cache), []byte(`{"schema": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := o.Known(context.Background(), cache); !errors.Is(err, ErrUnknown) {
		t.Errorf("Known() of a damaged file = %+v, %v; want ErrUnknown", s, err)
	}
}

// A folder and a tarball are always known as they are now, though a tarball is read once only.
func TestKnownPath(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"Makefile": makefile, "main.c": "1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tar := tarball(t, makefile)
	cache := t.TempDir()
	hash := func(path string) string {
		t.Helper()
		s, err := Origin{Path: path}.Known(context.Background(), cache)
		if err != nil || s.Version != "7.2.13" {
			t.Fatalf("Known() of %s = %+v, %v", path, s, err)
		}
		return s.Hash
	}
	for _, path := range []string{dir, tar} {
		first := hash(path)
		if again := hash(path); again != first {
			t.Errorf("Known() of %s = %s, then %s", path, first, again)
		}
		if k, err := (Origin{Path: path}).recall(cache); path == tar && (err != nil || k.Hash != first || k.Stamp == "" || k.Stamp != stamp(tar)) {
			t.Errorf("of the tarball %+v is remembered (%v); want its hash", k, err)
		}
		change := path
		if path == dir {
			change = filepath.Join(dir, "main.c")
		}
		if err := os.WriteFile(change, append(mustRead(t, change), make([]byte, 1024)...), 0o644); err != nil {
			t.Fatal(err)
		}
		if again := hash(path); again == first {
			t.Errorf("Known() of %s is the same after a change", path)
		}
	}
	if err := os.Remove(tar); err != nil {
		t.Fatal(err)
	}
	if s, err := (Origin{Path: tar}).Known(context.Background(), cache); err == nil {
		t.Errorf("Known() of a tarball that is gone = %+v", s)
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Built finds exactly what was built of a source by a recipe.
func TestBuilt(t *testing.T) {
	cache := t.TempDir()
	s, err := OpenSource(context.Background(), tarball(t, fakeMakefile))
	if err != nil {
		t.Fatal(err)
	}
	fragment := filepath.Join(t.TempDir(), "fragment")
	if err := os.WriteFile(fragment, []byte("CONFIG_A=y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	recipe := Recipe{Flavour: "smp", Set: []string{"CONFIG_B=y"}, Fragments: []string{fragment}}
	if r, err := Built(cache, s, recipe); r != nil || err != nil {
		t.Errorf("Built() before the build = %+v, %v", r, err)
	}
	want, err := Kernel(context.Background(), Options{Source: s, Recipe: recipe, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Built(cache, s, recipe); err != nil || r == nil || r.Path != want.Path {
		t.Errorf("Built() = %+v, %v; want %s", r, err, want.Path)
	}
	other := *s
	other.Hash = "another"
	for name, try := range map[string]func() (*Result, error){
		"another source": func() (*Result, error) { return Built(cache, &other, recipe) },
		"another flavour": func() (*Result, error) {
			return Built(cache, s, Recipe{Flavour: "default", Set: recipe.Set, Fragments: recipe.Fragments})
		},
		"another symbol": func() (*Result, error) { return Built(cache, s, Recipe{Flavour: "smp", Fragments: recipe.Fragments}) },
		"a changed fragment": func() (*Result, error) {
			if err := os.WriteFile(fragment, []byte("CONFIG_A=n\n"), 0o644); err != nil {
				return nil, err
			}
			return Built(cache, s, recipe)
		},
	} {
		if r, err := try(); r != nil || err != nil {
			t.Errorf("Built() with %s = %+v, %v; want nothing", name, r, err)
		}
	}
}

func FuzzDecodeKnown(f *testing.F) {
	f.Add([]byte(`{"schema":1,"of":"Debian sid","origin":"Debian sid linux-source-7.2 7.2.13-1","version":"7.2.13","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`))
	f.Add([]byte(`{"schema":1,"version":"../x","sha256":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := decodeKnown(b)
		if err != nil {
			return
		}
		name := key(k.source(), Recipe{Flavour: "default"}, "")
		if name != filepath.Base(name) || name == "." || name == ".." {
			t.Errorf("decodeKnown(%q) = %+v, whose kernel would be named %q", b, k, name)
		}
	})
}
