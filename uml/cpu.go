package uml

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// cpus spreads sub-kernels over the host's CPUs: those of all runs of this user, each of which leaves a note, an empty file
// CPU.RUN.N, in one folder. A sub-kernel that moves between CPUs pays for each of its system calls several times over.
type cpus struct {
	dir string
	run string // unique name of this run

	mu      sync.Mutex
	allowed []int
	n       int
	last    int // index into allowed of the CPU chosen last
}

func newCPUs(dir, run string) (*cpus, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	c := &cpus{dir: dir, run: run}
	for i := 0; i < len(set)*64; i++ {
		if set.IsSet(i) {
			c.allowed = append(c.allowed, i)
		}
	}
	// Runs that start at the same moment don't see each other's notes yet: let them begin at different places.
	c.last = os.Getpid() % len(c.allowed)
	return c, os.MkdirAll(dir, 0o700)
}

// take chooses the n CPUs with the fewest sub-kernels, or all if there are fewer, and notes them. The returned function takes the notes back.
func (c *cpus) take(n int) (chosen []int, release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	load := c.load()
	var notes []string
	for range min(max(n, 1), len(c.allowed)) {
		best := -1
		for i := 1; i <= len(c.allowed); i++ {
			k := (c.last + i) % len(c.allowed)
			if !slices.Contains(chosen, c.allowed[k]) && (best < 0 || load[c.allowed[k]] < load[c.allowed[best]]) {
				best = k
			}
		}
		c.last = best
		c.n++
		chosen = append(chosen, c.allowed[best])
		note := filepath.Join(c.dir, strconv.Itoa(c.allowed[best])+"."+c.run+"."+strconv.Itoa(c.n))
		if f, err := os.OpenFile(note, os.O_CREATE|os.O_WRONLY, 0o600); err == nil { // without a note others only choose less well
			f.Close()
			notes = append(notes, note)
		}
	}
	return chosen, func() {
		for _, n := range notes {
			os.Remove(n)
		}
	}
}

// load counts the notes for each CPU.
func (c *cpus) load() map[int]int {
	load := map[int]int{}
	d, err := os.Open(c.dir)
	if err != nil {
		return load
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, n := range names {
		if s, _, ok := strings.Cut(n, "."); ok {
			if i, err := strconv.Atoi(s); err == nil {
				load[i]++
			}
		}
	}
	return load
}
