package confine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A place is a file or folder that may be changed, held open so that nobody can put another in its stead.
type place struct {
	path string // as the kernel names it
	real string // without links
	fd   int
}

func openPlaces(paths []string) ([]place, error) {
	var ps []place
	for _, p := range paths {
		fd, err := unix.Open(p, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			for _, p := range ps {
				unix.Close(p.fd)
			}
			return nil, &os.PathError{Op: "open", Path: p, Err: err}
		}
		ps = append(ps, place{path: filepath.Clean(p), real: resolver{}.resolve(p), fd: fd})
	}
	return ps, nil
}

// notification and response are structs of linux/seccomp.h.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// notifIDValid is SECCOMP_IOCTL_NOTIF_ID_VALID.
const notifIDValid = 0x40082102

// errContinue lets a call go on as it is: the kernel's own rights decide.
var errContinue = errors.New("continue")

// Serve decides on the calls that the filter doesn't, until the Domain is closed or nobody is left in it. It does them itself, because
// what a call names may change after it was looked at.
func (d *Domain) Serve() {
	if d.listener == nil {
		return
	}
	c, err := d.listener.SyscallConn()
	if err != nil {
		d.fail(err)
		return
	}
	var last error
	// Read's own error means that the Domain was closed.
	_ = c.Read(func(fd uintptr) bool {
		for {
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(ready, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n == 0 {
				last = err
				return err != nil
			}
			if ready[0].Revents&unix.POLLIN == 0 { // nobody is left
				return true
			}
			if last = d.one(fd); last != nil {
				return true
			}
		}
	})
	if last != nil {
		d.fail(last)
	}
}

func (d *Domain) fail(err error) {
	if d.policy.Failed != nil {
		d.policy.Failed(fmt.Errorf("decide on the kernel's system calls: %w", err))
	}
}

// one takes one call and answers it.
func (d *Domain) one(fd uintptr) error {
	var n notification
	if errno := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); errno != 0 {
		if errno == unix.ENOENT || errno == unix.EINTR { // whoever called is gone
			return nil
		}
		return errno
	}
	r := response{id: n.id}
	var errno unix.Errno
	switch err := d.decide(fd, &n); {
	case err == nil:
	case errors.Is(err, errContinue):
		r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	case errors.As(err, &errno):
		r.error = -int32(errno)
	default:
		r.error = -int32(unix.EPERM)
	}
	if errno := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); errno != 0 && errno != unix.ENOENT {
		return errno
	}
	return nil
}

func ioctl(fd, request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg))
	return errno
}

// decide does a call, or says why not.
func (d *Domain) decide(fd uintptr, n *notification) error {
	c := &caller{pid: int(n.pid), nobody: d.ownUser(), alive: func() bool { return ioctl(fd, notifIDValid, unsafe.Pointer(&n.id)) == 0 }}
	if d.ownUser() {
		back, err := asNobody()
		if err != nil {
			return err
		}
		defer back()
	}
	switch n.nr {
	case unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_MKNOD, unix.SYS_MKNODAT, unix.SYS_SYMLINK, unix.SYS_SYMLINKAT:
		return d.create(c, n)
	}
	return d.change(c, n)
}

// asNobody lets the calling thread look into processes that have Nobody's real user and group, and be root still. The returned function
// takes that back. A process with CAP_SYS_PTRACE would not need it, but root of a container has none.
func asNobody() (back func(), err error) {
	runtime.LockOSThread()
	set := func(id uintptr) error {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, id, 0, 0); errno != 0 {
			return fmt.Errorf("become group %d: %w", id, errno)
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, id, 0, 0); errno != 0 {
			return fmt.Errorf("become user %d: %w", id, errno)
		}
		return nil
	}
	back = func() {
		if set(0) == nil {
			runtime.UnlockOSThread() // else the thread ends with its goroutine
		}
	}
	if err := set(Nobody); err != nil {
		back()
		return nil, err
	}
	return back, nil
}

// A target is a file that was found, as a descriptor that can do nothing but name it.
type target int

// name is a path that leads to the file itself.
func (t target) name() string { return "/proc/self/fd/" + strconv.Itoa(int(t)) }

