package uml

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sekexe/sekexe/orchestrator"
)

// What a folder that keeps the upper layer of a root has: a disk with the layer, and a note of what the layer lies on.
const (
	layerDisk = "upper.ext4"
	layerNote = "lower"
)

// defaultLayerSize is the size in bytes of a new one where the job says none. It is sparse.
const defaultLayerSize = 8 << 30

// openLayer opens the disk with the upper layer of a root that is kept, and makes it where there is none.
func openLayer(r *orchestrator.Root) (disk, error) {
	if err := os.MkdirAll(filepath.Dir(r.Persist), 0o777); err != nil {
		return disk{}, err
	}
	if err := os.Mkdir(r.Persist, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return disk{}, err
	}
	d := disk{Disk: &orchestrator.Disk{File: filepath.Join(r.Persist, layerDisk), Size: r.Size, Mode: 0o755}}
	if d.Size == 0 {
		d.Size = defaultLayerSize
		if st, err := os.Stat(d.File); err == nil && st.Size() > 0 {
			d.Size = st.Size()
		}
	}
	if err := d.open(); err != nil {
		return disk{}, err
	}
	if err := checkLower(r); err != nil {
		d.file.Close()
		return disk{}, err
	}
	return d, nil
}

// checkLower refuses a layer that was made over another root: the files that it has are the changed ones of that, and what an overlay of the two
// would show isn't defined (Documentation/filesystems/overlayfs.rst). The layer is locked, so that nobody else makes the note meanwhile.
func checkLower(r *orchestrator.Root) error {
	note, now := filepath.Join(r.Persist, layerNote), lowerText(r)
	b, err := os.ReadFile(note)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writeNote(note, now)
	case err != nil:
		return err
	case string(b) != now+"\n":
		return withHint(fmt.Errorf("what is there was written over another root, %s, and this one is %s", clean(string(b)), now),
			"remove that folder, with what was kept, or name another one")
	}
	return nil
}

// lowerText names what a root's upper layer lies on: an image by its contents, all else by its name.
func lowerText(r *orchestrator.Root) string {
	switch {
	case r.Image != "":
		return "image " + r.ImageID
	case r.FileSystem != "":
		return "file " + r.Source
	case r.Source != "":
		return "folder " + r.Source
	}
	return "this machine's files"
}

// writeNote writes a file as a whole or not at all.
func writeNote(name, text string) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
