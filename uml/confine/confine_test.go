package confine

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attackArg makes the test binary a kernel that its guest has taken over: it does natively what it should not be able to do.
const attackArg = "confine-attack"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == limitArg {
		useTooMuch()
		os.Exit(0)
	}
	if len(os.Args) == 4 && os.Args[1] == attackArg {
		dir, parent := os.Args[2], os.Args[3]
		pid, err := strconv.Atoi(parent)
		if err != nil {
			os.Exit(2)
		}
		for _, a := range attacks {
			fmt.Printf("%s: %v\n", a.name, a.do(dir, pid))
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// An attack is one thing to try. dir is a folder with rw, which may be changed, and outside, which may not; parent is the supervisor.
type attack struct {
	name string
	do   func(dir string, parent int) error
	// fine means that it must succeed; otherwise it must fail.
	fine bool
	// bites means that it succeeds without confinement, by anybody; rootBites, by root.
	bites, rootBites bool
	needs            func(Support) bool // nil: nothing of the host
}

func landlocked(s Support) bool { return s.Landlock > 0 }
func scoped(s Support) bool     { return s.Landlock >= abiScope }

func raw(nr, a, b, c, d uintptr) error {
	if _, _, errno := unix.RawSyscall6(nr, a, b, c, d, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func openAs(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func connect(kind int, name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, kind, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: name})
}

// chmodOpen changes the mode by a descriptor.
func chmodOpen(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, 0o777)
}

// at makes an attack on one file.
func at(name string, do func(path string) error) func(string, int) error {
	return func(dir string, _ int) error { return do(filepath.Join(dir, name)) }
}

// refused makes an attack of one system call that a kernel never makes. Its arguments are nonsense: what matters is that it is not looked at.
func refused(nr uintptr, args ...uintptr) func(string, int) error {
	return func(string, int) error {
		var a [4]uintptr
		copy(a[:], args)
		err := raw(nr, a[0], a[1], a[2], a[3])
		if err == unix.EPERM || err == unix.ENOSYS {
			return err
		}
		return fmt.Errorf("%w (the host's kernel has looked at it)", errLooked)
	}
}

var errLooked = errors.New("not refused")

var attacks = []attack{
	{name: "write a file", do: at("outside/victim", func(p string) error { return openAs(p, unix.O_WRONLY) }), bites: true, needs: landlocked},
	{name: "truncate a file", do: at("outside/victim", func(p string) error { return unix.Truncate(p, 0) }), bites: true, needs: landlocked},
	{name: "make a file", do: at("outside/new", func(p string) error { return openAs(p, unix.O_WRONLY|unix.O_CREAT) }), bites: true, needs: landlocked},
	{name: "make a folder", do: at("outside/newdir", func(p string) error { return unix.Mkdir(p, 0o755) }), bites: true, needs: landlocked},
	{name: "remove a file", do: at("outside/gone", unix.Unlink), bites: true, needs: landlocked},
	{name: "link a file into a mount", do: func(d string, _ int) error { return unix.Link(d+"/outside/victim", d+"/rw/linked") }, bites: true, needs: landlocked},
	{name: "rename a file into a mount", do: func(d string, _ int) error { return unix.Rename(d+"/outside/moved", d+"/rw/moved") }, bites: true, needs: landlocked},
	{name: "write through ..", do: at("rw/../outside/victim", func(p string) error { return openAs(p, unix.O_WRONLY) }), bites: true, needs: landlocked},
	{name: "write through a link", do: at("rw/link", func(p string) error { return openAs(p, unix.O_WRONLY) }), bites: true, needs: landlocked},
	{name: "write through /proc", do: func(d string, _ int) error { return openAs("/proc/self/root"+d+"/outside/victim", unix.O_WRONLY) }, bites: true, needs: landlocked},
	{name: "read a hidden file", do: at("hidden/secret", func(p string) error { return openAs(p, unix.O_RDONLY) }), bites: true, needs: landlocked},
	{name: "read a hidden file through /proc", do: func(d string, _ int) error { return openAs("/proc/self/cwd/"+d+"/hidden/secret", unix.O_RDONLY) }, bites: true, needs: landlocked},
	{name: "read a hidden file that was made later", do: at("hidden/later", func(p string) error { return openAs(p, unix.O_RDONLY) }), bites: true, needs: landlocked},
	{name: "read the supervisor's environment", do: func(_ string, pid int) error { return openAs(fmt.Sprintf("/proc/%d/environ", pid), unix.O_RDONLY) }, bites: true},
	{name: "read a disk", do: func(string, int) error { return openAs("/dev/mem", unix.O_RDONLY) }},
	{name: "execute a program", do: func(string, int) error {
		p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
		if err == nil {
			_, err = p.Wait()
		}
		return err
	}, bites: true, needs: landlocked},

	{name: "change a mode", do: at("outside/mode", func(p string) error { return unix.Chmod(p, 0o777) }), bites: true},
	{name: "change the mode of an open file", do: at("outside/mode", chmodOpen), bites: true},
	{name: "change a mode through a link", do: at("rw/link", func(p string) error { return unix.Chmod(p, 0o777) }), bites: true},
	{name: "change a mode through ..", do: at("rw/../outside/mode", func(p string) error { return unix.Chmod(p, 0o777) }), bites: true},
	{name: "change an owner", do: at("outside/mode", func(p string) error { return unix.Chown(p, os.Getuid(), os.Getgid()) }), bites: true},
	{name: "change times", do: at("outside/mode", func(p string) error { return unix.Utimes(p, []unix.Timeval{{}, {}}) }), bites: true},
	{name: "set an attribute", do: at("outside/mode", func(p string) error { return unix.Setxattr(p, "user.x", []byte("x"), 0) }), bites: true},
	{name: "make a device", do: at("rw/device", func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o666, int(unix.Mkdev(7, 200))) }), rootBites: true},

	{name: "signal the supervisor", do: func(_ string, pid int) error { return unix.Kill(pid, 0) }, bites: true, needs: scoped},
	{name: "trace the supervisor", do: func(_ string, pid int) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := unix.PtraceSeize(pid)
		if err == nil {
			err = unix.PtraceDetach(pid)
			if err == unix.ESRCH { // it is not stopped; it was traced, however
				err = nil
			}
		}
		return err
	}, bites: true},
	{name: "read the supervisor's memory", do: func(_ string, pid int) error {
		b := make([]byte, 8)
		_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&errLooked)), Len: 8}}, 0)
		return err
	}, bites: true},
	{name: "limit the supervisor", do: func(_ string, pid int) error { return unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &unix.Rlimit{}) }, bites: true},
	{name: "connect to a socket", do: func(d string, _ int) error { return connect(unix.SOCK_STREAM, d+"/outside/sock") }, bites: true},
	{name: "connect to an abstract socket", do: func(d string, _ int) error { return connect(unix.SOCK_STREAM, "@"+d) }, bites: true},
	{name: "send to a socket by name", do: func(d string, _ int) error {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		return unix.Sendto(fds[0], []byte("x"), 0, &unix.SockaddrUnix{Name: d + "/outside/dgram"})
	}, bites: true},
	{name: "use the network", do: func(string, int) error { return raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0, 0) }, bites: true},
	{name: "make a namespace", do: func(string, int) error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNS, 0, 0, 0) }, rootBites: true},
	{name: "clone into a namespace", do: func(string, int) error { return raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_FS, 0, 0, 0) }}, // invalid: EINVAL is not EPERM
	{name: "become root", do: func(string, int) error { return raw(unix.SYS_SETRESUID, 0, 0, 0, 0) }, rootBites: true},

	{name: "mount", do: refused(unix.SYS_MOUNT)}, {name: "umount", do: refused(unix.SYS_UMOUNT2)}, {name: "pivot_root", do: refused(unix.SYS_PIVOT_ROOT)},
	{name: "chroot", do: refused(unix.SYS_CHROOT)}, {name: "setns", do: refused(unix.SYS_SETNS, ^uintptr(0))}, {name: "fsopen", do: refused(unix.SYS_FSOPEN)},
	{name: "bpf", do: refused(unix.SYS_BPF, 100)}, {name: "perf_event_open", do: refused(unix.SYS_PERF_EVENT_OPEN)}, {name: "io_uring_setup", do: refused(unix.SYS_IO_URING_SETUP)},
	{name: "userfaultfd", do: refused(unix.SYS_USERFAULTFD, 1)}, {name: "keyctl", do: refused(unix.SYS_KEYCTL, 1000)}, {name: "add_key", do: refused(unix.SYS_ADD_KEY)},
	{name: "open_by_handle_at", do: refused(unix.SYS_OPEN_BY_HANDLE_AT)}, {name: "init_module", do: refused(unix.SYS_INIT_MODULE)},
	{name: "finit_module", do: refused(unix.SYS_FINIT_MODULE)}, {name: "kexec_load", do: refused(unix.SYS_KEXEC_LOAD)}, {name: "reboot", do: refused(unix.SYS_REBOOT)},
	{name: "swapon", do: refused(unix.SYS_SWAPON)}, {name: "clone3", do: refused(unix.SYS_CLONE3)}, {name: "a call of x32", do: refused(0x40000000 + unix.SYS_OPEN)},
	{name: "a call of the future", do: refused(1000)}, {name: "type into a terminal", do: refused(unix.SYS_IOCTL, ^uintptr(0), unix.TIOCSTI)},
	{name: "pidfd_getfd", do: refused(unix.SYS_PIDFD_GETFD, ^uintptr(0))}, {name: "process_madvise", do: refused(unix.SYS_PROCESS_MADVISE, ^uintptr(0))},

	{name: "read a file that is shown", fine: true, do: at("hidden/shown", func(p string) error { return openAs(p, unix.O_RDONLY) })},
	{name: "read what is not hidden", fine: true, do: at("outside/victim", func(p string) error { return openAs(p, unix.O_RDONLY) })},
	{name: "list a folder with something hidden", fine: true, do: at("", func(p string) error { _, err := os.ReadDir(p); return err })},
	{name: "change a mode in a mount", fine: true, do: at("rw/mode", func(p string) error { return unix.Chmod(p, 0o640) })},
	{name: "change the mode of an open file in a mount", fine: true, do: at("rw/mode", chmodOpen)},
	{name: "change an owner in a mount", fine: true, do: at("rw/mode", func(p string) error { return unix.Chown(p, os.Getuid(), os.Getgid()) })},
	{name: "change times in a mount", fine: true, do: at("rw/mode", func(p string) error { return unix.Utimes(p, []unix.Timeval{{Sec: 1}, {Sec: 2}}) })},
	{name: "change times in a mount to now", fine: true, do: at("rw/mode", func(p string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, p, nil, 0) })},
	{name: "make a file in a mount", fine: true, do: at("rw/made", func(p string) error { return openAs(p, unix.O_RDWR|unix.O_CREAT) })},
	{name: "make a folder in a mount", fine: true, do: at("rw/dir", func(p string) error { return unix.Mkdir(p, 0o700) })},
	{name: "make a link in a mount", fine: true, do: at("rw/newlink", func(p string) error { return unix.Symlink("nowhere", p) })},
	{name: "make a pipe in a mount", fine: true, do: at("rw/pipe", func(p string) error { return unix.Mknod(p, unix.S_IFIFO|0o600, 0) })},
	{name: "rename in a mount", fine: true, do: func(d string, _ int) error { return unix.Rename(d+"/rw/renamed", d+"/rw/dir/renamed") }, needs: func(s Support) bool { return s.Landlock != 1 }},
	{name: "write to its own folder", fine: true, do: at("private/file", func(p string) error { return openAs(p, unix.O_RDWR|unix.O_CREAT) })},
	{name: "change the mode of a file without a name", fine: true, do: at("private", func(p string) error {
		fd, err := unix.Open(p, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL, 0o700)
		if err != nil {
			return err
		}
		return unix.Fchmod(fd, 0o777)
	})},
	{name: "signal itself", fine: true, do: func(string, int) error { return unix.Kill(os.Getpid(), 0) }},
}

