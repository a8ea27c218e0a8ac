package doctor

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout bounds what another program takes for an answer.
const answerTimeout = 5 * time.Second

// fewProcesses and fewFiles are what a handful of sub-kernels want to have left: each process of a guest is one of the host, and each
// sub-kernel keeps some twenty files open.
const (
	fewProcesses = 256
	fewFiles     = 1024
)

// checkMemory reads how much memory the machine has (proc_meminfo(5)).
func checkMemory(file string, need int64) Check {
	b, err := os.ReadFile(file)
	if err != nil {
		return Check{"memory", Warn, err.Error(), "mount /proc"}
	}
	total, okTotal := meminfo(b, "MemTotal")
	available, okAvailable := meminfo(b, "MemAvailable")
	if !okTotal || !okAvailable {
		return Check{"memory", Warn, file + " does not say how much there is", "mount /proc"}
	}
	c := Check{Name: "memory", Status: OK, Detail: fmt.Sprintf("%s, %s of it available", bytesText(total), bytesText(available))}
	if available < need {
		c.Status, c.Detail = Warn, c.Detail+fmt.Sprintf("; a sub-kernel may use %s", bytesText(need))
		c.Fix = "end something else, or give sub-kernels less by --memory"
	}
	return c
}

// meminfo returns a line of /proc/meminfo, in bytes.
func meminfo(b []byte, name string) (int64, bool) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) < 2 || string(f[0]) != name+":" {
			continue
		}
		n, err := strconv.ParseInt(string(f[1]), 10, 64)
		return n << 10, err == nil && n < math.MaxInt64>>10
	}
	return 0, false
}

// checkCPUs counts those that this process may use: each sub-kernel is bound to one.
func checkCPUs() Check {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return Check{"cpus", Warn, fmt.Sprintf("ask for the affinity mask: %v", err), "see what confines this process: taskset, a cpuset or a container"}
	}
	return Check{Name: "cpus", Status: OK, Detail: fmt.Sprintf("%d", set.Count())}
}

// checkProcesses looks at the limit of processes. It does not hold for root.
func checkProcesses() Check {
	return checkLimit("process limit", unix.RLIMIT_NPROC, fewProcesses,
		"raise nproc for this user in /etc/security/limits.conf, or ulimit -u; docker run --ulimit nproc=8192")
}

// checkFiles looks at the limit of open files.
func checkFiles() Check {
	return checkLimit("open files limit", unix.RLIMIT_NOFILE, fewFiles,
		"raise nofile for this user in /etc/security/limits.conf, or ulimit -n; docker run --ulimit nofile=65536")
}

func checkLimit(name string, which int, few uint64, fix string) Check {
	var l unix.Rlimit
	if err := unix.Getrlimit(which, &l); err != nil {
		return Check{name, Warn, err.Error(), fix}
	}
	c := Check{Name: name, Status: OK, Detail: strconv.FormatUint(l.Cur, 10)}
	switch {
	case l.Cur == unix.RLIM_INFINITY:
		c.Detail = "none"
	case l.Cur < few:
		c.Status, c.Detail, c.Fix = Warn, c.Detail+", which is few for sub-kernels", fix
	}
	return c
}
