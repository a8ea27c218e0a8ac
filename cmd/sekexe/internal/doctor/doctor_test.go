package doctor

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekexe/sekexe/kernel"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestRun examines this host: all that a sub-kernel can't do without must be there, as for every test that boots one.
func TestRun(t *testing.T) {
	tests := map[string]*syscall.SysProcAttr{"this user": nil}
	if os.Getuid() == 0 {
		tests["an ordinary user"] = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: false}}
	}
	for name, attr := range tests {
		t.Run(name, func(t *testing.T) {
			dir, cache := sharedDir(t), sharedDir(t)
			checks := examine(t, "all", attr, "DOCTOR_TEST_DIR="+dir, "DOCTOR_TEST_CACHE="+cache)
			for _, name := range []string{"kernel", "kernel modules", "kernel features", "ptrace", "memory folder", "memory", "cpus", "cache folder", "user networks", "private networks", "boot"} {
				if c := checks[name]; c.Status != OK || c.Detail == "" || c.Fix != "" {
					t.Errorf("%s: got %+v, want ok", name, c)
				}
			}
			if c := checks["state folder"]; c.Status != Warn {
				t.Errorf("a state folder in /proc: got %+v, want a warning", c)
			}
			// What only some need is never more than a warning.
			for _, name := range []string{"seccomp", "process limit", "open files limit", "cgroup pids.max", "cgroup memory", "namespaces", "tun", "host networks", "ping", "landlock", "dockerd"} {
				if c, ok := checks[name]; !ok || c.Status == Fail || c.Detail == "" || (c.Fix == "") != (c.Status == OK) {
					t.Errorf("%s: got %+v, want ok, or a warning with a fix", name, c)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind in the memory folder: %v, %v", left, err)
			}
			for _, f := range find(t, cache) {
				if strings.Contains(f, "doctor-") {
					t.Errorf("left behind in the cache folder: %s", f)
				}
			}
		})
	}
}

