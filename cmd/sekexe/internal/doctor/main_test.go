package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/kernel"
)

// childVariable names what this test program does in place of testing: see children.
const childVariable = "DOCTOR_TEST_CHILD"

// children are the hosts, or rather the processes with a view of their own of this one, that are examined.
var children = map[string]func() ([]Check, error){
	// all examines the host as it is.
	"all": func() ([]Check, error) {
		return Run(context.Background(), Options{
			Kernels:    kernel.NewFinder(os.Getenv("DOCTOR_TEST_CACHE")),
			MemoryDirs: []string{os.Getenv("DOCTOR_TEST_DIR")}, Memory: 1 << 20,
			CacheDir: os.Getenv("DOCTOR_TEST_CACHE"), StateDir: "/proc/sekexe",
			PrivateNetwork: func(context.Context) error { return nil },
			Boot:           func(context.Context) (string, error) { return "booted", nil },
		}), nil
	},
	// noexec has a memory folder that is mounted noexec, as Docker's /dev/shm is.
	"noexec": func() ([]Check, error) {
		dir := os.Getenv("DOCTOR_TEST_DIR")
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, "size=8m"); err != nil {
			return nil, fmt.Errorf("mount: %w", err)
		}
		return checkMemoryDirs([]string{dir}, 1<<20, false), nil
	},
	// small has one that is too small.
	"small": func() ([]Check, error) {
		dir := os.Getenv("DOCTOR_TEST_DIR")
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			return nil, fmt.Errorf("mount: %w", err)
		}
		return checkMemoryDirs([]string{dir}, 1<<20, false), nil
	},
	// filtered is under a seccomp filter such as containers have.
	"filtered": func() ([]Check, error) {
		runtime.LockOSThread() // the filter is this thread's
		if err := denySystemCalls(unix.SYS_PTRACE, unix.SYS_UNSHARE, unix.SYS_LANDLOCK_CREATE_RULESET); err != nil {
			return nil, fmt.Errorf("seccomp: %w", err)
		}
		ctx := context.Background()
		return []Check{checkPtrace(ctx), checkSeccomp(), checkNamespaces(ctx), checkLandlock()}, nil
	},
	// unconnected may make no sockets.
	"unconnected": func() ([]Check, error) {
		runtime.LockOSThread()
		if err := denySystemCalls(unix.SYS_SOCKET, unix.SYS_SOCKETPAIR); err != nil {
			return nil, fmt.Errorf("seccomp: %w", err)
		}
		return []Check{checkUserNetworks(), checkHostNetworks(), checkPing()}, nil
	},
	// networks has all rights in the network namespace it is in.
	"networks": func() ([]Check, error) {
		return []Check{checkHostNetworks()}, nil
	},
	// incapable is root by name only.
	"incapable": func() ([]Check, error) {
		runtime.LockOSThread() // capabilities are this thread's
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var d [2]unix.CapUserData
		if err := unix.Capset(&h, &d[0]); err != nil {
			return nil, fmt.Errorf("capset: %w", err)
		}
		return []Check{checkHostNetworks()}, nil
	},
}

func TestMain(m *testing.M) {
	child := children[os.Getenv(childVariable)]
	if child == nil {
		os.Exit(m.Run())
	}
	checks, err := child()
	if err == nil {
		err = leftovers()
	}
	if err == nil {
		err = WriteJSON(os.Stdout, checks)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

// leftovers says whether a process was left behind.
func leftovers() error {
	var ws unix.WaitStatus
	if pid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		return fmt.Errorf("a process was left behind: wait4 says %d, %v", pid, err)
	}
	return nil
}

// denySystemCalls gives the calling thread a filter that refuses them with EPERM.
func denySystemCalls(numbers ...uint32) error {
	const number = 0 // its offset in struct seccomp_data
	prog := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number}}
	for n, nr := range numbers {
		prog = append(prog, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: uint8(len(numbers) - n)})
	}
	prog = append(prog,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return setFilter(&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}

// examine runs one of children and returns what it found, by name.
func examine(t *testing.T, child string, attr *syscall.SysProcAttr, env ...string) map[string]Check {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if attr != nil && attr.Credential != nil {
		self = copyForAll(t, self)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), childVariable + "=" + child, "GORACE=atexit_sleep_ms=0"}, env...)
	cmd.SysProcAttr = attr
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", child, err, stderr.Bytes())
	}
	var report struct{ Checks []Check }
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%s printed no JSON: %v: %s", child, err, out)
	}
	return byName(report.Checks)
}

// byName makes a map of checks; of several of one name the first counts.
func byName(checks []Check) map[string]Check {
	m := map[string]Check{}
	for _, c := range checks {
		if _, ok := m[c.Name]; !ok {
			m[c.Name] = c
		}
	}
	return m
}

// sharedDir makes a folder that every user can enter and write to.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "doctor-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyForAll copies a program to where every user can start it.
func copyForAll(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(sharedDir(t), "doctor.test")
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}
