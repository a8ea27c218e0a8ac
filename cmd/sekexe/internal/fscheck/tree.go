package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// manyFiles is how many files the large folder has.
const manyFiles = 100_000

// makeTree makes what readChecks look at.
func makeTree(dir string) {
	makeSome(dir)
	must(os.Mkdir(dir+"/many", 0o755))
	for i := range manyFiles {
		unix.Close(create(fmt.Sprintf("%s/many/%06d", dir, i)))
	}
	fd := create(dir + "/large")
	try(unix.Pwrite(fd, []byte("large"), 5<<30-5))
	unix.Close(fd)
}

// makeSome makes what changeChecks change.
func makeSome(dir string) {
	must(os.MkdirAll(dir+"/names", 0o755))
	for i, n := range odd {
		write(dir+"/names/"+n, fmt.Sprint(i))
	}
	a := write(dir+"/a", "text")
	must(os.Link(a, dir+"/b"))
	must(os.Symlink("a", dir+"/l"))
	must(unix.Setxattr(a, "user.x", []byte("v"), 0))
	must(unix.Chmod(a, 0o6751))
	if os.Getuid() == 0 {
		must(os.Chown(a, 1234, 5678))
		must(unix.Chmod(a, 0o6751))
	}
	must(unix.Mkfifo(dir+"/p", 0o600))
	t := []unix.Timespec{{Sec: 1e9, Nsec: 1}, {Sec: 1e9 + 1, Nsec: 987654321}}
	for _, n := range []string{"a", "l", "names"} {
		must(unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/"+n, t, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// readChecks look at what makeTree has made.
func readChecks() []check {
	refuse := func(name string, f func(dir string) error) check {
		return check{name: "refuses " + name, run: func(dir string) string {
			if unix.Access(dir, unix.W_OK) == nil {
				return skipped
			}
			return errnoName(f(dir))
		}}
	}
	return []check{
		{name: "read names", run: func(dir string) string {
			var o outcome
			for i, n := range odd {
				o.expect(fmt.Sprintf("%.12q", n), read(dir+"/names/"+n) == fmt.Sprint(i))
			}
			o.expect("listing", slices.Equal(listing(dir+"/names"), sorted(odd)))
			return o.String()
		}},
		{name: "read 100,000 names", run: func(dir string) string {
			names := listing(dir + "/many")
			ok := len(names) == manyFiles
			for i, n := range names {
				ok = ok && n == fmt.Sprintf("%06d", i)
			}
			return fmt.Sprint(ok, " ", stat(dir+"/many/099999").Size)
		}},
		{name: "read 5 GiB", run: func(dir string) string {
			fd := open(dir+"/large", unix.O_RDONLY, 0)
			defer unix.Close(fd)
			buf := make([]byte, 5)
			try(unix.Pread(fd, buf, 5<<30-5))
			return fmt.Sprint(stat(dir+"/large").Size, string(buf), stat(dir+"/large").Blocks < 1<<10)
		}},
		{name: "read attributes", run: func(dir string) string {
			st, l := stat(dir+"/a"), stat(dir+"/l")
			return fmt.Sprintf("%o %d:%d %d %d.%d %o %d.%d", st.Mode, st.Uid, st.Gid, st.Size, st.Mtim.Sec, st.Mtim.Nsec, l.Mode, l.Mtim.Sec, l.Mtim.Nsec)
		}},
		{name: "read hard links", run: func(dir string) string {
			a, b := stat(dir+"/a"), stat(dir+"/b")
			return fmt.Sprint(a.Nlink, " ", a.Ino == b.Ino, " ", read(dir+"/b"))
		}},
		{name: "read symbolic links", run: func(dir string) string { return try(os.Readlink(dir+"/l")) + read(dir+"/l") }},
		{name: "read user attributes", run: func(dir string) string {
			buf := make([]byte, 10)
			n, err := unix.Getxattr(dir+"/a", "user.x", buf)
			return string(buf[:max(n, 0)]) + errnoName(err)
		}},
		{name: "read pipes", run: func(dir string) string { return fmt.Sprintf("%o", stat(dir+"/p").Mode) }},
		{name: "map", run: func(dir string) string {
			fd := open(dir+"/a", unix.O_RDONLY, 0)
			defer unix.Close(fd)
			m, err := unix.Mmap(fd, 0, 4, unix.PROT_READ, unix.MAP_SHARED)
			return string(m) + errnoName(err)
		}},
		refuse("write", func(dir string) error { _, err := unix.Open(dir+"/a", unix.O_WRONLY, 0); return err }),
		refuse("make", func(dir string) error { _, err := unix.Open(dir+"/new", unix.O_CREAT|unix.O_WRONLY, 0o644); return err }),
		refuse("mkdir", func(dir string) error { return unix.Mkdir(dir+"/newdir", 0o755) }),
		refuse("unlink", func(dir string) error { return unix.Unlink(dir + "/b") }),
		refuse("rename", func(dir string) error { return unix.Rename(dir+"/b", dir+"/c") }),
		refuse("chmod", func(dir string) error { return unix.Chmod(dir+"/a", 0o600) }),
		refuse("times", func(dir string) error { now := time.Now(); return os.Chtimes(dir+"/a", now, now) }),
		refuse("truncate", func(dir string) error { return unix.Truncate(dir+"/a", 0) }),
	}
}

// changeChecks change what makeSome has made, which lies in the lower layer of an overlay.
func changeChecks() []check {
	return []check{
		{name: "change a mode", run: func(dir string) string {
			before := stat(dir + "/a")
			must(unix.Chmod(dir+"/a", 0o640))
			st := stat(dir + "/a")
			return fmt.Sprintf("%o %t %t", st.Mode, st.Mtim == before.Mtim, st.Uid == before.Uid && st.Gid == before.Gid)
		}},
		{name: "change a linked file", run: func(dir string) string {
			fd := open(dir+"/a", unix.O_WRONLY|unix.O_APPEND, 0)
			defer unix.Close(fd)
			try(unix.Write(fd, []byte(" more")))
			return fmt.Sprintf("%s, %s", read(dir+"/a"), read(dir+"/b"))
		}},
		{name: "change names", run: func(dir string) string {
			var o outcome
			for i, n := range odd {
				name := dir + "/names/" + n
				switch i % 3 {
				case 0:
					must(os.Remove(name))
				case 1:
					must(os.Rename(name, fmt.Sprint(dir, "/names/", i, "new")))
					o.expect("renamed", read(fmt.Sprint(dir, "/names/", i, "new")) == fmt.Sprint(i))
				}
				_, err := os.Lstat(name)
				o.expect(fmt.Sprintf("%.12q", n), (err == nil) == (i%3 == 2))
			}
			o.expect("listing", len(listing(dir+"/names")) == len(odd)-(len(odd)+2)/3)
			return o.String()
		}},
		{name: "move a folder", run: func(dir string) string {
			if err := unix.Rename(dir+"/names", dir+"/moved"); err != nil {
				return errnoName(err)
			}
			return fmt.Sprint(len(listing(dir + "/moved")))
		}},
		{name: "change a link", run: func(dir string) string {
			must(os.Remove(dir + "/l"))
			must(os.Symlink("b", dir+"/l"))
			return try(os.Readlink(dir + "/l"))
		}},
		{name: "change times", run: func(dir string) string {
			t := time.Unix(1e9+7, 0)
			must(os.Chtimes(dir+"/b", t, t))
			return fmt.Sprint(stat(dir + "/b").Mtim.Sec)
		}},
		{name: "remove all", run: func(dir string) string {
			for _, n := range listing(dir) {
				must(os.RemoveAll(dir + "/" + n))
			}
			return fmt.Sprint(len(listing(dir)), " left")
		}},
	}
}
