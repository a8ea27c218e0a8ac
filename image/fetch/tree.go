package fetch

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// A tree is what the layers of an image make together, the lowest first (github.com/opencontainers/image-spec, layer.md). It holds all but the
// contents of files.
type tree struct {
	root    *node
	entries int
	// bytes are those of all files, the replaced ones too.
	bytes int64
}

// A node is a name in a folder.
type node struct {
	// layer is the last one that had an entry for it; implied folders have that of the entry that implied them.
	layer int
	inode *inode
	names map[string]*node // of a folder
}

// An inode is a file, which may have several names.
type inode struct {
	hdr *tar.Header // as the layer has it, but for the name; nil: a folder that is only implied
	// layer and entry say where the contents of a regular file are: in the entry of this number. entry is -1 for what is in no layer.
	layer, entry int
}

// Bounds on what an image may make this program hold, or write.
const (
	maxEntries  = 5_000_000
	maxContents = 64 << 30 // bytes
)

func newTree() *tree { return &tree{root: newFolder(-1)} }

func newFolder(layer int) *node {
	return &node{layer: layer, inode: &inode{entry: -1}, names: map[string]*node{}}
}

func (n *node) isFolder() bool { return n.names != nil }

// The names of whiteouts.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// add reads a layer.
func (t *tree) add(layer int, r io.Reader) error {
	tr := tar.NewReader(r)
	for entry := 0; ; entry++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if t.entries++; t.entries > maxEntries {
			return fmt.Errorf("it has more than %d files", maxEntries)
		}
		if t.bytes += hdr.Size; t.bytes > maxContents {
			return fmt.Errorf("its files have more than %d bytes", int64(maxContents))
		}
		if err := t.enter(layer, entry, hdr); err != nil {
			return fmt.Errorf("%s: %w", hdr.Name, err)
		}
	}
}

// enter enters one entry of a layer.
func (t *tree) enter(layer, entry int, hdr *tar.Header) error {
	name := clean(hdr.Name)
	if name == "" {
		if hdr.Typeflag == tar.TypeDir {
			t.root.inode = &inode{hdr: hdr, layer: layer, entry: entry}
		}
		return nil
	}
	dir, base := path.Split(name)
	switch {
	case base == opaque:
		if n, err := t.find(dir); err == nil && n.isFolder() {
			n.hide(layer)
		}
		return nil
	case strings.HasPrefix(base, whiteout+whiteout): // of aufs's own
		return nil
	case strings.HasPrefix(base, whiteout):
		if n, err := t.find(dir); err == nil && n.isFolder() {
			n.hideName(base[len(whiteout):], layer)
		}
		return nil
	}
	n := &node{layer: layer, inode: &inode{hdr: hdr, layer: layer, entry: entry}}
	switch hdr.Typeflag {
	case tar.TypeDir:
		n.names = map[string]*node{}
	case tar.TypeLink:
		to, err := t.find(hdr.Linkname)
		if err != nil {
			return fmt.Errorf("find what it is a link to: %w", err)
		}
		if to.isFolder() {
			return errors.New("it is a hard link to a folder")
		}
		n.inode = to.inode
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default: // such as the archive's own headers
		return nil
	}
	parent, err := t.folder(dir, layer)
	if err != nil {
		return err
	}
	if old := parent.names[base]; old != nil && old.isFolder() && n.isFolder() {
		n.names = old.names
	}
	parent.names[base] = n
	return nil
}

// clean makes a relative path that leads nowhere else of an entry's name; empty is the root.
func clean(name string) string { return path.Clean("/" + name)[1:] }

// hide removes all names of a folder that lower layers had, and not this one.
func (n *node) hide(layer int) {
	for name := range n.names {
		n.hideName(name, layer)
	}
}

func (n *node) hideName(name string, layer int) {
	c := n.names[name]
	switch {
	case c == nil:
	case !c.isFolder():
		if c.layer < layer {
			delete(n.names, name)
		}
	default:
		c.hide(layer)
		if c.layer < layer && len(c.names) == 0 {
			delete(n.names, name)
		}
	}
}

// maxLinks is how many symbolic links a path may lead over, as in the kernel.
const maxLinks = 40

var (
	errMissing   = errors.New("there is no such file in the image")
	errNoFolder  = errors.New("its folder is a file")
	errManyLinks = errors.New("too many symbolic links")
)

// find returns what a path names. Symbolic links before its last element are followed, inside the tree.
func (t *tree) find(name string) (*node, error) { return t.walk(name, nil) }

// folder returns the folder of a path, which is made if it is missing.
func (t *tree) folder(name string, layer int) (*node, error) {
	return t.walk(clean(name)+"/.", func() *node { return newFolder(layer) })
}

// walk follows a path. If missing is not nil, it makes the folders that are missing, and a final "." says that the last is to be one, too.
func (t *tree) walk(name string, missing func() *node) (*node, error) {
	at := []*node{t.root} // the folders from the root
	rest := strings.Split(strings.TrimPrefix(name, "/"), "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		here := at[len(at)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			at = at[:max(1, len(at)-1)]
			continue
		}
		next := here.names[part]
		switch {
		case next == nil && missing == nil:
			return nil, errMissing
		case next == nil:
			next = missing()
			here.names[part] = next
		case next.isSymlink() && len(rest) > 0:
			if links++; links > maxLinks {
				return nil, errManyLinks
			}
			to := next.inode.hdr.Linkname
			if strings.HasPrefix(to, "/") {
				at = at[:1]
			}
			rest = append(strings.Split(to, "/"), rest...)
			continue
		case !next.isFolder() && len(rest) == 0:
			return next, nil
		case !next.isFolder():
			return nil, errNoFolder
		}
		at = append(at, next)
	}
	return at[len(at)-1], nil
}

func (n *node) isSymlink() bool { return n.inode.hdr != nil && n.inode.hdr.Typeflag == tar.TypeSymlink }
