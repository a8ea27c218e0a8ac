package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributeChecks are those of owners, modes, times, extended attributes, and of files that are none.
func attributeChecks() []check {
	return []check{
		{name: "modes", run: checkModes},
		{name: "umask", run: func(dir string) string {
			defer unix.Umask(unix.Umask(0o027))
			unix.Close(open(dir+"/a", unix.O_CREAT|unix.O_WRONLY, 0o666))
			must(os.Mkdir(dir+"/d", 0o777))
			return fmt.Sprintf("%o %o", stat(dir+"/a").Mode&0o7777, stat(dir+"/d").Mode&0o7777)
		}},
		{name: "new owner", run: func(dir string) string {
			st := stat(write(dir+"/a", ""))
			must(os.Mkdir(dir+"/d", 0o755))
			must(os.Symlink("x", dir+"/l"))
			own := func(st unix.Stat_t) bool { return int(st.Uid) == os.Getuid() && int(st.Gid) == os.Getgid() }
			return fmt.Sprint(own(st), own(stat(dir+"/d")), own(stat(dir+"/l")))
		}},
		{name: "change owner", run: func(dir string) string {
			a := write(dir+"/a", "")
			if err := os.Chown(a, 1234, 5678); err != nil {
				return errnoName(err)
			}
			return fmt.Sprint(stat(a).Uid, stat(a).Gid)
		}},
		{name: "change owner of a link", run: func(dir string) string {
			a := write(dir+"/a", "")
			must(os.Symlink("a", dir+"/l"))
			if err := os.Lchown(dir+"/l", 1235, 5679); err != nil {
				return errnoName(err)
			}
			var o outcome
			o.expect("not changed", stat(dir+"/l").Uid == 1235 && stat(dir+"/l").Gid == 5679)
			o.expect("what it leads to is changed", stat(a).Uid != 1235)
			return o.String()
		}},
		{name: "setuid goes with a new owner", root: true, run: func(dir string) string {
			a := write(dir+"/a", "")
			must(unix.Chmod(a, 0o6755))
			must(os.Chown(a, 1234, 5678))
			return fmt.Sprintf("%o", stat(a).Mode&0o7777)
		}},
		{name: "group of the folder", root: true, run: func(dir string) string {
			must(os.Chown(dir, -1, 5678))
			must(unix.Chmod(dir, 0o2755))
			return fmt.Sprint(stat(write(dir+"/a", "")).Gid)
		}},
		{name: "permissions", root: true, run: checkPermissions},
		{name: "sticky folders", root: true, run: func(dir string) string {
			must(unix.Chmod(dir, 0o1777))
			write(dir+"/a", "")
			return asNobody("rm", dir+"/a")
		}},
		{name: "times", run: checkTimes},
		{name: "nanoseconds", run: func(dir string) string {
			a := write(dir+"/a", "")
			must(unix.UtimesNanoAt(unix.AT_FDCWD, a, []unix.Timespec{{Sec: 1e9, Nsec: 123456789}, {Sec: 1e9, Nsec: 987654321}}, 0))
			st := stat(a)
			return fmt.Sprint(st.Atim.Nsec, " ", st.Mtim.Nsec)
		}},
		{name: "times of a link", run: func(dir string) string {
			a := write(dir+"/a", "")
			must(os.Symlink("a", dir+"/l"))
			want := []unix.Timespec{{Sec: 1e9}, {Sec: 1e9 + 1}}
			must(unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/l", want, unix.AT_SYMLINK_NOFOLLOW))
			var o outcome
			o.expect("not changed", stat(dir+"/l").Mtim.Sec == 1e9+1)
			o.expect("what it leads to is changed", stat(a).Mtim.Sec != 1e9+1)
			return o.String()
		}},
		{name: "times to come", run: func(dir string) string {
			a := write(dir+"/a", "")
			var o outcome
			for _, when := range []string{"1901-12-14T00:00:00Z", "1969-12-31T23:59:59Z", "2038-01-19T03:14:08Z", "2106-02-07T06:28:16Z"} {
				t := try(time.Parse(time.RFC3339, when))
				must(os.Chtimes(a, t, t))
				o.expect(when[:4], stat(a).Mtim.Sec == t.Unix())
			}
			return o.String()
		}},
		{name: "times change", run: checkTimesChange},
		{name: "user attributes", run: checkXattrs},
		{name: "trusted attributes", root: true, run: func(dir string) string {
			a := write(dir+"/a", "")
			return errnoName(unix.Setxattr(a, "trusted.x", []byte("v"), 0))
		}},
		{name: "capabilities of files", root: true, run: func(dir string) string {
			// VFS_CAP_REVISION_2, effective, CAP_NET_RAW (include/uapi/linux/capability.h)
			capability := []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
			return errnoName(unix.Setxattr(write(dir+"/a", ""), "security.capability", capability, 0))
		}},
		{name: "access lists", run: func(dir string) string {
			// u::rw- u:1234:r-- g::r-- m::r-- o::--- (include/uapi/linux/posix_acl_xattr.h)
			acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xd2\x04\x00\x00" +
				"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
			return errnoName(unix.Setxattr(write(dir+"/a", ""), "system.posix_acl_access", acl, 0))
		}},
		{name: "pipes", run: checkPipe},
		{name: "sockets", run: checkSocket},
		{name: "devices", root: true, run: func(dir string) string {
			if err := unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
				return errnoName(err)
			}
			st := stat(dir + "/null")
			if st.Rdev != unix.Mkdev(1, 3) {
				return fmt.Sprintf("device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
			}
			fd, err := unix.Open(dir+"/null", unix.O_RDWR, 0)
			unix.Close(fd)
			return errnoName(err)
		}},
		{name: "locks", run: checkLocks},
		{name: "notification", run: func(dir string) string {
			fd := try(unix.InotifyInit1(unix.IN_NONBLOCK))
			defer unix.Close(fd)
			try(unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_CLOSE_WRITE))
			write(dir+"/a", "x")
			n, err := unix.Read(fd, make([]byte, 4096))
			return fmt.Sprint(n > 0, " ", errnoName(err))
		}},
	}
}

