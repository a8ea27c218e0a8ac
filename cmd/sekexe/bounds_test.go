package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/kernel"
)

// A glut is a command of bash by which a guest's root takes all that there is of something. H is the test's folder.
type glut struct{ name, try string }

var (
	memoryGlut = glut{"memory", `perl -e 'for (;;) { push @a, "x" x (1 << 20) }'`}
	forkGlut   = glut{"processes that make processes", `perl -e 'for (1..5000) { fork }; sleep 1000'`}
	diskGluts  = []glut{
		{"a disk", `dd if=/dev/zero of=/d/fill bs=1M; sync`},
		{"what is behind a disk's end", `dd if=/dev/zero of=/dev/ubda bs=1M seek=64`},
		{"the host's disk", `mkdir /evil; mount -t hostfs none /evil -o $H/outside; dd if=/dev/zero of=/evil/fill bs=1M count=100`},
	}
)

// boundedGuests try some of them, one after the other. One that takes memory may end the guest's kernel, where its init gets no more threads, or
// there is nothing to kill that would help; a further guest tries the rest then. The last one may also go on for ever, and is ended by the host.
var boundedGuests = []struct {
	name, isolation string
	gluts           []glut
}{
	{"files", "strict", slices.Concat(diskGluts, []glut{
		memoryGlut,
		{"shared memory", `dd if=/dev/zero of=/dev/shm/fill bs=1M; rm /dev/shm/fill`},
		{"the root", `dd if=/dev/zero of=/fill bs=1M; rm /fill`},
		{"a tmpfs that is larger than the memory", `mount -t tmpfs -o size=1T none /mnt; dd if=/dev/zero of=/mnt/fill bs=1M`},
	})},
	{"processes", "strict", []glut{
		{"processes", `perl -e 'for (;;) { $p = fork; last if !defined $p; sleep 1000 if !$p }'`},
		forkGlut,
	}},
	{"fast", "fast", slices.Concat(diskGluts, []glut{memoryGlut, forkGlut})},
}

// lastGlut is how long the last of a guest's gluts may take.
const lastGlut = 10 * time.Second

// The guest of TestBounds, in bytes, and what its kernel may take on the host besides.
const (
	boundedMemory = 48 << 20
	boundedDisk   = 64 << 20
	kernelsOwn    = 32 << 20
)

// glutScript tries all of them, each for some seconds. What the guest's kernel kills to get memory back are they.
func glutScript(gluts []glut) string {
	var b strings.Builder
	b.WriteString("echo -1000 > /proc/self/oom_score_adj\n" +
		"try() { setsid timeout -s KILL 4 bash -c \"echo 1000 > /proc/self/oom_score_adj; $2\" >/dev/null 2>&1 </dev/null; pkill -KILL perl; echo \"$1: tried\"; }\n")
	for _, g := range gluts {
		fmt.Fprintf(&b, "try %s %s\n", quote(g.name), quote(strings.NewReplacer(`$`, `\$`).Replace(g.try)))
	}
	return b.String()
}

// use is the most that a sub-kernel has had of the host.
type use struct {
	processes int
	resident  int64 // bytes, of its kernel's process
}

// watch looks at the sandbox's kernel until stop is closed.
func (s *sandbox) watch(t *testing.T, stop <-chan struct{}) use {
	var most use
	for {
		select {
		case <-stop:
			return most
		case <-time.After(300 * time.Millisecond):
		}
		most.processes = max(most.processes, s.look(t, &most))
	}
}

// look counts the processes of the sandbox's kernel, and notes how large that is.
func (s *sandbox) look(t *testing.T, most *use) int {
	left, err := s.leftProcesses()
	if err != nil {
		t.Error(err)
		return 0
	}
	n := 0
	for pid, cmdline := range left {
		if !strings.Contains(cmdline, " uml_dir=") || session(pid) != pid {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has just ended
		}
		_, rss, _ := strings.Cut(string(b), "VmRSS:")
		if f := strings.Fields(rss); len(f) > 0 {
			kb, _ := strconv.ParseInt(f[0], 10, 64)
			most.resident = max(most.resident, kb<<10)
		}
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, f := range stats {
			if p, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && session(p) == pid {
				n++
			}
		}
	}
	return n
}

