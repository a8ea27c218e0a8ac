package uml

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/orchestrator"
)

// opened opens a disk, and closes it at the test's end.
func opened(t *testing.T, d orchestrator.Disk) (*disk, error) {
	t.Helper()
	k := &disk{Disk: &d}
	err := k.open()
	if err == nil {
		t.Cleanup(func() { k.file.Close() })
	}
	return k, err
}

func TestDiskIsMadeAndGrown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new folder", "x, y:z.img")
	d, err := opened(t, orchestrator.Disk{Size: 64 << 20, File: file, Mode: 0o750})
	if err != nil {
		t.Fatal(err)
	}
	if err := checkDisk(d.file); err != nil {
		t.Error(err)
	}
	if names := listing(t, filepath.Dir(file)); len(names) != 1 {
		t.Errorf("the folder has %q; want the disk alone", names)
	}
	d.file.Close()
	d, err = opened(t, orchestrator.Disk{Size: 128 << 20, File: file})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Size() != 128<<20 {
		t.Errorf("its size is %d, %v; want 128 MiB", st.Size(), err)
	}
	d.file.Close()
	if _, err = opened(t, orchestrator.Disk{Size: 127 << 20, File: file}); err == nil || !strings.Contains(err.Error(), "isn't made smaller") {
		t.Errorf("opened smaller: %v; want an error", err)
	}
}

func TestDiskIsLocked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.img")
	d := orchestrator.Disk{Size: 16 << 20, File: file}
	first, err := opened(t, d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = opened(t, d)
	var hint interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), "in use by another sub-kernel of this run") || !errors.As(err, &hint) {
		t.Errorf("opened again: %v; want an error that names the holder, with a hint", err)
	}
	first.file.Close()
	if _, err := opened(t, d); err != nil {
		t.Errorf("opened after it was closed: %v", err)
	}
}

// TestDiskOfOneKilled waits for what still holds a disk whose lock was taken by a process that is gone, as a kernel does whose sekexe was killed.
func TestDiskOfOneKilled(t *testing.T) {
	d := orchestrator.Disk{Size: 16 << 20, File: filepath.Join(t.TempDir(), "x.img")}
	if first, err := opened(t, d); err != nil {
		t.Fatal(err)
	} else {
		first.file.Close()
	}
	kernel := exec.Command("sh", "-c", `exec 9<"$0"; flock 9 && echo locked && exec cat`, d.File)
	stdin, err1 := kernel.StdinPipe()
	stdout, err2 := kernel.StdoutPipe()
	if err := errors.Join(err1, err2, kernel.Start()); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	type result struct {
		disk *disk
		err  error
	}
	got := make(chan result, 1)
	go func() {
		k, err := opened(t, d)
		got <- result{k, err}
	}()
	select {
	case r := <-got:
		t.Fatalf("opened while it is in use: %+v", r)
	case <-time.After(50 * time.Millisecond): // it waits, or has not begun to
	}
	stdin.Close()
	if err := kernel.Wait(); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.err != nil {
		t.Fatalf("opened after its user was gone: %v", r.err)
	}
	if _, err := opened(t, d); err == nil || !strings.Contains(err.Error(), "in use by another sub-kernel of this run") {
		t.Errorf("opened again: %v; want an error", err)
	}
}

// TestAwaitLockGivesUp holds that who has waited in vain for a lock doesn't keep others from it afterwards.
func TestAwaitLockGivesUp(t *testing.T) {
	var files [3]*os.File
	name := filepath.Join(t.TempDir(), "x.img")
	for i := range files {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	if err := awaitLock(files[0], time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := awaitLock(files[1], 10*time.Millisecond); err != unix.EWOULDBLOCK {
		t.Errorf("awaitLock of a file in use: %v; want EWOULDBLOCK", err)
	}
	files[1].Close()
	files[0].Close()
	if err := awaitLock(files[2], time.Minute); err != nil {
		t.Errorf("awaitLock after all have closed it: %v", err)
	}
}

func TestDiskRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"other.img": {[]byte("something else"), "holds no ext4"},
		"large.img": {make([]byte, 1<<20), "holds no ext4"},
		"cow.img":   {append([]byte("OOOM"), make([]byte, 1<<20)...), "copy-on-write"},
		"cow1.img":  {append([]byte("MOOO"), make([]byte, 1<<20)...), "copy-on-write"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := opened(t, orchestrator.Disk{Size: 16 << 20, File: file}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want an error with %q", name, err, test.want)
		}
		if b, _ := os.ReadFile(file); string(b) != string(test.content) {
			t.Errorf("%s was changed", name)
		}
	}
	if _, err := opened(t, orchestrator.Disk{Size: 16 << 20, File: dir}); err == nil {
		t.Error("a folder was opened as a disk")
	}
	empty := filepath.Join(dir, "empty")
	os.WriteFile(empty, nil, 0o600)
	if d, err := opened(t, orchestrator.Disk{Size: 16 << 20, File: empty}); err != nil || checkDisk(d.file) != nil {
		t.Errorf("an empty file: %v; want a disk made in it", err)
	}
}

func TestFleetingDiskHasNoName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	if _, err := opened(t, orchestrator.Disk{Size: 16 << 20}); err != nil {
		t.Fatal(err)
	}
	if names := listing(t, dir); len(names) != 0 {
		t.Errorf("TMPDIR has %q; want nothing", names)
	}
}

func TestDiskNames(t *testing.T) {
	if got := diskArg(3, 7); got != "ubd3d=/proc/self/fd/7" {
		t.Errorf("diskArg = %q", got)
	}
	if got := wireDisk(14, &orchestrator.Disk{Target: "/x", File: "y"}); got.Device != "ubdo" || got.Fleeting {
		t.Errorf("wireDisk = %+v", got)
	}
}
