package fetch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sekexe/sekexe/image"
)

// noArchiveHint says what can be loaded.
const noArchiveHint = "name files that docker save or podman save has written, or OCI image layouts, such as docker buildx build --output type=oci writes"

// Archive looks at a file or an image layout with images for a Docker daemon, and writes into the store what it holds. What daemons of all versions
// can't load (layouts, other compressions than gzip) is made into what docker save writes. It returns the digest of the contents.
func Archive(ctx context.Context, o Options) (contents string, err error) {
	a := &archiver{o: &o, record: image.ArchiveRecord{Path: o.Name, Identity: image.ArchiveIdentity(o.Name)}}
	if err := a.look(ctx); err != nil {
		return "", fmt.Errorf("image %s: %w", o.Name, err)
	}
	return a.record.Contents, o.Store.RememberArchive(a.record)
}

// An archiver looks at one file.
type archiver struct {
	o      *Options
	record image.ArchiveRecord
}

// look finds out what it holds.
func (a *archiver) look(ctx context.Context) error {
	st, err := os.Stat(a.o.Name)
	if err != nil {
		return err
	}
	if st.IsDir() {
		index, err := layout.ImageIndexFromPath(a.o.Name)
		if err != nil {
			return &Error{text: "it is a folder without an image layout: " + err.Error(), err: err, hint: noArchiveHint}
		}
		return a.convert(ctx, index)
	}
	if err := os.MkdirAll(a.o.Store.Dir, 0o700); err != nil {
		return err
	}
	a.o.report(Progress{Phase: "reading"})
	t, err := openTar(ctx, a.o.Name, a.o.Store.Dir)
	var known *Error
	switch {
	case errors.As(err, &known) || ctx.Err() != nil:
		return err
	case errors.Is(err, os.ErrPermission):
		return &Error{text: err.Error(), err: err, hint: "make it readable for the user who runs sekexe"}
	case err != nil:
		return &Error{text: "it is no archive of images: " + err.Error(), err: err, hint: noArchiveHint}
	}
	defer t.close()
	switch {
	case t.has("manifest.json"):
		return a.saved(ctx, t)
	case t.has("index.json"):
		index, err := openTarIndex(t)
		if err != nil {
			return err
		}
		return a.convert(ctx, index)
	}
	return &Error{text: "it is no archive of images: it has neither manifest.json, as docker save writes it, nor the index.json of an OCI image layout", hint: noArchiveHint}
}

// saved takes what docker save has written.
func (a *archiver) saved(ctx context.Context, t *tarFile) error {
	images, err := savedImages(t)
	if err != nil {
		return &Error{text: "it is no whole archive of images: " + err.Error(), err: err, hint: noArchiveHint}
	}
	a.note(images)
	if t.compression == "" || t.compression == "gzip" {
		return nil
	}
	return a.keep(ctx, func(w io.Writer) error {
		r := io.NewSectionReader(t.f, 0, 1<<62)
		_, err := io.Copy(w, &boundReader{ctx, io.NopCloser(r)})
		return err
	})
}

// savedImages reads manifest.json, and of each image in it the configuration.
func savedImages(t *tarFile) ([]image.NamedConfig, error) {
	b, err := t.small("manifest.json")
	if err != nil {
		return nil, err
	}
	var m tarball.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("read its manifest.json: %w", err)
	}
	if len(m) == 0 {
		return nil, errors.New("its manifest.json names no image")
	}
	var images []image.NamedConfig
	for _, d := range m {
		config, err := t.small(d.Config)
		if err != nil {
			return nil, err
		}
		if !json.Valid(config) {
			return nil, fmt.Errorf("its file %q is no configuration of an image", d.Config)
		}
		for _, l := range d.Layers {
			// In old archives a layer may be a link to another's.
			if r, err := t.open(l); err == nil {
				if err := whole(r); err != nil {
					return nil, fmt.Errorf("its layer %q: %w", l, err)
				}
			}
		}
		images = append(images, image.NamedConfig{Digest: digestOf(config), Names: d.RepoTags})
	}
	return images, nil
}