// TestBounds holds that a guest's root who takes all that there is takes no more of the host than the sub-kernel was given.
func TestBounds(t *testing.T) { // not beside others, which would leave it no time
	k, err := testKernel()
	if err != nil {
		t.Fatal(err)
	}
	info, err := kernel.NewFinder("").Resolve(t.Context(), kernel.Choice{Path: k})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boundedGuests {
		t.Run(b.name, func(t *testing.T) { // one after the other: each keeps a CPU busy, and is watched
			if b.isolation == "fast" && !info.Seccomp {
				t.Skip("the kernel has no fast isolation")
			}
			testBounds(t, b.isolation, b.gluts)
		})
	}
}

// testBounds tries gluts in as many guests as that takes.
func testBounds(t *testing.T, isolation string, gluts []glut) {
	for len(gluts) > 0 && !t.Failed() {
		gluts = gluts[testBoundedGuest(t, isolation, gluts):]
	}
}

// testBoundedGuest tries gluts in one guest, and returns how many it has tried when it ends.
func testBoundedGuest(t *testing.T, isolation string, gluts []glut) (tried int) {
	s := testSandbox(t)
	escapeFolder(t, s)
	s.write(t, "gluts.sh", glutScript(gluts))
	before := outside(t, s)
	disk := filepath.Join(s.dir, "disk.img")
	cmd := s.command(t, "run", "--net", "none", "--isolation", isolation, "-m", fmt.Sprint(boundedMemory), "--disk", fmt.Sprintf("/d=%d:%s", boundedDisk, disk),
		"-e", "H="+s.dir, "--", "/bin/bash", filepath.Join(s.dir, "gluts.sh"))
	stdout, stderr := start(t, cmd)
	stop, done := make(chan struct{}), make(chan use)
	go func() { done <- s.watch(t, stop) }()
	for tried < len(gluts)-1 && stdout.finds(t, regexp.QuoteMeta(gluts[tried].name)+": tried\n") {
		tried++
	}
	var ended atomic.Bool
	end := time.AfterFunc(lastGlut, func() {
		ended.Store(true)
		_ = cmd.Process.Signal(unix.SIGINT)
		_ = cmd.Process.Signal(unix.SIGTERM) // the second one kills the kernel
	})
	out := stdout.rest(t) + stderr.rest(t)
	got := exitStatus(t, cmd.Wait())
	end.Stop()
	close(stop)
	most := <-done
	last := gluts[tried]
	t.Logf("ended by %q with %d: at most %d processes, and %d MiB", last.name, got, most.processes, most.resident>>20)
	switch {
	case slices.Contains(diskGluts, last):
		t.Errorf("%s ended the kernel, exit status %d: %s", last.name, got, out)
	case got != 0 && got != exitFailed && (!ended.Load() || got != 130 && got != 143): // a kernel without memory may do nothing any more
		t.Errorf("exit status %d: %s", got, out)
	}
	checkUse(t, most, slices.Contains(gluts, forkGlut))
	var st unix.Stat_t
	if err := unix.Stat(disk, &st); err != nil || st.Size != boundedDisk || st.Blocks*512 > boundedDisk+(1<<20) {
		t.Errorf("the disk has %d bytes and takes %d, %v; want at most %d", st.Size, st.Blocks*512, err, boundedDisk)
	}
	if after := outside(t, s); !slices.Equal(before, after) {
		t.Errorf("the host was changed:\n%s\nbefore:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	return tried + 1
}

// checkUse checks what a guest has had of the host. forked says that it took all processes that it could.
func checkUse(t *testing.T, most use, forked bool) {
	t.Helper()
	if most.resident < boundedMemory/2 || most.resident > boundedMemory+kernelsOwn {
		t.Errorf("the kernel took %d MiB, of a memory of %d MiB", most.resident>>20, boundedMemory>>20)
	}
	least, limit := 2, boundedMemory/(96<<10)
	if forked {
		least = 20
	}
	if most.processes < least || most.processes > limit {
		t.Errorf("the host had %d processes of the guest, want %d to %d", most.processes, least, limit)
	}
}