// change changes attributes of a file.
func (d *Domain) change(c *caller, n *notification) error {
	a := n.args
	switch n.nr {
	case unix.SYS_CHMOD:
		return d.at(c, a[0], func(t target) error { return unix.Chmod(t.name(), uint32(a[1])) })
	case unix.SYS_FCHMODAT:
		return d.atFolder(c, a[0], a[1], func(t target) error { return unix.Chmod(t.name(), uint32(a[2])) })
	case unix.SYS_FCHMOD:
		return d.open(c, a[0], func(t target) error { return unix.Chmod(t.name(), uint32(a[1])) })
	case unix.SYS_CHOWN, unix.SYS_LCHOWN:
		return d.at(c, a[0], func(t target) error { return t.chown(a[1], a[2]) })
	case unix.SYS_FCHOWNAT:
		return d.atFolder(c, a[0], a[1], func(t target) error { return t.chown(a[2], a[3]) })
	case unix.SYS_FCHOWN:
		return d.open(c, a[0], func(t target) error { return t.chown(a[1], a[2]) })
	case unix.SYS_UTIMES:
		times, err := c.times(a[1], time.Microsecond)
		return d.timed(err, func() error { return d.at(c, a[0], func(t target) error { return t.utime(times) }) })
	case unix.SYS_FUTIMESAT:
		times, err := c.times(a[2], time.Microsecond)
		return d.timed(err, func() error { return d.atFolder(c, a[0], a[1], func(t target) error { return t.utime(times) }) })
	case unix.SYS_UTIMENSAT:
		times, err := c.times(a[2], time.Nanosecond)
		return d.timed(err, func() error {
			if a[1] == 0 {
				return d.open(c, a[0], func(t target) error { return t.utime(times) })
			}
			return d.atFolder(c, a[0], a[1], func(t target) error { return t.utime(times) })
		})
	case unix.SYS_TRUNCATE:
		return d.at(c, a[0], func(t target) error { return unix.Truncate(t.name(), int64(a[1])) })
	}
	return unix.EPERM
}

func (d *Domain) timed(err error, do func() error) error {
	if err != nil {
		return err
	}
	return do()
}

func (t target) chown(uid, gid uint64) error {
	return unix.Fchownat(int(t), "", int(int32(uid)), int(int32(gid)), unix.AT_EMPTY_PATH)
}

// utime sets the times, nil: to now. Of a link it sets the link's own.
func (t target) utime(times *[2]unix.Timespec) error {
	var empty [1]byte
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(t), uintptr(unsafe.Pointer(&empty)), uintptr(unsafe.Pointer(times)), unix.AT_EMPTY_PATH, 0, 0)
	if errno == unix.EINVAL { // before Linux 5.8
		name, err := unix.BytePtrFromString(t.name())
		if err != nil {
			return err
		}
		fd := unix.AT_FDCWD
		_, _, errno = unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(times)), 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// at calls do with the file that the path at addr leads to, if it may be changed. Links at its end are not followed: hostfs means
