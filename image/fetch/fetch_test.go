package fetch

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/sekexe/sekexe/image"
	"github.com/sekexe/sekexe/image/imagetest"
)

// check fails the test if there is an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := imagetest.New()
	check(t, err)
	return img
}

// serveRegistry starts a registry with the image, and returns the image's name.
func serveRegistry(t *testing.T, img v1.Image, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	ref := strings.TrimPrefix(s.URL, "http://") + "/test/image:tag"
	tag, err := name.NewTag(ref)
	check(t, err)
	check(t, remote.Write(tag, img))
	return ref
}

func writeLayout(t *testing.T, img v1.Image, tag string) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	check(t, err)
	check(t, p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})))
	return dir
}

func newStore(t *testing.T) *image.Store {
	return &image.Store{Dir: filepath.Join(t.TempDir(), "images")}
}

// tool finds a program of e2fsprogs, which an ordinary user's PATH may not lead to.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p := filepath.Join(dir, name); exec.Command(p, "-V").Run() == nil {
			return p
		}
	}
	t.Fatalf("%s is missing: run make test-prerequisites", name)
	return ""
}

// e2fsck returns what e2fsck finds, which ends each finding with a question that it answers with no.
func e2fsck(t *testing.T, path string) string {
	t.Helper()
	b, err := exec.Command(tool(t, "e2fsck"), "-f", "-n", path).Output()
	var ee *exec.ExitError
	if !strings.Contains(string(b), "Pass 5") || err != nil && (!errors.As(err, &ee) || ee.ExitCode() > 4) {
		t.Fatalf("e2fsck %s: %v\n%s", path, err, b)
	}
	return string(b)
}

// debugfs lets debugfs carry out a command on an image.
func debugfs(t *testing.T, path, command string) string {
	t.Helper()
	b, err := exec.Command(tool(t, "debugfs"), "-R", command, path).Output()
	check(t, err)
	return string(b)
}

// TestSources holds that an image is the same wherever it comes from, and that the file is a file system that e2fsck has nothing against.
func TestSources(t *testing.T) {
	img := testImage(t)
	archive := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("test/image:tag")
	check(t, err)
	check(t, tarball.WriteToFile(archive, tag, img))
	dir := writeLayout(t, img, "v1")
	digest, err := img.Digest()
	check(t, err)
	config, err := img.ConfigName()
	check(t, err)
	registry := serveRegistry(t, img, nil)
	for _, ref := range []string{
		registry, strings.TrimSuffix(registry, ":tag") + "@" + digest.String(), "oci:" + dir, "oci:" + dir + ":v1", "oci:" + dir + "@" + digest.String(),
		"docker-archive:" + archive, "docker-archive:" + archive + ":test/image:tag",
	} {
		s := newStore(t)
		id, err := Fetch(t.Context(), Options{Name: ref, Store: s})
		if err != nil || id != config.String() {
			t.Errorf("Fetch %s: %s, %v; want %s", ref, id, err, config)
			continue
		}
		got, err := s.Find(ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		for _, l := range strings.Split(e2fsck(t, got.Path), "\n") {
			// The library leaves these bits as they are, which nobody reads.
			if strings.HasSuffix(l, "? no") && !strings.HasPrefix(l, "Padding at end of inode bitmap") {
				t.Errorf("%s: e2fsck: %s", ref, l)
			}
		}
		if files, err := os.ReadDir(filepath.Dir(got.Path)); err != nil || len(files) != 2 {
			t.Errorf("%s: %d files are kept: %v", ref, len(files), err)
		}
		check(t, got.Close())
	}
}

// TestAttributes holds what only debugfs shows; the rest is seen from inside by the scripts of the command.
func TestAttributes(t *testing.T) {
	s := newStore(t)
	id, err := Fetch(t.Context(), Options{Name: "oci:" + writeLayout(t, testImage(t), "x"), Store: s})
	check(t, err)
	got, err := s.Get(id)
	check(t, err)
	defer got.Close()
	if out := debugfs(t, got.Path, "ea_get data/file user.color"); !strings.Contains(out, "blue") {
		t.Errorf("user.color of data/file: %q", out)
	}
	for path, want := range map[string]string{"data/disk": "98:300", "data/link": "Links: 2", "data/suid": "User: -1294967296"} { // which is 3000000000
		out := debugfs(t, got.Path, "stat "+path)
		flat := strings.Join(strings.Fields(out), " ")
		if !strings.Contains(flat, want) {
			t.Errorf("stat %s: no %q in\n%s", path, want, out)
		}
	}
}

func TestWrongSources(t *testing.T) {
	img := testImage(t)
	dir := writeLayout(t, img, "v1")
	other := writeLayout(t, img, "a")
	p, err := layout.FromPath(other)
	check(t, err)
	plain, err := imagetest.Plain(v1.Config{})
	check(t, err)
	check(t, p.AppendImage(plain))
	arm, err := mutate.ConfigFile(plain, &v1.ConfigFile{OS: "linux", Architecture: "arm64", RootFS: v1.RootFS{Type: "layers"}})
	check(t, err)
	notTar := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(notTar, []byte("x"), 0o600))
	ref := serveRegistry(t, img, nil)
	for name, want := range map[string]string{
		"oci:" + dir + ":v2":                   "no image :v2, only :v1",
		"oci:" + other:                         "several images: say which by one of :a, @sha256:",
		"oci:" + writeLayout(t, arm, ""):       "for linux/arm64, and not for linux/amd64",
		"docker-archive:" + notTar:             "no archive of docker save",
		ref + "-2":                             "has no such image",
		"localhost:1/a:b":                      "ask registry localhost:1",
		"oci:" + filepath.Join(dir, "missing"): "no such file",
	} {
		s := newStore(t)
		_, err := Fetch(t.Context(), Options{Name: name, Store: s})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "image "+name) {
			t.Errorf("Fetch %s: %v; want %q in it", name, err, want)
		}
		var e *Error
		if unreachable := errors.As(err, &e) && e.Unreachable; unreachable != strings.HasPrefix(name, "localhost:1") {
			t.Errorf("Fetch %s: unreachable: %v", name, unreachable)
		}
	}
}

