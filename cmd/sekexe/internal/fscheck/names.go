package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// odd are names that some file system, or some program on the way, may not take as they are.
var odd = []string{
	"plain", "späße", "日本語", "é", "e\u0301", "lat\xe9n", "\xff\xfe", "new\nline", "tab\t", " lead", "trail ", "dot.", "-dash", "a:b", `back\slash`, "*?[", "'\"`$", "CASE", "case",
	"\x01", strings.Repeat("x", 255), strings.Repeat("é", 127),
}

// nameChecks are those of links, names and folders.
func nameChecks() []check {
	return []check{
		{name: "symbolic links", run: checkSymlinks},
		{name: "hard links", run: checkHardLinks},
		{name: "names", run: checkNames},
		{name: "rename", run: checkRename},
		{name: "rename exchange", run: func(dir string) string {
			a, b := write(dir+"/a", "a"), write(dir+"/b", "b")
			if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
				return errnoName(err)
			}
			return read(a) + read(b)
		}},
		{name: "rename noreplace", run: func(dir string) string {
			a, b := write(dir+"/a", "a"), write(dir+"/b", "b")
			first := errnoName(unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_NOREPLACE))
			return first + " " + errnoName(unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, dir+"/c", unix.RENAME_NOREPLACE))
		}},
		{name: "folders", run: checkFolders},
		{name: "folder links", run: func(dir string) string {
			must(os.Mkdir(dir+"/a", 0o755))
			must(os.Mkdir(dir+"/a/b", 0o755))
			return fmt.Sprint(stat(dir + "/a").Nlink)
		}},
		{name: "many files", run: func(dir string) string {
			const n = 500
			for i := range n {
				fd := create(fmt.Sprintf("%s/%06d", dir, i))
				unix.Close(fd)
			}
			f := try(os.Open(dir))
			defer f.Close()
			left := 0
			for { // remove while reading, as rm does
				names, _ := f.Readdirnames(100)
				if len(names) == 0 {
					break
				}
				for _, name := range names {
					must(os.Remove(filepath.Join(dir, name)))
				}
			}
			left = len(try(os.ReadDir(dir)))
			return fmt.Sprint(left, " left")
		}},
		{name: "inode numbers", run: func(dir string) string {
			var o outcome
			seen := map[uint64]bool{}
			for i := range 50 {
				write(fmt.Sprint(dir, "/", i), "")
			}
			for i := range 50 {
				ino := stat(fmt.Sprint(dir, "/", i)).Ino
				o.expect("used twice", !seen[ino])
				seen[ino] = true
			}
			before := stat(dir + "/7").Ino
			must(os.Rename(dir+"/7", dir+"/new"))
			o.expect("changed by rename", stat(dir+"/new").Ino == before)
			return o.String()
		}},
	}
}

