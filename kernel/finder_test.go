package kernel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A world is a host with kernels of several kinds.
type world struct {
	finder                      *Finder
	env                         map[string]string
	bin, other                  string // folders of PATH
	named, onPath, older, newer string // kernels 6.1.9, 6.6.1, 7.1.2, 7.2.13; the last two are built
	smp, debug                  string // built ones of these flavours, 7.3.1 and 7.1.3
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{env: map[string]string{}, bin: filepath.Join(dir, "bin"), other: filepath.Join(dir, "other")}
	w.finder = finder(t, w.env)
	w.env["PATH"] = "relative:" + w.other + ":" + w.bin
	w.named = fake(t, filepath.Join(dir, "named"), "my-kernel", goodKernel("6.1.9"))
	w.onPath = fake(t, w.bin, "linux.uml", goodKernel("6.6.1"))
	w.newer = fakeBuilt(t, w.finder, "7.2.13-default-a", "7.2.13", "default")
	w.older = fakeBuilt(t, w.finder, "7.1.2-default-b", "7.1.2", "default")
	w.smp = fakeBuilt(t, w.finder, "7.3.1-smp-c", "7.3.1", "smp")
	w.debug = fakeBuilt(t, w.finder, "7.1.3-debug-d", "7.1.3", "debug")
	return w
}

func TestResolveOrder(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name         string
		choice       Choice
		env          string
		want, origin string
	}{
		{"the newest of a version, though there is a newer one of another flavour", Choice{Version: "7"}, "", w.newer, "built"},
		{"a version of another flavour, where there is no other", Choice{Version: "7.3"}, "", w.smp, "built"},
		{"a flavour", Choice{Flavour: "smp"}, w.named, w.smp, "built"},
		{"several CPUs", Choice{SMP: true}, "", w.smp, "built"},
		{"several CPUs of a version", Choice{SMP: true, Version: "7.3"}, w.named, w.smp, "built"},
		{"several CPUs, but the environment names one", Choice{SMP: true}, w.named, w.named, "SEKEXE_KERNEL"},
		{"several CPUs, of a flavour", Choice{SMP: true, Flavour: "debug"}, "", w.debug, "built"},
		{"the newest of a flavour and version", Choice{Flavour: "default", Version: "7"}, "", w.newer, "built"},
		{"an older one of a flavour", Choice{Flavour: "debug", Version: "7"}, "", w.debug, "built"},
		{"named with its flavour", Choice{Path: w.debug, Flavour: "debug"}, "", w.debug, "named"},
		{"a built one's name", Choice{Version: "7.1.3-debug-d"}, "", w.debug, "built"},
		{"named", Choice{Path: w.named}, w.onPath, w.named, "named"},
		{"named with its version", Choice{Path: w.named, Version: "6.1"}, "", w.named, "named"},
		{"by the environment", Choice{}, w.named, w.named, "SEKEXE_KERNEL"},
		{"by the environment, by a name", Choice{}, "linux.uml", w.onPath, "SEKEXE_KERNEL"},
		{"the newest built", Choice{}, "", w.newer, "built"},
		{"version", Choice{Version: "7.1"}, "", w.older, "built"},
		{"a version on PATH", Choice{Version: "6"}, "", w.onPath, "PATH"},
		{"a version of the environment", Choice{Version: "6.1"}, w.named, w.named, "SEKEXE_KERNEL"},
		{"a version before the environment", Choice{Version: "7"}, w.named, w.newer, "built"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.env[EnvKernel] = tt.env
			i := resolve(t, w.finder, tt.choice)
			if i.Path != tt.want || i.Origin != tt.origin {
				t.Errorf("Resolve(%+v) = %s, %s; want %s, %s", tt.choice, i.Path, i.Origin, tt.want, tt.origin)
			}
		})
	}
}

