package fetch

import (
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A tarIndex is the index of an OCI image layout in an archive (github.com/opencontainers/image-spec, image-layout.md), or one that it names.
type tarIndex struct {
	t   *tarFile
	raw []byte
}

// openTarIndex returns the layout's index.
func openTarIndex(t *tarFile) (v1.ImageIndex, error) {
	raw, err := t.small("index.json")
	if err != nil {
		return nil, err
	}
	return &tarIndex{t, raw}, nil
}

// blobName is the name of a blob in a layout.
func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func (i *tarIndex) MediaType() (types.MediaType, error) { return types.OCIImageIndex, nil }
func (i *tarIndex) Digest() (v1.Hash, error)            { return partial.Digest(i) }
func (i *tarIndex) Size() (int64, error)                { return partial.Size(i) }
func (i *tarIndex) RawManifest() ([]byte, error)        { return i.raw, nil }

func (i *tarIndex) IndexManifest() (*v1.IndexManifest, error) {
	var m v1.IndexManifest
	return &m, json.Unmarshal(i.raw, &m)
}

func (i *tarIndex) Image(h v1.Hash) (v1.Image, error) {
	raw, err := i.t.small(blobName(h))
	if err != nil {
		return nil, err
	}
	img := &tarImage{t: i.t, raw: raw}
	if err := json.Unmarshal(raw, &img.manifest); err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	return partial.CompressedToImage(img)
}

func (i *tarIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	raw, err := i.t.small(blobName(h))
	if err != nil {
		return nil, err
	}
	return &tarIndex{i.t, raw}, nil
}

// A tarImage is an image of such a layout.
type tarImage struct {
	t        *tarFile
	raw      []byte
	manifest v1.Manifest
}

func (i *tarImage) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (i *tarImage) RawManifest() ([]byte, error)        { return i.raw, nil }
func (i *tarImage) RawConfigFile() ([]byte, error) {
	return i.t.small(blobName(i.manifest.Config.Digest))
}

func (i *tarImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range append([]v1.Descriptor{i.manifest.Config}, i.manifest.Layers...) {
		if d.Digest == h {
			return &tarBlob{i.t, d}, nil
		}
	}
	return nil, fmt.Errorf("it has no layer %s", h)
}

// A tarBlob is a layer of such an image.
type tarBlob struct {
	t    *tarFile
	desc v1.Descriptor
}

func (b *tarBlob) Digest() (v1.Hash, error)            { return b.desc.Digest, nil }
func (b *tarBlob) MediaType() (types.MediaType, error) { return b.desc.MediaType, nil }

func (b *tarBlob) Size() (int64, error) {
	r, err := b.t.open(blobName(b.desc.Digest))
	if err != nil {
		return 0, err
	}
	return r.Size(), nil
}

func (b *tarBlob) Compressed() (io.ReadCloser, error) {
	r, err := b.t.open(blobName(b.desc.Digest))
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}
