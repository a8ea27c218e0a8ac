package seed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sekexe/sekexe/uml/ext4"
)

const size = 32 << 20

// prepared makes a disk as a Docker daemon would leave it.
func prepared(images ...string) func(*os.File) (Note, error) {
	return func(disk *os.File) (Note, error) {
		if err := disk.Truncate(size); err != nil {
			return Note{}, err
		}
		return Note{Size: size, Images: images, Docker: "1.2.3", Made: time.Now()}, ext4.Make(disk, size, ext4.Options{Mode: 0o710, Time: time.Now()})
	}
}

// never fails the test.
func never(t *testing.T) func(*os.File) (Note, error) {
	return func(*os.File) (Note, error) {
		t.Error("a seed that is there is prepared again")
		return Note{}, errors.New("prepared again")
	}
}

func mustMake(t *testing.T, f Folder, key string, prepare func(*os.File) (Note, error)) Note {
	t.Helper()
	s, err := f.Make(t.Context(), key, func() {}, prepare)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Note
}

func TestMake(t *testing.T) {
	f := Folder(filepath.Join(t.TempDir(), "a", "seed[s]"))
	mustMake(t, f, "k", prepared("a:1"))
	if n := mustMake(t, f, "k", never(t)); !slices.Equal(n.Images, []string{"a:1"}) || n.Docker != "1.2.3" {
		t.Errorf("its note: %+v", n)
	}
	st, err := os.Stat(string(f))
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("its folder: %v, %v; want mode 0700", st.Mode(), err)
	}
	if left := names(t, f); !slices.Equal(left, []string{"seed-k.ext4", "seed-k.json"}) {
		t.Errorf("its files: %q", left)
	}
}

func names(t *testing.T, f Folder) []string {
	t.Helper()
	entries, err := os.ReadDir(string(f))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestMakeDamaged(t *testing.T) {
	for name, damage := range map[string]func(f Folder) error{
		"cut off":    func(f Folder) error { return os.Truncate(f.disk("k"), 1<<20) },
		"gone":       func(f Folder) error { return os.Remove(f.disk("k")) },
		"no note":    func(f Folder) error { return os.Remove(f.note("k")) },
		"other note": func(f Folder) error { return os.WriteFile(f.note("k"), []byte("{"), 0o600) },
		"superblock": func(f Folder) error {
			disk, err := os.OpenFile(f.disk("k"), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = disk.WriteAt([]byte("x"), 1024+0x100)
			return errors.Join(err, disk.Close())
		},
	} {
		f := Folder(t.TempDir())
		mustMake(t, f, "k", prepared("a:1"))
		if err := damage(f); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Open("k"); err == nil {
			t.Errorf("%s: it is taken as it is", name)
		}
		if n := mustMake(t, f, "k", prepared("a:2")); !slices.Equal(n.Images, []string{"a:2"}) {
			t.Errorf("%s: it was not prepared anew: %+v", name, n)
		}
	}
}

func TestMakeFails(t *testing.T) {
	f := Folder(t.TempDir())
	failure := errors.New("failure")
	_, err := f.Make(t.Context(), "k", func() {}, func(disk *os.File) (Note, error) {
		_, err := prepared()(disk)
		return Note{}, errors.Join(err, failure)
	})
	if !errors.Is(err, failure) {
		t.Errorf("Make: %v", err)
	}
	// A disk that was not unmounted is none.
	_, err = f.Make(t.Context(), "k", func() {}, func(disk *os.File) (Note, error) {
		n, err := prepared()(disk)
		_, werr := disk.WriteAt([]byte{0}, 1024+0x3a)
		return n, errors.Join(err, werr)
	})
	if err == nil {
		t.Error("a damaged disk is taken")
	}
	if left := names(t, f); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if _, err := f.Open("k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
}

// TestMakeTogether holds that of several one prepares, and that one whose context ends doesn't wait.
func TestMakeTogether(t *testing.T) {
	f := Folder(t.TempDir())
	started, waits, goOn := make(chan struct{}), make(chan struct{}, 2), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		mustMake(t, f, "k", func(disk *os.File) (Note, error) {
			close(started)
			<-goOn
			return prepared("a:1")(disk)
		})
	})
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := f.Make(ctx, "k", func() { waits <- struct{}{} }, never(t))
		failed <- err
	}()
	<-waits
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("Make with a context that has ended: %v", err)
	}
	group.Go(func() {
		s, err := f.Make(t.Context(), "k", func() { waits <- struct{}{} }, never(t))
		if err != nil {
			t.Error(err)
			return
		}
		s.Close()
	})
	<-waits
	close(goOn)
	group.Wait()
}

func TestPrune(t *testing.T) {
	f := Folder(filepath.Join(t.TempDir(), "seed[s]"))
	for i := range 5 {
		key := fmt.Sprint("k", i)
		mustMake(t, f, key, prepared(key))
		used := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(f.note(key), used, used); err != nil {
			t.Fatal(err)
		}
		if i == 2 { // the oldest is used once more
			mustMake(t, f, "k0", never(t))
		}
	}
	if left, want := names(t, f), []string{"seed-k0.ext4", "seed-k0.json", "seed-k3.ext4", "seed-k3.json", "seed-k4.ext4", "seed-k4.json"}; !slices.Equal(left, want) {
		t.Errorf("kept: %q, want %q", left, want)
	}
}
