package kernel

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// modularKernel behaves like a kernel that can load modules.
func modularKernel(version string) string {
	return "--showconfig print CONFIG_MODULES=y\n" + goodKernel(version)
}

func makeModules(t *testing.T, dir, dep string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(dep), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestModules(t *testing.T) {
	f := finder(t, nil)
	dir := t.TempDir()
	path := fake(t, dir, "linux", modularKernel("7.2.13-test"))
	if i := resolve(t, f, Choice{Path: path}); i.Modules != "" || !i.ModulesEnabled {
		t.Errorf("without any: Modules = %q, %v; want none, and enabled", i.Modules, i.ModulesEnabled)
	}
	beside := makeModules(t, filepath.Join(dir, "modules", "7.2.13-test"), "kernel/fs/overlayfs/overlay.ko.xz:\n")
	i := resolve(t, f, Choice{Path: path})
	if i.Modules != beside {
		t.Errorf("Modules = %q; want those beside it, %q", i.Modules, beside)
	}
	if o, _ := FeatureOf(i, "overlayfs"); o.State != Module || !o.Usable || o.String() != "module" {
		t.Errorf("overlayfs = %+v; want a module that is there", o)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if i := resolve(t, f, Choice{Path: link}); i.Modules != beside || i.Path != link {
		t.Errorf("of a link: Path, Modules = %q, %q; want %q, %q", i.Path, i.Modules, link, beside)
	}
	named := t.TempDir()
	want := makeModules(t, filepath.Join(named, "7.2.13-test"), "")
	i = resolve(t, f, Choice{Path: path, Modules: named})
	if i.Modules != want {
		t.Errorf("Modules = %q; want the named ones, %q", i.Modules, want)
	}
	if o, _ := FeatureOf(i, "overlayfs"); o.Usable || o.String() != "module, not installed" {
		t.Errorf("overlayfs = %+v; want a module that is not there", o)
	}
	_, err := f.Resolve(context.Background(), Choice{Path: path, Modules: want})
	checkError(t, err, path, ErrModules, "modules.dep does not exist")
	if h := err.(*Error).Hint(); !strings.Contains(h, "the folder above") {
		t.Errorf("hint = %q", h)
	}
}

// The distribution's kernel has the parts of a container host as modules: all of them must be found under the names that are looked for.
func TestFeaturesOfRealKernel(t *testing.T) {
	i := resolve(t, finder(t, nil), Choice{Path: realKernel(t)})
	names := map[string]bool{}
	for _, f := range Features(i) {
		if names[f.Name] || f.Name == "" || f.For == "" {
			t.Errorf("feature %+v: want a name of its own and a purpose", f)
		}
		names[f.Name] = true
		if i.Modules != "" && f.State == Module && !f.Usable {
			t.Errorf("feature %s is a module that %s has not", f.Name, i.Modules)
		}
		if f.State == Builtin != (f.String() == "built in") || f.State == Absent && f.Usable {
			t.Errorf("feature %+v contradicts itself", f)
		}
	}
	for _, name := range []string{"hostfs", "overlayfs", "ptys", "devtmpfs", "cgroup memory", "cgroup pids", "vector network", "ext4", "bridge", "nftables"} {
		f, ok := FeatureOf(i, name)
		if !ok || !f.Usable {
			t.Errorf("FeatureOf(%s) = %+v, %v; want one that can be used", name, f, ok)
		}
	}
	if f, ok := FeatureOf(i, "warp drive"); ok {
		t.Errorf("FeatureOf(warp drive) = %+v", f)
	}
}
