package kernel

import (
	"context"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestInspectRealKernel(t *testing.T) {
	path := realKernel(t)
	i, err := Inspect(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	if i.Path != path || i.Size == 0 || i.Modified.IsZero() {
		t.Errorf("Path, Size, Modified = %q, %d, %v", i.Path, i.Size, i.Modified)
	}
	if CompareVersions(i.Version, "4.0") < 0 {
		t.Errorf("Version = %q; want a kernel's", i.Version)
	}
	if got, want := i.Seccomp, CompareVersions(i.Version, "6.16") >= 0; got != want {
		t.Errorf("Seccomp of %s = %v; want %v: it came with 6.16", i.Version, got, want)
	}
	c, err := i.Config(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := i.SMP, c.State("SMP") == Builtin; got != want {
		t.Errorf("SMP = %v; want %v", got, want)
	}
	if m := Missing(i); len(m) > 0 {
		t.Errorf("Missing = %v; want nothing", m)
	}
	n := 0
	for name, value := range c.All() {
		n++
		if got, ok := c.Value(name); !ok || got != unquote(value) {
			t.Fatalf("Value(%q) = %q, %v; want %q", name, got, ok, value)
		}
	}
	if n < 500 {
		t.Errorf("the configuration has %d symbols; want many", n)
	}
	for _, s := range wanted {
		got, okGot := i.config.Value(s)
		want, ok := c.Value(s)
		if got != want || okGot != ok {
			t.Errorf("%s is remembered as %q, %v; want %q, %v", s, got, okGot, want, ok)
		}
	}
}

// damaged returns the path of a file with these contents.
func damaged(t *testing.T, b []byte, mode os.FileMode) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "linux")
	if err := os.WriteFile(p, b, mode); err != nil {
		t.Fatal(err)
	}
	return p
}

// changed is a kernel's file with some bytes changed.
func changed(t *testing.T, changes map[int]byte) []byte {
	t.Helper()
	binary, err := fakeBinary()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for at, v := range changes {
		b[at] = v
	}
	return b
}

func TestInspectRefusesFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	const machine, class, kind = 18, 4, 16 // offsets in the ELF header
	for _, tt := range []struct {
		name string
		path string
		want error
		text string
	}{
		{"nothing", filepath.Join(dir, "nothing"), ErrNotFound, "does not exist"},
		{"below a file", "/etc/passwd/linux", ErrNotFound, "does not exist"},
		{"a folder", dir, ErrNotFile, "is no regular file"},
		{"a fifo", fifo, ErrNotFile, "is no regular file"},
		{"not executable", damaged(t, changed(t, nil), 0o644), ErrNotExecutable, "permission denied"},
		{"empty", damaged(t, nil, 0o755), ErrNotELF, "is no ELF"},
		{"text", damaged(t, []byte("hello, world\n"), 0o755), ErrNotELF, "is no ELF"},
		{"a script", damaged(t, []byte("#!/bin/sh\nexec linux.uml \"$@\"\n"), 0o755), ErrScript, "is a script"},
		{"a short script", damaged(t, []byte("#!"), 0o755), ErrScript, "is a script"},
		{"cut off", damaged(t, changed(t, nil)[:40], 0o755), ErrNotELF, "damaged"},
		{"for ARM", damaged(t, changed(t, map[int]byte{machine: byte(elf.EM_AARCH64)}), 0o755), ErrWrongArch, "EM_AARCH64"},
		{"an object file", damaged(t, changed(t, map[int]byte{kind: byte(elf.ET_REL)}), 0o755), ErrNotELF, "ET_REL"},
		{"for 32 bits", damaged(t, changed(t, map[int]byte{class: byte(elf.ELFCLASS32)}), 0o755), nil, ""},
		{"another program", "/bin/true", ErrNotUML, "knows no option --showconfig"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Inspect(context.Background(), tt.path)
			checkError(t, err, tt.path, tt.want, tt.text)
		})
	}
}

// checkError checks an error that a user will see. want may be nil: any problem.
func checkError(t *testing.T, err error, path string, want error, text string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v (%T); want an *Error", err, err)
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("error = %v; want %v", err, want)
	}
	if e.Path != path || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), text) {
		t.Errorf("error of %s = %q; want %q in it", path, err, text)
	}
	if e.Hint() == "" {
		t.Errorf("error %q has no hint", err)
	}
	if strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Errorf("error %q has control characters", err)
	}
}

