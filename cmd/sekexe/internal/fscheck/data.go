package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// dataChecks are those of the contents of files.
func dataChecks() []check {
	return []check{
		{name: "content", run: checkContent},
		{name: "sparse files", run: func(dir string) string {
			fd := create(dir + "/a")
			defer unix.Close(fd)
			must(unix.Ftruncate(fd, 1<<30))
			try(unix.Pwrite(fd, []byte("x"), 1<<29))
			var o outcome
			o.expect("size", stat(dir+"/a").Size == 1<<30)
			o.expect("blocks", stat(dir+"/a").Blocks < 1<<10)
			return o.String()
		}},
		{name: "holes", run: func(dir string) string {
			fd := create(dir + "/a")
			defer unix.Close(fd)
			must(unix.Ftruncate(fd, 8<<20))
			try(unix.Pwrite(fd, bytes.Repeat([]byte("x"), 1<<16), 4<<20))
			data, err := unix.Seek(fd, 0, unix.SEEK_DATA)
			hole, _ := unix.Seek(fd, 4<<20, unix.SEEK_HOLE)
			if err != nil {
				return errnoName(err)
			}
			return fmt.Sprint(data>>16, " ", hole>>16)
		}},
		{name: "5 GiB", run: func(dir string) string {
			fd := create(dir + "/a")
			defer unix.Close(fd)
			const end = 5<<30 - 5
			try(unix.Pwrite(fd, []byte("large"), end))
			buf := make([]byte, 6)
			n := try(unix.Pread(fd, buf, end))
			try(unix.Pread(fd, buf[n:], 3<<30))
			st := stat(dir + "/a")
			return fmt.Sprint(st.Size, " ", string(buf[:n]), " ", buf[n], " ", st.Blocks < 1<<10)
		}},
		{name: "unlink open", run: func(dir string) string {
			fd := create(dir + "/a")
			defer unix.Close(fd)
			must(os.Remove(dir + "/a"))
			try(unix.Write(fd, []byte("text")))
			buf := make([]byte, 4)
			try(unix.Pread(fd, buf, 0))
			var o outcome
			o.expect("content", string(buf) == "text")
			must(unix.Ftruncate(fd, 1<<20))
			o.expect("listing", len(listing(dir)) == 0)
			return o.String()
		}},
		{name: "links of an unlinked file", run: func(dir string) string {
			fd := create(dir + "/a")
			defer unix.Close(fd)
			must(os.Remove(dir + "/a"))
			var st unix.Stat_t
			must(unix.Fstat(fd, &st))
			return fmt.Sprint(st.Nlink)
		}},
		{name: "append", run: func(dir string) string {
			a := open(dir+"/a", unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, 0o644)
			b := open(dir+"/a", unix.O_WRONLY|unix.O_APPEND, 0)
			defer unix.Close(a)
			defer unix.Close(b)
			for i, fd := range []int{a, b, a, b} {
				try(unix.Write(fd, []byte{byte('1' + i)}))
			}
			return read(dir + "/a")
		}},
		{name: "truncate", run: checkTruncate},
		{name: "shared mapping", run: checkMapping},
		{name: "fallocate", run: func(dir string) string {
			fd := create(dir + "/a")
			defer unix.Close(fd)
			if err := unix.Fallocate(fd, 0, 0, 1<<20); err != nil {
				return errnoName(err)
			}
			return fmt.Sprint(stat(dir + "/a").Size)
		}},
		{name: "punch a hole", run: func(dir string) string {
			fd := create(dir + "/a")
			defer unix.Close(fd)
			try(unix.Write(fd, bytes.Repeat([]byte("x"), 1<<20)))
			if err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<18, 1<<18); err != nil {
				return errnoName(err)
			}
			b := read(dir + "/a")
			return fmt.Sprint(len(b), " ", strings.Count(b, "\x00"))
		}},
		{name: "unnamed files", run: func(dir string) string {
			fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
			if err != nil {
				return errnoName(err)
			}
			defer unix.Close(fd)
			try(unix.Write(fd, []byte("text")))
			must(unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, dir+"/a", unix.AT_SYMLINK_FOLLOW))
			return read(dir + "/a")
		}},
		{name: "direct access", run: func(dir string) string {
			fd, err := unix.Open(dir+"/a", unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT, 0o600)
			if err != nil {
				return errnoName(err)
			}
			unix.Close(fd)
			return "ok"
		}},
		{name: "sync", run: func(dir string) string {
			fd, d := create(dir+"/a"), open(dir, unix.O_RDONLY, 0)
			defer unix.Close(fd)
			defer unix.Close(d)
			var o outcome
			try(unix.Write(fd, []byte("x")))
			o.err("fsync", unix.Fsync(fd), 0)
			o.err("fdatasync", unix.Fdatasync(fd), 0)
			o.err("a folder", unix.Fsync(d), 0)
			return o.String()
		}},
		{name: "copy_file_range", run: func(dir string) string {
			a, b := create(dir+"/a"), create(dir+"/b")
			defer unix.Close(a)
			defer unix.Close(b)
			try(unix.Pwrite(a, bytes.Repeat([]byte("x"), 1<<16), 0))
			n, err := unix.CopyFileRange(a, nil, b, nil, 1<<16, 0)
			return fmt.Sprint(n, " ", errnoName(err))
		}},
		{name: "run a program", run: func(dir string) string {
			must(os.WriteFile(dir+"/a", []byte("#!/bin/sh\nexit 3\n"), 0o755))
			err := exec.Command(dir + "/a").Run()
			return fmt.Sprint(err)
		}},
		{name: "write a running program", run: func(dir string) string {
			b := try(os.ReadFile("/bin/sleep"))
			must(os.WriteFile(dir+"/a", b, 0o755))
			c := exec.Command(dir+"/a", "100")
			must(c.Start())
			defer func() { c.Process.Kill(); c.Wait() }()
			_, err := unix.Open(dir+"/a", unix.O_WRONLY, 0)
			return errnoName(err)
		}},
	}
}

