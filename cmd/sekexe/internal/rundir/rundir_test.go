package rundir

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var day = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// names lists the run directories below root.
func names(t *testing.T, root string) []string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(root, "*-*-*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range m {
		m[i] = filepath.Base(m[i])
	}
	return m
}

func create(t *testing.T, root, id string, at time.Time) *Dir {
	t.Helper()
	d, err := Create(root, id, at)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheNewestStay(t *testing.T) {
	root := t.TempDir()
	kept := create(t, root, "keep0000", day)
	if err := kept.Close(true, true); err != nil {
		t.Fatal(err)
	}
	bad := create(t, root, "bad00000", day.Add(time.Second))
	if err := bad.Close(false, false); err != nil {
		t.Fatal(err)
	}
	want := []string{"20261124-000000-keep0000", "20261124-000001-bad00000"}
	for i := range KeepGood + 3 {
		d := create(t, root, fmt.Sprintf("good%04d", i), day.Add(time.Duration(i)*time.Minute))
		if err := d.Close(true, false); err != nil {
			t.Fatal(err)
		}
		if i >= 2 { // the last one made sees the others
			want = append(want, filepath.Base(d.Path))
		}
	}
	if diff := cmp.Diff(want, names(t, root)); diff != "" {
		t.Errorf("directories differ (-want +got):\n%s", diff)
	}
}

func TestAKilledRunsDirectoryGoes(t *testing.T) {
	root := t.TempDir()
	alive := create(t, root, "alive000", day)
	killed := create(t, root, "killed00", day)
	for _, d := range []*Dir{alive, killed} { // what one still removes the next leaves alone
		d.prune.Wait()
	}
	killed.lock.Close() // as the kernel does when the process is killed
	next := create(t, root, "next0000", day)
	next.prune.Wait()
	if _, err := os.Stat(killed.Path); !os.IsNotExist(err) {
		t.Errorf("Stat of the killed run's directory = %v; want that it is gone", err)
	}
	for _, d := range []*Dir{alive, next} {
		if _, err := os.Stat(d.Path); err != nil {
			t.Errorf("a living run's directory is gone: %v", err)
		}
		if err := d.Close(true, false); err != nil {
			t.Error(err)
		}
	}
}

func TestUseWantsAnEmptyFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "run")
	d, err := Use(dir, "id")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true, false); err != nil {
		t.Fatal(err)
	}
	if _, err := Use(dir, "id"); err == nil {
		t.Error("Use of a folder with another run in it succeeded")
	}
}