// the link, even where it makes a call that would.
func (d *Domain) at(c *caller, addr uint64, do func(target) error) error {
	path, err := c.path(addr)
	if err != nil {
		return err
	}
	p, rel := d.place(path)
	if p == nil {
		return unix.EPERM
	}
	fd, err := p.find(rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(target(fd))
}

// atFolder is at for calls that take a folder, too.
func (d *Domain) atFolder(c *caller, folder, addr uint64, do func(target) error) error {
	if int32(folder) != unix.AT_FDCWD {
		return unix.EPERM
	}
	return d.at(c, addr, do)
}

// open calls do with an open file of the caller's, if it may be changed: because of its path, or because it has none and so is the caller's own.
func (d *Domain) open(c *caller, number uint64, do func(target) error) error {
	fd, err := c.file(int(int32(number)))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !c.alive() {
		return unix.ESRCH
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	path, err := os.Readlink(target(fd).name())
	if err != nil {
		return err
	}
	if st.Nlink > 0 && !d.mayChange(path) {
		return unix.EPERM
	}
	return do(target(fd))
}

// mayChange says whether a path without links is one of a place.
func (d *Domain) mayChange(path string) bool {
	for i := range d.places {
		if below(path, d.places[i].real) {
			return true
		}
	}
	return false
}

// create makes something in a place as sekexe's user; elsewhere the kernel's own rights decide.
func (d *Domain) create(c *caller, n *notification) error {
	a := n.args
	path := a[0]
	switch n.nr {
	case unix.SYS_OPENAT, unix.SYS_MKDIRAT, unix.SYS_MKNODAT:
		if int32(a[0]) != unix.AT_FDCWD {
			return errContinue
		}
		path, a[1], a[2], a[3] = a[1], a[2], a[3], a[4] // as without the folder
	case unix.SYS_SYMLINK:
		path = a[1]
	case unix.SYS_SYMLINKAT:
		if int32(a[1]) != unix.AT_FDCWD {
			return errContinue
		}
		path = a[2]
	}
	name, err := c.path(path)
	if err != nil {
		return errContinue
	}
	p, rel := d.place(name)
	if p == nil || rel == "" {
		return errContinue
	}
	dir, err := p.find(filepath.Dir(rel), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	base := filepath.Base(rel)
	switch n.nr {
	case unix.SYS_OPEN, unix.SYS_OPENAT:
		fd, err := unix.Openat(dir, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(a[2]))
		if err == nil {
			unix.Close(fd)
		} else if err != unix.EEXIST {
			return err
		}
		return errContinue // it is there now
	case unix.SYS_MKDIR, unix.SYS_MKDIRAT:
		return unix.Mkdirat(dir, base, uint32(a[1]))
	case unix.SYS_MKNOD, unix.SYS_MKNODAT:
		if kind := a[1] & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
			return unix.EPERM
		}
		return unix.Mknodat(dir, base, uint32(a[1]), 0)
	}
	to, err := c.path(a[0])
	if err != nil {
		return err
	}
	return unix.Symlinkat(to, dir, base)
}

// place finds the place that a path lies in, and the rest of the path; nil: it lies in none.
func (d *Domain) place(path string) (*place, string) {
	path = "/" + strings.TrimLeft(path, "/") // hostfs puts a second one before
	for i := range d.places {
		p := &d.places[i]
		for _, dir := range []string{p.path, p.real} {
			if path == dir {
				return p, ""
			}
			if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/"); ok {
				return p, rest
			}
		}
	}
	return nil, ""
}

// find opens a file in the place, or the place itself. It leaves the place neither by .. nor by a link.
func (p *place) find(rel string, flags int) (int, error) {
	if rel == "" {
		return unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	return unix.Openat2(p.fd, rel, &unix.OpenHow{
		Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// canFind says whether the host has what find takes: Linux 5.6, and no container's filter that doesn't know openat2(2).
func canFind() bool {
	p := place{fd: unix.AT_FDCWD}
	fd, err := p.find(".", unix.O_PATH)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// A caller is the thread that waits for an answer.
type caller struct {
	pid    int
	nobody bool        // it is Nobody, and this process isn't
	alive  func() bool // whether it waits still: its number may be another's by now
}

// memory reads the caller's memory, up to the end of its page.
func (c *caller) memory(addr uint64, buf []byte) (int, error) {
	if left := 4096 - addr%4096; uint64(len(buf)) > left {
		buf = buf[:left]
	}
	local := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}
	return unix.ProcessVMReadv(c.pid, local, remote, 0)
}

// path reads a path, which ends with a zero.
func (c *caller) path(addr uint64) (string, error) {
	var all []byte
	buf := make([]byte, 256)
	for len(all) < unix.PathMax {
		n, err := c.memory(addr+uint64(len(all)), buf)
		if err != nil {
			return "", err
		}
		if i := strings.IndexByte(string(buf[:n]), 0); i >= 0 {
			if !c.alive() {
				return "", unix.ESRCH
			}
			return string(append(all, buf[:i]...)), nil
		}
		all = append(all, buf[:n]...)
	}
	return "", unix.ENAMETOOLONG
}

// times reads two times, whose second number counts units; nil: there are none.
func (c *caller) times(addr uint64, unit time.Duration) (*[2]unix.Timespec, error) {
	if addr == 0 {
		return nil, nil
	}
	var buf [32]byte
	for read := 0; read < len(buf); {
		n, err := c.memory(addr+uint64(read), buf[read:])
		if err != nil {
			return nil, err
		}
		read += n
	}
	var ts [2]unix.Timespec
	for i := range ts {
		ts[i].Sec = int64(binary.NativeEndian.Uint64(buf[16*i:]))
		ts[i].Nsec = int64(binary.NativeEndian.Uint64(buf[16*i+8:])) * int64(unit)
	}
	return &ts, nil
}

// file opens what a descriptor of the caller's is, to name it.
func (c *caller) file(number int) (int, error) {
	name := "/proc/" + strconv.Itoa(c.pid) + "/fd/" + strconv.Itoa(number)
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != unix.EACCES || !c.nobody {
		return fd, err
	}
	// /proc asks for the user of the file system's, which loses capabilities that the caller has, unless it is told not to.
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, 1<<2, 0, 0, 0); err != nil {
		return -1, err
	}
	fsUser := func(id uintptr) {
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, id, 0, 0)
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, id, 0, 0)
	}
	fsUser(Nobody)
	fd, err = unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	fsUser(0)
	return fd, errors.Join(err, unix.Prctl(unix.PR_SET_SECUREBITS, 0, 0, 0, 0))
}
