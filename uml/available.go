package uml

import (
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// availableMemory is what the host, and the control groups that sekexe lies in, could give to programs, in bytes; 0: unknown, or nothing. root is
// the host's "/".
func availableMemory(root string) int64 {
	return max(0, min(numberIn(filepath.Join(root, "proc/meminfo"), "MemAvailable:")<<10, groupMemory(root)))
}

// A memoryGroup names what a version of control groups says of memory.
type memoryGroup struct {
	base, limit, usage, cache string
}

// The versions, by the name of the controller in /proc/self/cgroup (cgroups(7)). cache is of memory that is given up when it is wanted.
var memoryGroups = map[string]memoryGroup{
	"":       {"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
	"memory": {"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
}

// groupMemory is what the control groups leave: the least of all that this process's lies in.
func groupMemory(root string) int64 {
	left := int64(math.MaxInt64)
	b, err := readSmall(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return left
	}
	for l := range strings.Lines(string(b)) {
		w := strings.SplitN(strings.TrimSpace(l), ":", 3)
		if len(w) < 3 {
			continue
		}
		g, ok := memoryGroups[w[1]]
		if !ok {
			continue
		}
		for dir := filepath.Clean("/" + w[2]); ; dir = filepath.Dir(dir) {
			left = min(left, g.left(filepath.Join(root, g.base, dir)))
			if dir == "/" {
				break
			}
		}
	}
	return left
}

// left is what one group leaves. Without a limit, or where its folder isn't this one, that is all.
func (g *memoryGroup) left(dir string) int64 {
	limit, err := number(filepath.Join(dir, g.limit))
	if err != nil || limit >= 1<<60 { // it is "max", or as much as can be said
		return math.MaxInt64
	}
	usage, err := number(filepath.Join(dir, g.usage))
	if err != nil {
		return math.MaxInt64
	}
	return limit - usage + numberIn(filepath.Join(dir, "memory.stat"), g.cache)
}

// readSmall reads a file of the host's kernel, of not more than 8 KiB. os.ReadFile would take twice as long: it asks whether the file can be waited for.
func readSmall(name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 8<<10)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// number reads a file with a number in it.
func number(file string) (int64, error) {
	b, err := readSmall(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// numberIn reads the number that stands behind a name in a file; 0: there is none.
func numberIn(file, name string) int64 {
	b, err := readSmall(file)
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(b)) {
		if w := strings.Fields(l); len(w) >= 2 && w[0] == name {
			n, _ := strconv.ParseInt(w[1], 10, 64)
			return n
		}
	}
	return 0
}