func TestInspectBadAnswers(t *testing.T) {
	const config = "--showconfig print GOODCONFIG\n"
	for _, tt := range []struct {
		name, behaviour string
		want            error
		text            string
	}{
		{"no configuration", `--showconfig print hello \e[2J` + "\n", ErrNotUML, `"hello \x1b[2J"`},
		{"silence", "", ErrNotUML, "but nothing"},
		{"another kernel's configuration", "--showconfig print CONFIG_X86=y\n", ErrNotUML, "no CONFIG_UML=y"},
		{"status", "--showconfig complain no such option\n--showconfig status 2\n", ErrNotUML, `status 2, it said "no such option"`},
		{"crash", "--showconfig crash\n", ErrCrashed, "killed"},
		{"flood", "--showconfig flood\n", ErrNotUML, "more than 2 MiB"},
		{"no version", config + "--version print\n", ErrBadAnswer, "--version printed nothing"},
		{"a strange version", config + "--version print banana\n", ErrBadAnswer, `--version printed "banana"`},
		{"a long version", config + "--version print 7.2." + strings.Repeat("1", 200) + "\n", ErrBadAnswer, `..`},
		{"crash for the version", config + "--version crash\n", ErrCrashed, "--version"},
		{"crash for the help", config + "--version print 7.2\n--help crash\n", ErrCrashed, "--help"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := fake(t, t.TempDir(), "linux", tt.behaviour)
			_, err := Inspect(context.Background(), path)
			checkError(t, err, path, tt.want, tt.text)
		})
	}
}

func TestInspectFake(t *testing.T) {
	path := fake(t, t.TempDir(), "linux", goodKernel("7.2.0-rc1+deb13")+"--help print seccomp=<on/auto/off>\n")
	i, err := Inspect(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	if i.Version != "7.2.0-rc1+deb13" || !i.Seccomp || i.SMP || i.ModulesEnabled {
		t.Errorf("Inspect = %+v", i)
	}
	c, err := i.Config(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := c.Value("CONFIG_LOCALVERSION"); v != `-test "quoted"` {
		t.Errorf("CONFIG_LOCALVERSION = %q", v)
	}
}

// A kernel that hangs is killed, with its children.
func TestInspectHanging(t *testing.T) {
	dir := t.TempDir()
	path := fake(t, dir, "linux", "--showconfig hang\n")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	alive := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		f, err := os.Open(fifo) // returns when the fake opens it
		close(started)
		if err == nil {
			_, err = io.ReadAll(f) // returns when nobody holds it any more
			f.Close()
		}
		alive <- err
	}()
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err := inspector{timeout: 3 * time.Second, grace: time.Minute}.inspect(ctx, path)
	cancel(nil)
	checkError(t, err, path, ErrHung, "--showconfig took more than 3s")
	unblock(t, fifo)
	<-started
	if err := <-alive; err != nil {
		t.Error(err)
	}
}

// A cancelled inspection ends at once, with the context's error.
func TestInspectCancelled(t *testing.T) {
	dir := t.TempDir()
	path := fake(t, dir, "linux", "--showconfig hang\n")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("enough")
	opened := make(chan *os.File, 1)
	go func() {
		f, err := os.Open(fifo)
		if err != nil {
			t.Error(err)
		}
		cancel(reason) // it runs: now
		opened <- f
	}()
	if _, err := Inspect(ctx, path); !errors.Is(err, reason) {
		t.Errorf("Inspect = %v; want %v", err, reason)
	}
	unblock(t, fifo)
	(<-opened).Close()
}

// unblock opens a FIFO for a moment, so that who waits for a writer sees one even if the fake was killed before it got so far.
func unblock(t *testing.T, fifo string) {
	t.Helper()
	fd, err := syscall.Open(fifo, syscall.O_WRONLY|syscall.O_NONBLOCK, 0)
	switch {
	case err == nil:
		_ = syscall.Close(fd)
	case !errors.Is(err, syscall.ENXIO): // the reader has come and gone
		t.Error(err)
	}
}

// What has ended but left a child with its output is no kernel, and the child does not stay.
func TestInspectLeavesChild(t *testing.T) {
	path := fake(t, t.TempDir(), "linux", "--showconfig leave\n")
	_, err := inspector{timeout: time.Minute, grace: 100 * time.Millisecond}.inspect(context.Background(), path)
	checkError(t, err, path, ErrHung, "--showconfig")
}

// A file that changes while it is inspected is not remembered as what it was.
func TestInspectChanging(t *testing.T) {
	f := finder(t, nil)
	dir := t.TempDir()
	path := fake(t, dir, "linux", goodKernel("7.2"))
	id, err := identify(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	_, err = defaultInspector.inspectFile(context.Background(), path, id)
	checkError(t, err, path, ErrBadAnswer, "changed while it was inspected")
	if i := resolve(t, f, Choice{Path: path}); i.Version != "7.2" {
		t.Errorf("Version = %q", i.Version)
	}
}