func TestResolveOnPath(t *testing.T) {
	w := newWorld(t)
	w.finder.CacheDir = ""
	if i := resolve(t, w.finder, Choice{}); i.Path != w.onPath {
		t.Errorf("Resolve = %s; want %s", i.Path, w.onPath)
	}
	// Another program of the name linux does not matter, wherever it is.
	for _, name := range []string{"linux", "linux.uml"} {
		if err := os.MkdirAll(w.other, 0o755); err != nil {
			t.Fatal(err)
		}
		copyFile(t, "/bin/true", filepath.Join(w.other, name))
		if i := resolve(t, w.finder, Choice{}); i.Path != w.onPath {
			t.Errorf("with another %s, Resolve = %s; want %s", name, i.Path, w.onPath)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	w := newWorld(t)
	broken := fake(t, t.TempDir(), "linux", "--showconfig crash\n")
	bare := fake(t, t.TempDir(), "linux", strings.Replace(goodKernel("7.3"), "GOODCONFIG", "CONFIG_UML=y", 1))
	for _, tt := range []struct {
		name       string
		choice     Choice
		env        string
		want       error
		text, hint string
	}{
		{"a named one that is missing", Choice{Path: "/nothing"}, "", ErrNotFound, "kernel /nothing: does not exist", "apt install user-mode-linux"},
		{"a named one of another version", Choice{Path: w.named, Version: "7"}, "", ErrVersion, "it is 6.1.9, and 7 is wanted", "version"},
		{"the environment's, which is missing", Choice{}, "/nothing", ErrNotFound, "/nothing", "$SEKEXE_KERNEL names it"},
		{"the environment's, which is not on PATH", Choice{}, "nothing", ErrNotFound, "nothing", "$SEKEXE_KERNEL names it"},
		{"the environment's, which is broken", Choice{}, broken, ErrCrashed, broken, "$SEKEXE_KERNEL names it"},
		{"a version that is nowhere", Choice{Version: "9"}, "", ErrNone, "no kernel has version 9; there is 7.2.13 (" + w.newer + "), 7.1.2", "name the path"},
		{"a version that only a broken one might have", Choice{Version: "9"}, broken, ErrNone, broken + ": crashed", "name the path"},
		{"a flavour that is nowhere", Choice{Flavour: "time-travel"}, "", ErrNone, "no kernel was built of flavour time-travel; there is 7.3.1 of flavour smp (" + w.smp + "), 7.2.13 of flavour default", "sekexe kernel build --debian sid --flavour time-travel"},
		{"a flavour of another version", Choice{Flavour: "smp", Version: "7.1"}, "", ErrNone, "no kernel of version 7.1 was built of flavour smp; there is 7.3.1 of flavour smp", "sekexe kernel build --version 7.1 --flavour smp"},
		{"a path of another flavour", Choice{Path: w.smp, Flavour: "debug"}, "", ErrFlavour, "it is smp, and debug is wanted", "correct the flavour"},
		{"a name of another flavour", Choice{Version: "7.3.1-smp-c", Flavour: "debug"}, "", ErrFlavour, "it is smp, and debug is wanted", "correct the flavour"},
		{"a path of no flavour", Choice{Path: w.named, Flavour: "debug"}, "", ErrFlavour, "it was not built by sekexe", "correct the flavour"},
		{"no version", Choice{Version: "latest"}, "", ErrNone, `"latest" is no kernel version`, "a path with a slash"},
		{"without what is needed", Choice{Path: bare}, "", ErrLacks, "CONFIG_HOSTFS (the files", "CONFIG_HOSTFS=y, "},
		{"modules that are not there", Choice{Path: w.named, Modules: "/nothing"}, "", ErrModules, "CONFIG_MODULES", "leave the modules folder out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.env[EnvKernel] = tt.env
			_, err := w.finder.Resolve(context.Background(), tt.choice)
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, tt.want) {
				t.Fatalf("Resolve(%+v) = %v; want %v", tt.choice, err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error = %q; want %q in it", err, tt.text)
			}
			if !strings.Contains(e.Hint(), tt.hint) {
				t.Errorf("hint = %q; want %q in it", e.Hint(), tt.hint)
			}
		})
	}
}

func TestResolveNothing(t *testing.T) {
	f := finder(t, map[string]string{"PATH": t.TempDir()})
	_, err := f.Resolve(context.Background(), Choice{})
	if !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "neither linux.uml nor linux is on PATH") {
		t.Errorf("Resolve = %v; want %v", err, ErrNone)
	}
	if all, err := f.List(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("List = %v, %v; want nothing", all, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newWorld(t).finder.Resolve(ctx, Choice{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Resolve with a cancelled context = %v", err)
	}
}

// A kernel on PATH that is broken is said to be, not passed over.
func TestResolveBrokenOnPath(t *testing.T) {
	bin := t.TempDir()
	path := fake(t, bin, "linux.uml", "--showconfig crash\n")
	f := finder(t, map[string]string{"PATH": bin})
	_, err := f.Resolve(context.Background(), Choice{})
	checkError(t, err, path, ErrCrashed, "killed")
}

func TestList(t *testing.T) {
	w := newWorld(t)
	w.env[EnvKernel] = w.onPath // twice, then
	w.choose(t, Choice{Path: w.debug})
	broken := fake(t, filepath.Join(w.finder.CacheDir, "kernels", "c"), "linux", "--showconfig crash\n")
	all, err := w.finder.List(context.Background())
	if err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("List's error = %v; want %s in it", err, broken)
	}
	var got []string
	for _, i := range all {
		got = append(got, i.Path)
	}
	if want := []string{w.onPath, w.debug, w.newer, w.older, w.smp}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("List = %q; want %q", got, want)
	}
	if first := resolve(t, w.finder, Choice{}); first.Path != got[0] {
		t.Errorf("Resolve = %s; want the first of List, %s", first.Path, got[0])
	}
}