// whole says whether the last byte of a file is there.
func whole(r *io.SectionReader) error {
	var b [1]byte
	if r.Size() == 0 {
		return nil
	}
	if _, err := r.ReadAt(b[:], r.Size()-1); err != nil {
		return errors.New("it is cut off")
	}
	return nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// note notes the images.
func (a *archiver) note(images []image.NamedConfig) {
	a.record.Contents = image.ContentsOf(images)
	for _, i := range images {
		a.record.Names = append(a.record.Names, i.Names...)
	}
	slices.Sort(a.record.Names)
	a.record.Names = slices.Compact(a.record.Names)
}

// convert makes what docker save would have written of the images of a layout.
func (a *archiver) convert(ctx context.Context, index v1.ImageIndex) error {
	named, err := a.layoutImages(index)
	if err != nil {
		return err
	}
	var list []image.NamedConfig
	for _, n := range slices.Sorted(maps.Keys(named)) {
		config, err := named[n].RawConfigFile()
		if err != nil {
			return fmt.Errorf("read its configuration: %w", err)
		}
		list = append(list, image.NamedConfig{Digest: digestOf(config), Names: []string{n}})
	}
	a.note(list)
	refs := map[name.Reference]v1.Image{}
	for n, img := range named {
		tag, err := name.NewTag(n)
		if err != nil {
			return err
		}
		if refs[tag], err = newPlainImage(img); err != nil {
			return err
		}
	}
	return a.keep(ctx, func(w io.Writer) error { return tarball.MultiRefWrite(refs, w) })
}

// keep makes an archive in the store.
func (a *archiver) keep(ctx context.Context, write func(io.Writer) error) error {
	a.record.Made = digestOf([]byte("docker-archive 1\n" + a.record.Contents))
	waiting := func() { a.o.report(Progress{Phase: "waiting for another process that makes it"}) }
	err := a.o.Store.MakeArchive(ctx, a.record.Made, waiting, func(path string) error {
		a.o.report(Progress{Phase: "making what Docker loads of it"})
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		b := bufio.NewWriterSize(f, 1<<20)
		err = write(&boundWriter{ctx, b})
		if err == nil {
			err = b.Flush()
		}
		if err == nil {
			err = f.Sync() // before it is given its name
		}
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return fmt.Errorf("make what Docker loads of it: %w", err)
	}
	return nil
}

// A boundWriter ends when its context does.
type boundWriter struct {
	ctx context.Context
	io.Writer
}

// Write implements io.Writer.
func (b *boundWriter) Write(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Writer.Write(p)
}

// The annotations with an image's name: containerd's has all of it, that of the image-spec all of it or a tag alone.
const (
	annotationName = "io.containerd.image.name"
	annotationRef  = "org.opencontainers.image.ref.name"
)

// layoutImages returns the images of a layout for our platform, by their names.
func (a *archiver) layoutImages(index v1.ImageIndex) (map[string]v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read its index: %w", err)
	}
	named := map[string]v1.Image{}
	var others []string
	for _, d := range m.Manifests {
		if !d.MediaType.IsIndex() && !d.MediaType.IsImage() {
			continue
		}
		if d.Platform != nil && (d.Platform.OS != platform.OS || d.Platform.Architecture != platform.Architecture) {
			others = append(others, d.Platform.String())
			continue
		}
		img, err := fromDescriptor(index, d)
		if err != nil {
			return nil, err
		}
		config, err := img.RawConfigFile()
		if err != nil {
			return nil, fmt.Errorf("read its configuration: %w", err)
		}
		if _, err := image.ParseConfig(config); err != nil {
			return nil, err
		}
		n, err := nameOf(a.o.Name, d.Annotations)
		if err != nil {
			return nil, err
		}
		base := n
		for i := 2; named[n] != nil; i++ { // several without a name of their own
			n = fmt.Sprintf("%s-%d", base, i)
		}
		named[n] = img
	}
	switch {
	case len(named) == 0 && len(others) > 0:
		return nil, fmt.Errorf("it has no image for linux/amd64, only for %s", strings.Join(others, ", "))
	case len(named) == 0:
		return nil, errors.New("it has no image")
	}
	return named, nil
}

// nameOf is the name of an image with these annotations in a file or folder of that path.
func nameOf(path string, annotations map[string]string) (string, error) {
	n := annotations[annotationName]
	if ref := annotations[annotationRef]; n == "" && strings.ContainsAny(ref, "/:") {
		n = ref
	} else if n == "" {
		n = fileName(path)
		if ref != "" {
			n += ":" + ref
		}
	}
	n, _, _ = strings.Cut(n, "@")
	if !strings.Contains(n[strings.LastIndex(n, "/")+1:], ":") {
		n += ":latest"
	}
	if _, err := name.NewTag(n); err != nil {
		return "", fmt.Errorf("name its image: %w", err)
	}
	return n, nil
}

// fileName makes the name of an image from that of a file: app for App.oci.tar.gz.
func fileName(path string) string {
	base := strings.ToLower(filepath.Base(path))
	for cut := true; cut; {
		cut = false
		for _, ext := range []string{".tar", ".gz", ".tgz", ".zst", ".bz2", ".oci"} {
			if rest, ok := strings.CutSuffix(base, ext); ok {
				base, cut = rest, true
			}
		}
	}
	base = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, base)
	for strings.Contains(base, "--") {
		base = strings.ReplaceAll(base, "--", "-")
	}
	if base = strings.Trim(base, "-"); base == "" {
		return "image"
	}
	return base
}

// A plainImage is an image whose layers are compressed by nothing that not all Docker daemons know.
type plainImage struct {
	v1.Image
	layers []v1.Layer
}

// newPlainImage returns an image as it is if that can be, else one with the same contents.
func newPlainImage(img v1.Image) (v1.Image, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("find its layers: %w", err)
	}
	changed := false
	for i, l := range layers {
		if layers[i], err = plain(l); err != nil {
			return nil, fmt.Errorf("read layer %d: %w", i+1, err)
		}
		changed = changed || layers[i] != l
	}
	if !changed {
		return img, nil
	}
	return &plainImage{img, layers}, nil
}

// plain returns a layer as it is unless it is compressed by zstd, else its contents.
func plain(l v1.Layer) (v1.Layer, error) {
	r, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil || string(b[:]) != magicZstd {
		return l, nil
	}
	return tarball.LayerFromOpener(l.Uncompressed, tarball.WithCompression(compression.None), tarball.WithMediaType(types.DockerUncompressedLayer))
}

// Layers implements v1.Image.
func (p *plainImage) Layers() ([]v1.Layer, error) { return p.layers, nil }

// LayerByDigest implements v1.Image.
func (p *plainImage) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	for _, l := range p.layers {
		if d, err := l.Digest(); err != nil || d == h {
			return l, err
		}
	}
	return p.Image.LayerByDigest(h) // the configuration
}

// Manifest implements v1.Image.
func (p *plainImage) Manifest() (*v1.Manifest, error) {
	m, err := p.Image.Manifest()
	if err != nil {
		return nil, err
	}
	m = m.DeepCopy()
	m.Layers = nil
	for _, l := range p.layers {
		d, err := partial.Descriptor(l)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, *d)
	}
	return m, nil
}
