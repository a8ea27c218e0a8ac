package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/sekexe/sekexe/image"
)

// smallImage makes an image of one file, compressed in one of the ways.
func smallImage(t testing.TB, text string, c compression.Compression) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file", Size: int64(len(text)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mt := types.OCILayer
	if c == compression.ZStd {
		mt = types.OCILayerZStd
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithCompression(c), tarball.WithMediaType(mt))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), l)
	if err != nil {
		t.Fatal(err)
	}
	c0, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c0 = c0.DeepCopy()
	c0.OS, c0.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, c0); err != nil {
		t.Fatal(err)
	}
	return img
}

// saved writes what docker save would, and returns its path.
func saved(t testing.TB, dir, ref string, img v1.Image) string {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "saved.tar")
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
	return path
}

// layoutOf writes an image layout, and returns its folder.
func layoutOf(t testing.TB, dir string, images map[string]v1.Image) string {
	t.Helper()
	p, err := layout.Write(filepath.Join(dir, "App_1.oci"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for ref, img := range images {
		var o []layout.Option
		if key, value, ok := strings.Cut(ref, "="); ok {
			o = append(o, layout.WithAnnotations(map[string]string{key: value}))
		}
		if err := p.AppendImage(img, o...); err != nil {
			t.Fatal(err)
		}
	}
	return string(p)
}

// packed makes an archive of a folder.
func packed(t testing.TB, dir string) string {
	t.Helper()
	f, err := os.Create(dir + ".tar")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// look lets Archive look at a file, and returns what the store has of it.
func look(t *testing.T, s *image.Store, path string) *image.Archive {
	t.Helper()
	contents, err := Archive(t.Context(), Options{Name: path, Store: s})
	check(t, err)
	a, err := s.FindArchive(path)
	check(t, err)
	t.Cleanup(func() { a.Close() })
	if a.Contents != contents {
		t.Errorf("%s: contents %s, and Archive said %s", path, a.Contents, contents)
	}
	return a
}

func TestArchiveSaved(t *testing.T) {
	dir, s := t.TempDir(), &image.Store{Dir: filepath.Join(t.TempDir(), "images")}
	path := saved(t, dir, "test/a:1", smallImage(t, "one", compression.GZip))
	a := look(t, s, path)
	if a.Path != path || !slices.Equal(a.Names, []string{"test/a:1"}) {
		t.Errorf("what docker save wrote: %+v", a)
	}
	b, err := os.ReadFile(path)
	check(t, err)
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, err = g.Write(b)
	check(t, errors.Join(err, g.Close()))
	z, err := zstd.NewWriter(&zs)
	check(t, err)
	_, err = z.Write(b)
	check(t, errors.Join(err, z.Close()))
	for name, c := range map[string][]byte{"a.tar.gz": gz.Bytes(), "a.tar.zst": zs.Bytes()} {
		file := filepath.Join(dir, name)
		check(t, os.WriteFile(file, c, 0o600))
		compressed := look(t, s, file)
		if compressed.Contents != a.Contents {
			t.Errorf("%s: its contents are others than those of what was compressed", name)
		}
		if asIs := compressed.Path == file; asIs != (name == "a.tar.gz") {
			t.Errorf("%s: loaded is %s", name, compressed.Path)
		} else if !asIs {
			if got, err := os.ReadFile(compressed.Path); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s: what was made of it is not what was compressed: %v", name, err)
			}
		}
	}
	other := look(t, s, saved(t, dir, "test/a:2", smallImage(t, "one", compression.GZip)))
	if other.Contents == a.Contents {
		t.Error("the same image by another name has the same contents")
	}
}

// TestArchiveLayout holds that what is made of layouts, as folders and archives, is what docker save would have written.
func TestArchiveLayout(t *testing.T) {
	s := &image.Store{Dir: filepath.Join(t.TempDir(), "images")}
	images := map[string]v1.Image{
		annotationName + "=example.org/x/y:3": smallImage(t, "one", compression.GZip),
		annotationRef + "=v2":                 smallImage(t, "two", compression.ZStd),
		annotationRef + "=test/z:1":           smallImage(t, "three", compression.None),
		"":                                    smallImage(t, "four", compression.GZip),
	}
	names := []string{"app-1:latest", "app-1:v2", "example.org/x/y:3", "test/z:1"}
	dir := layoutOf(t, t.TempDir(), images)
	folder, file := look(t, s, dir), look(t, s, packed(t, dir))
	if folder.Path != file.Path || folder.Contents != file.Contents {
		t.Errorf("a folder and an archive of it are different: %+v and %+v", folder, file)
	}
	if !slices.Equal(file.Names, names) {
		t.Errorf("its names are %q, want %q", file.Names, names)
	}
	for i, ref := range []string{annotationRef + "=v2", "", annotationName + "=example.org/x/y:3", annotationRef + "=test/z:1"} {
		tag, err := name.NewTag([]string{names[1], names[0], names[2], names[3]}[i])
		check(t, err)
		got, err := tarball.ImageFromPath(file.Path, &tag)
		check(t, err)
		want, err := images[ref].ConfigName()
		check(t, err)
		if have, err := got.ConfigName(); err != nil || have != want {
			t.Errorf("%s: configuration %s, want %s (%v)", tag, have, want, err)
		}
		layers, err := got.Layers()
		check(t, err)
		r, err := layers[0].Uncompressed()
		check(t, err)
		b, err := io.ReadAll(r)
		check(t, err)
		diff, err := layers[0].DiffID()
		check(t, err)
		if digestOf(b) != diff.String() {
			t.Errorf("%s: its layer has another digest than its configuration says", tag)
		}
	}
}

// TestArchiveChanged holds that a file that has changed is looked at again.
func TestArchiveChanged(t *testing.T) {
	dir, s := t.TempDir(), &image.Store{Dir: filepath.Join(t.TempDir(), "images")}
	path := saved(t, dir, "test/a:1", smallImage(t, "one", compression.GZip))
	before := look(t, s, path)
	check(t, os.Remove(path))
	saved(t, dir, "test/a:1", smallImage(t, "two", compression.GZip))
	if _, err := s.FindArchive(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that has changed is found: %v", err)
	}
	if after := look(t, s, path); after.Contents == before.Contents {
		t.Error("its contents have not changed")
	}
}

func TestArchiveFails(t *testing.T) {
	dir, s := t.TempDir(), &image.Store{Dir: filepath.Join(t.TempDir(), "images")}
	write := func(name string, b []byte) string {
		check(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		return filepath.Join(dir, name)
	}
	whole, err := os.ReadFile(saved(t, dir, "test/a:1", smallImage(t, strings.Repeat("x", 1<<20), compression.None)))
	check(t, err)
	arm := smallImage(t, "one", compression.GZip)
	c, err := arm.ConfigFile()
	check(t, err)
	c = c.DeepCopy()
	c.Architecture = "arm64"
	arm, err = mutate.ConfigFile(arm, c)
	check(t, err)
	empty := filepath.Join(dir, "empty")
	check(t, os.Mkdir(empty, 0o700))
	for _, test := range []struct{ name, path, want string }{
		{"nothing there", filepath.Join(dir, "missing"), "no such file"},
		{"a text", write("text", []byte("hello\n")), "it is no archive of images"},
		{"an empty file", write("zero", nil), "neither manifest.json"},
		{"another archive", packed(t, writeFolder(t, dir)), "neither manifest.json"},
		{"xz", write("x.tar.xz", []byte("\xfd7zXZ\x00\x00\x04")), "compressed by xz, which is not known here"},
		{"cut off", write("cut.tar", whole[:len(whole)/2]), "it is no"},
		{"a folder", empty, "a folder without an image layout"},
		{"another machine", layoutOf(t, t.TempDir(), map[string]v1.Image{"": arm}), "not for linux/amd64"},
	} {
		_, err := Archive(t.Context(), Options{Name: test.path, Store: s})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.Dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left in the store: %q, %v", left, err)
	}
}

// writeFolder writes a folder that is no layout.
func writeFolder(t *testing.T, dir string) string {
	t.Helper()
	d := filepath.Join(dir, "folder")
	check(t, os.Mkdir(d, 0o700))
	check(t, os.WriteFile(filepath.Join(d, "readme"), []byte("x"), 0o600))
	return d
}

// FuzzArchive holds that no file makes Archive panic, and that what it takes it finds again.
func FuzzArchive(f *testing.F) {
	dir := f.TempDir()
	img := smallImage(f, "one", compression.GZip)
	for _, seed := range []string{saved(f, dir, "test/a:1", img), packed(f, layoutOf(f, dir, map[string]v1.Image{annotationRef + "=v2": img}))} {
		b, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &image.Store{Dir: filepath.Join(t.TempDir(), "images")}
		path := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		contents, err := Archive(t.Context(), Options{Name: path, Store: s})
		if err != nil {
			return
		}
		a, err := s.FindArchive(path)
		if err != nil || a.Contents != contents {
			t.Fatalf("it was taken, but is not found: %v", err)
		}
		a.Close()
	})
}
