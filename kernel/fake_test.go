package kernel

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// goodConfig is the configuration of a kernel that has what every sub-kernel needs.
//
//go:embed testdata/fake/good.config
var goodConfig string

// fakeDir is where fakeBinary is built; TestMain removes it.
var fakeDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sekexe-fake-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fakeDir = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// fakeBinary builds testdata/fake, once.
var fakeBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(fakeDir, "fake")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/fake")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build testdata/fake: %w\n%s", err, out)
	}
	return path, nil
})

// goodKernel is the behaviour of a kernel of a version.
func goodKernel(version string) string {
	return "--showconfig print GOODCONFIG\n--version print " + version + "\n--help print User Mode Linux\n"
}

// fake makes an executable that behaves as told (see testdata/fake), in a folder of its own, and returns its path.
func fake(t *testing.T, dir, name, behaviour string) string {
	t.Helper()
	binary, err := fakeBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	copyFile(t, binary, path)
	if err := os.WriteFile(filepath.Join(dir, "behaviour"), []byte(behaviour), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fakeBuilt makes a kernel that was built, of this name, version and flavour, and returns its path.
func fakeBuilt(t *testing.T, f *Finder, name, version, flavour string) string {
	t.Helper()
	path := fake(t, filepath.Join(f.CacheDir, builtDir, name), builtFile, goodKernel(version))
	provenance := fmt.Sprintf(`{"schema": 1, "key": %q, "flavour": %q}`, name, flavour)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), provenanceFile), []byte(provenance), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// copyFile makes an executable copy.
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
	dir := t.TempDir()
	return &Finder{CacheDir: filepath.Join(dir, "cache"), ConfigDir: filepath.Join(dir, "config"), Getenv: func(n string) string { return env[n] }}
}

func resolve(t testing.TB, f *Finder, c Choice) *Info {
	t.Helper()
	i, err := f.Resolve(context.Background(), c)
	if err != nil {
		t.Fatalf("Resolve(%+v): %v", c, err)
	}
	return i
}
