// Package imagetest makes a small OCI image for tests, with everything in it that is easily got wrong.
package imagetest

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Applets are the programs of the image, all of them busybox.
var Applets = []string{"sh", "cat", "chmod", "df", "echo", "env", "false", "hostname", "id", "ls", "mount", "mkdir", "pwd", "readlink", "sleep", "stat", "touch", "true"}

// Stamp is when its files were last changed.
var Stamp = time.Date(2020, 2, 29, 12, 34, 56, 0, time.UTC)

// An Entry is one of a layer.
type Entry struct {
	Name, Body, Link string
	Type             byte
	Mode             int64
	UID, GID         int
	Major, Minor     int64
	Xattrs           map[string]string
}

// Layer makes a layer.
func Layer(entries ...Entry) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		hdr := &tar.Header{
			Typeflag: e.Type, Name: e.Name, Linkname: e.Link, Mode: e.Mode, Uid: e.UID, Gid: e.GID, Devmajor: e.Major, Devminor: e.Minor,
			Size: int64(len(e.Body)), ModTime: Stamp, PAXRecords: map[string]string{}, Format: tar.FormatPAX,
		}
		for k, v := range e.Xattrs {
			hdr.PAXRecords["SCHILY.xattr."+k] = v
		}
		if err := w.WriteHeader(hdr); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		if _, err := io.WriteString(w, e.Body); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

// File, Dir and Symlink make entries of root's.
func File(name, body string) Entry {
	return Entry{Type: tar.TypeReg, Name: name, Body: body, Mode: 0o644}
}

// Dir makes a folder.
func Dir(name string) Entry { return Entry{Type: tar.TypeDir, Name: name, Mode: 0o755} }

// Symlink makes a symbolic link.
func Symlink(name, to string) Entry {
	return Entry{Type: tar.TypeSymlink, Name: name, Link: to, Mode: 0o777}
}

// Hardlink makes another name of a file.
func Hardlink(name, to string) Entry { return Entry{Type: tar.TypeLink, Name: name, Link: to} }

// lower is the first layer, without its programs.
func lower() []Entry {
	return []Entry{
		Dir("./"), Dir("bin/"), Dir("etc/"), Dir("usr/"), Dir("usr/lib/"), Symlink("lib", "usr/lib"),
		File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:4242:4243:app:/home/app:/bin/sh\n"),
		File("etc/group", "root:x:0:\napp:x:4243:\nextra:x:77:app\n"),
		{Type: tar.TypeDir, Name: "home/app/", Mode: 0o700, UID: 4242, GID: 4243},
		{Type: tar.TypeDir, Name: "run/app/", Mode: 0o755, UID: 4242, GID: 4243},
		{Type: tar.TypeDir, Name: "data/", Mode: 0o2750, UID: 4242, GID: 4243},
		{Type: tar.TypeReg, Name: "data/file", Body: "one\n", Mode: 0o640, UID: 1001, GID: 1002, Xattrs: map[string]string{"user.color": "blue"}},
		Hardlink("data/link", "data/file"),
		{Type: tar.TypeReg, Name: "data/suid", Body: "x", Mode: 0o4755, UID: 3_000_000_000, GID: 7},
		File("data/replaced", "old\n"), Hardlink("data/kept", "./data/replaced"),
		Symlink("data/long", strings.Repeat("0123456789/", 20)+"end"),
		{Type: tar.TypeChar, Name: "data/null", Mode: 0o666, Major: 1, Minor: 3},
		{Type: tar.TypeBlock, Name: "data/disk", Mode: 0o600, Major: 98, Minor: 300},
		{Type: tar.TypeFifo, Name: "data/fifo", Mode: 0o622},
		File("data/\xff\xfe\x01", "bytes\n"), File("data/"+strings.Repeat("n", 255), "long\n"),
		Dir("gone/"), File("gone/file", "x"), Dir("hidden/"), File("hidden/old", "x"), Dir("hidden/sub/"), File("hidden/sub/old", "x"),
		File("wasfile", "x"), Dir("wasdir/"), File("wasdir/x", "x"),
	}
}

// upper is the second layer.
func upper() []Entry {
	return []Entry{
		{Type: tar.TypeDir, Name: "etc/", Mode: 0o711},
		File("data/replaced", "new\n"),
		File(".wh.gone", ""), File(".wh.missing", ""),
		// The order must not count: what this layer adds stays.
		File("hidden/new", "new\n"), File("hidden/.wh..wh..opq", ""),
		File("lib/through-link", "through\n"),
		Dir("wasfile/"), File("wasfile/x", "x"), File("wasdir", "file\n"),
	}
}

// Config is what the image says of commands.
var Config = v1.Config{
	Env: []string{"PATH=/opt/bin:/bin", "APP=image"}, User: "app", WorkingDir: "/work/dir", Entrypoint: []string{"/bin/sh", "-c", `echo "entry: $*"; exec "$@"`, "entry"},
	Cmd: []string{"/bin/echo", "the image's own"},
}

// New makes the image. The machine must have a busybox that needs no libraries.
func New() (v1.Image, error) {
	programs, err := Programs()
	if err != nil {
		return nil, err
	}
	l, err := Layer(append(lower(), programs...)...)
	if err != nil {
		return nil, err
	}
	u, err := Layer(upper()...)
	if err != nil {
		return nil, err
	}
	return Image(Config, l, u)
}

// Plain makes an image of the programs alone, without an entrypoint.
func Plain(c v1.Config) (v1.Image, error) {
	programs, err := Programs()
	if err != nil {
		return nil, err
	}
	l, err := Layer(append([]Entry{Dir("bin/")}, programs...)...)
	if err != nil {
		return nil, err
	}
	return Image(c, l)
}

// Image makes an image of layers.
func Image(c v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, &v1.ConfigFile{Architecture: "amd64", OS: "linux", Config: c, RootFS: rootFS(img)})
}

func rootFS(img v1.Image) v1.RootFS {
	c, err := img.ConfigFile()
	if err != nil {
		return v1.RootFS{}
	}
	return c.RootFS
}

// Programs returns the entries of the programs. The machine must have a busybox that needs no libraries.
func Programs() ([]Entry, error) {
	p, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: run make test-prerequisites", err)
	}
	f, err := elf.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, h := range f.Progs {
		if h.Type == elf.PT_INTERP {
			return nil, errors.New(p + " needs libraries: run make test-prerequisites, which installs busybox-static")
		}
	}
	b, err := os.ReadFile(p)
	if err != nil {
		return nil, err
	}
	entries := []Entry{{Type: tar.TypeReg, Name: "bin/busybox", Body: string(b), Mode: 0o755}}
	for _, a := range Applets {
		entries = append(entries, Symlink("bin/"+a, "busybox"))
	}
	return entries, nil
}
