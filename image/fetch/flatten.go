package fetch

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// mountPoints are the folders that every root needs, with their modes, and emptyFiles the files that sekexe lays others over.
var (
	mountPoints = map[string]int64{"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "tmp": 0o1777}
	emptyFiles  = []string{"etc/hostname", "etc/hosts", "etc/resolv.conf"}
)

// complete adds what a root needs, and the folder that its commands start in, where the image has none.
func (t *tree) complete(workdir string) {
	for _, name := range slices.Sorted(maps.Keys(mountPoints)) {
		if t.root.names[name] == nil {
			n := newFolder(-1)
			n.inode.hdr = &tar.Header{Typeflag: tar.TypeDir, Mode: mountPoints[name], ModTime: time.Unix(0, 0)}
			t.root.names[name] = n
		}
	}
	for _, name := range emptyFiles {
		dir, base := path.Split(name)
		if folder, err := t.folder(dir, -1); err == nil && folder.isFolder() && folder.names[base] == nil {
			folder.names[base] = &node{inode: &inode{hdr: &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(0, 0)}, entry: -1}}
		}
	}
	if workdir != "" {
		_, _ = t.folder(workdir, -1) // if something is in the way, whoever starts a command there is told
	}
}

// A place is where the contents of a file are.
type place struct{ layer, entry int }

// A flattener writes a tree as one archive in which no name comes twice, and a file before the links to it.
type flattener struct {
	w *tar.Writer
	// names are those of each inode, in order.
	names map[*inode][]string
	// contents are the inodes with contents in a layer.
	contents map[place]*inode
	dirs     []string // all folders, a parent before what is in it
	byDir    map[string]*inode
	others   []*inode // what has no contents, in the order of the first name
}

// flatten writes the tree to w. open opens the layers again.
func (t *tree) flatten(w io.Writer, layers int, open func(layer int) (io.ReadCloser, error)) error {
	f := &flattener{w: tar.NewWriter(w), names: map[*inode][]string{}, contents: map[place]*inode{}, byDir: map[string]*inode{}}
	f.collect(".", t.root)
	for _, d := range f.dirs {
		if err := f.write(d, f.byDir[d], tar.TypeDir, nil); err != nil {
			return err
		}
	}
	for _, i := range f.others {
		if err := f.writeAll(i, nil); err != nil {
			return err
		}
	}
	for layer := range layers {
		if err := f.copyLayer(layer, open); err != nil {
			return err
		}
	}
	return f.w.Close()
}

// collect walks the tree.
func (f *flattener) collect(name string, n *node) {
	if n.isFolder() {
		f.dirs = append(f.dirs, name)
		f.byDir[name] = n.inode
		for _, c := range slices.Sorted(maps.Keys(n.names)) {
			f.collect(path.Join(name, c), n.names[c])
		}
		return
	}
	i := n.inode
	if f.names[i] == nil {
		if i.entry >= 0 && i.regular() {
			f.contents[place{i.layer, i.entry}] = i
		} else {
			f.others = append(f.others, i)
		}
	}
	f.names[i] = append(f.names[i], name)
}

func (i *inode) regular() bool {
	switch i.hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return true
	}
	return false
}

// copyLayer writes the files whose contents are in a layer.
func (f *flattener) copyLayer(layer int, open func(int) (io.ReadCloser, error)) error {
	wanted := 0
	for p := range f.contents {
		if p.layer == layer {
			wanted++
		}
	}
	if wanted == 0 {
		return nil
	}
	r, err := open(layer)
	if err != nil {
		return err
	}
	defer r.Close()
	tr := tar.NewReader(r)
	for entry := 0; wanted > 0; entry++ {
		if _, err := tr.Next(); errors.Is(err, io.EOF) {
			return errors.New("a layer has changed while it was read")
		} else if err != nil {
			return err
		}
		i := f.contents[place{layer, entry}]
		if i == nil {
			continue
		}
		wanted--
		if err := f.writeAll(i, tr); err != nil {
			return err
		}
	}
	return nil
}

// writeAll writes a file, and links for its other names.
func (f *flattener) writeAll(i *inode, contents io.Reader) error {
	names := f.names[i]
	kind := i.hdr.Typeflag
	if i.regular() {
		kind = tar.TypeReg
	}
	if err := f.write(names[0], i, kind, contents); err != nil {
		return err
	}
	for _, n := range names[1:] {
		if err := f.w.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: n, Linkname: names[0], Format: tar.FormatPAX}); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

// write writes one entry.
func (f *flattener) write(name string, i *inode, kind byte, contents io.Reader) error {
	from := i.hdr
	if from == nil {
		from = &tar.Header{Mode: 0o755, ModTime: time.Unix(0, 0)}
	}
	hdr := &tar.Header{
		Typeflag: kind, Name: name, Mode: from.Mode & 0o7777, Uid: from.Uid, Gid: from.Gid, ModTime: from.ModTime, AccessTime: from.ModTime,
		ChangeTime: from.ModTime, PAXRecords: attributes(from), Format: tar.FormatPAX,
	}
	switch kind {
	case tar.TypeReg:
		hdr.Size = from.Size
	case tar.TypeSymlink:
		hdr.Linkname = from.Linkname
	case tar.TypeChar, tar.TypeBlock:
		hdr.Devmajor, hdr.Devminor = from.Devmajor, from.Devminor
	}
	if err := f.w.WriteHeader(hdr); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if kind == tar.TypeReg && contents != nil {
		if _, err := io.Copy(f.w, contents); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// xattrPrefix is what records of extended attributes begin with.
const xattrPrefix = "SCHILY.xattr."

// attributes returns the extended attributes of an entry, those with access control lists in the form in which ext4 keeps them. What overlayfs
// notes for itself means nothing in an image, and would mean something to the overlay above it.
func attributes(hdr *tar.Header) map[string]string {
	out := map[string]string{}
	for k, v := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrPrefix)
		switch {
		case !ok || strings.HasPrefix(name, "trusted.overlay."):
		case name == "system.posix_acl_access" || name == "system.posix_acl_default":
			if acl, ok := ext4ACL(v); ok {
				out[k] = acl
			}
		default:
			out[k] = v
		}
	}
	return out
}