func checkModes(dir string) string {
	var o outcome
	a := write(dir+"/a", "")
	must(os.Mkdir(dir+"/d", 0o755))
	for _, mode := range []uint32{0, 0o400, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o7777} {
		for _, name := range []string{a, dir + "/d"} {
			err := unix.Chmod(name, mode)
			o.err(fmt.Sprintf("%o", mode), err, 0)
			o.expect(fmt.Sprintf("%o is %o", mode, stat(name).Mode&0o7777), err != nil || stat(name).Mode&0o7777 == mode)
		}
	}
	return o.String()
}

// childArg begins the command line of this program as another user.
const childArg = "-child"

// asNobody does something as a user without rights, and returns what came of it.
func asNobody(what, name string) string {
	self := try(os.Executable())
	c := exec.Command(self, childArg, what, name)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	b, err := c.Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

func child(args []string) {
	var err error
	switch args[0] {
	case "rm":
		err = unix.Unlink(args[1])
	case "read":
		_, err = os.ReadFile(args[1])
	case "write":
		_, err = unix.Open(args[1], unix.O_WRONLY, 0)
	case "make":
		_, err = unix.Open(args[1], unix.O_CREAT|unix.O_WRONLY, 0o644)
	case "chmod":
		err = unix.Chmod(args[1], 0o777)
	}
	fmt.Println(errnoName(err))
}

func checkPermissions(dir string) string {
	var o outcome
	a := write(dir+"/a", "x")
	must(unix.Chmod(a, 0o600))
	expect := func(what, name, want string) {
		if got := asNobody(what, name); got != want {
			o = append(o, what+" "+got)
		}
	}
	expect("read", a, "EACCES")
	expect("write", a, "EACCES")
	expect("chmod", a, "EPERM")
	expect("make", dir+"/b", "EACCES")
	expect("rm", a, "EACCES")
	must(unix.Chmod(a, 0o644))
	expect("read", a, "ok")
	must(os.Mkdir(dir+"/d", 0o700))
	write(dir+"/d/x", "")
	expect("read", dir+"/d/x", "EACCES")
	return o.String()
}

func checkTimes(dir string) string {
	var o outcome
	a := write(dir+"/a", "")
	must(os.Mkdir(dir+"/d", 0o755))
	for _, name := range []string{a, dir + "/d"} {
		must(unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{{Sec: 1e9}, {Sec: 1e9 + 1}}, 0))
		st := stat(name)
		o.expect("atime of "+name[len(dir)+1:], st.Atim.Sec == 1e9)
		o.expect("mtime of "+name[len(dir)+1:], st.Mtim.Sec == 1e9+1)
	}
	const omit = 1<<30 - 2 // UTIME_OMIT
	must(unix.UtimesNanoAt(unix.AT_FDCWD, a, []unix.Timespec{{Nsec: omit}, {Sec: 5}}, 0))
	o.expect("omit", stat(a).Atim.Sec == 1e9 && stat(a).Mtim.Sec == 5)
	return o.String()
}

