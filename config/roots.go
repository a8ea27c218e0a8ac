package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
)

// buildRoot reads a root block.
func (l *loader) buildRoot(in *instance, b *block) Root {
	d := l.nested(in, b)
	r := Root{Mode: d.oneOf("mode", "overlay", "overlay", "ro"), Size: d.rootSize()}
	r.Persist = d.persist(r.Mode)
	if v := d.get("source"); v != nil {
		if r.Source = d.hostPath(v); r.Source != "" {
			r.FileSystem = d.rootSource(v, r.Source)
		}
	}
	if v := d.get("image"); v != nil && d.text(v, "the name of an image") {
		r.Image = d.imageName(v)
	}
	if r.Image != "" {
		r.Pull = d.oneOf("pull", "missing", "missing", "always", "never")
	} else if v := d.get("pull"); v != nil && d.last("image") == nil {
		d.error(v, "Nothing to pull", "Only an image is pulled. Name one in image, or remove this.")
	}
	if v := d.get("size"); v != nil && r.Mode == "ro" {
		d.error(v, "Size of nothing", `A read-only root takes nothing that would have a size. Remove this, or use mode = "overlay".`)
	}
	return r
}

// rootSize is the most that the upper layer of an overlay holds.
func (d *decoder) rootSize() int64 {
	n, ok := tried(d, func() int64 { return d.size("size", 0) })
	v := d.get("size")
	switch {
	case v == nil || !ok:
	case d.get("persist") != nil && (n < minDisk || n > maxDisk):
		d.error(v, "Invalid size", fmt.Sprintf("A root that is kept holds %s to %s.", formatSize(minDisk), formatSize(maxDisk)))
	case n < units.MiB:
		d.error(v, "Invalid size", "The memory of a root holds at least 1M.")
	}
	return n
}

// rootSource checks what a root is made of and returns the file system of an image.
func (d *decoder) rootSource(v *attrValue, path string) string {
	if err := readable(path); err != nil {
		d.checkSource(v, path)
		return ""
	}
	st, err := os.Stat(path)
	if err != nil {
		d.checkSource(v, path)
		return ""
	}
	if st.IsDir() {
		d.checkTree(v, path)
		return ""
	}
	kind, err := FileSystemOf(path)
	if err != nil {
		var advised *RootError
		if errors.As(err, &advised) {
			d.error(v, "Source not usable", fmt.Sprintf("%s: %s. %s.", path, advised.Text, strings.ToUpper(advised.Advice[:1])+advised.Advice[1:]))
			return ""
		}
		d.error(v, "Source not usable", fmt.Sprintf("%s. Let yourself read it (chmod), or name something else.", err))
	}
	return kind
}

// checkTree looks whether a folder may be the root of a system: it warns of one that isn't likely to.
func (d *decoder) checkTree(v *attrValue, dir string) {
	if err := CheckTree(dir); err != nil {
		d.l.diags.warnAt(v.attr.Expr.Range(), "Unlikely root", fmt.Sprintf("%s %s", dir, err))
	}
}

// CheckTree says why a folder is not likely to be the root of a system; nil: it may be one.
func CheckTree(dir string) error {
	if present(filepath.Join(dir, "oci-layout")) {
		return errors.New("is an OCI image layout, and not the tree of a system: name it as an image, oci:" + dir)
	}
	for _, name := range []string{"bin", "sbin", "usr", "etc"} {
		if present(filepath.Join(dir, name)) {
			return nil
		}
	}
	return errors.New("has none of bin, sbin, usr and etc, which the root of a system has: is it the right folder?")
}

func present(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
