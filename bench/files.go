package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A fileJob is something that is done with a folder full of files, as a line of shell. $OUT is a folder for what it makes, in memory in a guest.
type fileJob struct {
	name, shell string
	// prepare is done before each run, and not measured. $STD is the folder of stdCache.
	prepare string
	program string // that it can't do without
}

// fileJobs are what fileScenes measure in a folder. The archive goes through a pipe, because tar reads nothing if it writes to /dev/null itself.
var fileJobs = []fileJob{
	{name: "tar", shell: "tar cf - . | cat >/dev/null"},
	{name: "find", shell: "find . -size +1G"},
	{name: "git", shell: "git status --porcelain >/dev/null", program: "git"},
	{name: "build", shell: "for f in src/*.c; do gcc -c -Isrc -o $OUT/$(basename $f .c).o $f || exit; done", program: "gcc"},
	{name: "go", prepare: "cp -r $STD $OUT/cache", shell: "cd go && GOCACHE=$OUT/cache " + goBuild + " -o $OUT/program .", program: "go"},
}

// goBuild asks nothing of the network, and doesn't look for a version of the module in git.
const goBuild = "GOTOOLCHAIN=local GOPROXY=off GOFLAGS= GOWORK=off CGO_ENABLED=0 go build -buildvcs=false"

// A fileKind is a kind of root or mount, with the flags that make it show, or hold, the tree.
type fileKind struct {
	name  string
	flags func(*fileTree) []string
	// inRoot means that the tree lies where it does on the host, otherwise it is at fileTarget.
	inRoot bool
	// copied means that the job copies the tree there first, moved that the times and inodes of its files aren't those that git knows.
	copied, moved bool
	program       string // that it can't do without
	extra         bool   // is left out where no scene is named
}

const fileTarget = "/bench"

// mounted are the flags for a mount of the tree.
func mounted(mode string) func(*fileTree) []string {
	return func(t *fileTree) []string { return []string{"-v", t.dir + ":" + fileTarget + ":" + mode} }
}

var fileKinds = []fileKind{
	{name: "root", flags: func(*fileTree) []string { return nil }, inRoot: true},
	{name: "root-ro", flags: func(t *fileTree) []string { return append(t.selfFlags(), "--root", "ro") }, inRoot: true, extra: true},
	{name: "root-dir", flags: func(t *fileTree) []string { return t.rootFlags(t.system) }},
	{name: "root-ext4", flags: func(t *fileTree) []string { return t.rootFlags(t.ext4) }, moved: true, program: "mke2fs"},
	{name: "root-erofs", flags: func(t *fileTree) []string { return t.rootFlags(t.erofs) }, moved: true, program: "mkfs.erofs", extra: true},
	{name: "ro", flags: mounted("ro")},
	{name: "rw", flags: mounted("rw")},
	{name: "overlay", flags: mounted("overlay")},
	{name: "memory", extra: true, flags: func(*fileTree) []string { return nil }, copied: true, moved: true},
	{name: "disk", flags: func(*fileTree) []string { return []string{"--disk", fileTarget + "=1G"} }, copied: true, moved: true},
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
				all = append(all, scene{name: name, long: again || k.extra, run: func(e *env) (result, error) { return e.fileScene(&j, &k, again) }})
			}
		}
	}
	return all
}

// fileScene compares a job on the host with the same in a sub-kernel.
func (e *env) fileScene(j *fileJob, k *fileKind, again bool) (result, error) {
	for _, p := range []string{j.program, k.program} {
		if p == "" {
			continue
		}
		if _, err := findProgram(p); err != nil {
			return result{}, fmt.Errorf("%w: %w", errSkip, err)
		}
	}
	t, err := e.tree()
	if err == nil {
		err = t.image(k.program)
	}
	if err == nil && j.prepare != "" {
		err = t.stdCache()
	}
	if err != nil {
		return result{}, err
	}
	host := fileRun{Job: j.name, Dir: t.dir, Std: t.std, Again: true}
	guest := fileRun{Job: j.name, Dir: fileTarget, Std: t.std, Again: again, Moved: k.moved}
	if k.inRoot {
		guest.Dir = t.dir
	}
	if k.copied {
		guest.From = t.dir
	}
	return e.compare(host.String(), guest.String(), k.flags(t)...)
}

// A fileRun is one run of a job, in the words of fileKind.
type fileRun struct {
	Job, Dir, From, Std string
	Again, Moved        bool
}

// String is how a run is told to this program inside.
func (r *fileRun) String() string {
	b, _ := json.Marshal(r)
	return string(b)
}

// files does a run, and returns what it took.
func files(text string) (time.Duration, error) {
	var r fileRun
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return 0, err
	}
	i := slices.IndexFunc(fileJobs, func(j fileJob) bool { return j.name == r.Job })
	if i < 0 {
		return 0, fmt.Errorf("there is no job %q", r.Job)
	}
	if r.From != "" {
		if err := os.MkdirAll(r.Dir, 0o755); err != nil {
			return 0, err
		}
		if out, err := exec.Command("cp", "-a", r.From+"/.", r.Dir).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("cp: %w: %s", err, out)
		}
	}
	if r.Again || r.Moved && r.Job == "git" {
		if _, err := r.once(&fileJobs[i]); err != nil {
			return 0, err
		}
	}
	if r.Moved && !r.Again {
		unix.Sync()
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			return 0, err
		}
	}
	return r.once(&fileJobs[i])
}

// once does a job once.
func (r *fileRun) once(j *fileJob) (time.Duration, error) {
	out, err := os.MkdirTemp("", "sekexe-bench-out-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(out)
	var took time.Duration
	for _, line := range []string{j.prepare, j.shell} {
		cmd := exec.Command("/bin/sh", "-c", line)
		cmd.Dir = r.Dir
		cmd.Env = append(os.Environ(), "OUT="+out, "STD="+r.Std, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
		started := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w: %s", j.name, err, out)
		}
		took = time.Since(started)
	}
	return took, nil
}
