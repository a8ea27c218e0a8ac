package tmpfs

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A call is a system call that vfork's child makes. The assembly knows its layout.
type call struct {
	number uintptr
	args   [6]uintptr
	first  *uintptr // if set, the first argument lies there: what an earlier call returned
	result uintptr
}

// unmade is the result of a call that was not made: EINTR, which none of them has.
const unmade = ^uintptr(unix.EINTR) + 1

// errno is the error of a call, made or not; 0: it has none.
func (c *call) errno() unix.Errno {
	if c.result > ^uintptr(4095) {
		return unix.Errno(-c.result)
	}
	return 0
}

// vfork starts a process that shares this one's memory and lets the calling thread wait (CLONE_VM, CLONE_VFORK). It makes the n system calls
// one after the other up to the first that fails, with nothing of Go's runtime about it, and ends. flags are those of clone(2). The result is the process's
// number, or the negative error of clone.
//
//go:noescape
func vfork(flags uintptr, calls *call, n int) uintptr

// mountAsUser mounts in namespaces that a process of its own makes, is the owner of, and leaves: what it opens there is this process's, which
// shares its descriptors. A program that was started for it would take ten times as long, and Go can't go on in a forked process.
func mountAsUser(options [][2]string) (fd int, err error) {
	l := &list{}
	l.write("/proc/self/setgroups", "deny")
	l.write("/proc/self/uid_map", fmt.Sprintf("%[1]d %[1]d 1", os.Getuid()))
	l.write("/proc/self/gid_map", fmt.Sprintf("%[1]d %[1]d 1", os.Getgid()))
	fs := l.add(nil, unix.SYS_FSOPEN, l.text("tmpfs"), unix.FSOPEN_CLOEXEC)
	for _, o := range options {
		l.add(&fs.result, unix.SYS_FSCONFIG, 0, unix.FSCONFIG_SET_STRING, l.text(o[0]), l.text(o[1]))
	}
	l.add(&fs.result, unix.SYS_FSCONFIG, 0, unix.FSCONFIG_CMD_CREATE)
	mnt := l.add(&fs.result, unix.SYS_FSMOUNT, 0, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	l.add(&fs.result, unix.SYS_CLOSE)
	if err := l.run(unix.CLONE_NEWUSER | unix.CLONE_NEWNS); err != nil {
		return -1, err
	}
	return int(mnt.result), nil
}

// A list is system calls to be made, with the memory that they refer to.
type list struct {
	calls [24]call // not a slice that grows: calls refer to each other
	n     int
	texts [][]byte
	open  []*call // what leaves a descriptor open if a later call fails
}

func (l *list) add(first *uintptr, number uintptr, args ...uintptr) *call {
	c := &l.calls[l.n]
	l.n++
	c.number, c.first, c.result = number, first, unmade
	copy(c.args[:], args)
	switch number {
	case unix.SYS_OPEN, unix.SYS_FSOPEN, unix.SYS_FSMOUNT:
		l.open = append(l.open, c)
	}
	return c
}

// text is the address of a string's bytes, which the list keeps.
func (l *list) text(s string) uintptr {
	b := append([]byte(s), 0)
	l.texts = append(l.texts, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// write adds the calls that write a short text to a file.
func (l *list) write(name, text string) {
	f := l.add(nil, unix.SYS_OPEN, l.text(name), unix.O_WRONLY|unix.O_CLOEXEC)
	l.add(&f.result, unix.SYS_WRITE, 0, l.text(text), uintptr(len(text)))
	l.add(&f.result, unix.SYS_CLOSE)
}

// run lets a process in namespaces of its own make the calls.
func (l *list) run(namespaces uintptr) error {
	// A signal's handler in the child would be Go's, in the memory of this process and without its threads.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return err
	}
	pid := vfork(unix.CLONE_VM|unix.CLONE_VFORK|unix.CLONE_FILES|namespaces, &l.calls[0], l.n)
	err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if e := (&call{result: pid}).errno(); e != 0 {
		return e
	}
	for { // it has ended; it has no signal to say so with
		if _, e := unix.Wait4(int(pid), nil, unix.WALL, nil); e != unix.EINTR {
			break
		}
	}
	if failed := l.failed(); failed != 0 {
		return failed
	}
	return err
}

// failed is the error of the call that failed, or was not made because the process was killed; what was open then is closed. 0: none is.
func (l *list) failed() unix.Errno {
	for i := range l.n {
		e := l.calls[i].errno()
		if e == 0 {
			continue
		}
		for _, c := range l.open {
			if c.errno() == 0 && !l.closed(c, i) {
				_ = unix.Close(int(c.result))
			}
		}
		return e
	}
	return 0
}

// closed says whether one of the calls up to the last has closed what c opened: it may have if it failed, or if the process was killed in it, and
// the number may be of another file by now.
func (l *list) closed(c *call, last int) bool {
	for i := range last + 1 {
		if l.calls[i].number == unix.SYS_CLOSE && l.calls[i].first == &c.result {
			return true
		}
	}
	return false
}
