package fetch

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sekexe/sekexe/image/imagetest"
)

// flat returns what layers make together, a line for each entry: its type, name, mode and owner, and its contents or what it leads to.
func flat(t *testing.T, layers ...[]imagetest.Entry) ([]string, error) {
	t.Helper()
	var list []v1.Layer
	tr := newTree()
	for i, entries := range layers {
		l, err := imagetest.Layer(entries...)
		check(t, err)
		list = append(list, l)
		r, err := l.Uncompressed()
		check(t, err)
		if err := tr.add(i, r); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	check(t, tr.flatten(&b, len(list), func(i int) (io.ReadCloser, error) { return list[i].Uncompressed() }))
	var lines []string
	for r := tar.NewReader(&b); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		check(t, err)
		body, err := io.ReadAll(r)
		check(t, err)
		if hdr.Name == "." {
			continue
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%c %s %o %d:%d %s%s", hdr.Typeflag, hdr.Name, hdr.Mode, hdr.Uid, hdr.Gid, hdr.Linkname, body)))
	}
}

func TestFlatten(t *testing.T) {
	type layer = []imagetest.Entry
	file, dir, link, symlink := imagetest.File, imagetest.Dir, imagetest.Hardlink, imagetest.Symlink
	for _, tc := range []struct {
		name   string
		layers []layer
		want   []string
	}{
		{"parents are implied", []layer{{file("a/b/c", "x")}}, []string{"5 a 755 0:0", "5 a/b 755 0:0", "0 a/b/c 644 0:0 x"}},
		{"a later entry of a layer counts", []layer{{file("a", "1"), file("a", "2")}}, []string{"0 a 644 0:0 2"}},
		{"a file over a file", []layer{{file("a", "1")}, {file("a", "2")}}, []string{"0 a 644 0:0 2"}},
		{"a folder's mode", []layer{{dir("d"), file("d/a", "1")}, {{Type: tar.TypeDir, Name: "d/", Mode: 0o700, UID: 5}}},
			[]string{"5 d 700 5:0", "0 d/a 644 0:0 1"}},
		{"a file over a folder", []layer{{dir("d"), file("d/a", "1")}, {file("d", "2")}}, []string{"0 d 644 0:0 2"}},
		{"a folder over a file", []layer{{file("d", "1")}, {file("d/a", "2")}}, nil},
		{"a whiteout", []layer{{file("d/a", "1"), file("d/b", "1")}, {file("d/.wh.a", "")}}, []string{"5 d 755 0:0", "0 d/b 644 0:0 1"}},
		{"a whiteout of a folder", []layer{{file("d/a", "1")}, {file(".wh.d", "")}}, nil},
		{"a whiteout and a file of one layer", []layer{{file("a", "1")}, {file("a", "2"), file(".wh.a", "")}}, []string{"0 a 644 0:0 2"}},
		{"a whiteout of what is not there", []layer{{file("a", "1")}, {file("x/.wh.a", "")}}, []string{"0 a 644 0:0 1"}},
		{"an opaque folder", []layer{{file("d/a", "1"), file("d/s/a", "1")}, {file("d/b", "2"), file("d/.wh..wh..opq", ""), file("d/s/b", "2")}},
			[]string{"5 d 755 0:0", "5 d/s 755 0:0", "0 d/b 644 0:0 2", "0 d/s/b 644 0:0 2"}},
		{"an old name of a replaced file", []layer{{file("a", "1"), link("b", "a")}, {file("a", "2")}}, []string{"0 b 644 0:0 1", "0 a 644 0:0 2"}},
		{"a link to a file of a lower layer", []layer{{file("a", "1")}, {link("b", "/a")}}, []string{"0 a 644 0:0 1", "1 b 0 0:0 a"}},
		{"a link whose target is removed", []layer{{file("a", "1"), link("b", "a")}, {file(".wh.a", "")}}, []string{"0 b 644 0:0 1"}},
		{"a link to a symbolic link", []layer{{symlink("a", "x"), link("b", "a")}}, []string{"2 a 777 0:0 x", "1 b 0 0:0 a"}},
		{"through a symbolic link", []layer{{dir("usr/lib"), symlink("lib", "usr/lib")}, {file("lib/a", "1")}},
			[]string{"5 usr 755 0:0", "5 usr/lib 755 0:0", "2 lib 777 0:0 usr/lib", "0 usr/lib/a 644 0:0 1"}},
		{"through an absolute one", []layer{{dir("d"), symlink("x/l", "/d")}, {file("x/l/a", "1")}},
			[]string{"5 d 755 0:0", "5 x 755 0:0", "2 x/l 777 0:0 /d", "0 d/a 644 0:0 1"}},
		{"out of the root", []layer{{symlink("l", "../../d"), file("../../e", "1")}, {file("l/a", "2")}},
			[]string{"5 d 755 0:0", "2 l 777 0:0 ../../d", "0 e 644 0:0 1", "0 d/a 644 0:0 2"}},
	} {
		got, err := flat(t, tc.layers...)
		if tc.name == "a folder over a file" {
			if !errors.Is(err, errNoFolder) {
				t.Errorf("%s: %v, want an error", tc.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestFlattenRefuses(t *testing.T) {
	for name, entries := range map[string][]imagetest.Entry{
		"a link to nothing":                    {imagetest.Hardlink("b", "a")},
		"a link to a folder":                   {imagetest.Dir("a"), imagetest.Hardlink("b", "a")},
		"symbolic links in a circle":           {imagetest.Symlink("a", "b"), imagetest.Symlink("b", "a"), imagetest.File("a/x", "")},
		"a link to itself through a folder":    {imagetest.Symlink("a", "a/a"), imagetest.File("a/x", "")},
		"a path whose folder is a device file": {{Type: tar.TypeChar, Name: "a"}, imagetest.File("a/x", "")},
	} {
		if got, err := flat(t, entries); err == nil {
			t.Errorf("%s: %q, want an error", name, got)
		}
	}
}

func TestACL(t *testing.T) {
	// user::rw-, user:1000:r--, group::r--, mask::r--, other::---
	in := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	want := "\x01\x00\x00\x00" + "\x01\x00\x06\x00" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x04\x00" + "\x10\x00\x04\x00" + "\x20\x00\x00\x00"
	if got, ok := ext4ACL(in); !ok || got != want {
		t.Errorf("ext4ACL: %q, %v; want %q", got, ok, want)
	}
	for _, bad := range []string{"", "\x01\x00\x00\x00", in[:len(in)-1]} {
		if got, ok := ext4ACL(bad); ok {
			t.Errorf("ext4ACL(%q) = %q", bad, got)
		}
	}
}

// FuzzTree holds that no layer makes the tree or what is written of it go wrong other than by an error.
func FuzzTree(f *testing.F) {
	for _, entries := range [][]imagetest.Entry{
		{imagetest.File("a/b", "x"), imagetest.Hardlink("c", "a/b"), imagetest.Symlink("l", "a"), imagetest.File("l/.wh.b", "")},
		{imagetest.Dir("d"), imagetest.File("d/.wh..wh..opq", "")},
	} {
		l, err := imagetest.Layer(entries...)
		if err != nil {
			f.Fatal(err)
		}
		r, err := l.Uncompressed()
		if err != nil {
			f.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		layers := [][]byte{one, two}
		tr := newTree()
		for i, b := range layers {
			if tr.add(i, bytes.NewReader(b)) != nil {
				return
			}
		}
		tr.complete("/a/l/x")
		var out bytes.Buffer
		if tr.flatten(&out, len(layers), func(i int) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layers[i])), nil }) != nil {
			return
		}
		seen := map[string]bool{}
		for r := tar.NewReader(&out); ; {
			hdr, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("the archive that was written can't be read: %v", err)
			}
			if seen[hdr.Name] {
				t.Fatalf("%q comes twice", hdr.Name)
			}
			seen[hdr.Name] = true
		}
	})
}
