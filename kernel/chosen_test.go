package kernel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// choose makes the kernel of a choice the default.
func (w *world) choose(t *testing.T, c Choice) {
	t.Helper()
	if err := w.finder.Choose(resolve(t, w.finder, c)); err != nil {
		t.Fatal(err)
	}
}

func TestChoose(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		choice Choice
		want   string
	}{
		{"a path", Choice{Path: w.named}, w.named},
		{"a built one's path", Choice{Path: w.older}, w.older},
		{"a built one's name", Choice{Version: "7.3.1-smp-c"}, w.smp},
		{"a version", Choice{Version: "6"}, w.onPath},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.choose(t, tt.choice)
			if p, err := w.finder.Chosen(); p != tt.want || err != nil {
				t.Errorf("Chosen = %s, %v; want %s", p, err, tt.want)
			}
			if i := resolve(t, w.finder, Choice{}); i.Path != tt.want || i.Origin != OriginChosen {
				t.Errorf("Resolve = %s, %s; want %s, chosen", i.Path, i.Origin, tt.want)
			}
			if i := resolve(t, w.finder, Choice{Version: "7.1.2"}); i.Path != w.older {
				t.Errorf("Resolve of a version = %s; want %s", i.Path, w.older)
			}
		})
	}
	w.env[EnvKernel] = w.named
	if i := resolve(t, w.finder, Choice{}); i.Path != w.named || i.Origin != OriginEnv {
		t.Errorf("with the environment's, Resolve = %s, %s; want that", i.Path, i.Origin)
	}
	w.env[EnvKernel] = ""
	for _, want := range []bool{true, false} {
		if was, err := w.finder.Unset(); was != want || err != nil {
			t.Errorf("Unset = %v, %v; want %v", was, err, want)
		}
	}
	if i := resolve(t, w.finder, Choice{}); i.Path != w.newer || i.Origin != OriginBuilt {
		t.Errorf("after Unset, Resolve = %s, %s; want the newest built", i.Path, i.Origin)
	}
}

// A built kernel is chosen by its name, because its folder may move.
func TestChosenMovesWithTheCache(t *testing.T) {
	w := newWorld(t)
	w.choose(t, Choice{Path: w.older})
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(w.finder.CacheDir, moved); err != nil {
		t.Fatal(err)
	}
	w.finder.CacheDir = moved
	i := resolve(t, w.finder, Choice{})
	if i.Name != "7.1.2-default-b" || i.Flavour != "default" || !strings.HasPrefix(i.Path, moved) {
		t.Errorf("Resolve = %+v; want the chosen one in its new place", i)
	}
}

// What was chosen is never replaced by something else.
func TestChosenThatIsGone(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, w *world)
		want  error
		text  string
	}{
		{"a path", func(t *testing.T, w *world) {
			w.choose(t, Choice{Path: w.named})
			if err := os.Remove(w.named); err != nil {
				t.Fatal(err)
			}
		}, ErrNotFound, "my-kernel: does not exist"},
		{"a built one", func(t *testing.T, w *world) {
			w.choose(t, Choice{Path: w.older})
			if err := os.RemoveAll(filepath.Dir(w.older)); err != nil {
				t.Fatal(err)
			}
		}, ErrNotFound, "7.1.2-default-b/linux: does not exist"},
		{"nothing", func(t *testing.T, w *world) { writeChosen(t, w, "") }, ErrNone, "holds neither"},
		{"a relative path", func(t *testing.T, w *world) { writeChosen(t, w, "./linux") }, ErrNone, "holds neither"},
		{"a folder above", func(t *testing.T, w *world) { writeChosen(t, w, "..") }, ErrNone, "holds neither"},
		{"two lines", func(t *testing.T, w *world) { writeChosen(t, w, "/a\n/b\n") }, ErrNone, "holds neither"},
		{"too much", func(t *testing.T, w *world) { writeChosen(t, w, strings.Repeat("/a", maxChosen)) }, ErrNone, "at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.spoil(t, w)
			_, err := w.finder.Resolve(context.Background(), Choice{})
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(e.Hint(), "sekexe kernel default --unset") {
				t.Fatalf("Resolve = %v; want %v with %q, and how to unset it", err, tt.want, tt.text)
			}
			if all, err := w.finder.List(context.Background()); err == nil || !strings.Contains(err.Error(), tt.text) || len(all) < 4 {
				t.Errorf("List = %v, %v; want the others, and %q", all, err, tt.text)
			}
			if was, err := w.finder.Unset(); !was || err != nil {
				t.Errorf("Unset = %v, %v", was, err)
			}
			resolve(t, w.finder, Choice{})
		})
	}
}

func writeChosen(t *testing.T, w *world, text string) {
	t.Helper()
	if err := w.finder.writeChosen(text); err != nil {
		t.Fatal(err)
	}
}

// A home that is none is no obstacle.
func TestChosenNowhere(t *testing.T) {
	w := newWorld(t)
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", occupied, filepath.Join(occupied, "config"), "/proc/nothing"} {
		w.finder.ConfigDir = dir
		if i := resolve(t, w.finder, Choice{}); i.Path != w.newer {
			t.Errorf("with configuration in %q, Resolve = %s", dir, i.Path)
		}
		if err := w.finder.Choose(resolve(t, w.finder, Choice{Path: w.named})); err == nil {
			t.Errorf("with configuration in %q, Choose succeeded", dir)
		}
	}
}

// Of built kernels only those of flavour default become the default: one of another flavour comes after what is on PATH.
func TestOtherFlavoursAreNoDefault(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{w.newer, w.older} {
		if err := os.RemoveAll(filepath.Dir(p)); err != nil {
			t.Fatal(err)
		}
	}
	if i := resolve(t, w.finder, Choice{}); i.Path != w.onPath {
		t.Errorf("Resolve = %s; want %s", i.Path, w.onPath)
	}
	all, err := w.finder.List(context.Background())
	if err != nil || len(all) != 3 || all[0].Path != w.onPath || all[1].Flavour != "smp" || all[2].Flavour != "debug" {
		t.Errorf("List = %+v, %v; want the one on PATH first", all, err)
	}
}

func FuzzChosen(f *testing.F) {
	for _, s := range []string{"/usr/bin/linux.uml\n", "7.2.13-default-0123456789\n", "", "..", "a/b", "/a\x00b"} {
		f.Add(s)
	}
	cache := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		finder := &Finder{CacheDir: cache, ConfigDir: t.TempDir()}
		if err := finder.writeChosen(text); err != nil {
			t.Fatal(err)
		}
		p, err := finder.Chosen()
		if (err == nil) != filepath.IsAbs(p) {
			t.Errorf("Chosen of %q = %q, %v; want an absolute path or an error", text, p, err)
		}
		rel, rerr := filepath.Rel(filepath.Join(cache, builtDir), p)
		if err == nil && !filepath.IsAbs(text) && (rerr != nil || !isName(filepath.Dir(rel))) {
			t.Errorf("Chosen of %q = %q, which is no built kernel", text, p)
		}
	})
}
