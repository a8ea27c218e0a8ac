package uml

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// A piece of a copy: an entry, or data for the last one.
type piece struct {
	entry *wire.CopyEntry
	at    uint64
	data  string
}

func file(name string, mode uint32) piece {
	return piece{entry: &wire.CopyEntry{ID: 1, Name: name, Mode: mode, MTime: 1e18}}
}
func folder(name string) piece {
	return piece{entry: &wire.CopyEntry{ID: 1, Name: name, Type: wire.TypeFolder, Mode: 0o755, MTime: 2e18}}
}
func link(name, to string) piece {
	return piece{entry: &wire.CopyEntry{ID: 1, Name: name, Type: wire.TypeLink, Link: to}}
}
func data(at uint64, s string) piece { return piece{at: at, data: s} }

// frameOf returns the frame of a piece.
func frameOf(p piece) (wire.Kind, []byte) {
	if p.entry != nil {
		return wire.KindCopyEntry, wire.Append(nil, p.entry)
	}
	var b bytes.Buffer
	_ = wire.NewWriter(&b).WriteCopyData(1, p.at, []byte(p.data))
	return wire.KindCopyData, b.Bytes()[5:]
}

// received runs a copy of pieces, and returns what lies in the destination then: "MODE SIZE TEXT" of files, "folder", or "-> TARGET".
func received(t *testing.T, want *orchestrator.CopyOut, prepare func(dir string), pieces ...piece) (map[string]string, orchestrator.CopyResult, string) {
	t.Helper()
	outer := t.TempDir()
	dir := filepath.Join(outer, "in", "here")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outer, "secret"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(dir)
	}
	w := *want
	w.To = dir + w.To
	r := newReceiver(1, &w, func() {})
	for _, p := range pieces {
		if err := r.take(frameOf(p)); err != nil {
			t.Fatalf("take: %v", err)
		}
	}
	res, notice := r.finish(&wire.Copied{ID: 1}, nil)
	if b, err := os.ReadFile(filepath.Join(outer, "secret")); string(b) != "untouched" {
		t.Errorf("a file outside was changed: %q, %v", b, err)
	}
	if names := listing(t, outer); len(names) != 2 {
		t.Errorf("outside of the destination lies %q", names)
	}
	return tree(t, dir), res, notice
}

