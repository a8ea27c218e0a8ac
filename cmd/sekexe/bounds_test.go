package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/orchestrator"
)

// gluts are commands of bash by which a guest's root takes all that there is. H is the test's folder.
var gluts = []struct{ name, try string }{
	{"memory", `perl -e 'for (;;) { push @a, "x" x (1 << 20) }'`},
	{"shared memory", `dd if=/dev/zero of=/dev/shm/fill bs=1M; rm /dev/shm/fill`},
	{"the root", `dd if=/dev/zero of=/fill bs=1M; rm /fill`},
	{"a disk", `dd if=/dev/zero of=/d/fill bs=1M; sync`},
	{"what is behind a disk's end", `dd if=/dev/zero of=/dev/ubda bs=1M seek=64`},
	{"the host's disk", `mkdir /evil; mount -t hostfs none /evil -o $H/outside; dd if=/dev/zero of=/evil/fill bs=1M count=100`},
	// The last ones may end the guest's kernel, where its init gets no more threads, or there is nothing to kill that would help.
	{"processes", `perl -e 'for (;;) { $p = fork; last if !defined $p; sleep 1000 if !$p }'`},
	{"processes that make processes", `perl -e 'for (1..5000) { fork }; sleep 1000'`},
	{"a tmpfs that is larger than the memory", `mount -t tmpfs -o size=1T none /mnt; dd if=/dev/zero of=/mnt/fill bs=1M`},
}

// mayEnd is the first of the gluts that may end the guest's kernel.
const mayEnd = 6

// The guest of TestBounds, in bytes, and what its kernel may take on the host besides.
const (
	boundedMemory = 48 << 20
	boundedDisk   = 64 << 20
	kernelsOwn    = 32 << 20
)

// glutScript tries all of them, each for some seconds. What the guest's kernel kills to get memory back are they.
func glutScript() string {
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
	for _, isolation := range []string{"strict", "fast"} {
		t.Run(isolation, func(t *testing.T) { // one after the other: each keeps a CPU busy, and is watched
			if isolation == "fast" && !info.Seccomp {
				t.Skip("the kernel has no fast isolation")
			}
			testBounds(t, isolation)
		})
	}
}

func testBounds(t *testing.T, isolation string) {
	s := testSandbox(t)
	escapeFolder(t, s)
	s.write(t, "gluts.sh", glutScript())
	before := outside(t, s)
	disk := filepath.Join(s.dir, "disk.img")
	cmd := s.command(t, "run", "--timeout", "2m", "--net", "none", "--isolation", isolation, "-m", fmt.Sprint(boundedMemory), "--disk", fmt.Sprintf("/d=%d:%s", boundedDisk, disk),
		"-e", "H="+s.dir, "--", "/bin/bash", filepath.Join(s.dir, "gluts.sh"))
	stop, done := make(chan struct{}), make(chan use)
	go func() { done <- s.watch(t, stop) }()
	out, err := cmd.CombinedOutput()
	close(stop)
	most := <-done
	got := exitStatus(t, err)
	if got != 0 && got != exitFailed && got != orchestrator.StatusTimedOut { // a kernel without memory may do nothing any more
		t.Errorf("exit status %d: %s", got, out)
	}
	for _, g := range gluts[:mayEnd] {
		if got != orchestrator.StatusTimedOut && !strings.Contains(string(out), g.name+": tried\n") {
			t.Errorf("%s: was not tried: %s", g.name, out)
		}
	}
	t.Logf("at most %d processes, and %d MiB", most.processes, most.resident>>20)
	if most.resident < boundedMemory/2 || most.resident > boundedMemory+kernelsOwn {
		t.Errorf("the kernel took %d MiB, of a memory of %d MiB", most.resident>>20, boundedMemory>>20)
	}
	if least, limit := 20, boundedMemory/(96<<10); most.processes < least || most.processes > limit {
		t.Errorf("the host had %d processes of the guest, want %d to %d", most.processes, least, limit)
	}
	var st unix.Stat_t
	if err := unix.Stat(disk, &st); err != nil || st.Size != boundedDisk || st.Blocks*512 > boundedDisk+(1<<20) {
		t.Errorf("the disk has %d bytes and takes %d, %v; want at most %d", st.Size, st.Blocks*512, err, boundedDisk)
	}
	if after := outside(t, s); !slices.Equal(before, after) {
		t.Errorf("the host was changed:\n%s\nbefore:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
}
