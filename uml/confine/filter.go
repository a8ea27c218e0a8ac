package confine

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// permitted are the system calls that a kernel, its helpers and the thread that starts it make (arch/um/os-Linux, fs/hostfs, a C library,
// Go's runtime), or could make without harm. Everything else is refused, whatever a guest's root may have done to its kernel: there is
// no socket to be had, no namespace, no mount, no io_uring, no look into another process's memory.
var permitted = []uintptr{
	// Files. What may be opened is Landlock's business.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_STAT, unix.SYS_FSTAT, unix.SYS_LSTAT, unix.SYS_POLL, unix.SYS_LSEEK,
	unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2,
	unix.SYS_ACCESS, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_PIPE, unix.SYS_PIPE2, unix.SYS_SELECT, unix.SYS_PSELECT6, unix.SYS_PPOLL,
	unix.SYS_DUP, unix.SYS_DUP2, unix.SYS_DUP3, unix.SYS_FCNTL, unix.SYS_FLOCK, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE,
	unix.SYS_FALLOCATE, unix.SYS_FADVISE64, unix.SYS_GETDENTS, unix.SYS_GETDENTS64, unix.SYS_GETCWD, unix.SYS_CHDIR, unix.SYS_FCHDIR,
	unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_RMDIR, unix.SYS_LINK, unix.SYS_LINKAT,
	unix.SYS_UNLINK, unix.SYS_UNLINKAT, unix.SYS_READLINK, unix.SYS_READLINKAT,
	unix.SYS_UMASK, unix.SYS_STATFS, unix.SYS_FSTATFS, unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_CLOSE_RANGE, unix.SYS_MEMFD_CREATE,
	unix.SYS_EPOLL_CREATE, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2,
	unix.SYS_EVENTFD, unix.SYS_EVENTFD2, unix.SYS_SIGNALFD, unix.SYS_SIGNALFD4,
	unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME, unix.SYS_TIMERFD_GETTIME,
	// Sockets that it was given: NICs and the control line.
	unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG, unix.SYS_SHUTDOWN, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT,
	unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
	// Memory.
	unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MSYNC, unix.SYS_MINCORE, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_MEMBARRIER,
	// Signals and time.
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPENDING, unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_RT_SIGSUSPEND,
	unix.SYS_SIGALTSTACK, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_PAUSE, unix.SYS_ALARM, unix.SYS_GETITIMER, unix.SYS_SETITIMER,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_TIME, unix.SYS_TIMES,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_GETTIME, unix.SYS_TIMER_GETOVERRUN, unix.SYS_TIMER_DELETE, unix.SYS_RESTART_SYSCALL,
	// Processes: its own. Whom it may signal and trace is Landlock's business.
	unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_PTRACE,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRESUID,
	unix.SYS_GETRESGID, unix.SYS_GETGROUPS, unix.SYS_CAPGET, unix.SYS_GETPGRP, unix.SYS_GETPGID, unix.SYS_SETPGID, unix.SYS_SETSID, unix.SYS_GETSID,
	unix.SYS_GETRLIMIT, unix.SYS_SETRLIMIT, unix.SYS_GETRUSAGE, unix.SYS_SYSINFO, unix.SYS_UNAME, unix.SYS_GETCPU, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_GETPARAM,
	unix.SYS_SCHED_GETSCHEDULER, unix.SYS_FUTEX, unix.SYS_SET_TID_ADDRESS, unix.SYS_SET_ROBUST_LIST, unix.SYS_GET_ROBUST_LIST, unix.SYS_RSEQ,
	unix.SYS_ARCH_PRCTL, unix.SYS_MODIFY_LDT, unix.SYS_PRCTL, unix.SYS_PERSONALITY, unix.SYS_SECCOMP, unix.SYS_GETRANDOM,
}

// Of these, a kernel makes some calls and not others.
var checked = []argCheck{
	// No new namespace.
	{nr: unix.SYS_CLONE, arg: 0, mask: unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME},
	// Pairs of stream sockets, which can't be used to write to others' sockets by name.
	{nr: unix.SYS_SOCKETPAIR, arg: 1, mask: 0xf, equal: unix.SOCK_STREAM},
	{nr: unix.SYS_SENDTO, arg: 4, mask: 0xffffffff, wide: true}, // to no address
	{nr: unix.SYS_PRLIMIT64, arg: 0, mask: 0xffffffff},          // of itself
	// Not to type into a terminal, should it have been given one.
	{nr: unix.SYS_IOCTL, arg: 1, mask: 0xffffffff, equal: unix.TIOCSTI, refuse: true},
}

// argCheck permits a call if the lower half of an argument, masked, is a value, and with wide if the upper half is 0; with refuse, if not.
type argCheck struct {
	nr           uintptr
	arg          int
	mask, equal  uint32
	wide, refuse bool
}

// attributes are the calls that change what a file says of itself. Landlock doesn't know them.
var attributes = []uintptr{
	unix.SYS_CHMOD, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_CHOWN, unix.SYS_FCHOWN, unix.SYS_LCHOWN, unix.SYS_FCHOWNAT,
	unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT, unix.SYS_UTIMENSAT,
}

// creations are the calls that make something in a folder. Who makes it owns it.
var creations = []uintptr{unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_MKNOD, unix.SYS_MKNODAT, unix.SYS_SYMLINK, unix.SYS_SYMLINKAT}