func listing(t *testing.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func tree(t *testing.T, dir string) map[string]string {
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		st, err := os.Lstat(p)
		if err != nil {
			return err
		}
		switch {
		case st.IsDir():
			got[name] = "folder"
		case st.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			got[name] = "-> " + to
		default:
			b, _ := os.ReadFile(p)
			got[name] = st.Mode().String() + " " + string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReceive(t *testing.T) {
	big := &orchestrator.CopyOut{From: "/g/src", Limit: 1 << 20}
	for name, test := range map[string]struct {
		want    *orchestrator.CopyOut
		prepare func(string)
		pieces  []piece
		tree    map[string]string
		err     string // a part of it
		notice  string
	}{
		"a folder's contents": {
			pieces: []piece{folder("src"), file("src/a", 0o4755), data(0, "xy"), data(4, "z"), folder("src/d"), file("src/d/\xff\n", 0o666), link("src/d/l", "../a")},
			tree:   map[string]string{"a": "-rwxr-xr-x xy\x00\x00z", "d": "folder", "d/\xff\n": "-rw-r--r-- ", "d/l": "-> ../a"},
		},
		"a file into a folder": {pieces: []piece{file("src", 0o600), data(0, "x")}, tree: map[string]string{"src": "-rw------- x"}},
		"a file of another name": {
			want:   &orchestrator.CopyOut{From: "/g/src", To: "/sub/new", Limit: 1},
			pieces: []piece{file("src", 0), data(0, "x")}, tree: map[string]string{"sub": "folder", "sub/new": "-rw------- x"},
		},
		"a pattern": {
			want:   &orchestrator.CopyOut{From: "/g/*.x", To: "/", Limit: 1 << 10},
			pieces: []piece{file("1.x", 0o644), folder("2.x"), file("2.x/y", 0o644)},
			tree:   map[string]string{"1.x": "-rw-r--r-- ", "2.x": "folder", "2.x/y": "-rw-r--r-- "},
		},
		"what was there is replaced, but no folder": {
			prepare: func(dir string) {
				os.WriteFile(dir+"/a", []byte("old, and longer"), 0o444)
				os.Symlink("../../secret", dir+"/b")
				os.Symlink("../..", dir+"/d")
			},
			pieces: []piece{folder("src"), file("src/a", 0o644), data(0, "new"), file("src/b", 0o644), data(0, "new"), folder("src/d"), file("src/d/secret", 0o644), data(0, "new")},
			tree:   map[string]string{"a": "-rw-r--r-- new", "b": "-rw-r--r-- new", "d": "folder", "d/secret": "-rw-r--r-- new"},
		},
		"a folder in the place of a file": {
			prepare: func(dir string) { os.Mkdir(dir+"/a", 0o755) },
			pieces:  []piece{folder("src"), file("src/a", 0o644)}, tree: map[string]string{"a": "folder"}, err: "a folder is in its place",
		},
		"a link in the place of a folder of its own": {
			pieces: []piece{folder("src"), folder("src/a"), link("src/a", "b")}, tree: map[string]string{"a": "folder"}, err: "a folder is in its place",
		},
		"a file behind a link": {
			pieces: []piece{folder("src"), link("src/a", "."), file("src/a/b", 0o644)}, tree: map[string]string{"a": "-> ."}, err: "there is no folder",
		},
		"links that lead out": {
			pieces: []piece{folder("src"), link("src/a", "/etc/passwd"), link("src/b", "../x"), link("src/c", "d/../.."), link("src/d", ""), link("src/e", "x\x00")},
			tree:   map[string]string{}, notice: "5 links",
		},
		"dots":               {pieces: []piece{folder("src"), file("src/../../secret", 0o644)}, err: "the name"},
		"an absolute name":   {pieces: []piece{file("/etc/x", 0o644)}, err: "the name"},
		"an empty name":      {pieces: []piece{file("", 0o644)}, err: "the name"},
		"a long name":        {pieces: []piece{folder("src"), file("src/"+strings.Repeat("x", 256), 0o644)}, err: "the name"},
		"a NUL":              {pieces: []piece{folder("src"), file("src/\x00", 0o644)}, err: "the name"},
		"another match":      {pieces: []piece{folder("src"), file("other", 0o644)}, err: "not asked for"},
		"a second file":      {pieces: []piece{file("src", 0o644), file("src", 0o644)}, tree: map[string]string{"src": "-rw-r--r-- "}, err: "not asked for"},
		"below a file":       {pieces: []piece{file("src", 0o644), file("src/a", 0o644)}, tree: map[string]string{"src": "-rw-r--r-- "}, err: "not asked for"},
		"what doesn't match": {want: &orchestrator.CopyOut{From: "/g/*.x", Limit: 1}, pieces: []piece{file("y", 0o644)}, err: "not asked for"},
		"a device":           {pieces: []piece{{entry: &wire.CopyEntry{ID: 1, Name: "src", Type: 3}}}, err: "type 3"},
		"data first":         {pieces: []piece{data(0, "x")}, err: "for no file"},
		"too large":          {want: &orchestrator.CopyOut{From: "/g/src", Limit: 3}, pieces: []piece{file("src", 0o644), data(0, "1234")}, err: "limit"},
		"too large in all": {
			want:   &orchestrator.CopyOut{From: "/g/*", Limit: 3},
			pieces: []piece{file("a", 0o644), data(0, "12"), file("b", 0o644), data(0, "12")}, tree: map[string]string{"a": "-rw-r--r-- 12"}, err: "limit",
		},
		"a hole too large": {pieces: []piece{file("src", 0o644), data(1<<40, "")}, err: "limit"},
		"an offset beyond": {pieces: []piece{file("src", 0o644), data(1<<63, "x")}, err: "for no file"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == nil {
				test.want = big
			}
			if test.tree == nil {
				test.tree = map[string]string{}
			}
			got, res, notice := received(t, test.want, test.prepare, test.pieces...)
			if diff := cmp.Diff(test.tree, got); diff != "" {
				t.Errorf("the destination differs (-want +got):\n%s", diff)
			}
			if test.err == "" && res.Error != "" || !strings.Contains(res.Error, test.err) {
				t.Errorf("error %q; want %q", res.Error, test.err)
			}
			if test.notice == "" && notice != "" || !strings.Contains(notice, test.notice) {
				t.Errorf("notice %q; want %q", notice, test.notice)
			}
		})
	}
}

func TestReceiveTimes(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(1, &orchestrator.CopyOut{From: "/src", To: dir, Limit: 100}, func() {})
	for _, p := range []piece{folder("src"), folder("src/d"), file("src/d/f", 0o644), data(0, "x")} {
		if err := r.take(frameOf(p)); err != nil {
			t.Fatal(err)
		}
	}
	if res, _ := r.finish(&wire.Copied{}, nil); res.Error != "" || res.Files != 3 || res.Bytes != 1 {
		t.Errorf("result %+v; want 3 files and 1 byte", res)
	}
	for name, ns := range map[string]int64{"d/f": 1e18, "d": 2e18, ".": 2e18} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !st.ModTime().Equal(time.Unix(0, ns)) {
			t.Errorf("%s was modified at %v, %v; want %v", name, st.ModTime(), err, time.Unix(0, ns))
		}
	}
}

func TestReceiveBounds(t *testing.T) {
	failed := 0
	r := newReceiver(1, &orchestrator.CopyOut{From: "/*", To: t.TempDir(), Limit: 100}, func() { failed++ })
	r.most = 2
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := r.take(frameOf(folder(name))); err != nil {
			t.Fatal(err)
		}
	}
	if res, _ := r.finish(&wire.Copied{}, nil); !strings.Contains(res.Error, "more than 2 files") || failed != 1 {
		t.Errorf("error %q, told %d times; want that there are more than 2, once", res.Error, failed)
	}
}

func TestReceiveEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end      wire.Copied
		optional bool
		reason   error
		want     string
	}{
		"missing":    {end: wire.Copied{Missing: true}, want: "there is no such file or folder"},
		"optional":   {end: wire.Copied{Missing: true}, optional: true},
		"unreadable": {end: wire.Copied{Failed: 2, Error: "/x: \x1b[31mno"}, want: "2 files could not be read: /x: \ufffd[31mno"},
		"cut":        {reason: errors.New("why"), want: "why"},
	} {
		r := newReceiver(1, &orchestrator.CopyOut{From: "/x", To: t.TempDir(), Optional: test.optional}, func() {})
		if res, _ := r.finish(&test.end, test.reason); res.Error != test.want {
			t.Errorf("%s: error %q; want %q", name, res.Error, test.want)
		}
	}
}

// FuzzReceive holds that nothing a guest sends makes or changes anything outside of the destination, or a link that leads there.
func FuzzReceive(f *testing.F) {
	f.Add("d src|d src/a|l src/a/b ../..|f src/a/c")
	f.Add("d src|d src/p|d src/p/q|l src/t .|l src/p/q/l ../../t/../..|d src/t")
	f.Add("f ../x|l src /|d src/..")
	f.Fuzz(func(t *testing.T, script string) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in", "here")
		os.MkdirAll(dir, 0o755)
		r := newReceiver(1, &orchestrator.CopyOut{From: "/src", To: dir, Limit: 100}, func() {})
		for line := range strings.SplitSeq(script, "|") {
			kind, rest, _ := strings.Cut(line, " ")
			name, to, _ := strings.Cut(rest, " ")
			p := file(name, 0o644)
			switch kind {
			case "d":
				p = folder(name)
			case "l":
				p = link(name, to)
			}
			_ = r.take(frameOf(p))
		}
		r.finish(&wire.Copied{}, nil)
		if len(listing(t, outer)) != 1 || len(listing(t, filepath.Dir(dir))) != 1 {
			t.Fatalf("%q made something outside", script)
		}
		_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if to, err := filepath.EvalSymlinks(p); err == nil && to != dir && !strings.HasPrefix(to, dir+"/") {
				t.Fatalf("%q made %s, which leads to %s", script, p, to)
			}
			return nil
		})
	})
}
