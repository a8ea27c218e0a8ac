package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/sekexe/sekexe/image"
)

// Progress says how far a fetch is.
type Progress struct {
	Phase       string
	Done, Total int64 // bytes
}

// Options say what to fetch.
type Options struct {
	Name  string // written out: see config.ParseImage; for Archive an absolute path
	Store *image.Store
	// Progress, if set, is told how far it is, several times a second, from one goroutine at a time.
	Progress func(Progress)
}

// Fetch brings an image into the store, unless it is there, and returns its ID. Whatever ends it, the store is as it was or has the image.
func Fetch(ctx context.Context, o Options) (string, error) {
	id, err := fetch(ctx, o)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", o.Name, err)
	}
	return id, nil
}

// Resolve says what an image is, and brings nothing here: its ID and, of one of a registry, the digest of its manifest, by which that knows it.
func Resolve(ctx context.Context, o Options) (id, manifest string, err error) {
	w, ctx := newWatch(ctx)
	defer w.stop()
	s, err := open(ctx, o.Name, w)
	if err == nil && s.remote {
		var h v1.Hash
		h, err = s.image.Digest()
		manifest = h.String()
	}
	if err != nil {
		return "", "", fmt.Errorf("image %s: %w", o.Name, stalled(ctx, err))
	}
	return s.id, manifest, nil
}

func fetch(ctx context.Context, o Options) (string, error) {
	w, ctx := newWatch(ctx)
	defer w.stop()
	before := image.Identity(o.Name)
	s, err := open(ctx, o.Name, w)
	if err != nil {
		return "", stalled(ctx, err)
	}
	waiting := func() { o.report(Progress{Phase: "waiting for another process that makes it"}) }
	err = o.Store.Make(ctx, s.id, waiting, func(root, config string) error {
		m := &maker{source: s, watch: w, o: &o, dir: filepath.Dir(root)}
		if err := m.make(ctx, root); err != nil {
			return stalled(ctx, err)
		}
		return os.WriteFile(config, s.config, 0o644)
	})
	if err != nil {
		return "", err
	}
	return s.id, o.Store.Remember(o.Name, s.id, before)
}

// stalled puts the cause of a cancelled context in the place of an error that only says that it was cancelled.
func stalled(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return &Error{text: "ask its registry: " + cause.Error(), err: err, Unreachable: true}
	}
	return err
}

func (o *Options) report(p Progress) {
	if o.Progress != nil {
		o.Progress(p)
	}
}

// A maker makes the file of an image.
type maker struct {
	source *source
	watch  *watch
	o      *Options
	dir    string // for what is not kept
	layers []v1.Layer
	total  int64 // bytes of the layers, as they are read
}

// make unpacks the image into the file root.
func (m *maker) make(ctx context.Context, root string) error {
	var err error
	if m.layers, err = m.source.image.Layers(); err != nil {
		return fmt.Errorf("find its layers: %w", err)
	}
	if len(m.layers) != len(m.source.diffs) {
		return fmt.Errorf("unpack it: it has %d layers, and its configuration knows of %d", len(m.layers), len(m.source.diffs))
	}
	if m.source.remote {
		if err := m.download(ctx); err != nil {
			return fmt.Errorf("pull it: %w", err)
		}
	}
	m.watch.timer.Stop()
	t := newTree()
	for i := range m.layers {
		if err := m.readLayer(ctx, t, i); err != nil {
			return fmt.Errorf("unpack layer %d: %w", i+1, err)
		}
	}
	config, err := image.ParseConfig(m.source.config)
	if err != nil {
		return err
	}
	t.complete(config.Dir)
	if err := m.write(ctx, t, root); err != nil {
		return fmt.Errorf("unpack it: %w", err)
	}
	return m.removeBlobs()
}

// blob is the file with a layer that was downloaded.
func (m *maker) blob(i int) string { return filepath.Join(m.dir, "layer-"+strconv.Itoa(i)) }

// download brings the layers here: they are read twice.
func (m *maker) download(ctx context.Context) error {
	for _, l := range m.layers {
		n, err := l.Size()
		if err != nil {
			return err
		}
		m.total += n
	}
	if m.total > maxContents {
		return fmt.Errorf("it has more than %d bytes", int64(maxContents))
	}
	defer m.showDownload()()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(3)
	for i, l := range m.layers {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			local, err := downloadLayer(l, m.blob(i))
			m.layers[i] = local
			return err
		})
	}
	return g.Wait()
}

// showDownload shows how far the download is until the function that it returns is called.
func (m *maker) showDownload() func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			m.o.report(Progress{Phase: "pulling", Done: min(m.watch.done.Load(), m.total), Total: m.total})
			select {
			case <-t.C:
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// downloadLayer writes a layer to a file; the library compares its digest.
func downloadLayer(l v1.Layer, path string) (v1.Layer, error) {
	digest, err := l.Digest()
	if err != nil {
		return nil, err
	}
	r, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, r)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return partial.CompressedToLayer(&blob{path, digest, n})
}

// A blob is a layer in a file.
type blob struct {
	path   string
	digest v1.Hash
	size   int64
}

func (b *blob) Digest() (v1.Hash, error)            { return b.digest, nil }
func (b *blob) Compressed() (io.ReadCloser, error)  { return os.Open(b.path) }
func (b *blob) Size() (int64, error)                { return b.size, nil }
func (b *blob) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// readLayer enters a layer into the tree, and compares the digest of its contents.
func (m *maker) readLayer(ctx context.Context, t *tree, i int) error {
	m.o.report(Progress{Phase: fmt.Sprintf("reading layer %d of %d", i+1, len(m.layers))})
	r, err := m.layers[i].Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	sum := newSum(ctx, r)
	if err := t.add(i, sum); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, sum); err != nil { // what is behind the archive's end counts, too
		return err
	}
	if h := sum.hash(); h != m.source.diffs[i] {
		return fmt.Errorf("its contents have the digest %s, and should have %s", h, m.source.diffs[i])
	}
	return nil
}

// write writes the file system.
func (m *maker) write(ctx context.Context, t *tree, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	m.o.report(Progress{Phase: "making its file system"})
	r, w := io.Pipe()
	flattened := make(chan error, 1)
	go func() {
		err := t.flatten(w, len(m.layers), func(i int) (io.ReadCloser, error) {
			m.o.report(Progress{Phase: fmt.Sprintf("writing layer %d of %d", i+1, len(m.layers))})
			rc, err := m.layers[i].Uncompressed()
			if err != nil {
				return nil, err
			}
			return &boundReader{ctx, rc}, nil
		})
		w.CloseWithError(err) // nil: the end
		flattened <- err
	}()
	err = tar2ext4.ConvertTarToExt4(r, f, tar2ext4.MaximumDiskSize(2*maxContents))
	r.CloseWithError(errors.New("the file system could not be written")) // so that the other side ends
	if other := <-flattened; err == nil {
		err = other
	}
	if err == nil {
		err = f.Sync() // before it is given its name: see Store.Make
	}
	return errors.Join(err, f.Close())
}

// removeBlobs removes what was downloaded.
func (m *maker) removeBlobs() error {
	for i := range m.layers {
		if err := os.Remove(m.blob(i)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
