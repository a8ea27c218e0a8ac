// Package rundir keeps the run directories: a folder for each run with its logs and report, in the user's state folder.
//
// A run directory is locked as long as its run lives. One that is neither locked nor finished belongs to a run that was killed, and goes
// with the next run. Of the finished ones the newest stay.
package rundir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// KeepGood and KeepBad are how many directories of runs that went well, and that did not, are left standing.
const (
	KeepGood = 10
	KeepBad  = 50
)

// Files of a run directory besides the logs. A finished run has exactly one of the last three.
const (
	lockFile = "lock"
	goodFile = "finished.ok"
	badFile  = "finished.failed"
	keepFile = "finished.keep"
)

// A Dir is the directory of a run that lives. It must be closed.
type Dir struct {
	Path string
	// ID is unique on the host: 8 characters of [0-9a-f].
	ID    string
	named bool // by the user, who owns it
	lock  *os.File
	// prune is the removal of other directories, which goes on beside the run.
	prune sync.WaitGroup
}

// NewID returns a new ID.
func NewID() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Root is the folder of this user's run directories: $XDG_STATE_HOME/sekexe/runs (XDG Base Directory Specification), by default below
// ~/.local/state. The error says that the user has no home.
func Root() (string, error) {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "sekexe", "runs"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("run directory: find the state folder: %w", err)
	}
	return filepath.Join(home, ".local", "state", "sekexe", "runs"), nil
}

// Create makes a run directory below root, and removes those that nobody needs any more.
func Create(root, id string, now time.Time) (*Dir, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: make it: %w", err)
	}
	gate, err := os.OpenFile(filepath.Join(root, "gate"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("run directory: make it: %w", err)
	}
	// Shared while a directory is made and not yet locked, exclusive while others are removed. Who can't have it then leaves that to the
	// next.
	if err := unix.Flock(int(gate.Fd()), unix.LOCK_SH); err != nil {
		gate.Close()
		return nil, fmt.Errorf("run directory: lock %s: %w", root, err)
	}
	d, err := open(&Dir{Path: filepath.Join(root, now.UTC().Format("20060102-150405")+"-"+id), ID: id})
	if err != nil {
		gate.Close()
		return nil, err
	}
	d.prune.Go(func() {
		defer gate.Close()
		if unix.Flock(int(gate.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			prune(root)
		}
	})
	return d, nil
}

// Use makes dir, which the user has named, a run directory. It is never removed. It must be empty, so that no run is mistaken for another.
func Use(dir, id string) (*Dir, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if e, err := os.ReadDir(dir); err == nil && len(e) > 0 {
		return nil, fmt.Errorf("run directory %s: use it: it is not empty", dir)
	}
	return open(&Dir{Path: dir, ID: id, named: true})
}

func open(d *Dir) (*Dir, error) {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: make it: %w", err)
	}
	var err error
	if d.lock, err = os.OpenFile(filepath.Join(d.Path, lockFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("run directory: lock it: %w", err)
	}
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.lock.Close()
		return nil, fmt.Errorf("run directory %s: lock it: another run uses it: %w", d.Path, err)
	}
	return d, nil
}

// Close marks the directory as that of a run that went well or not, or that is to be kept for good.
func (d *Dir) Close(ok, keep bool) error {
	name := badFile
	switch {
	case keep || d.named:
		name = keepFile
	case ok:
		name = goodFile
	}
	d.prune.Wait()
	err := os.WriteFile(filepath.Join(d.Path, name), nil, 0o600)
	rerr := os.Remove(filepath.Join(d.Path, lockFile))
	return errors.Join(err, rerr, d.lock.Close())
}

// prune removes directories of killed runs, and of finished ones all but the newest. What can't be removed stays.
func prune(root string) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	// Names begin with the time.
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() > entries[j].Name() })
	good, bad := 0, 0
	for _, e := range entries {
		if !e.IsDir() || strings.Count(e.Name(), "-") != 2 {
			continue
		}
		dir := filepath.Join(root, e.Name())
		switch {
		case exists(dir, keepFile):
		case exists(dir, goodFile):
			if good++; good > KeepGood {
				os.RemoveAll(dir)
			}
		case exists(dir, badFile):
			if bad++; bad > KeepBad {
				os.RemoveAll(dir)
			}
		case !alive(dir):
			os.RemoveAll(dir)
		}
	}
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// alive says whether a run holds the directory's lock.
func alive(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}
