//go:build linux

package kernelnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// StateDir is where runs of scope host write down what they change, a file for each, which is locked as long as the run lives. A killed run's
// file tells the next one what to remove.
const StateDir = "/run/sekexe/net"

// A record is what a run makes and changes in the host's network namespace. It is written before anything is.
type record struct {
	Run       string
	Namespace string // which one: others, as of containers that share the folder, are left alone
	Links     []string
	Table     string
	Settings  []setting
	MACs      []claim `json:",omitempty"`
}

// A setting is one of /proc/sys that was changed. Several runs may have it: the last one to end puts it back.
type setting struct{ Name, Old, New string }

// want notes a setting to be changed.
func (r *record) want(name, value string) {
	if !slices.ContainsFunc(r.Settings, func(s setting) bool { return s.Name == name }) {
		r.Settings = append(r.Settings, setting{Name: name, New: value})
	}
}

// A state is a run's record, as a locked file.
type state struct {
	dir  string
	file *os.File
	rec  *record
}

func (r *record) path(dir string) string { return filepath.Join(dir, r.Run+".json") }

// openState removes what dead runs have left, writes the record down, and changes the settings. claim may still change the record, by those of
// the living; nil: it is as it is.
func openState(dir string, r *record, claim func(living []*record) error) (*state, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%s: make it: %w", dir, err)
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	living, err := sweep(dir)
	if err != nil {
		return nil, err
	}
	if r.Namespace, err = currentNamespace(); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(living, func(l *record) bool { return l.Run == r.Run }) {
		return nil, fmt.Errorf("%s: a run of this id is there", r.path(dir))
	}
	if claim != nil {
		if err := claim(living); err != nil {
			return nil, err
		}
	}
	if err := r.readOld(living); err != nil {
		return nil, err
	}
	s := &state{dir: dir, rec: r}
	if err := s.write(); err != nil {
		return nil, err
	}
	for _, w := range r.Settings {
		if err := writeSysctl(w.Name, w.New); err != nil {
			return nil, errors.Join(err, s.forget(living))
		}
	}
	return s, nil
}

// readOld finds out what the settings were before any run that still lives changed them. Those that are as wanted, and nobody's, are left out.
func (r *record) readOld(living []*record) error {
	var out []setting
	for _, w := range r.Settings {
		old, err := readSysctl(w.Name)
		if err != nil {
			return err
		}
		shared := false
		for _, l := range living {
			for _, s := range l.Settings {
				if s.Name == w.Name && l.Namespace == r.Namespace {
					old, shared = s.Old, true
				}
			}
		}
		if w.Old = old; shared || old != w.New {
			out = append(out, w)
		}
	}
	r.Settings = out
	return nil
}

// write writes the record to a file that has its lock when it gets its name.
func (s *state) write() error {
	b, err := json.Marshal(s.rec)
	if err != nil {
		return fmt.Errorf("%s: write it: %w", s.rec.path(s.dir), err)
	}
	tmp := s.rec.path(s.dir) + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("write down what will be changed: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, tryLock(f))
	if err == nil {
		err = os.Rename(tmp, s.rec.path(s.dir))
	}
	if err != nil {
		f.Close()
		os.Remove(tmp)
		return fmt.Errorf("%s: write it: %w", s.rec.path(s.dir), err)
	}
	s.file = f
	return nil
}

// undo removes what the run has made, puts back what it has changed, and forgets it.
func (s *state) undo() error {
	unlock, err := lockFolder(s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	living, err := sweep(s.dir) // what others have left, on the way
	return errors.Join(err, s.forget(living))
}

// forget is undo, in a locked folder, among those who live; the run itself may be one of them.
func (s *state) forget(living []*record) error {
	others := slices.DeleteFunc(slices.Clone(living), func(l *record) bool { return l.Run == s.rec.Run })
	err := errors.Join(s.rec.removeAll(), restore([]*record{s.rec}, others))
	if err == nil {
		err = os.Remove(s.rec.path(s.dir))
	}
	return errors.Join(err, s.file.Close())
}

// Sweep removes what killed runs left in this network namespace, as their files in the folder say.
func Sweep(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = sweep(dir)
	return err
}

// sweep is Sweep in a locked folder. It returns the records of the living. What can't be removed now keeps its file.
func sweep(dir string) ([]*record, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	here, err := currentNamespace()
	if err != nil {
		return nil, err
	}
	stale, _ := filepath.Glob(filepath.Join(dir, "*.json.new")) // files get their names in a locked folder
	for _, name := range stale {
		os.Remove(name)
	}
	var living, dead []*record
	for _, name := range names {
		r, lives, err := readRecord(name)
		switch {
		case err != nil:
			return nil, err
		case lives:
			living = append(living, r)
		case r.Namespace == here:
			dead = append(dead, r)
		}
	}
	for _, r := range dead {
		err = errors.Join(err, r.removeAll())
	}
	if err = errors.Join(err, restore(dead, living)); err != nil {
		return living, err
	}
	for _, r := range dead {
		err = errors.Join(err, os.Remove(r.path(dir)))
	}
	return living, err
}

// readRecord reads a record and says whether its run lives.
func readRecord(name string) (*record, bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, false, fmt.Errorf("read what a run has changed: %w", err)
	}
	defer f.Close()
	var r record
	if err := json.NewDecoder(f).Decode(&r); err != nil {
		return nil, false, fmt.Errorf("%s: read it: %w", name, err)
	}
	if r.Run+".json" != filepath.Base(name) {
		return nil, false, fmt.Errorf("%s: it is of run %q", name, r.Run)
	}
	err = tryLock(f)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, err
	}
	return &r, err != nil, nil
}

// removeAll removes the links and the table of a run. Those with an alias that is not the run's are somebody else's.
func (r *record) removeAll() error {
	err := removeTable(r.Table)
	for _, name := range r.Links {
		l, e := netlink.LinkByName(name)
		if errors.As(e, &netlink.LinkNotFoundError{}) {
			continue
		}
		if e == nil {
			if a := l.Attrs().Alias; a != "" && !strings.HasPrefix(a+" ", aliasPrefix(r.Run)) {
				continue
			}
			e = netlink.LinkDel(l)
		}
		if e != nil && !errors.Is(e, unix.ENODEV) { // a tap may go in this moment
			err = errors.Join(err, fmt.Errorf("remove the link %s: %w", name, e))
		}
	}
	return err
}

// restore puts back the settings that the dead have changed and none of the living has, unless somebody has changed them since.
func restore(dead, living []*record) error {
	var err error
	done := map[string]bool{}
	for _, d := range dead {
		for _, s := range slices.Backward(d.Settings) {
			used := slices.ContainsFunc(living, func(l *record) bool {
				return l.Namespace == d.Namespace && slices.ContainsFunc(l.Settings, func(o setting) bool { return o.Name == s.Name })
			})
			now, e := readSysctl(s.Name)
			if used || done[s.Name] || errors.Is(e, os.ErrNotExist) || now != s.New {
				continue // an interface that is gone has no settings
			}
			done[s.Name] = true
			err = errors.Join(err, e, writeSysctl(s.Name, s.Old))
		}
	}
	return err
}

// currentNamespace identifies the network namespace of this thread.
func currentNamespace() (string, error) {
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return "", fmt.Errorf("find out the network namespace: %w", err)
	}
	return s, nil
}

// lockFolder waits for the lock of the folder.
func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: open it: %w", dir, err)
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: lock it: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

func tryLock(f *os.File) error { return flock(f, unix.LOCK_EX|unix.LOCK_NB) }

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
