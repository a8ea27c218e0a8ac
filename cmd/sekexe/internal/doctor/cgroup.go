package doctor

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// A resource is what a controller of control groups counts (cgroups(7)), with the names of its files in either version.
type resource struct {
	controller               string
	limit, usage             string
	limitBefore, usageBefore string // in version 1
}

var (
	pids   = resource{"pids", "pids.max", "pids.current", "pids.max", "pids.current"}
	memory = resource{"memory", "memory.max", "memory.current", "memory.limit_in_bytes", "memory.usage_in_bytes"}
)

// noLimit is above every limit that means one: version 1 has for "none" the greatest number of whole pages.
const noLimit = math.MaxInt64 / 2

// left returns how much of a resource the control groups of this process leave it, and the limit of the tightest one, in the folder at; at
// is empty if there is no limit. The error says why there can't be one.
func (r resource) left(proc, root string) (left, limit int64, at string, err error) {
	dir, before, err := r.dir(proc, root)
	if err != nil {
		return 0, 0, "", err
	}
	limitFile, usageFile := r.limit, r.usage
	if before {
		limitFile, usageFile = r.limitBefore, r.usageBefore
	}
	left = math.MaxInt64
	for d := dir; strings.HasPrefix(d, root); d = filepath.Dir(d) {
		most, err := readNumber(filepath.Join(d, limitFile))
		if err != nil || most > noLimit {
			continue // "max", or a group without the controller
		}
		now, err := readNumber(filepath.Join(d, usageFile))
		if err == nil && most-now < left {
			left, limit, at = most-now, most, d
		}
	}
	return max(left, 0), limit, at, nil
}

// dir is the folder of this process's group in the hierarchy that counts the resource: version 1's own, else version 2's.
func (r resource) dir(proc, root string) (dir string, before bool, err error) {
	b, err := os.ReadFile(proc)
	if err != nil {
		return "", false, errors.New("there are no control groups")
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		// Clean keeps .. of a group outside of the namespace from leading out of the hierarchy.
		group := path.Clean("/" + f[2])
		switch {
		case f[1] == r.controller:
			return filepath.Join(root, r.controller, group), true, nil
		case f[0] == "0" && f[1] == "":
			dir = filepath.Join(root, group)
		}
	}
	if dir == "" {
		return "", false, errors.New("no control group counts it")
	}
	return dir, false, nil
}

// checkPids looks at how many processes the control groups of this process leave it.
func checkPids(proc, root string) Check {
	const name = "cgroup pids.max"
	left, limit, at, err := pids.left(proc, root)
	switch {
	case err != nil:
		return Check{Name: name, Status: OK, Detail: "no limit: " + err.Error()}
	case at == "":
		return Check{Name: name, Status: OK, Detail: "no limit"}
	case left < fewProcesses:
		return Check{
			name, Warn, fmt.Sprintf("%d, of which %d are left (%s)", limit, left, at),
			"raise TasksMax of the systemd unit or slice (systemctl set-property user-$(id -u).slice TasksMax=infinity); docker run --pids-limit -1",
		}
	}
	return Check{Name: name, Status: OK, Detail: fmt.Sprintf("%d, of which %d are left", limit, left)}
}

// checkGroupMemory looks at how much memory the control groups of this process leave it. A guest's memory counts as that of the process
// which touches it, also where it lies in a file system in memory; who has more than is left is killed.
func checkGroupMemory(proc, root string, need int64) Check {
	const name = "cgroup memory"
	left, limit, at, err := memory.left(proc, root)
	switch {
	case err != nil:
		return Check{Name: name, Status: OK, Detail: "no limit: " + err.Error()}
	case at == "":
		return Check{Name: name, Status: OK, Detail: "no limit"}
	case left < need:
		return Check{
			name, Warn, fmt.Sprintf("%s, of which %s are left (%s); a sub-kernel may use %s", bytesText(limit), bytesText(left), at, bytesText(need)),
			"raise MemoryMax of the systemd unit or slice, or the memory limit of the container or pod (docker run --memory 4g); or give sub-kernels less by --memory",
		}
	}
	return Check{Name: name, Status: OK, Detail: fmt.Sprintf("%s, of which %s are left", bytesText(limit), bytesText(left))}
}

func readNumber(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}
