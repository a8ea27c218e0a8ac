package confine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/real/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": "real", "file": dir + "/link/sub", "broken": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r := resolver{}
	for path, want := range map[string]string{
		"/":                "/",
		dir + "/real":      dir + "/real",
		dir + "/link":      dir + "/real",
		dir + "/link/sub/": dir + "/real/sub",
		dir + "/link/../x": dir + "/x",
		dir + "/file":      dir + "/real/sub",
		dir + "/link/no/x": dir + "/real/no/x",
		dir + "/broken/x":  dir + "/broken/x",
		"/no/such/folder":  "/no/such/folder",
	} {
		if got := r.resolve(path); got != want {
			t.Errorf("resolve(%s) = %s, want %s", path, got, want)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/", "/a", false}, {"/a", "/", true}, {"/", "/", true},
	} {
		if got := below(c.path, c.dir); got != c.want {
			t.Errorf("below(%s, %s) = %t", c.path, c.dir, got)
		}
	}
}

func TestCovers(t *testing.T) {
	h := newHiding([]string{"/home/a/.ssh", "/etc/shadow"})
	for path, want := range map[string]bool{
		"/home/a/.ssh": true, "/home/a/.ssh/id": true, "/home/a": false, "/": false, "/etc/shadow": true, "/etc/shadow-": false,
	} {
		if got := h.covers(path); got != want {
			t.Errorf("covers(%s) = %t", path, got)
		}
	}
}