// newTestFolder makes the folder that the attacks are about, and what listens in it.
func newTestFolder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"rw", "outside", "hidden", "private"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"outside/victim", "outside/gone", "outside/moved", "outside/mode", "hidden/secret", "hidden/shown", "rw/mode", "rw/renamed"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("text\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside/victim", filepath.Join(dir, "rw/link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir + "/outside/sock", "@" + dir} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	c, err := net.ListenPacket("unixgram", dir+"/outside/dgram")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return dir
}

// tryAll starts the attacker, confined by enter, and returns what it says of each attack.
func tryAll(t *testing.T, dir string, enter func() error) map[string]string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	errc := make(chan error, 1)
	Thread(func() {
		exe, err := os.Executable()
		if err == nil {
			err = enter()
		}
		if err != nil {
			w.Close()
			errc <- err
			return
		}
		p, err := os.StartProcess(exe, []string{exe, attackArg, dir, strconv.Itoa(os.Getpid())}, &os.ProcAttr{
			Dir: "/", Files: []*os.File{nil, w, os.Stderr}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		w.Close()
		if err == nil {
			_, err = p.Wait()
		}
		errc <- err
	})
	results := map[string]string{}
	for s := bufio.NewScanner(r); s.Scan(); {
		name, result, _ := strings.Cut(s.Text(), ": ")
		results[name] = result
	}
	if err := <-errc; err != nil {
		t.Fatal(err)
	}
	return results
}

func testPolicy(t *testing.T, dir string) Policy {
	return Policy{
		Hide: []string{dir + "/hidden"}, Show: []string{dir + "/hidden/shown"}, Write: []string{dir + "/rw"},
		Failed: func(err error) { t.Errorf("deciding on calls failed: %v", err) },
	}
}

// TestConfined holds that a kernel that a guest has taken over can do none of the attacks, and all that it should.
func TestConfined(t *testing.T) {
	s := Probe()
	if missing := s.Missing(); len(missing) > 0 {
		t.Logf("this host can't enforce all: %q", missing)
	}
	dir := newTestFolder(t)
	if s.ChangeUser {
		if err := os.Chown(dir+"/private", Nobody, Nobody); err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(t, dir)
	d, err := New(s, testPolicy(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Allow(Own{Exec: []string{exe, "/lib64/ld-linux-x86-64.so.2"}, Private: []string{dir + "/private"}}); err != nil {
		t.Fatal(err)
	}
	enter := func() error {
		err := d.Enter()
		if err == nil {
			go d.Serve()
		}
		return err
	}
	if err := os.WriteFile(dir+"/hidden/later", []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	results := tryAll(t, dir, enter)
	for _, a := range attacks {
		if a.needs != nil && !a.needs(s) {
			continue
		}
		switch got := results[a.name]; {
		case got == "":
			t.Errorf("%s: was not tried", a.name)
		case a.fine && got != "<nil>":
			t.Errorf("%s: %s", a.name, got)
		case !a.fine && (got == "<nil>" || strings.HasPrefix(got, errLooked.Error())):
			t.Errorf("%s: succeeds: %s", a.name, got)
		}
	}
	if s.Landlock > 0 {
		if after := snapshot(t, dir); !slices.Equal(before, after) {
			t.Errorf("outside was changed: %q, before: %q", after, before)
		}
	}
	if s.ChangeUser {
		for _, f := range []string{"made", "dir", "newlink", "pipe"} {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(dir, "rw", f), &st); err != nil || st.Uid != 0 || st.Gid != 0 {
				t.Errorf("%s in a mount belongs to %d:%d, %v; want 0:0", f, st.Uid, st.Gid, err)
			}
		}
	}
}

// snapshot is what outside is.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	entries, err := os.ReadDir(dir + "/outside")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var st unix.Stat_t
		name := filepath.Join(dir, "outside", e.Name())
		if err := unix.Lstat(name, &st); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(e.Name(), " ", st.Size, st.Mode, st.Uid, st.Gid, st.Mtim, st.Nlink))
	}
	return all
}

// TestAttacksBite holds that the attacks are attacks: without confinement they succeed.
func TestAttacksBite(t *testing.T) {
	dir := newTestFolder(t)
	if err := os.WriteFile(dir+"/hidden/later", []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	results := tryAll(t, dir, func() error { return nil })
	for _, a := range attacks {
		if (a.fine || a.bites || a.rootBites && os.Geteuid() == 0) && results[a.name] != "<nil>" {
			t.Errorf("%s: %s; want it to succeed", a.name, results[a.name])
		}
	}
	if slices.Equal(before, snapshot(t, dir)) {
		t.Error("nothing outside was changed")
	}
}
