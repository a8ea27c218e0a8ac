package uml

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/uml/reaper"
)

// EnvMemoryDir names the folder for guest memory, in place of the first of /dev/shm, $TMPDIR, /tmp and /var/tmp that serves.
const EnvMemoryDir = "SEKEXE_MEMORY_DIR"

// A scratch is the folder of one run that goes with it: guest memory (files without a name), exchange folders, management sockets. It lies
// in a folder of the user's, beside those of other runs, and is locked as long as its run lives, so that another run can tell
// whose owner was killed.
type scratch struct {
	base string // the user's
	dir  string // this run's
	id   string
	lock *os.File
}

// MemoryCandidates are the folders that may hold guest memory, in the order of preference: the first that serves is taken.
func MemoryCandidates() []string {
	if d := os.Getenv(EnvMemoryDir); d != "" {
		return []string{d}
	}
	c := []string{"/dev/shm"}
	if d := os.Getenv("TMPDIR"); d != "" {
		c = append(c, d)
	}
	return append(c, "/tmp", "/var/tmp")
}

// openScratch makes the scratch folder of a run with the given id, where need bytes of guest memory fit, after it has removed those of
// runs that were killed. If memory has another place too, a folder where it doesn't fit is better than none.
func openScratch(id string, need int64, elsewhere bool) (*scratch, error) {
	var errs []error
	for _, c := range MemoryCandidates() {
		err := checkMemoryDir(c, need)
		if err == nil {
			var s *scratch
			if s, err = scratchBelow(c, id); err == nil {
				return s, nil
			}
		}
		errs = append(errs, err)
	}
	if elsewhere {
		for _, exec := range []bool{true, false} { // the reaper may have to be executed there
			for _, c := range MemoryCandidates() {
				if exec && checkMemoryDir(c, 0) != nil {
					continue
				}
				if s, err := scratchBelow(c, id); err == nil {
					return s, nil
				}
			}
		}
	}
	return nil, errors.Join(errs...)
}

// scratchBelow makes the scratch folder of a run in the user's folder of a folder that all may write to.
func scratchBelow(dir, id string) (*scratch, error) {
	return newScratch(filepath.Join(dir, "sekexe-"+strconv.Itoa(os.Getuid())), id)
}

// checkMemoryDir says why a folder can't hold guest memory, which is mapped executable.
func checkMemoryDir(dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("%s: look at its file system: %w", dir, err)
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("%s: is mounted noexec", dir)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Errorf("%s: has %d MiB free, and a sub-kernel may use %d MiB", dir, free>>20, need>>20)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s: write to it: %w", dir, err)
	}
	return nil
}

func newScratch(base, id string) (*scratch, error) {
	if strings.ContainsAny(base, " \t\n\"',") {
		return nil, fmt.Errorf("%s: has characters that a kernel's command line can't hold", base)
	}
	if err := PrivateDir(base); err != nil {
		return nil, err
	}
	// Shared while a folder is made and not yet locked, exclusive while dead ones are removed.
	gate, err := openLock(filepath.Join(base, "gate"))
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	if unix.Flock(int(gate.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		removeDead(base)
	}
	if err := unix.Flock(int(gate.Fd()), unix.LOCK_SH); err != nil {
		return nil, fmt.Errorf("%s: lock it: %w", base, err)
	}
	s := &scratch{base: base, dir: filepath.Join(base, id), id: id}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = openLock(filepath.Join(s.dir, "lock")); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("%s: lock it: %w", s.dir, err)
	}
	return s, nil
}

// PrivateDir makes a folder that only this user can enter. One of that name may be there already, but it must be this user's: the parent
// is open to all.
func PrivateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("%s: look at it: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s: is not a folder of this user's own with mode 0700: remove it", dir)
	}
	return nil
}

func openLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// removeDead removes the folders of runs whose lock nobody holds, and kills what is left of them. Errors are not this run's problem.
func removeDead(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == cpuDir {
			continue
		}
		dir := filepath.Join(base, e.Name())
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		if err == nil && unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			lock.Close()
			continue // it lives
		}
		reaper.KillUsers(dir)
		removeNotes(base, e.Name())
		os.RemoveAll(dir)
		if lock != nil {
			lock.Close()
		}
	}
}

// Scratch is the folder of this run that goes with it, however it ends. Only this user can enter it, and no sub-kernel read it.
func (r *Runtime) Scratch() string { return r.scratch.dir }

// LiveScratches are the folders that Scratch returns to those of this user's runs that live.
func LiveScratches() []string {
	var live []string
	for _, c := range MemoryCandidates() {
		base := filepath.Join(c, "sekexe-"+strconv.Itoa(os.Getuid()))
		var st unix.Stat_t
		if unix.Lstat(base, &st) != nil || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
			continue // it is somebody else's
		}
		entries, _ := os.ReadDir(base)
		for _, e := range entries {
			lock, err := os.Open(filepath.Join(base, e.Name(), "lock"))
			if err != nil {
				continue
			}
			if unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
				live = append(live, filepath.Join(base, e.Name()))
			}
			lock.Close()
		}
	}
	return live
}

// cpuDir is the folder of cpus's notes, beside those of the runs.
const cpuDir = "cpu"

// removeNotes removes the CPU notes of a run.
func removeNotes(base, id string) {
	notes, _ := filepath.Glob(filepath.Join(base, cpuDir, "*."+id+".*"))
	for _, n := range notes {
		os.Remove(n)
	}
}

// close removes the folder.
func (s *scratch) close() error {
	err := os.RemoveAll(s.dir)
	s.lock.Close()
	return err
}