func checkTimesChange(dir string) string {
	var o outcome
	a := write(dir+"/a", "")
	old := time.Unix(1e9, 0)
	set := func() {
		must(os.Chtimes(a, old, old))
		must(os.Chtimes(dir, old, old))
	}
	set()
	write(a, "x")
	o.expect("by write", stat(a).Mtim.Sec > 1e9)
	set()
	must(os.Chmod(a, 0o600))
	o.expect("mtime by chmod", stat(a).Mtim.Sec == 1e9)
	o.expect("ctime by chmod", stat(a).Ctim.Sec > 1e9)
	write(dir+"/b", "")
	o.expect("of the folder", stat(dir).Mtim.Sec > 1e9)
	return o.String()
}

func checkXattrs(dir string) string {
	var o outcome
	a := write(dir+"/a", "")
	if err := unix.Setxattr(a, "user.x", []byte("value\x00\xff"), 0); err != nil {
		return errnoName(err)
	}
	must(unix.Setxattr(a, "user.large", make([]byte, 2000), 0))
	buf := make([]byte, 4096)
	n, err := unix.Getxattr(a, "user.x", buf)
	o.expect("get", err == nil && string(buf[:n]) == "value\x00\xff")
	n, err = unix.Listxattr(a, buf)
	o.expect("list", err == nil && strings.Contains(string(buf[:n]), "user.x\x00") && strings.Contains(string(buf[:n]), "user.large\x00"))
	o.err("exclusive", unix.Setxattr(a, "user.x", nil, unix.XATTR_CREATE), unix.EEXIST)
	must(unix.Removexattr(a, "user.x"))
	_, err = unix.Getxattr(a, "user.x", buf)
	o.err("removed", err, unix.ENODATA)
	return o.String()
}

func checkPipe(dir string) string {
	if err := unix.Mkfifo(dir+"/p", 0o600); err != nil {
		return errnoName(err)
	}
	if stat(dir+"/p").Mode&unix.S_IFMT != unix.S_IFIFO {
		return "another type"
	}
	fd := open(dir+"/p", unix.O_RDWR|unix.O_NONBLOCK, 0)
	defer unix.Close(fd)
	try(unix.Write(fd, []byte("text")))
	buf := make([]byte, 10)
	n := try(unix.Read(fd, buf))
	return string(buf[:n])
}

func checkSocket(dir string) string {
	must(os.Chdir(dir)) // a short name
	l := try(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(l)
	if err := unix.Bind(l, &unix.SockaddrUnix{Name: "s"}); err != nil {
		return errnoName(err)
	}
	must(unix.Listen(l, 1))
	c := try(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(c)
	var o outcome
	o.err("connect", unix.Connect(c, &unix.SockaddrUnix{Name: "s"}), 0)
	o.expect("type", stat("s").Mode&unix.S_IFMT == unix.S_IFSOCK)
	return o.String()
}

func checkLocks(dir string) string {
	var o outcome
	a, b := create(dir+"/a"), create(dir+"/a")
	defer unix.Close(a)
	defer unix.Close(b)
	o.err("flock", unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB), 0)
	o.err("flock again", unix.Flock(b, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	must(unix.Flock(a, unix.LOCK_UN))
	o.err("flock after", unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB), 0)
	lock := &unix.Flock_t{Type: unix.F_WRLCK, Start: 10, Len: 10}
	o.err("range", unix.FcntlFlock(uintptr(a), unix.F_OFD_SETLK, lock), 0)
	o.err("range again", unix.FcntlFlock(uintptr(b), unix.F_OFD_SETLK, lock), unix.EAGAIN)
	o.err("another range", unix.FcntlFlock(uintptr(b), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 20, Len: 10}), 0)
	return o.String()
}

func checks() []check {
	return append(append(nameChecks(), dataChecks()...), attributeChecks()...)
}
