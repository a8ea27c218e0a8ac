package config

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// lockText is what the tests want of a lock: what is wrong with it, or the lock written again.
func lockText(t testing.TB, l *Lock, d *Diagnostics) string {
	t.Helper()
	var b bytes.Buffer
	if err := d.WriteText(&b, 0, false); err != nil {
		t.Fatal(err)
	}
	if l != nil {
		if err := l.Write(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func lockFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/lock/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata/lock: %v", err)
	}
	return files
}

func TestLockGolden(t *testing.T) {
	for _, path := range lockFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			l, d := ReadLock(dir)
			if len(ar.Files) > 0 && ar.Files[0].Name == "lock.hcl" {
				l, d = ParseLock("lock.hcl", ar.Files[0].Data)
			}
			if (l == nil) != d.HasErrors() {
				t.Errorf("ParseLock: a lock %v, errors %v; want exactly one of them", l != nil, d.HasErrors())
			}
			(&goldenCase{path: path, ar: ar}).compare(t, []byte(strings.ReplaceAll(lockText(t, l, d), dir, "$DIR")))
		})
	}
}

func TestReadLock(t *testing.T) {
	dir := t.TempDir()
	l, d := ReadLock(dir)
	if text := lockText(t, nil, d); l != nil || !strings.Contains(text, "Error: No lock") || !strings.Contains(text, "`sekexe lock` writes it") {
		t.Errorf("ReadLock of nothing = %v, %s", l, text)
	}
	want := &Lock{Kernels: []LockedKernel{{Name: "a", Version: "7.2.13", SHA256: strings.Repeat("0", 64)}}}
	var b bytes.Buffer
	if err := want.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, LockFile), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	l, d = ReadLock(dir)
	if diff := cmp.Diff(want, l); diff != "" || d.Len() > 0 {
		t.Errorf("ReadLock: %s (-want +got):\n%s", lockText(t, nil, d), diff)
	}
	if err := os.WriteFile(filepath.Join(dir, LockFile), make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, d = ReadLock(dir); l != nil || !strings.Contains(lockText(t, nil, d), "is too large") {
		t.Errorf("ReadLock of a large file = %v, %s", l, lockText(t, nil, d))
	}
	if err := os.Remove(filepath.Join(dir, LockFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, LockFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if l, d = ReadLock(dir); l != nil || !strings.Contains(lockText(t, nil, d), "Error: Cannot read ") {
		t.Errorf("ReadLock of a folder = %v, %s", l, lockText(t, nil, d))
	}
}

func TestLockDifferences(t *testing.T) {
	path := LockedKernel{Name: "a", Version: "6.1.176", SHA256: "aa"}
	built := LockedKernel{Name: "a", Version: "7.2.13", Flavour: "smp", SourceVersion: "7.2.13", SourceSHA256: "bb", ConfigSHA256: "cc"}
	newer := built
	newer.Version, newer.SourceVersion, newer.SourceSHA256 = "7.2.14", "7.2.14", "dd"
	other := built
	other.ConfigSHA256 = "ee"
	rebuilt := path
	rebuilt.SHA256 = "ff"
	for _, tt := range []struct {
		name        string
		locked, now LockedKernel
		want        []string
	}{
		{"the same file", path, path, nil},
		{"the same build", built, built, nil},
		{"another file", path, rebuilt, []string{"its executable's SHA-256 is ff, and aa is locked"}},
		{"another configuration", built, other, []string{"its configuration's SHA-256 is ee, and cc is locked"}},
		{"another source", built, newer, []string{
			"its version is 7.2.14, and 7.2.13 is locked", "its source's version is 7.2.14, and 7.2.13 is locked", "its source's SHA-256 is dd, and bb is locked",
		}},
		{"built, and not locked as such", path, built, []string{"it was built by sekexe, and an executable of version 6.1.176 with the SHA-256 aa is locked"}},
		{"not built, and locked as such", built, path, []string{"it is an executable of version 6.1.176, and one of flavour smp that was built of 7.2.13 is locked"}},
	} {
		if diff := cmp.Diff(tt.want, tt.locked.Differences(tt.now)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// FuzzParseLock holds that there is a lock or errors, never both, and that a lock survives being written and read again.
func FuzzParseLock(f *testing.F) {
	for _, path := range lockFiles(f) {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(ar.Files) > 0 {
			f.Add(ar.Files[0].Data)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		l, d := ParseLock("lock.hcl", src)
		if (l == nil) != d.HasErrors() {
			t.Fatalf("ParseLock: a lock %v, errors %v; want exactly one of them", l != nil, d.HasErrors())
		}
		lockText(t, nil, d)
		if l == nil {
			return
		}
		if !slices.IsSortedFunc(l.Kernels, func(a, b LockedKernel) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("the kernels are not sorted: %+v", l.Kernels)
		}
		again, d := ParseLock("lock.hcl", []byte(lockText(t, l, newDiagnostics())))
		if diff := cmp.Diff(l, again); diff != "" {
			t.Errorf("written and read again: %s (-first +second):\n%s", lockText(t, nil, d), diff)
		}
	})
}
