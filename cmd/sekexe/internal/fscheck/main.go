// The command fscheck says how a file system behaves: it does in a folder what programs do with files, and prints a line "CHECK: RESULT" for
// each of its checks. Two folders behave alike if the lines are the same. The tests run it on the host and in sub-kernels.
//
//	fscheck DIR           check DIR, which is written to
//	fscheck -make DIR     make the files that -read looks at
//	fscheck -read DIR     check reading them, and that they can't be written
//	fscheck -some DIR     make a few of them, for -change
//	fscheck -change DIR   check changing them
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A check does something in a folder, and says in a line what came of it. It panics with an error that it doesn't expect.
type check struct {
	name string
	run  func(dir string) string
	// root says that nobody but root can do it.
	root bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		child(os.Args[2:])
		return
	}
	args, list, apart := os.Args[1:], checks(), true
	if len(args) == 2 && args[0] == "-make" {
		makeTree(args[1])
		return
	}
	if len(args) == 2 && args[0] == "-some" {
		makeSome(args[1])
		return
	}
	if len(args) == 2 && args[0] == "-read" {
		args, list, apart = args[1:], readChecks(), false
	}
	if len(args) == 2 && args[0] == "-change" {
		args, list, apart = args[1:], changeChecks(), false
	}
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: fscheck [-make|-read|-some|-change] DIR")
		os.Exit(2)
	}
	unix.Umask(0o022)
	dir := try(filepath.Abs(args[0]))
	for _, c := range list {
		fmt.Printf("%s: %s\n", c.name, c.result(dir, apart))
	}
}

// skipped is the result of a check that can't be done here.
const skipped = "skipped"

// result does the check, in a folder of its own if it is to be apart.
func (c *check) result(dir string, apart bool) (text string) {
	if c.root && os.Getuid() != 0 {
		return skipped
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case error:
			text = errorText(e)
		default:
			panic(e)
		}
	}()
	if apart {
		dir = filepath.Join(dir, c.name)
		must(os.Mkdir(dir, 0o755))
	}
	return c.run(dir)
}

// errorText is the operation and the name of the error, without the path, which differs.
func errorText(err error) string {
	op := ""
	var pe *fs.PathError
	var le *os.LinkError
	var se *os.SyscallError
	switch {
	case errors.As(err, &pe):
		op = pe.Op + " "
	case errors.As(err, &le):
		op = le.Op + " "
	case errors.As(err, &se):
		op = se.Syscall + " "
	}
	return op + errnoName(err)
}

// errnoName is such as "ENOENT", or "ok".
func errnoName(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func try[T any](v T, err error) T {
	must(err)
	return v
}

// outcome puts the outcomes of several parts of a check into a line: the names of those that are not as they should be.
type outcome []string

func (o *outcome) expect(what string, ok bool) {
	if !ok {
		*o = append(*o, what)
	}
}

// err notes the error of a part of a check, unless it is the one that is wanted; 0 is none.
func (o *outcome) err(what string, got error, want syscall.Errno) {
	if want == 0 && got == nil || want != 0 && errors.Is(got, want) {
		return
	}
	*o = append(*o, what+" "+errnoName(got))
}

func (o outcome) String() string {
	if len(o) == 0 {
		return "ok"
	}
	return strings.Join(o, ", ")
}

func stat(name string) (st unix.Stat_t) {
	must(unix.Lstat(name, &st))
	return st
}

func write(name, text string) string {
	must(os.WriteFile(name, []byte(text), 0o644))
	return name
}

func read(name string) string { return string(try(os.ReadFile(name))) }

func open(name string, flags int, mode uint32) int {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, mode)
	if err != nil {
		panic(&os.PathError{Op: "open", Path: name, Err: err})
	}
	return fd
}

func create(name string) int { return open(name, unix.O_RDWR|unix.O_CREAT, 0o644) }
