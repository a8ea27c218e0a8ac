package main

import (
	"archive/tar"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sekexe/sekexe/image/imagetest"
)

type registryKey struct{}

// scriptImage is "image saved FILE NAME", which writes a small image as docker save does, and "image oci FILE TAG", as an archive of an image layout;
// "image layout DIR", "image archive FILE" and "image tree DIR", which write the image of imagetest or a folder with its programs;
// "image registry", which starts a registry with it as $REGISTRY/test/app:1 and one without an entrypoint as $REGISTRY/test/plain:1; "image
// move", which gives the first name to the second; and "image stop", which stops the registry.
func scriptImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: image layout|archive|tree PATH, image registry|move|stop")
	}
	what := args[0]
	path := ""
	if len(args) == 3 {
		scriptNamedImage(ts, what, ts.MkAbs(args[1]), args[2])
		return
	}
	if len(args) > 1 {
		path = ts.MkAbs(args[1])
	}
	switch what {
	case "layout":
		p, err := layout.Write(path, empty.Index)
		ts.Check(err)
		ts.Check(p.AppendImage(appImage(ts), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"})))
	case "archive":
		tag, err := name.NewTag("test/app:1")
		ts.Check(err)
		ts.Check(tarball.WriteToFile(path, tag, appImage(ts)))
	case "tree":
		ts.Check(writeTree(path))
	case "registry":
		s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		ts.Defer(s.Close)
		ts.Setenv("REGISTRY", strings.TrimPrefix(s.URL, "http://"))
		push(ts, "test/app:1", appImage(ts))
		push(ts, "test/plain:1", plainImage(ts))
		ts.Value(registryKey{}).(*runningRegistry).Server = s
	case "move":
		push(ts, "test/app:1", plainImage(ts))
	case "stop":
		ts.Value(registryKey{}).(*runningRegistry).Close()
	default:
		ts.Fatalf("image %s: unknown", what)
	}
}

// scriptNamedImage writes an image whose environment has its name, so that no two are the same.
func scriptNamedImage(ts *testscript.TestScript, what, path, ref string) {
	img, err := imagetest.Plain(v1.Config{Env: []string{"PATH=/bin", "NAME=" + ref}, Cmd: []string{"/bin/env"}})
	ts.Check(err)
	if what == "saved" {
		tag, err := name.NewTag(ref)
		ts.Check(err)
		ts.Check(tarball.WriteToFile(path, tag, img))
		return
	}
	dir := path + ".layout"
	p, err := layout.Write(dir, empty.Index)
	ts.Check(err)
	ts.Check(p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref})))
	f, err := os.Create(path)
	ts.Check(err)
	defer f.Close()
	w := tar.NewWriter(f)
	ts.Check(w.AddFS(os.DirFS(dir)))
	ts.Check(w.Close())
	ts.Check(os.RemoveAll(dir))
}

// A runningRegistry is that of a script.
type runningRegistry struct{ *httptest.Server }

func appImage(ts *testscript.TestScript) v1.Image {
	img, err := imagetest.New()
	ts.Check(err)
	return img
}

func plainImage(ts *testscript.TestScript) v1.Image {
	img, err := imagetest.Plain(v1.Config{Env: []string{"PATH=/bin", "APP=plain"}})
	ts.Check(err)
	return img
}

func push(ts *testscript.TestScript, repository string, img v1.Image) {
	tag, err := name.NewTag(ts.Getenv("REGISTRY") + "/" + repository)
	ts.Check(err)
	ts.Check(remote.Write(tag, img))
}

// writeTree writes a folder with the programs of the image, and the mount points that a read-only root needs.
func writeTree(dir string) error {
	for _, d := range []string{"bin", "dev", "etc", "proc", "run", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	entries, err := imagetest.Programs()
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := filepath.Join(dir, e.Name)
		if e.Link != "" {
			err = os.Symlink(e.Link, p)
		} else {
			err = os.WriteFile(p, []byte(e.Body), 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
