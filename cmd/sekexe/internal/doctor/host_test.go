package doctor

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// write makes files below a new folder and returns that.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCheckMemory(t *testing.T) {
	tests := []struct {
		name, text, detail string
		status             Status
	}{
		{"plenty", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n", "2GiB, 1GiB of it available", OK},
		{"little", "MemTotal: 2097152 kB\nMemAvailable: 1024 kB\n", "a sub-kernel may use 512MiB", Warn},
		{"old kernel", "MemTotal: 2097152 kB\n", "does not say", Warn},
		{"rubbish", "MemTotal: x kB\nMemAvailable:\n", "does not say", Warn},
		{"beyond all bounds", "MemTotal: 9223372036854775807 kB\nMemAvailable: 1 kB\n", "does not say", Warn},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, map[string]string{"meminfo": tt.text})
			wantCheck(t, checkMemory(filepath.Join(dir, "meminfo"), 512<<20), tt.status, tt.detail)
		})
	}
	wantCheck(t, checkMemory("/nowhere", 0), Warn, "no such file", "mount /proc")
}

func TestCheckPids(t *testing.T) {
	tests := []struct {
		name   string
		files  map[string]string
		status Status
		detail string
	}{
		{"no groups", nil, OK, "no limit: there are no control groups"},
		{"rubbish", map[string]string{"proc": "what\n\n::\n"}, OK, "no limit: no control group counts"},
		{"no limit", map[string]string{"proc": "0::/a\n", "cg/a/pids.max": "max\n", "cg/a/pids.current": "3\n"}, OK, "no limit"},
		{"plenty", map[string]string{"proc": "0::/a\n", "cg/a/pids.max": "5000\n", "cg/a/pids.current": "3\n"}, OK, "5000, of which 4997 are left"},
		{
			"the group above is tighter",
			map[string]string{
				"proc": "0::/a/b\n", "cg/a/pids.max": "100\n", "cg/a/pids.current": "90\n", "cg/a/b/pids.max": "5000\n", "cg/a/b/pids.current": "3\n",
			},
			Warn, "100, of which 10 are left",
		},
		{
			"version 1", map[string]string{"proc": "3:pids:/a\n0::/\n", "cg/pids/a/pids.max": "50\n", "cg/pids/a/pids.current": "60\n"},
			Warn, "50, of which 0 are left",
		},
		{"outside of the namespace", map[string]string{"proc": "0::/../../a\n", "cg/a/pids.max": "70\n", "cg/a/pids.current": "60\n"}, Warn, "10 are left"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, tt.files)
			var fix []string
			if tt.status == Warn {
				fix = []string{"TasksMax", "--pids-limit"}
			}
			wantCheck(t, checkPids(filepath.Join(dir, "proc"), filepath.Join(dir, "cg")), tt.status, tt.detail, fix...)
		})
	}
}

func TestCheckGroupMemory(t *testing.T) {
	const need = 512 << 20
	tests := []struct {
		name   string
		files  map[string]string
		status Status
		detail string
	}{
		{"no groups", nil, OK, "no limit: there are no control groups"},
		{"no limit", map[string]string{"proc": "0::/a\n", "cg/a/memory.max": "max\n", "cg/a/memory.current": "3\n"}, OK, "no limit"},
		{"enough", map[string]string{"proc": "0::/a\n", "cg/a/memory.max": "2147483648\n", "cg/a/memory.current": "1073741824\n"}, OK, "2GiB, of which 1GiB are left"},
		{"too little", map[string]string{"proc": "0::/a\n", "cg/a/memory.max": "1073741824\n", "cg/a/memory.current": "805306368\n"}, Warn, "1GiB, of which 256MiB are left"},
		{
			"version 1, no limit", map[string]string{"proc": "3:memory:/a\n", "cg/memory/a/memory.limit_in_bytes": "9223372036854771712\n", "cg/memory/a/memory.usage_in_bytes": "3\n"},
			OK, "no limit",
		},
		{
			"version 1, used up", map[string]string{"proc": "3:memory:/a\n", "cg/memory/a/memory.limit_in_bytes": "1073741824\n", "cg/memory/a/memory.usage_in_bytes": "1073741830\n"},
			Warn, "1GiB, of which 0B are left",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, tt.files)
			var fix []string
			if tt.status == Warn {
				fix = []string{"MemoryMax", "--memory"}
			}
			wantCheck(t, checkGroupMemory(filepath.Join(dir, "proc"), filepath.Join(dir, "cg"), need), tt.status, tt.detail, fix...)
		})
	}
}

func TestCheckLimit(t *testing.T) {
	wantCheck(t, checkLimit("open files", unix.RLIMIT_NOFILE, 1, "raise it"), OK, "")
	wantCheck(t, checkLimit("open files", unix.RLIMIT_NOFILE, math.MaxUint64, "raise it"), Warn, "few", "raise it")
	wantCheck(t, checkLimit("none", 1<<20, 1, "raise it"), Warn, "invalid argument", "raise it")
}

func TestCheckFolder(t *testing.T) {
	dir := write(t, map[string]string{"file": ""})
	tests := []struct {
		name, dir string
		status    Status
		detail    string
	}{
		{"there", dir, OK, dir},
		{"not yet there", filepath.Join(dir, "a", "b"), OK, "not there yet"},
		{"a file", filepath.Join(dir, "file"), Warn, "not a directory"},
		{"below a file", filepath.Join(dir, "file", "a"), Warn, "not a directory"},
		{"not writable", "/proc", Warn, "without it none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := checkFolder("folder", tt.dir, "none", "XDG_HOME")
			wantCheck(t, c, tt.status, tt.detail)
			if tt.status == Warn {
				wantCheck(t, c, Warn, tt.dir, "XDG_HOME")
			}
		})
	}
	if got := find(t, dir); len(got) != 2 {
		t.Errorf("left behind: %q", got)
	}
}

func TestCheckHugePages(t *testing.T) {
	wantCheck(t, checkHugePages(func() error { return nil }), OK, "guest memory can lie on them")
	wantCheck(t, checkHugePages(func() error { return errors.New("no pages") }), Warn, "no pages; guest memory will lie on small pages", "shmem_enabled", "--cap-add SYS_ADMIN")
	// Where it has a place there, no folder has to serve.
	wantCheck(t, checkMemoryDirs([]string{"/nowhere"}, 4096, true)[0], Warn, "no such file")
}

func TestCheckMemoryDirs(t *testing.T) {
	good, other := t.TempDir(), t.TempDir()
	tests := []struct {
		name string
		dirs []string
		want []Status
		text []string
	}{
		{"the first serves", []string{good, other, "/nowhere"}, []Status{OK, OK, OK}, []string{"free", "in reserve", "not needed"}},
		{"the second serves", []string{"/nowhere", good}, []Status{Warn, OK}, []string{"no such file", "free"}},
		{"none serves", []string{"/nowhere", "/proc", good + " x"}, []Status{Fail, Fail, Fail}, []string{"no such file", "/proc", "characters"}},
		{"there is none", nil, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := checkMemoryDirs(tt.dirs, 4096, false)
			if len(got) != len(tt.want) {
				t.Fatalf("got %+v, want %d checks", got, len(tt.want))
			}
			for n, c := range got {
				wantCheck(t, c, tt.want[n], tt.text[n])
				if c.Status != OK && c.Fix == "" {
					t.Errorf("no fix: %+v", c)
				}
			}
		})
	}
	for _, dir := range []string{good, other} {
		if got := find(t, dir); len(got) != 1 {
			t.Errorf("left behind: %q", got)
		}
	}
}