func checkSymlinks(dir string) string {
	var o outcome
	long := strings.Repeat("y/", 2047)
	for name, to := range map[string]string{"a": "target", "dangling": "/no/such", "long": long, "bytes": "\xff\n"} {
		must(os.Symlink(to, dir+"/"+name))
		o.expect(name, try(os.Readlink(dir+"/"+name)) == to)
	}
	write(dir+"/target", "text")
	o.expect("follow", read(dir+"/a") == "text")
	o.expect("size", stat(dir+"/a").Size == int64(len("target")))
	_, err := unix.Open(dir+"/a", unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	o.err("nofollow", err, unix.ELOOP)
	must(os.Symlink("loop", dir+"/loop"))
	_, err = os.Stat(dir + "/loop")
	o.err("loop", err, unix.ELOOP)
	o.err("exclusive", os.Symlink("x", dir+"/a"), unix.EEXIST)
	return o.String()
}

func checkHardLinks(dir string) string {
	var o outcome
	a, b := write(dir+"/a", "one"), dir+"/b"
	must(os.Link(a, b))
	o.expect("count", stat(a).Nlink == 2 && stat(b).Nlink == 2)
	o.expect("inode", stat(a).Ino == stat(b).Ino)
	write(b, "two")
	o.expect("content", read(a) == "two")
	must(os.Chmod(b, 0o600))
	o.expect("mode", stat(a).Mode&0o777 == 0o600)
	must(os.Remove(a))
	o.expect("count after unlink", stat(b).Nlink == 1)
	o.err("to a folder", os.Link(dir, dir+"/c"), unix.EPERM)
	must(os.Symlink("b", dir+"/s"))
	must(os.Link(dir+"/s", dir+"/t"))
	o.expect("of a link", stat(dir+"/t").Mode&unix.S_IFMT == unix.S_IFLNK)
	return o.String()
}

func checkNames(dir string) string {
	var o outcome
	for i, n := range odd {
		write(dir+"/"+n, fmt.Sprint(i))
	}
	for i, n := range odd {
		o.expect(fmt.Sprintf("%.12q", n), read(dir+"/"+n) == fmt.Sprint(i))
	}
	o.expect("listing", slices.Equal(listing(dir), sorted(odd)))
	_, err := unix.Open(dir+"/"+strings.Repeat("x", 256), unix.O_CREAT|unix.O_WRONLY, 0o644)
	o.err("256 bytes", err, unix.ENAMETOOLONG)
	_, err = os.Stat(dir + strings.Repeat("/x", 2050))
	o.err("4100 bytes", err, unix.ENAMETOOLONG)
	return o.String()
}

func sorted(names []string) []string {
	s := slices.Clone(names)
	slices.Sort(s)
	return s
}

func listing(dir string) []string {
	f := try(os.Open(dir))
	defer f.Close()
	return sorted(try(f.Readdirnames(-1)))
}

func checkRename(dir string) string {
	var o outcome
	a, b := write(dir+"/a", "new"), write(dir+"/b", "old")
	f := try(os.Open(b))
	defer f.Close()
	must(os.Rename(a, b))
	o.expect("over", read(b) == "new")
	buf := make([]byte, 10)
	n, _ := f.Read(buf)
	o.expect("over an open file", string(buf[:n]) == "old")
	for _, d := range []string{"d", "empty", "full", "full/x"} {
		must(os.Mkdir(dir+"/"+d, 0o755))
	}
	o.err("over an empty folder", unix.Rename(dir+"/d", dir+"/empty"), 0)
	err := unix.Rename(dir+"/empty", dir+"/full")
	if err == nil || errnoName(err) != "EEXIST" { // both are right
		o.err("over a full folder", err, unix.ENOTEMPTY)
	}
	o.err("a file over a folder", unix.Rename(b, dir+"/full"), unix.EISDIR)
	o.err("a folder over a file", unix.Rename(dir+"/full", b), unix.ENOTDIR)
	o.err("into itself", unix.Rename(dir+"/full", dir+"/full/y"), unix.EINVAL)
	return o.String()
}

func checkFolders(dir string) string {
	var o outcome
	must(os.MkdirAll(dir+strings.Repeat("/deep", 100), 0o755))
	must(os.Mkdir(dir+"/full", 0o755))
	write(dir+"/full/x", "")
	o.err("rmdir full", unix.Rmdir(dir+"/full"), unix.ENOTEMPTY)
	o.err("rmdir file", unix.Rmdir(dir+"/full/x"), unix.ENOTDIR)
	o.err("unlink folder", unix.Unlink(dir+"/full"), unix.EISDIR)
	o.err("mkdir there", unix.Mkdir(dir+"/full", 0o755), unix.EEXIST)
	_, err := unix.Open(dir+"/full/x", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	o.err("open as folder", err, unix.ENOTDIR)
	_, err = unix.Open(dir+"/full", unix.O_WRONLY, 0)
	o.err("write folder", err, unix.EISDIR)
	_, err = unix.Open(dir+"/full/x", unix.O_CREAT|unix.O_EXCL, 0o644)
	o.err("exclusive", err, unix.EEXIST)
	for _, e := range try(os.ReadDir(dir)) {
		o.expect("type", e.IsDir())
	}
	return o.String()
}
