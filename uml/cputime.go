package uml

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maxCounted bounds of how many processes the time is read when a kernel ends: a guest may have made any number.
const maxCounted = 256

// childrenCPU returns how long the living children of a process have run, user and system time together. The host adds it to that of their parent when that has
// waited for them, which a kernel that is killed doesn't. Without CONFIG_PROC_CHILDREN or CONFIG_SCHED_INFO in the host's kernel, it is 0.
func childrenCPU(pid int) time.Duration {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // proc(5); the pattern is a good one
	var sum time.Duration
	counted := 0
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // the thread is gone
		}
		for child := range strings.FieldsSeq(string(b)) {
			if counted++; counted > maxCounted {
				return sum
			}
			sum += ranFor(child)
		}
	}
	return sum
}

// ranFor returns how long a process has run, which is 0 if it is gone.
func ranFor(pid string) time.Duration {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "schedstat")) // Documentation/scheduler/sched-stats.rst: nanoseconds first
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}
