package confine

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The rights to files that sekexe knows of, by what they are for (landlock(7)).
const (
	readFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readDir   = unix.LANDLOCK_ACCESS_FS_READ_DIR
	execute   = unix.LANDLOCK_ACCESS_FS_EXECUTE
	writeFile = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	ioctlDev  = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	nodes     = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	change    = writeFile | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REFER

	forFiles = readFile | execute | writeFile | ioctlDev // rights that a rule for something other than a folder may have
)

// The versions of Landlock's interface that brought something that matters here.
const (
	abiRefer    = 2
	abiTruncate = 3
	abiNetwork  = 4
	abiIoctl    = 5
	abiScope    = 6
)

// landlockABI asks the host for its version of Landlock; 0: it has none.
func landlockABI() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// handledFiles are the rights to files that a version of Landlock knows.
func handledFiles(abi int) uint64 {
	all := uint64(readFile | readDir | execute | change | nodes)
	if abi >= abiIoctl {
		all |= ioctlDev
	}
	if abi < abiTruncate {
		all &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi < abiRefer {
		all &^= unix.LANDLOCK_ACCESS_FS_REFER
	}
	return all
}

// A ruleset is a Landlock domain that is being written down.
type ruleset struct {
	fd      int
	handled uint64
	rules   int
}

// newRuleset begins one that allows nothing.
func newRuleset(abi int) (*ruleset, error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handledFiles(abi)}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if abi >= abiNetwork {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size += unsafe.Sizeof(attr.Handled_access_net)
	}
	if abi >= abiScope {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size += unsafe.Sizeof(attr.Scoped)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return nil, fmt.Errorf("landlock: make a ruleset: %w", errno)
	}
	return &ruleset{fd: int(fd), handled: attr.Handled_access_fs}, nil
}

// allow grants rights to a file, or to a folder and all in it. That it isn't there, or can't be reached, is no error.
func (r *ruleset) allow(path string, dir bool, rights uint64) error {
	return r.allowAt(unix.AT_FDCWD, path, dir, rights)
}

// allowAt is allow for a name in an open folder. There are many such calls in a row, none of which waits for anything: Go's scheduler need not
// hear of them.
func (r *ruleset) allowAt(folder int, name string, dir bool, rights uint64) error {
	if !dir {
		rights &= forFiles
	}
	if rights &= r.handled; rights == 0 {
		return nil
	}
	if r.rules++; r.rules > maxRules {
		return fmt.Errorf("%s: %w", name, errTooMany)
	}
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(folder), uintptr(unsafe.Pointer(p)), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return gone(&os.PathError{Op: "open", Path: name, Err: errno})
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno = unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	if errno != 0 && errno != unix.EBADFD { // EBADFD: of a file system that has no paths, such as nsfs
		return fmt.Errorf("landlock: allow %s: %w", name, errno)
	}
	return nil
}

// allowFile grants rights to an open file that is no folder.
func (r *ruleset) allowFile(f *os.File, rights uint64) error {
	return r.allowOpen(f, rights&forFiles)
}

// allowOpen grants rights to an open file, or to an open folder and all in it.
func (r *ruleset) allowOpen(f *os.File, rights uint64) error {
	if r.rules++; r.rules > maxRules {
		return fmt.Errorf("%s: %w", f.Name(), errTooMany)
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.handled, Parent_fd: int32(f.Fd())}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	runtime.KeepAlive(f)
	if errno != 0 {
		return fmt.Errorf("landlock: allow %s: %w", f.Name(), errno)
	}
	return nil
}

// restrictThread makes the calling thread, and what it starts from now on, obey.
func (r *ruleset) restrictThread() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0); errno != 0 {
		return fmt.Errorf("landlock: restrict the thread: %w", errno)
	}
	return nil
}