// TestForgedLayer holds that a layout can't put other contents under the digest of an image than that has: the store would keep them for all
// who name the image.
func TestForgedLayer(t *testing.T) {
	img := testImage(t)
	evil, err := imagetest.Layer(imagetest.File("etc/passwd", "root::0:0::/:/bin/sh\n"))
	check(t, err)
	r, err := evil.Compressed()
	check(t, err)
	body, err := io.ReadAll(r)
	check(t, err)
	layers, err := img.Layers()
	check(t, err)
	for i, l := range layers {
		dir := writeLayout(t, img, "x")
		digest, err := l.Digest()
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", digest.Hex), body, 0o600))
		s := newStore(t)
		if _, err := Fetch(t.Context(), Options{Name: "oci:" + dir, Store: s}); err == nil || !strings.Contains(err.Error(), "should have sha256:") {
			t.Errorf("layer %d replaced: %v", i, err)
		}
		assertEmpty(t, s)
	}
	for _, part := range []func() (v1.Hash, error){img.Digest, img.ConfigName} {
		dir := writeLayout(t, img, "x")
		h, err := part()
		check(t, err)
		file := filepath.Join(dir, "blobs", "sha256", h.Hex)
		b, err := os.ReadFile(file)
		check(t, err)
		check(t, os.WriteFile(file, append(b, ' '), 0o600))
		if _, err := Fetch(t.Context(), Options{Name: "oci:" + dir, Store: newStore(t)}); err == nil || !strings.Contains(err.Error(), "should have sha256:") {
			t.Errorf("manifest or configuration changed: %v", err)
		}
	}
}

// assertEmpty holds that a store has no image, and nothing of one.
func assertEmpty(t *testing.T, s *image.Store) {
	t.Helper()
	entries, err := os.ReadDir(s.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("%s is left in the store", e.Name())
		}
	}
}

// TestInterrupted holds that a pull that is interrupted leaves nothing, and that the next one goes well.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	armed := false
	ref := serveRegistry(t, testImage(t), func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			now := armed && strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet
			mu.Unlock()
			if now {
				w.Header().Set("Content-Length", "1000000")
				_, _ = w.Write([]byte("half"))
				w.(http.Flusher).Flush()
				cancel()
				<-r.Context().Done()
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	mu.Lock()
	armed = true
	mu.Unlock()
	s := newStore(t)
	if _, err := Fetch(ctx, Options{Name: ref, Store: s}); !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch: %v, want that it was cancelled", err)
	}
	assertEmpty(t, s)
	mu.Lock()
	armed = false
	mu.Unlock()
	if _, err := Fetch(t.Context(), Options{Name: ref, Store: s}); err != nil {
		t.Errorf("Fetch after an interruption: %v", err)
	}
}

// TestAtOnce holds that several fetches of an image at once make it once.
func TestAtOnce(t *testing.T) {
	var pulls sync.Map
	ref := serveRegistry(t, testImage(t), func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:") {
				n, _ := pulls.LoadOrStore(r.URL.Path, new(int))
				pullsMu.Lock()
				*n.(*int)++
				pullsMu.Unlock()
			}
			h.ServeHTTP(w, r)
		})
	})
	s := newStore(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := Fetch(t.Context(), Options{Name: ref, Store: s}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	layers, err := testImage(t).Layers()
	check(t, err)
	for _, l := range layers {
		d, err := l.Digest()
		check(t, err)
		n, ok := pulls.Load("/v2/test/image/blobs/" + d.String())
		if !ok || *n.(*int) != 1 {
			t.Errorf("layer %s was pulled other than once: %v", d, n)
		}
	}
}

var pullsMu sync.Mutex