// lastKnown is the newest system call that was looked at here. The C library finds another way if a newer one isn't there, but takes a
// refusal for an answer.
const lastKnown = unix.SYS_FILE_SETATTR

// An action is what a filter does with a call.
type action uint32

const (
	allow  action = unix.SECCOMP_RET_ALLOW
	refuse action = unix.SECCOMP_RET_ERRNO | action(unix.EPERM)
	absent action = unix.SECCOMP_RET_ERRNO | action(unix.ENOSYS)
	notify action = unix.SECCOMP_RET_USER_NOTIF
)

// filterSpec is what a filter depends on.
type filterSpec struct {
	// attributes is what becomes of calls that change attributes of files.
	attributes action
	// create is what becomes of those that create files.
	create action
	// truncate is what becomes of truncate(2), which an old Landlock doesn't know.
	truncate action
	// memoryFile permits the one call of fchmod that Linux 6.1 makes at its boot, on a file without a name. What a guest wants has more bits.
	memoryFile bool
}

// Parts of a program in classic BPF (seccomp(2)).
func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// returns ends the program.
func returns(a action) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(a)}
}

// unless skips so many instructions unless what was loaded, masked, is the value.
func unless(mask, value uint32, skip uint8) []unix.SockFilter {
	equal := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	if mask == 0xffffffff {
		return []unix.SockFilter{equal}
	}
	return []unix.SockFilter{{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}, equal}
}

// argument is the offset of the lower half of an argument in struct seccomp_data; the upper one's is 4 more.
func argument(n int) uint32 { return 16 + 8*uint32(n) }

// call is what happens with one system call.
func call(nr uintptr, body ...unix.SockFilter) []unix.SockFilter {
	return append(unless(0xffffffff, uint32(nr), uint8(len(body))), body...)
}

// decide is the body of a call that a check is about.
func (c *argCheck) decide(yes, no action) []unix.SockFilter {
	p := append([]unix.SockFilter{load(argument(c.arg))}, unless(c.mask, c.equal, 1)...)
	if c.wide {
		p = append([]unix.SockFilter{load(argument(c.arg) + 4)}, unless(0xffffffff, 0, uint8(len(p))+1)...)
		p = append(p, load(argument(c.arg)))
		p = append(p, unless(c.mask, c.equal, 1)...)
	}
	return append(p, returns(yes), returns(no))
}

// program is the filter. What it says of a call by its number alone the host's kernel works out once, and remembers (Linux 5.11).
func (s filterSpec) program() []unix.SockFilter {
	p := []unix.SockFilter{load(4)}
	p = append(p, unless(0xffffffff, unix.AUDIT_ARCH_X86_64, 1)...)
	p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: 1}, returns(refuse), load(0),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: lastKnown, Jf: 1}, // those of x32, too
		returns(absent))
	p = append(p, call(unix.SYS_CLONE3, returns(absent))...) // whose flags can't be seen from here; clone will do
	checks := checked
	if s.memoryFile {
		checks = append(slices.Clone(checks), argCheck{nr: unix.SYS_FCHMOD, arg: 1, mask: 0xffffffff, equal: 0o777})
	}
	for _, c := range checks {
		yes, no := allow, refuse
		if c.refuse {
			yes, no = no, yes
		}
		p = append(p, call(c.nr, c.decide(yes, no)...)...)
	}
	for _, c := range []argCheck{{nr: unix.SYS_OPEN, arg: 1, mask: unix.O_CREAT}, {nr: unix.SYS_OPENAT, arg: 2, mask: unix.O_CREAT}} {
		p = append(p, call(c.nr, c.decide(allow, s.create)...)...)
	}
	groups := map[action][]uintptr{}
	for _, g := range []struct {
		action action
		calls  []uintptr
	}{{s.attributes, attributes}, {s.create, creations}, {s.truncate, []uintptr{unix.SYS_TRUNCATE}}, {allow, permitted}} {
		groups[g.action] = slices.Concat(groups[g.action], g.calls)
	}
	for _, a := range []action{notify, allow} {
		p = append(p, anyOf(groups[a], a)...)
	}
	return append(p, returns(refuse))
}

// anyOf does a with each of the calls: a comparison with the bounds of every run of numbers.
func anyOf(calls []uintptr, a action) []unix.SockFilter {
	calls = slices.Compact(slices.Sorted(slices.Values(calls)))
	var p []unix.SockFilter
	for i := 0; i < len(calls); {
		j := i
		for j+1 < len(calls) && calls[j+1] == calls[j]+1 {
			j++
		}
		p = append(p,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: uint32(calls[i]), Jf: 2},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: uint32(calls[j]), Jt: 1},
			returns(a))
		i = j + 1
	}
	return p
}

// install filters the calling thread, and what it starts from now on. With a listener it returns the descriptor over which the calls come
// that are to be decided on.
func install(p []unix.SockFilter, listener bool) (int, error) {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	flags := []uintptr{0}
	if listener {
		// Signals, of which a kernel gets many, don't interrupt what the listener has begun; before Linux 5.19 they do, and it is done again.
		flags = []uintptr{unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER}
	}
	var errno unix.Errno
	for _, f := range flags {
		var fd uintptr
		if fd, _, errno = unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, f, uintptr(unsafe.Pointer(&prog))); errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EINVAL {
			break
		}
	}
	return -1, fmt.Errorf("seccomp: filter the system calls: %w", errno)
}

// seccompAvailable says whether the host's kernel knows an action.
func seccompAvailable(a *uint32) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(a)))
	return errno == 0
}
