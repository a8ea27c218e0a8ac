package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/sekexe/sekexe/image"
)

// A source is an image before it is unpacked.
type source struct {
	image v1.Image
	// config is its configuration, and id the digest of that.
	config []byte
	id     string
	// diffs are the digests of the layers' contents, the lowest first.
	diffs []v1.Hash
	// remote says that reading a layer takes the network.
	remote bool
}

// platform is the one that sub-kernels have.
var platform = v1.Platform{OS: "linux", Architecture: "amd64"}

// open finds an image by its name, which is written out.
func open(ctx context.Context, ref string, transport http.RoundTripper) (*source, error) {
	var img v1.Image
	var err error
	prefix, path, tag, local := image.CutLocal(ref)
	switch {
	case !local:
		img, err = fromRegistry(ctx, ref, transport)
	case prefix == image.LayoutPrefix:
		img, err = fromLayout(path, tag)
	default:
		img, err = fromArchive(path, tag)
	}
	if err != nil {
		return nil, err
	}
	s := &source{image: img, remote: !local}
	return s, s.readConfig()
}

// readConfig reads the configuration, which stands for all of the image.
func (s *source) readConfig() (err error) {
	if s.config, err = s.image.RawConfigFile(); err != nil {
		return fmt.Errorf("read its configuration: %w", err)
	}
	if _, err := image.ParseConfig(s.config); err != nil {
		return err
	}
	sum := sha256.Sum256(s.config)
	s.id = "sha256:" + hex.EncodeToString(sum[:])
	c, err := v1.ParseConfigFile(strings.NewReader(string(s.config)))
	if err != nil {
		return fmt.Errorf("read its configuration: %w", err)
	}
	s.diffs = c.RootFS.DiffIDs
	return nil
}

// fromRegistry asks a registry for an image.
func fromRegistry(ctx context.Context, ref string, transport http.RoundTripper) (v1.Image, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	d, err := remote.Get(r, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(transport),
		remote.WithUserAgent("sekexe"), remote.WithPlatform(platform))
	if err != nil {
		return nil, explain(r, err)
	}
	if !d.MediaType.IsIndex() {
		return d.Image()
	}
	index, err := d.ImageIndex()
	if err != nil {
		return nil, err
	}
	return pick(index)
}

// fromLayout finds an image in an image layout: by a digest or the name in its annotation, or the only one.
func fromLayout(dir, tag string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read its index: %w", err)
	}
	var found []v1.Descriptor
	var have []string
	for _, d := range m.Manifests {
		ref := d.Annotations["org.opencontainers.image.ref.name"]
		if tag == "" || tag == "@"+d.Digest.String() || ref != "" && tag == ":"+ref {
			found = append(found, d)
		}
		have = append(have, "@"+d.Digest.String())
		if ref != "" {
			have[len(have)-1] = ":" + ref
		}
	}
	switch {
	case len(found) == 0 && tag != "":
		return nil, fmt.Errorf("it has no image %s, only %s", tag, strings.Join(have, ", "))
	case len(found) == 0:
		return nil, errors.New("it has no image")
	case len(found) > 1 && tag == "" && !samePlatforms(found):
		return pick(index)
	case len(found) > 1 && tag == "":
		return nil, fmt.Errorf("it has several images: say which by one of %s behind its name", strings.Join(have, ", "))
	}
	return fromDescriptor(index, found[0])
}

// samePlatforms says whether descriptors don't differ by platform, as those of one image for several would.
func samePlatforms(list []v1.Descriptor) bool {
	seen := map[string]bool{}
	for _, d := range list {
		if d.Platform == nil || seen[d.Platform.String()] {
			return true
		}
		seen[d.Platform.String()] = true
	}
	return false
}

// fromDescriptor returns an image of an index, of which the digest is checked: a folder may hold anything.
func fromDescriptor(index v1.ImageIndex, d v1.Descriptor) (v1.Image, error) {
	if d.MediaType.IsIndex() {
		nested, err := index.ImageIndex(d.Digest)
		if err != nil {
			return nil, err
		}
		return pick(nested)
	}
	img, err := index.Image(d.Digest)
	if err != nil {
		return nil, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	if h, _, err := v1.SHA256(strings.NewReader(string(raw))); err != nil || h != d.Digest {
		return nil, fmt.Errorf("its manifest has the digest %s, and should have %s", h, d.Digest)
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read its configuration: %w", err)
	}
	if h, _, err := v1.SHA256(strings.NewReader(string(config))); err != nil || h != m.Config.Digest {
		return nil, fmt.Errorf("its configuration has the digest %s, and should have %s", h, m.Config.Digest)
	}
	return img, nil
}

// pick returns the image of an index that is for our platform.
func pick(index v1.ImageIndex) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read its index: %w", err)
	}
	var have []string
	for _, d := range m.Manifests {
		switch {
		case d.Platform == nil && len(m.Manifests) > 1:
		case d.Platform == nil || d.Platform.OS == platform.OS && d.Platform.Architecture == platform.Architecture:
			return fromDescriptor(index, d)
		default:
			have = append(have, d.Platform.String())
		}
	}
	return nil, fmt.Errorf("it is not there for linux/amd64, only for %s", strings.Join(have, ", "))
}

// fromArchive finds an image in what docker save wrote: by a name, or the only one.
func fromArchive(path, tag string) (v1.Image, error) {
	var wanted *name.Tag
	if tag != "" {
		t, err := name.NewTag(tag[1:])
		if err != nil {
			return nil, err
		}
		wanted = &t
	}
	img, err := tarball.ImageFromPath(path, wanted)
	if err != nil {
		return nil, archiveError(path, wanted, err)
	}
	return img, nil
}

// archiveError says which images there are where the name doesn't tell them apart.
func archiveError(path string, wanted *name.Tag, err error) error {
	m, manifestErr := tarball.LoadManifest(func() (io.ReadCloser, error) { return openFile(path) })
	if manifestErr != nil {
		return fmt.Errorf("it is no archive of docker save: %w", manifestErr)
	}
	var have []string
	for _, d := range m {
		have = append(have, d.RepoTags...)
	}
	switch {
	case wanted != nil:
		return fmt.Errorf("it has no image %s, only %s", wanted, strings.Join(have, ", "))
	case len(m) > 1:
		return fmt.Errorf("it has several images: say which behind the file's name, by one of :%s", strings.Join(have, ", :"))
	}
	return err
}