// find lists what lies below a folder, by paths in it.
func find(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(p, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// inNamespace gives a child mounts of its own, also for who isn't root.
func inNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

func TestMemoryFolderNoexec(t *testing.T) {
	dir := t.TempDir()
	c := examine(t, "noexec", inNamespace(), "DOCTOR_TEST_DIR="+dir)["memory folder"]
	wantCheck(t, c, Fail, "mounted noexec", "remount,exec "+dir, "docker run --tmpfs")
}

func TestMemoryFolderTooSmall(t *testing.T) {
	c := examine(t, "small", inNamespace(), "DOCTOR_TEST_DIR="+t.TempDir())["memory folder"]
	wantCheck(t, c, Fail, "64KiB free, and a sub-kernel may use 1MiB", "docker run --tmpfs", "SEKEXE_MEMORY_DIR")
}

// TestFiltered examines a process that may not trace, like one in a container with a strict filter.
func TestFiltered(t *testing.T) {
	checks := examine(t, "filtered", nil)
	wantCheck(t, checks["ptrace"], Fail, "operation not permitted", "--cap-add SYS_PTRACE", "seccomp filter")
	wantCheck(t, checks["namespaces"], Warn, "operation not permitted", "unprivileged_userns_clone", "docker run")
	wantCheck(t, checks["landlock"], Warn, "operation not permitted", "docker run")
	wantCheck(t, checks["seccomp"], OK, "under one already")
}

// wantCheck checks the status of a check, and that its texts hold others.
func wantCheck(t *testing.T, c Check, status Status, detail string, fix ...string) {
	t.Helper()
	if c.Status != status || !strings.Contains(c.Detail, detail) {
		t.Errorf("got %+v, want status %s and a detail with %q", c, status, detail)
	}
	for _, f := range fix {
		if !strings.Contains(c.Fix, f) {
			t.Errorf("the fix is %q, want %q in it", c.Fix, f)
		}
	}
	if status == OK && c.Fix != "" {
		t.Errorf("what is well has a fix: %q", c.Fix)
	}
}

func TestKernelThatIsNone(t *testing.T) {
	f := &kernel.Finder{Getenv: func(name string) string { return map[string]string{kernel.EnvKernel: "/bin/true"}[name] }}
	checks := checkKernel(t.Context(), f)
	if len(checks) != 1 {
		t.Fatalf("got %+v, want one check", checks)
	}
	wantCheck(t, checks[0], Fail, "/bin/true: is no User Mode Linux", kernel.EnvKernel, "apt install user-mode-linux")
}

func TestNoKernel(t *testing.T) {
	checks := checkKernel(t.Context(), &kernel.Finder{Getenv: func(string) string { return "" }})
	if len(checks) != 1 {
		t.Fatalf("got %+v, want one check", checks)
	}
	wantCheck(t, checks[0], Fail, "neither linux.uml nor linux is on PATH", "apt install user-mode-linux")
}

func TestKernelFeatures(t *testing.T) {
	bare := &kernel.Info{Version: "6.1.0", ModulesEnabled: true}
	wantCheck(t, checkFeatures(bare), Warn, "without overlayfs", "CONFIG_OVERLAY_FS")
	wantCheck(t, checkModules(bare), Warn, "no folder 6.1.0", "apt install", "--modules")
	wantCheck(t, checkModules(&kernel.Info{}), OK, "loads none")
}

type hinted struct{ error }

func (hinted) Hint() string { return "boil it" }

func TestBoot(t *testing.T) {
	ok := func(context.Context) (string, error) { return "it was up", nil }
	bad := func(context.Context) (string, error) { return "", errors.New("it sank") }
	never := func(context.Context) (string, error) { panic("booted without a kernel") }
	tests := []struct {
		name   string
		boot   func(context.Context) (string, error)
		before []Check
		want   Check
	}{
		{"well", ok, nil, Check{Name: "boot", Status: OK, Detail: "it was up"}},
		{"badly", bad, nil, Check{"boot", Fail, "it sank", "sekexe run --verbose --kernel-log - true shows the kernel's log"}},
		{"with a hint", func(context.Context) (string, error) { return "", hinted{errors.New("it sank")} }, nil, Check{"boot", Fail, "it sank", "boil it"}},
		{"after a failure", bad, []Check{{"ptrace", Fail, "", ""}}, Check{"boot", Fail, "it sank", "mend first what failed above"}},
		{
			"without a kernel", never, []Check{{"kernel", Fail, "", ""}},
			Check{"boot", Fail, "not tried: there is no kernel to boot", "see what is said of the kernel above"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, checkBoot(t.Context(), tt.boot, tt.before)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPtraceCancelled holds that the check ends, with all that it started, when nobody waits for it any more.
func TestPtraceCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c := checkPtrace(ctx); c.Name != "ptrace" {
		t.Errorf("got %+v", c)
	}
	if err := leftovers(); err != nil {
		t.Error(err)
	}
}

// written is a report with everything in it that can be.
var written = []Check{
	{Name: "kernel", Status: OK, Detail: "6.1.176 at /usr/bin/linux.uml (found on PATH)"},
	{"memory folder", Warn, "/dev/shm: is mounted noexec", "mount -o remount,exec /dev/shm"},
	{"ptrace", Fail, "a line\nand\x1b[31m an escape \u202e\xff", "docker run --cap-add SYS_PTRACE"},
	{Name: "größe", Status: OK, Detail: "<as it is>"},
}

func TestWrite(t *testing.T) {
	tests := []struct {
		file  string
		write func(w io.Writer) error
	}{
		{"report.txt", func(w io.Writer) error { return WriteText(w, written, false) }},
		{"report-color.txt", func(w io.Writer) error { return WriteText(w, written, true) }},
		{"report.json", func(w io.Writer) error { return WriteJSON(w, written) }},
		{"well.json", func(w io.Writer) error { return WriteJSON(w, written[:2]) }},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			var b bytes.Buffer
			if err := tt.write(&b); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", tt.file)
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
