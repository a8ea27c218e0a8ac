package build

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writeTree writes files below a folder.
func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// editable is a source in which all edits have a place. What an edit looks for may be what one before it has made.
func editable() map[string]string {
	files, edited := map[string]string{}, map[string]string{}
	add := func(p place, before, after string) {
		if !strings.Contains(edited[p.file], p.text) {
			files[p.file] += before + p.text + after
			edited[p.file] += before + p.text + after
		}
	}
	for _, e := range edits {
		if e.needs.file != "" {
			add(e.needs, "", "\n")
		}
		for _, c := range e.changes {
			add(c.place, "before\n", "\nafter\n")
			edited[c.file] = strings.Replace(edited[c.file], c.text, c.to, 1)
		}
	}
	return files
}

func allEdits() (names []string) {
	for _, e := range edits {
		names = append(names, e.name)
	}
	return names
}

func TestEdits(t *testing.T) {
	without := func(name, text string) map[string]string {
		files := editable()
		files[name] = strings.ReplaceAll(files[name], text, "something else")
		return files
	}
	twice := editable()
	twice[umStub] += twice[umStub]
	gone := editable()
	delete(gone, umProcess)
	for _, tc := range []struct {
		name      string
		files     map[string]string
		unapplied []string
	}{
		{"all have a place", editable(), nil},
		{"a line is missing", without(umTrap, "} while (!pte_present(*pte));"), []string{"fault-around", "fault-guess", "direct-map"}},
		{"what an edit needs is missing", without(umPgtable, "um_tlb_mark_sync"), []string{"fault-around", "fault-guess", "file-fault-around", "direct-map"}},
		{"a line stands there twice", twice, []string{"populate", "direct-map"}},
		{"a file is missing", gone, []string{"fault-guess", "lazy-fp", "vdso-clock", "direct-map", "stub-pool"}},
		{"no kernel at all", nil, allEdits()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			writeTree(t, dir, tc.files)
			if err := applyEdits(dir); err != nil {
				t.Fatal(err)
			}
			applied, unapplied, err := editsOf(dir)
			if diff := cmp.Diff(tc.unapplied, unapplied); diff != "" && len(tc.unapplied)+len(unapplied) > 0 || err != nil {
				t.Errorf("unapplied: %v, differs (-want +got):\n%s", err, diff)
			}
			for i, e := range edits {
				checkEdit(t, dir, e, tc.files, slices.Contains(applied, e.name), func(file, text string) string {
					return editedBy(edits[i+1:], applied, file, text)
				})
			}
		})
	}
}

// editedBy is what those of the edits that were applied make of a text of a file's.
func editedBy(edits []edit, applied []string, file, text string) string {
	for _, e := range edits {
		for _, c := range e.changes {
			if c.file == file && slices.Contains(applied, e.name) {
				text = strings.Replace(text, c.text, c.to, 1)
			}
		}
	}
	return text
}

// checkEdit checks that an edit was made wholly, or not at all; later says what the edits after it have made of a text.
func checkEdit(t *testing.T, dir string, e edit, before map[string]string, applied bool, later func(file, text string) string) {
	t.Helper()
	for _, c := range e.changes {
		if before[c.file] == "" {
			continue
		}
		if got := readFile(t, filepath.Join(dir, c.file)); strings.Contains(got, later(c.file, c.to)) != applied {
			t.Errorf("%s: %s has it: %v; want %v:\n%s", e.name, c.file, !applied, applied, got)
		}
	}
	for name := range e.adds {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != applied {
			t.Errorf("%s: %s: %v, applied: %v", e.name, name, err, applied)
		}
	}
}

// TestAFolderIsNotEdited holds that the user's source stays as it is, and that a build sees the edits, unless it is to be unmodified.
func TestAFolderIsNotEdited(t *testing.T) {
	dir := t.TempDir()
	files := editable()
	files["Makefile"] = strings.Replace(fakeMakefile, "linux:\n", "linux:\n\t@cp arch/um/kernel/skas/stub.c $(O)/../../stub\n", 1)
	files[".git/HEAD"] = "ref: x"
	files["scripts/real"] = "x"
	writeTree(t, dir, files)
	if err := os.Symlink("real", filepath.Join(dir, "scripts/link")); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSource(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	keys := map[string]bool{}
	for _, unmodified := range []bool{false, true} {
		r, err := Kernel(context.Background(), Options{Source: s, Recipe: Recipe{Flavour: "default", Unmodified: unmodified}, CacheDir: cache})
		if err != nil {
			t.Fatal(err)
		}
		keys[r.Key] = true
		if got := strings.Contains(readFile(t, filepath.Join(cache, "build/stub")), "MAP_POPULATE"); got == unmodified {
			t.Errorf("unmodified %v: the source has an edit: %v", unmodified, got)
		}
		p, err := ReadProvenance(filepath.Dir(r.Path))
		if err != nil || (len(p.Edits) == len(edits)) == unmodified || len(p.Unapplied) != 0 {
			t.Errorf("unmodified %v: provenance: %+v, %v", unmodified, p, err)
		}
		if got := strings.Contains(readFile(t, filepath.Join(filepath.Dir(r.Path), "config")), "# Edits of sekexe's"); got == unmodified {
			t.Errorf("unmodified %v: the configuration says that there are edits: %v", unmodified, got)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if l, err := OpenSource(context.Background(), link); err != nil || l.Hash != s.Hash || l.Origin != link {
		t.Errorf("OpenSource() of a link to it = %+v, %v; want the hash %s", l, err, s.Hash)
	}
	if len(keys) != 2 {
		t.Errorf("both kernels are %v", keys)
	}
	for name, text := range files {
		if got := readFile(t, filepath.Join(dir, name)); got != text {
			t.Errorf("%s was changed:\n%s", name, got)
		}
	}
}

// TestEditsStayInTheCopy holds that a link to a folder elsewhere is no way out of the copy, and that a copy is not taken for a source.
func TestEditsStayInTheCopy(t *testing.T) {
	elsewhere, dir, copied := t.TempDir(), t.TempDir(), t.TempDir()
	for name, text := range editable() {
		if rest, ok := strings.CutPrefix(name, "arch/um/"); ok {
			writeTree(t, elsewhere, map[string]string{rest: text})
		} else {
			writeTree(t, dir, map[string]string{name: text})
		}
	}
	writeTree(t, dir, map[string]string{"Makefile": makefile, "arch/x": ""})
	if err := os.Symlink(elsewhere, filepath.Join(dir, "arch/um")); err != nil {
		t.Fatal(err)
	}
	if err := link(dir, copied); err != nil {
		t.Fatal(err)
	}
	if err := applyEdits(copied); err == nil || hint(err) == "" {
		t.Errorf("applyEdits() through a link that leads out = %v, hint %q", err, hint(err))
	}
	for name, text := range editable() {
		if rest, ok := strings.CutPrefix(name, "arch/um/"); ok {
			if got := readFile(t, filepath.Join(elsewhere, rest)); got != text {
				t.Errorf("%s was changed:\n%s", name, got)
			}
		}
	}
	writeTree(t, dir, map[string]string{editsFile: ""})
	if _, err := OpenSource(context.Background(), dir); err == nil || hint(err) == "" {
		t.Errorf("OpenSource() of an edited copy = %v, hint %q", err, hint(err))
	}
}
