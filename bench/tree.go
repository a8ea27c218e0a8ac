package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A fileTree is the tree of the file scenes: a git repository with 4,000 small files in 80 folders, 6 files of C, and a Go module of 12 packages.
type fileTree struct {
	dir    string // the tree
	system string // a root with the tree at fileTarget, and places to mount this machine's programs at
	ext4   string // images of the system, once there are any
	erofs  string
	std    string // the folder of stdCache, or ""
}

// tree makes the tree, once.
func (e *env) tree() (*fileTree, error) {
	if e.files != nil {
		return e.files, nil
	}
	base, err := os.MkdirTemp("/var/tmp", "sekexe-bench-tree-") // /tmp is memory below a read-only root
	if err != nil {
		return nil, err
	}
	e.temp = append(e.temp, base)
	t := &fileTree{system: filepath.Join(base, "system"), ext4: filepath.Join(base, "ext4"), erofs: filepath.Join(base, "erofs")}
	t.dir = filepath.Join(t.system, fileTarget)
	if err := t.fill(); err != nil {
		return nil, fmt.Errorf("make the tree: %w", err)
	}
	e.files = t
	return t, nil
}

// fill writes all that is in it.
func (t *fileTree) fill() error {
	var errs []error
	write := func(text string, path ...any) {
		name := filepath.Join(t.dir, fmt.Sprint(path...))
		errs = append(errs, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644))
	}
	for i := range 80 {
		for j := range 50 {
			write(strings.Repeat(fmt.Sprintf("%d %d\n", i, j), 50+i*j%400), "data/", i, "/", j)
		}
	}
	for i := range 6 {
		write(fmt.Sprintf("#include <stdio.h>\n#include <stdlib.h>\nstatic inline int h%d(int n) { return n + %d; }\n", i, i), "src/h", i, ".h")
		write(fmt.Sprintf("#include \"h%d.h\"\nint f%d(int n) { printf(\"%%d\", n); return abs(h%d(n)); }\n", i, i, i), "src/f", i, ".c")
	}
	imports, calls := "", ""
	for i := range 12 {
		for j := range 5 {
			write(fmt.Sprintf("package p%d\n\nfunc F%d(n int) int {\n\tfor i := range n {\n\t\tn += i * %d\n\t}\n\treturn n\n}\n", i, j, j+2), "go/p", i, "/f", j, ".go")
		}
		imports += fmt.Sprintf("\t\"bench/p%d\"\n", i)
		calls += fmt.Sprintf("\tprintln(p%d.F%d(3))\n", i, i%5)
	}
	write("module bench\n\ngo 1.22\n", "go/go.mod")
	write("package main\n\nimport (\n"+imports+")\n\nfunc main() {\n"+calls+"}\n", "go/main.go")
	for _, d := range []string{"dev", "proc", "sys", "run", "tmp", "usr", "etc"} {
		errs = append(errs, os.MkdirAll(filepath.Join(t.system, d), 0o755))
	}
	for _, l := range systemLinks() {
		errs = append(errs, os.Symlink("usr/"+l, filepath.Join(t.system, l)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil
	}
	return shell(t.dir, "git init -q && git add -A && git -c user.name=x -c user.email=x commit -qm x")
}

// systemLinks are the folders of this machine's root that lead to others below /usr.
func systemLinks() (links []string) {
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64"} {
		if to, err := os.Readlink("/" + name); err == nil && strings.TrimPrefix(to, "/") == "usr/"+name {
			links = append(links, name)
		}
	}
	return links
}

// rootFlags are the flags for a root that has the tree, and of this machine's nothing but its programs, by mounts.
func (t *fileTree) rootFlags(root string) []string {
	flags := append(t.selfFlags(), "--rootfs", root, "-e", "PATH", "-v", "/usr:/usr", "-v", "/etc:/etc")
	if t.std != "" {
		flags = append(flags, "-v", t.std+":"+t.std)
	}
	return flags
}

// selfFlags are the flags for a mount of this program.
func (*fileTree) selfFlags() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{"-v", self + ":" + self}
}

// image makes an image of the system by a program, once; without one nothing.
func (t *fileTree) image(program string) error {
	name, args := "", []string(nil)
	switch program {
	case "mke2fs":
		name, args = t.ext4, []string{"-q", "-t", "ext4", "-d", t.system, t.ext4, "512M"}
	case "mkfs.erofs":
		name, args = t.erofs, []string{t.erofs, t.system}
	}
	if _, err := os.Stat(name); name == "" || err == nil {
		return nil
	}
	path, err := findProgram(program)
	if err != nil {
		return err
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// stdCache makes a cache of go build that has the packages which every program needs, so that what is measured is the module alone. Once.
func (t *fileTree) stdCache() error {
	if t.std != "" {
		return nil
	}
	std := filepath.Join(filepath.Dir(t.system), "std")
	if err := shell(filepath.Join(t.dir, "go"), "GOCACHE="+std+" "+goBuild+" runtime"); err != nil {
		return err
	}
	t.std = std
	return nil
}

// findProgram finds a program in $PATH, or where administrators have theirs.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

// shell runs a line of shell in a folder.
func shell(dir, line string) error {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}
