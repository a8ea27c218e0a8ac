package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fileJobs are what fileScenes measure in a folder. The archive goes through a pipe, because tar reads nothing if it writes to /dev/null itself.
var fileJobs = []struct{ name, shell string }{
	{"tar", "tar cf - . | cat >/dev/null"},
	{"find", "find . -size +1G"},
	{"git", "git status --porcelain >/dev/null"},
	{"build", "out=$(mktemp -d) && for f in src/*.c; do gcc -c -Isrc -o $out/$(basename $f .c).o $f || exit; done; rm -r $out"},
}

// A fileKind is a kind of root or mount, with the flags that make it show, or hold, the tree at fileTarget.
type fileKind struct {
	name  string
	flags func(tree string) []string
	// copied means that the job copies the tree there first.
	copied bool
	extra  bool // is left out where no scene is named
}

const fileTarget = "/bench"

var fileKinds = []fileKind{
	{name: "root", flags: func(string) []string { return nil }},
	{name: "ro", flags: func(tree string) []string { return []string{"-v", tree + ":" + fileTarget} }},
	{name: "rw", flags: func(tree string) []string { return []string{"-v", tree + ":" + fileTarget + ":rw"} }},
	{name: "overlay", flags: func(tree string) []string { return []string{"-v", tree + ":" + fileTarget + ":overlay"} }},
	{name: "memory", extra: true, flags: func(string) []string { return nil }, copied: true},
	{name: "disk", flags: func(string) []string { return []string{"--disk", fileTarget + "=1G"} }, copied: true},
}

// fileScenes are each job on each kind, first with nothing of the tree in the guest's memory, and, "-again", with what the first time left there.
func fileScenes() []scene {
	var all []scene
	for _, j := range fileJobs {
		for _, k := range fileKinds {
			for _, again := range []bool{false, true} {
				name := j.name + "-" + k.name
				if again {
					name += "-again"
				}
				all = append(all, scene{name: name, long: again || k.extra, run: func(e *env) (result, error) { return e.fileScene(j.name, k, again) }})
			}
		}
	}
	return all
}

// fileScene compares a job on the host with the same in a sub-kernel.
func (e *env) fileScene(job string, k fileKind, again bool) (result, error) {
	if job == "git" || job == "build" {
		if _, err := exec.LookPath(map[string]string{"git": "git", "build": "gcc"}[job]); err != nil {
			return result{}, fmt.Errorf("%w: %w", errSkip, err)
		}
	}
	tree, err := e.tree()
	if err != nil {
		return result{}, err
	}
	dir, from := fileTarget, ""
	switch {
	case k.copied:
		from = tree
	case k.name == "root":
		dir = tree
	}
	inside := fmt.Sprintf("%s\n%t\n%s\n%s", job, again, dir, from)
	return e.compare(fmt.Sprintf("%s\ntrue\n%s\n", job, tree), inside, k.flags(tree)...)
}

// files is such a job, in the words of fileScene. It prints what the job took.
func files(words []string) (time.Duration, error) {
	job, again, dir, from := words[0], words[1] == "true", words[2], words[3]
	shell := ""
	for _, j := range fileJobs {
		if j.name == job {
			shell = j.shell
		}
	}
	run := func(line string) error {
		cmd := exec.Command("/bin/sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", job, err, out)
		}
		return nil
	}
	if from != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return 0, err
		}
		if out, err := exec.Command("cp", "-a", from+"/.", dir).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("cp: %w: %s", err, out)
		}
		if job == "git" { // its index holds times and inodes of the other tree
			again = true
		}
	}
	if again {
		if err := run(shell); err != nil {
			return 0, err
		}
	}
	if from != "" && words[1] != "true" {
		unix.Sync()
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			return 0, err
		}
	}
	started := time.Now()
	err := run(shell)
	return time.Since(started), err
}

// tree makes the tree of the file scenes, once: a git repository with 4,000 small files in 80 folders, and 6 files of C.
func (e *env) tree() (string, error) {
	if e.files != "" {
		return e.files, nil
	}
	dir, err := os.MkdirTemp("", "sekexe-bench-tree-")
	if err != nil {
		return "", err
	}
	e.temp = append(e.temp, dir)
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
		return "", err
	}
	for i := range 80 {
		sub := filepath.Join(dir, "data", fmt.Sprint(i))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return "", err
		}
		for j := range 50 {
			text := strings.Repeat(fmt.Sprintf("%d %d\n", i, j), 50+i*j%400)
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(j)), []byte(text), 0o644); err != nil {
				return "", err
			}
		}
	}
	for i := range 6 {
		header := fmt.Sprintf("#include <stdio.h>\n#include <stdlib.h>\nstatic inline int h%d(int n) { return n + %d; }\n", i, i)
		text := fmt.Sprintf("#include \"h%d.h\"\nint f%d(int n) { printf(\"%%d\", n); return abs(h%d(n)); }\n", i, i, i)
		for name, b := range map[string]string{"h%d.h": header, "f%d.c": text} {
			if err := os.WriteFile(filepath.Join(dir, "src", fmt.Sprintf(name, i)), []byte(b), 0o644); err != nil {
				return "", err
			}
		}
	}
	if _, err := exec.LookPath("git"); err == nil {
		cmd := exec.Command("/bin/sh", "-c", "git init -q && git add -A && git -c user.name=x -c user.email=x commit -qm x")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("git: %w: %s", err, out)
		}
	}
	e.files = dir
	return dir, nil
}
