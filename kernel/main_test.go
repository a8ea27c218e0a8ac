package kernel

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The test's own executable plays kernels that are none: it is an ELF file, and has the text --showconfig in it. How it behaves stands in
// the file behaviour beside the executable, a line of words each: see fake.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "--") {
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(os.Args[0]), "behaviour")); err == nil {
			os.Exit(play(filepath.Dir(os.Args[0]), os.Args[1], string(b)))
		}
	}
	os.Exit(m.Run())
}

// goodConfig is the configuration of a kernel that has what every sub-kernel needs.
const goodConfig = `#
# Linux/um 7.2.13 Kernel Configuration
#
CONFIG_UML=y
CONFIG_HOSTFS=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_TMPFS=y
CONFIG_SSL=y
CONFIG_NULL_CHAN=y
CONFIG_UNIX98_PTYS=y
CONFIG_UNIX=y
CONFIG_BINFMT_ELF=y
CONFIG_OVERLAY_FS=m
# CONFIG_SMP is not set
CONFIG_LOCALVERSION="-test \"quoted\""
`

// play behaves as told for one option: "OPTION print TEXT", "OPTION status N", "OPTION crash", "OPTION hang", "OPTION flood",
// "OPTION leave". Each start is noted in the file starts.
func play(dir, option, behaviour string) int {
	f, err := os.OpenFile(filepath.Join(dir, "starts"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 99
	}
	fmt.Fprintln(f, option)
	f.Close()
	status := 0
	for sc := bufio.NewScanner(strings.NewReader(behaviour)); sc.Scan(); {
		w := strings.SplitN(sc.Text(), " ", 3)
		if w[0] != option {
			continue
		}
		arg := ""
		if len(w) == 3 {
			arg = w[2]
		}
		switch w[1] {
		case "print":
			fmt.Println(strings.NewReplacer("GOODCONFIG", goodConfig, `\e`, "\x1b").Replace(arg))
		case "complain":
			fmt.Fprintln(os.Stderr, arg)
		case "status":
			fmt.Sscan(arg, &status)
		case "crash":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "hang":
			hang(dir)
		case "flood":
			for {
				if _, err := fmt.Println(strings.Repeat("CONFIG_X=y\n", 1000)); err != nil {
					return 1
				}
			}
		case "leave":
			leave()
		}
	}
	return status
}

// hang starts a child and waits for ever with it; both hold the FIFO open.
func hang(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, "fifo"), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	c := exec.Command("sleep", "1000")
	c.ExtraFiles = []*os.File{f}
	c.Stdout = os.Stdout
	if c.Start() == nil {
		_ = c.Wait()
	}
}

// leave ends while a child that holds the output goes on.
func leave() {
	c := exec.Command("sleep", "1000")
	c.Stdout = os.Stdout
	_ = c.Start()
}

// goodKernel behaves like a kernel of a version.
func goodKernel(version string) string {
	return "--showconfig print GOODCONFIG\n--version print " + version + "\n--help print User Mode Linux\n"
}

// fake makes an executable that behaves as told, in a folder of its own, and returns its path.
func fake(t *testing.T, dir, name, behaviour string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	copyFile(t, self, path)
	if err := os.WriteFile(filepath.Join(dir, "behaviour"), []byte(behaviour), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// starts is how often a fake was started.
func starts(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "starts"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

// realKernel is the kernel that the tests inspect: $SEKEXE_TEST_KERNEL, else linux.uml on PATH.
func realKernel(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("SEKEXE_TEST_KERNEL"); p != "" {
		return p
	}
	p, err := exec.LookPath("linux.uml")
	if err != nil {
		t.Fatalf("the tests need a kernel: apt install user-mode-linux, or set SEKEXE_TEST_KERNEL: %v", err)
	}
	return p
}

// finder returns a Finder with this environment and nothing else, and a cache of its own.
func finder(t testing.TB, env map[string]string) *Finder {
	return &Finder{CacheDir: filepath.Join(t.TempDir(), "cache"), Getenv: func(n string) string { return env[n] }}
}

func resolve(t testing.TB, f *Finder, c Choice) *Info {
	t.Helper()
	i, err := f.Resolve(context.Background(), c)
	if err != nil {
		t.Fatalf("Resolve(%+v): %v", c, err)
	}
	return i
}
