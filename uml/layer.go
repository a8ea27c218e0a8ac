package uml

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
	now, err := lowerText(r)
	if err == nil {
		err = checkLower(r, now) // before the disk is grown for a root that it isn't for
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = d.open()
	}
	if err != nil {
		return disk{}, err
	}
	if err = checkLower(r, now); errors.Is(err, fs.ErrNotExist) { // it is locked, so that nobody else makes the note meanwhile
		err = writeNote(filepath.Join(r.Persist, layerNote), now)
	}
	if err != nil {
		d.file.Close()
		return disk{}, err
	}
	return d, nil
}

// checkLower refuses a layer that was made over another root: the files that it has are the changed ones of that, and what an overlay of the two
// would show isn't defined (Documentation/filesystems/overlayfs.rst). The error wraps fs.ErrNotExist if it isn't said what it was made over.
func checkLower(r *orchestrator.Root, now string) error {
	b, err := os.ReadFile(filepath.Join(r.Persist, layerNote))
	if err != nil {
		return err
	}
	if before := strings.TrimSuffix(string(b), "\n"); before != now {
		return withHint(fmt.Errorf("what is there was written over another root, %s, and this one is %s", clean(before), now),
			"remove that folder, with what was kept, or name another one")
	}
	return nil
}

// superblock is how much of a file holds what tells its file system from others: identifier, time and layout, of ext4, squashfs and erofs alike.
const superblock = 4096

// lowerText names what a root's upper layer lies on: an image by its contents, a file by its path and what its file system says of itself, all else by
// its name, because it may change from run to run (see keptOptions in package guest).
func lowerText(r *orchestrator.Root) (string, error) {
	switch {
	case r.Image != "":
		return "image " + r.ImageID, nil
	case r.FileSystem != "":
		f, err := os.Open(r.Source)
		if err != nil {
			return "", err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.CopyN(h, f, superblock); err != nil && err != io.EOF {
			return "", fmt.Errorf("%s: read it: %w", r.Source, err)
		}
		return fmt.Sprintf("file %s with the superblock %x", r.Source, h.Sum(nil)[:8]), nil
	case r.Source != "":
		return "folder " + r.Source, nil
	}
	return "this machine's files", nil
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
