package build

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const makefile = "# SPDX\nVERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = 13\nEXTRAVERSION =\nNAME = x\n"

// fakeMakefile is a kernel's build system in little: it has the targets that a build calls, and Kconfig drops what it doesn't know.
const fakeMakefile = makefile + `
x86_64_defconfig:
	@echo CONFIG_UML=y > $(O)/.config
olddefconfig:
	@grep -v NOSUCH $(O)/.config > $(O)/new; mv $(O)/new $(O)/.config
linux:
	@echo "  CC      init/main.o"; test ! -e $(O)/fail || { echo "main.c:1: error: broken"; exit 1; }
	@cp /bin/true $(O)/linux; echo done >> $(O)/../../compiled
`

// tarball writes a tarball with a Makefile and returns its path.
func tarball(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct{ name, text string }{{"linux-7.2.13/Kconfig", "x"}, {"linux-7.2.13/Makefile", text}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "linux-7.2.13.tar")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func TestOpenSource(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "Makefile"), []byte(makefile), 0o644); err != nil {
		t.Fatal(err)
	}
	built := t.TempDir()
	for _, n := range []string{"Makefile", ".config"} {
		if err := os.WriteFile(filepath.Join(built, n), []byte(makefile), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ name, path, version, err string }{
		{"a folder", folder, "7.2.13", ""},
		{"a tarball", tarball(t, makefile), "7.2.13", ""},
		{"a tarball without a version", tarball(t, "all:\n"), "", "no kernel version"},
		{"nothing", filepath.Join(folder, "nosuch"), "", "no such file"},
		{"another folder", t.TempDir(), "", "find its Makefile"},
		{"a folder that was built in", built, "", "it has been built in"},
		{"no tarball", filepath.Join(folder, "Makefile"), "", "read it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := OpenSource(context.Background(), tc.path)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || hint(err) == "" {
					t.Errorf("OpenSource() = %v, hint %q; want %q and a hint", err, hint(err), tc.err)
				}
				return
			}
			if err != nil || s.Version != tc.version || len(s.Hash) != 64 {
				t.Errorf("OpenSource() = %+v, %v; want version %s", s, err, tc.version)
			}
		})
	}
}

