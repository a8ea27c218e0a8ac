package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
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

// checkPids looks at how many processes the control groups of this process leave it (cgroups(7)); the tightest group counts.
func checkPids(proc, root string) Check {
	const name = "cgroup pids.max"
	dir, err := pidsDir(proc, root)
	if err != nil {
		return Check{Name: name, Status: OK, Detail: "no limit: " + err.Error()}
	}
	left, limit, at := int64(math.MaxInt64), int64(0), ""
	for d := dir; strings.HasPrefix(d, root); d = filepath.Dir(d) {
		most, err := readNumber(filepath.Join(d, "pids.max"))
		if err != nil {
			continue // "max", or a group without the controller
		}
		now, err := readNumber(filepath.Join(d, "pids.current"))
		if err == nil && most-now < left {
			left, limit, at = most-now, most, d
		}
	}
	switch {
	case at == "":
		return Check{Name: name, Status: OK, Detail: "no limit"}
	case left < fewProcesses:
		return Check{
			name, Warn, fmt.Sprintf("%d, of which %d are left (%s)", limit, max(left, 0), at),
			"raise TasksMax of the systemd unit or slice (systemctl set-property user-$(id -u).slice TasksMax=infinity); docker run --pids-limit -1",
		}
	}
	return Check{Name: name, Status: OK, Detail: fmt.Sprintf("%d, of which %d are left", limit, left)}
}

// pidsDir is the folder of this process's group in the hierarchy that counts processes: version 1's own, else version 2's.
func pidsDir(proc, root string) (string, error) {
	b, err := os.ReadFile(proc)
	if err != nil {
		return "", errors.New("there are no control groups")
	}
	unified := ""
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		// Clean keeps .. of a group outside of the namespace from leading out of the hierarchy.
		group := path.Clean("/" + f[2])
		switch {
		case f[1] == "pids":
			return filepath.Join(root, "pids", group), nil
		case f[0] == "0" && f[1] == "":
			unified = filepath.Join(root, group)
		}
	}
	if unified == "" {
		return "", errors.New("no control group counts processes")
	}
	return unified, nil
}

func readNumber(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// checkTun opens the device by which a network's packets come to the host.
func checkTun(device string) Check {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return Check{
			"tun", Warn, fmt.Sprintf("%s: open it: %v; networks that reach the outside may need it", device, err),
			fmt.Sprintf("modprobe tun, and chmod 666 %s; in a container, docker run --device %s", device, device),
		}
	}
	_ = unix.Close(fd)
	return Check{Name: "tun", Status: OK, Detail: device + " can be opened"}
}