func checkContent(dir string) string {
	var o outcome
	b := make([]byte, 3<<20+17)
	for i := range b {
		b[i] = byte(i * i >> 8)
	}
	must(os.WriteFile(dir+"/a", b, 0o600))
	o.expect("all", bytes.Equal(try(os.ReadFile(dir+"/a")), b))
	fd := open(dir+"/a", unix.O_RDWR, 0)
	defer unix.Close(fd)
	try(unix.Pwrite(fd, []byte("middle"), 1<<20-3))
	copy(b[1<<20-3:], "middle")
	o.expect("overwritten", bytes.Equal(try(os.ReadFile(dir+"/a")), b))
	n, err := unix.Pread(fd, make([]byte, 10), int64(len(b)))
	o.expect("end", n == 0 && err == nil)
	return o.String()
}

func checkTruncate(dir string) string {
	var o outcome
	a := write(dir+"/a", "0123456789")
	must(os.Truncate(a, 4))
	o.expect("shorter", read(a) == "0123")
	must(os.Truncate(a, 8))
	o.expect("longer", read(a) == "0123\x00\x00\x00\x00")
	fd := open(a, unix.O_RDONLY, 0)
	defer unix.Close(fd)
	o.err("read-only", unix.Ftruncate(fd, 1), unix.EINVAL)
	unix.Close(open(a, unix.O_WRONLY|unix.O_TRUNC, 0))
	o.expect("by open", read(a) == "")
	o.err("a folder", unix.Truncate(dir, 0), unix.EISDIR)
	return o.String()
}

func checkMapping(dir string) string {
	var o outcome
	fd := create(dir + "/a")
	defer unix.Close(fd)
	must(unix.Ftruncate(fd, 1<<16))
	m, err := unix.Mmap(fd, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return errnoName(err)
	}
	copy(m[5000:], "mapped")
	buf := make([]byte, 6)
	try(unix.Pread(fd, buf, 5000))
	o.expect("read sees it", string(buf) == "mapped")
	try(unix.Pwrite(fd, []byte("written"), 9000))
	o.expect("it sees a write", string(m[9000:9007]) == "written")
	o.err("msync", unix.Msync(m, unix.MS_SYNC), 0)
	must(unix.Munmap(m))
	o.expect("later", strings.Contains(read(dir+"/a"), "mapped"))
	return o.String()
}
