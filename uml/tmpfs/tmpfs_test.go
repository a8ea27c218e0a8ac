package tmpfs

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestOpen uses the file system of either way as a kernel of User Mode Linux does.
func TestOpen(t *testing.T) {
	options := [][2]string{{"size", "8388608"}, {"mode", "0700"}, {"huge", "always"}}
	for name, open := range map[string]func([][2]string) (int, error){"mount": mount, "user": mountAsUser} {
		t.Run(name, func(t *testing.T) {
			if name == "mount" && os.Getuid() != 0 {
				if fd, err := open(options); err != unix.EPERM {
					t.Fatalf("an ordinary user mounted: %d, %v", fd, err)
				}
				return
			}
			before := descriptors(t)
			fd, err := open(options)
			if err != nil {
				t.Fatal(err)
			}
			if now := descriptors(t); now != before+1 {
				t.Errorf("%d descriptors are open, before there were %d", now, before)
			}
			root := os.NewFile(uintptr(fd), "tmpfs")
			defer root.Close()
			use(t, root)
		})
	}
}

func use(t *testing.T, root *os.File) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &st); err != nil || st.Type != unix.TMPFS_MAGIC || int64(st.Blocks)*st.Bsize != 8<<20 {
		t.Fatalf("statfs: %+v, %v", st, err)
	}
	if fi, err := root.Stat(); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the root folder: %v, %v", fi, err)
	}
	dir := "/proc/self/fd/" + strconv.Itoa(int(root.Fd()))
	f, err := os.CreateTemp(dir, "vm_file-")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(os.Remove(f.Name()), f.Truncate(4<<20)); err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 4<<20, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	m[2<<20] = 1
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	var fst unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &fst); err != nil {
		t.Fatal(err)
	}
	if deny, _ := os.ReadFile("/sys/kernel/mm/transparent_hugepage/shmem_enabled"); !strings.Contains(string(deny), "[deny]") && fst.Blocks*512 != 2<<20 {
		t.Errorf("a byte takes %d bytes, and not a huge page", fst.Blocks*512)
	}
	if _, err := f.Write(make([]byte, 9<<20)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("more than its size: %v", err)
	}
	if names, err := filepath.Glob(dir + "/*"); err != nil || len(names) != 0 {
		t.Errorf("files: %v, %v", names, err)
	}
}

// TestRefused looks at what is left of a list of calls one of which fails.
func TestRefused(t *testing.T) {
	for _, options := range [][][2]string{{{"size", "much"}}, {{"nonsense", "1"}}} {
		before := descriptors(t)
		fd, err := mountAsUser(options)
		if err != unix.EINVAL {
			t.Errorf("%v: %d, %v", options, fd, err)
		}
		if now := descriptors(t); now != before {
			t.Errorf("%v: %d descriptors are open, before there were %d", options, now, before)
		}
	}
	if err := (&list{}).run(unix.CLONE_FS | unix.CLONE_NEWNS); err != unix.EINVAL {
		t.Errorf("clone of flags that don't go together: %v", err)
	}
}

// TestKilled kills the process in the middle of its calls, as the host does when memory ends.
func TestKilled(t *testing.T) {
	before := descriptors(t)
	l := &list{}
	l.write("/dev/null", "text")
	kept := l.add(nil, unix.SYS_FSOPEN, l.text("tmpfs"), unix.FSOPEN_CLOEXEC)
	pid := l.add(nil, unix.SYS_GETPID)
	l.add(&pid.result, unix.SYS_KILL, 0, uintptr(unix.SIGKILL))
	late := l.add(nil, unix.SYS_OPEN, l.text("/dev/null"))
	l.add(&kept.result, unix.SYS_CLOSE)
	if err := l.run(unix.CLONE_NEWUSER | unix.CLONE_NEWNS); err != unix.EINTR || late.result != unmade {
		t.Errorf("run: %v, and the call after it was killed returned %#x", err, late.result)
	}
	if kept.errno() != 0 {
		t.Errorf("nothing was open then: %v", kept.errno())
	}
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors are open, before there were %d", now, before)
	}
	var ws unix.WaitStatus
	if pid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a process is left: %d, %v", pid, err)
	}
}

// TestOthers makes a file as another user, which a file system of a user namespace doesn't let him.
func TestOthers(t *testing.T) {
	root, err := Open(1<<20, true)
	if os.Getuid() != 0 {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("an ordinary user has one for others: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := createAs(65534, int(root.Fd())); err != nil {
		t.Error(err)
	}
	own, err := mountAsUser(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(own)
	if err := createAs(65534, own); err != unix.EOVERFLOW {
		t.Errorf("in one of a user namespace: %v; want EOVERFLOW", err)
	}
}

// createAs makes a file in a folder, which it gives to the user.
func createAs(id uintptr, folder int) error {
	if err := unix.Fchownat(folder, "", int(id), int(id), unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	runtime.LockOSThread() // whose user of the file system's it is
	defer runtime.UnlockOSThread()
	for _, nr := range []uintptr{unix.SYS_SETFSGID, unix.SYS_SETFSUID} {
		_, _, _ = unix.RawSyscall(nr, id, 0, 0)
		defer func() { _, _, _ = unix.RawSyscall(nr, 0, 0, 0) }()
	}
	fd, err := unix.Openat(folder, "vm_file", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// TestOften opens many at once, while Go's collector is busy and its threads get signals.
func TestOften(t *testing.T) {
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 50 {
				root, err := Open(1<<20, false)
				if err != nil {
					t.Fatal(err)
				}
				root.Close()
				_ = make([]byte, 1<<20)
			}
		})
	}
}

func TestLayout(t *testing.T) {
	var c call
	if unsafe.Offsetof(c.first) != 56 || unsafe.Offsetof(c.result) != 64 || unsafe.Sizeof(c) != 72 {
		t.Error("the assembly has another layout")
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}