func TestAFolderThatChangedHasAnotherHash(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "Makefile")
	if err := os.WriteFile(name, []byte(makefile), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := hashFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(makefile+"#"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := hashFolder(dir); err != nil || a == b {
		t.Errorf("hashFolder() = %s, %v after a change; before it %s", b, err, a)
	}
}

func TestRecipe(t *testing.T) {
	base, err := Recipe{Flavour: "default"}.text()
	if err != nil {
		t.Fatal(err)
	}
	smp, err := Recipe{Flavour: "smp", Set: []string{"CONFIG_NR_CPUS=8"}}.text()
	if err != nil {
		t.Fatal(err)
	}
	last := func(text, name string) string {
		syms, err := parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range syms {
			if s.Name == name {
				return s.Value
			}
		}
		return ""
	}
	for _, tc := range []struct{ text, name, want string }{
		{base, "CONFIG_SMP", "n"}, {smp, "CONFIG_SMP", "y"}, {smp, "CONFIG_NR_CPUS", "8"}, {base, "CONFIG_BLK_DEV_NBD", "n"}, {base, "CONFIG_HOSTFS", "y"},
	} {
		if got := last(tc.text, tc.name); got != tc.want {
			t.Errorf("%s = %q; want %q", tc.name, got, tc.want)
		}
	}
	for _, r := range []Recipe{{Flavour: "nosuch"}, {Flavour: "default", Set: []string{"SMP=y"}}, {Flavour: "default", Fragments: []string{"/nosuch"}}} {
		if _, err := r.text(); err == nil || hint(err) == "" {
			t.Errorf("text() of %+v = %v, hint %q; want an error with a hint", r, err, hint(err))
		}
	}
}

func TestCompare(t *testing.T) {
	got, err := compare(
		[]Symbol{{"CONFIG_A", "y"}, {"CONFIG_B", "n"}, {"CONFIG_C", "y"}, {"CONFIG_D", "n"}},
		[]Symbol{{"CONFIG_A", "y"}, {"CONFIG_C", "m"}, {"CONFIG_D", "y"}})
	want := []Dropped{{Symbol{"CONFIG_C", "y"}, "m"}, {Symbol{"CONFIG_D", "n"}, "y"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("compare(): %v, differs (-want +got):\n%s", err, diff)
	}
	if _, err := compare([]Symbol{{"CONFIG_HOSTFS", "y"}}, nil); err == nil {
		t.Error("compare() without CONFIG_HOSTFS succeeded")
	}
}

// build builds from a fake source.
func build(t *testing.T, cache string, s *Source, set ...string) (*Result, error) {
	t.Helper()
	return Kernel(context.Background(), Options{Source: s, Recipe: Recipe{Flavour: "default", Set: set}, CacheDir: cache})
}

func TestBuildAndCache(t *testing.T) {
	if m := Missing(nil); len(m) > 0 {
		t.Fatalf("build tools are missing: apt-get install %s", strings.Join(m, " "))
	}
	cache := t.TempDir()
	s, err := OpenSource(context.Background(), tarball(t, fakeMakefile))
	if err != nil {
		t.Fatal(err)
	}
	r, err := build(t, cache, s, "CONFIG_NOSUCH=y")
	if err != nil {
		t.Fatal(err)
	}
	if r.Cached || !strings.HasPrefix(r.Key, "7.2.13-default-") {
		t.Errorf("the first build: %+v", r)
	}
	if len(r.Dropped) != 1 || r.Dropped[0].String() != "CONFIG_NOSUCH=y (it is n)" {
		t.Errorf("dropped = %v; want CONFIG_NOSUCH alone", r.Dropped)
	}
	p, err := ReadProvenance(filepath.Dir(r.Path))
	if err != nil || p.Version != "7.2.13" || p.SourceHash != s.Hash || p.Compiler == "" {
		t.Errorf("provenance = %+v, %v", p, err)
	}
	again, err := build(t, cache, s, "CONFIG_NOSUCH=y")
	if err != nil || !again.Cached || again.Path != r.Path || len(again.Dropped) != 1 {
		t.Errorf("the second build = %+v, %v; want the first one's result", again, err)
	}
	other, err := build(t, cache, s)
	if err != nil || other.Cached || other.Key == r.Key {
		t.Errorf("a build with another configuration = %+v, %v", other, err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "build", "*", "*")); len(left) != 0 {
		t.Errorf("left of the builds: %v", left)
	}
}

func TestABuildThatFailsShowsItsLogAndGoesOn(t *testing.T) {
	cache := t.TempDir()
	s, err := OpenSource(context.Background(), tarball(t, fakeMakefile))
	if err != nil {
		t.Fatal(err)
	}
	text, err := Recipe{Flavour: "default"}.text()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(cache, "build", key(s, Recipe{Flavour: "default"}, text), "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "fail"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := build(t, cache, s); err == nil || !strings.Contains(err.Error(), "main.c:1: error: broken") || !strings.Contains(hint(err), "build.log") {
		t.Errorf("build() = %v, hint %q; want the compiler's words and where the log is", err, hint(err))
	}
	if err := os.Remove(filepath.Join(out, "fail")); err != nil {
		t.Fatal(err)
	}
	if r, err := build(t, cache, s); err != nil || r.Cached {
		t.Errorf("build() after the cause is gone = %+v, %v", r, err)
	}
}

func TestTwoBuildsAtOnceAreOne(t *testing.T) {
	cache := t.TempDir()
	s, err := OpenSource(context.Background(), tarball(t, fakeMakefile))
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan *Result, 4)
	for range cap(results) {
		go func() {
			r, err := build(t, cache, s)
			if err != nil {
				t.Error(err)
			}
			results <- r
		}()
	}
	fresh := 0
	for range cap(results) {
		if r := <-results; r != nil && !r.Cached {
			fresh++
		}
	}
	compiled, err := os.ReadFile(filepath.Join(cache, "build", "compiled"))
	if fresh != 1 || string(compiled) != "done\n" {
		t.Errorf("%d builds were fresh, %q was compiled (%v); want one", fresh, compiled, err)
	}
}

func TestAWaitingBuildCanBeInterrupted(t *testing.T) {
	cache := t.TempDir()
	s, err := OpenSource(context.Background(), tarball(t, fakeMakefile))
	if err != nil {
		t.Fatal(err)
	}
	text, err := Recipe{Flavour: "default"}.text()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(cache, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(cache, "build", key(s, Recipe{Flavour: "default"}, text)+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = Kernel(ctx, Options{Source: s, Recipe: Recipe{Flavour: "default"}, CacheDir: cache, Waiting: cancel})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Kernel() = %v; want that it was cancelled", err)
	}
}

func TestDownload(t *testing.T) {
	body := []byte("a tarball")
	sum := sha256.Sum256(body)
	name := "linux-7.2.1.tar.xz"
	hits := 0
	serve := func(published string, body []byte) *httptest.Server {
		mux := http.NewServeMux()
		mux.HandleFunc("/v7.x/sha256sums.asc", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "-----BEGIN PGP SIGNED MESSAGE-----\n%s  other.tar.xz\n%s  %s\n", strings.Repeat("0", 64), published, name)
		})
		mux.HandleFunc("/v7.x/"+name, func(w http.ResponseWriter, _ *http.Request) { hits++; _, _ = w.Write(body) })
		s := httptest.NewServer(mux)
		t.Cleanup(s.Close)
		return s
	}
	good := serve(hex.EncodeToString(sum[:]), body)
	dir := t.TempDir()
	for range 2 { // the second time it is there
		s, err := Download(context.Background(), good.URL, "7.2.1", dir)
		if err != nil || s.Version != "7.2.1" || s.Tarball != filepath.Join(dir, name) {
			t.Fatalf("Download() = %+v, %v", s, err)
		}
	}
	if hits != 1 {
		t.Errorf("the tarball was fetched %d times; want once", hits)
	}
	if _, err := Download(context.Background(), good.URL, "7.2.9", dir); err == nil || hint(err) == "" {
		t.Errorf("Download() of what isn't there = %v, hint %q", err, hint(err))
	}
	bad := serve(hex.EncodeToString(sum[:]), []byte("something else"))
	empty := t.TempDir()
	if _, err := Download(context.Background(), bad.URL, "7.2.1", empty); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Download() of a damaged file = %v", err)
	}
	if left, _ := os.ReadDir(empty); len(left) != 0 {
		t.Errorf("left of a damaged file: %v", left)
	}
	if _, err := Download(context.Background(), good.URL, "../7", dir); err == nil {
		t.Error("Download() of nonsense succeeded")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x y\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		syms, err := parse(strings.NewReader(text))
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, s := range syms {
			if seen[s.Name] || !strings.HasPrefix(s.Name, "CONFIG_") {
				t.Fatalf("parse(%q) = %v", text, syms)
			}
			seen[s.Name] = true
		}
	})
}
