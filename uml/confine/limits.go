package confine

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Limit bounds what a process may use of the host beyond its memory: best efforts. A dump would hold the guest's memory; nothing of it needs
// to be locked, in message queues or ahead of others. No file may grow beyond fileSize bytes, unless that is 0: not a disk, nor what is
// memory. Each of the guest's processes is one of the host's, of which some are kept for others. And the host should rather kill a guest than
// what watches it.
func (d *Domain) Limit(pid int, fileSize int64) {
	if d.ownUser() {
		back, err := asNobody()
		if err == nil {
			defer back()
		}
	}
	for _, r := range []int{unix.RLIMIT_CORE, unix.RLIMIT_MEMLOCK, unix.RLIMIT_MSGQUEUE, unix.RLIMIT_NICE, unix.RLIMIT_RTPRIO} {
		_ = unix.Prlimit(pid, r, &unix.Rlimit{}, nil)
	}
	if fileSize > 0 {
		lower(pid, unix.RLIMIT_FSIZE, uint64(fileSize))
	}
	lower(pid, unix.RLIMIT_NPROC, mostProcesses())
	_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("500"), 0)
}

// lower sets a limit of a process unless it is as low already.
func lower(pid, which int, most uint64) {
	var old unix.Rlimit
	if unix.Prlimit(pid, which, nil, &old) == nil {
		most = min(most, old.Cur)
	}
	_ = unix.Prlimit(pid, which, &unix.Rlimit{Cur: most, Max: most}, nil)
}

// mostProcesses is how many processes, threads included, the user of kernels may have when one of those makes another: three quarters of what
// there can be. It is a limit for all of them together, because the host counts a user's processes, not a kernel's.
var mostProcesses = sync.OnceValue(func() uint64 {
	most := uint64(math.MaxUint64)
	for _, file := range append([]string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"}, groupLimits()...) {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil { // not "max"
			most = min(most, n)
		}
	}
	var own unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &own) == nil {
		most = min(most, own.Cur)
	}
	return most / 4 * 3
})

// groupLimits are the files that limit the processes of this one's control group, and of those that it lies in (cgroups(7)).
func groupLimits() []string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var files []string
	for _, l := range strings.Split(string(b), "\n") {
		w := strings.SplitN(l, ":", 3)
		if len(w) < 3 || w[1] != "" && w[1] != "pids" {
			continue
		}
		base := filepath.Join("/sys/fs/cgroup", w[1])
		for dir := filepath.Clean("/" + w[2]); ; dir = filepath.Dir(dir) {
			files = append(files, filepath.Join(base, dir, "pids.max"))
			if dir == "/" {
				break
			}
		}
	}
	return files
}
