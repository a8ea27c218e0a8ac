package uml

import (
	"errors"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml/confine"
)

// libraries are where a kernel finds what it is linked with.
var libraries = []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"}

// maxHomes bounds how many users' files are looked after one by one.
const maxHomes = 256

// A confinement is the Domain of one kernel, which is prepared while other things are: to allow all that is not hidden takes long.
type confinement struct {
	done   chan struct{} // closed when the others are final; nil: nothing was begun
	domain *confine.Domain
	err    error
}

// prepare begins.
func (c *confinement) prepare(host confine.Support, p confine.Policy) {
	c.done = make(chan struct{})
	go func() {
		defer close(c.done)
		c.domain, c.err = confine.New(host, p)
	}()
}

// wait waits for the Domain, and adds what is the kernel's own.
func (c *confinement) wait(o confine.Own) (*confine.Domain, error) {
	<-c.done
	if c.err == nil {
		c.err = c.domain.Allow(o)
	}
	return c.domain, c.err
}

// close gives back what the Domain holds. The process is gone, if there was one.
func (c *confinement) close(notice func(string)) {
	if c.done == nil {
		return
	}
	<-c.done
	c.done = nil
	if c.domain == nil {
		return
	}
	if err := c.domain.Close(); err != nil {
		notice(err.Error())
	}
}

// own is what a kernel needs for itself.
func (s *session) own(p program) confine.Own {
	o := confine.Own{Exec: []string{s.info.Path}, Show: []string{s.rt.init, s.exchange}, Private: []string{s.private}}
	if p.interpreter != "" {
		o.Exec = append(o.Exec, p.interpreter)
	}
	if s.docker != nil {
		o.Show = append(o.Show, s.docker.program)
	}
	if s.info.Modules != "" {
		o.Show = append(o.Show, s.info.Modules)
	}
	return o
}

// greatestFile is the size in bytes that no file may exceed which the kernel of a job writes to: its memory and its disks. 0: any may, in the
// mounts that can be written to.
func (s *session) greatestFile() int64 {
	for _, m := range s.job.Mounts {
		if m.Mode == "rw" {
			return 0
		}
	}
	most := s.job.Memory
	for i := range s.disks {
		most = max(most, s.disks[i].Size)
	}
	if randomized() {
		most += heapGap
	}
	return most + kernelMemory
}

// kernelMemory bounds what a kernel puts into the file that is its memory besides the guest's, in bytes.
const kernelMemory = 64 << 20

// policy says what the kernel of a job may do.
func (s *session) policy() confine.Policy {
	c := &s.job.Confine
	p := confine.Policy{
		Read: c.Read, Show: slices.Clone(c.Show), Root: c.Root, Failed: func(err error) { s.sink.Notice(err.Error()) },
	}
	if len(c.Read) > 0 {
		p.Show = append(p.Show, libraries...)
	}
	for _, m := range s.job.Mounts {
		if m.Mode == "rw" {
			p.Write = append(p.Write, m.Source)
		} else {
			p.Show = append(p.Show, m.Source)
		}
	}
	if r := &s.job.Root; r.Source != "" && r.FileSystem == "" {
		p.Show = append(p.Show, r.Source)
	}
	p.Hide = append(hiddenFiles(s.rt.o.Hide, c), s.rt.scratch.base)
	return p
}

// hiddenFiles are the paths that a job hides: the usual ones, the run's, and its own, but for those that it shows.
func hiddenFiles(run []string, c *orchestrator.Confine) []string {
	var hidden []string
	homes := homeDirs()
	for _, h := range slices.Concat(orchestrator.UsuallyHidden, run, c.Hide) {
		if rest, ok := strings.CutPrefix(h, "~/"); ok {
			for _, home := range homes {
				hidden = append(hidden, filepath.Join(home, rest))
			}
		} else {
			hidden = append(hidden, h)
		}
	}
	return slices.DeleteFunc(hidden, func(h string) bool {
		// What the user can't read a guest can't either; to say so again would take many rules.
		var st unix.Stat_t
		if os.Geteuid() != 0 && unix.Access(h, unix.R_OK) == unix.EACCES && unix.Stat(h, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && int(st.Uid) != os.Geteuid() {
			return true
		}
		return slices.ContainsFunc(c.Show, func(s string) bool { return h == s || strings.HasPrefix(h, strings.TrimSuffix(s, "/")+"/") })
	})
}

// homeDirs are the folders that "~" stands for: the user's, and if that is root those of all users, who could not keep anything from root otherwise.
func homeDirs() []string {
	var homes []string
	if h, err := os.UserHomeDir(); err == nil && filepath.IsAbs(h) {
		homes = append(homes, filepath.Clean(h))
	}
	if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) { // where HOME says something else
		homes = append(homes, filepath.Clean(u.HomeDir))
	}
	if os.Geteuid() == 0 {
		homes = append(homes, "/root")
		if d, err := os.Open("/home"); err == nil {
			names, err := d.Readdirnames(maxHomes)
			if err == nil || errors.Is(err, io.EOF) {
				for _, n := range names {
					homes = append(homes, filepath.Join("/home", n))
				}
			}
			d.Close()
		}
	}
	slices.Sort(homes)
	return slices.Compact(homes)
}

// canConfine says what a job wants of the host that it can't enforce.
func (r *Runtime) canConfine(j *orchestrator.Job) error {
	if missing := r.host.Missing(); j.Confine.Required && len(missing) > 0 {
		return withHint(errors.New("confinement: enforce it on this host: "+strings.Join(missing, "; ")),
			"leave --require-confinement, or required in the confine block, out if what runs in the sub-kernel is trusted; sekexe doctor checks this host")
	}
	return nil
}

// Unenforced says, in a clause each, what this host can't keep guests from.
func (r *Runtime) Unenforced() []string { return r.host.Missing() }
