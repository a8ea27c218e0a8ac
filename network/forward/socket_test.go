package forward

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMode holds that nobody but the owner may connect, whatever the umask.
func TestMode(t *testing.T) {
	for _, mask := range []int{0, 0o22, 0o77} {
		old := unix.Umask(mask)
		s, err := listen(filepath.Join(t.TempDir(), "s"))
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Lstat(s.path)
		if err != nil || st.Mode() != os.ModeSocket|0o600 {
			t.Errorf("umask %#o: mode %v, %v", mask, st.Mode(), err)
		}
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	}
}

// TestLongPath listens at the longest path that a client can name.
func TestLongPath(t *testing.T) {
	dir := t.TempDir()
	dir = filepath.Join(dir, strings.Repeat("d", 107-len(dir)-len("/")-len("/s")))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := s.remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// dead leaves a socket that nobody listens on, as a killed process does.
func dead(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestInTheWay(t *testing.T) {
	for _, tc := range []struct {
		name       string
		make       func(t *testing.T, path string)
		want, hint string // empty: it is replaced
	}{
		{"nothing", func(*testing.T, string) {}, "", ""},
		{"a dead socket", dead, "", ""},
		{"a live socket", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "another program listens there", "end that"},
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "which is no socket", "remove it"},
		{"a link to a dead socket", func(t *testing.T, path string) {
			dead(t, path+".target")
			if err := os.Symlink(path+".target", path); err != nil {
				t.Fatal(err)
			}
		}, "which is no socket", "remove it"},
		{"no folder", func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}, "there is no such folder", "make the folder first"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "s")
			tc.make(t, path)
			before, _ := os.Lstat(path)
			s, err := listen(path)
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if c, err := net.Dial("unix", path); err != nil {
					t.Error(err)
				} else {
					c.Close()
				}
				if err := s.remove(); err != nil {
					t.Error(err)
				}
			} else {
				var h interface{ Hint() string }
				if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.As(err, &h) || !strings.Contains(h.Hint(), tc.hint) {
					t.Errorf("listen = %v; want %q, and the advice %q", err, tc.want, tc.hint)
				}
				if after, _ := os.Lstat(path); before != nil && !os.SameFile(before, after) {
					t.Error("what was there has been replaced")
				}
			}
			left, _ := filepath.Glob(filepath.Join(dir, ".*"))
			if len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestReadOnly says what to do where nothing can be made.
func TestReadOnly(t *testing.T) {
	_, err := listen("/proc/self/s")
	var h interface{ Hint() string }
	if err == nil || !errors.As(err, &h) || strings.Contains(err.Error(), "/fd/") {
		t.Errorf("listen = %v; want advice, and no path by way of a descriptor", err)
	}
}

// TestRace has many want the same path, where a dead socket is: one gets it, and it works.
func TestRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 20 {
		dead(t, path)
		var mu sync.Mutex
		var won []*socket
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if s, err := listen(path); err == nil {
					mu.Lock()
					won = append(won, s)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d have the socket, want 1", len(won))
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := won[0].remove(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemoveAnother leaves alone what has taken the place.
func TestRemoveAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	dead(t, path)
	if err := s.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}
