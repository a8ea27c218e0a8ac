package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Support is what this host can enforce. The zero Support is that of one that can do nothing.
type Support struct {
	// Landlock is the version of its interface; 0: there is none.
	Landlock int
	// Seccomp says whether system calls can be filtered, Notify whether those of the filter can be decided on, and made, by another process.
	Seccomp, Notify bool
	// Root says whether sekexe is root; ChangeUser whether it can start kernels as somebody else.
	Root, ChangeUser bool
}

// Probe asks the host.
func Probe() Support {
	s := Support{Landlock: landlockABI(), Root: os.Geteuid() == 0}
	available := func(a action) bool {
		n := uint32(a)
		return seccompAvailable(&n)
	}
	s.Seccomp = available(unix.SECCOMP_RET_ERRNO)
	s.Notify = s.Seccomp && available(notify) && canFind()
	if s.Root {
		caps, err := capabilities()
		s.ChangeUser = err == nil && canChangeUser(caps)
	}
	return s
}

// Missing says, in a clause each, what the host can't enforce.
func (s Support) Missing() []string {
	var m []string
	switch {
	case s.Landlock == 0:
		m = append(m, "without Landlock (Linux 5.13 with landlock in its lsm= list), a guest's root can open every file that its kernel's user can")
	case s.Landlock < abiRefer:
		m = append(m, "with this version of Landlock, files of a rw mount can't be renamed into another folder")
	}
	if s.Landlock < abiScope {
		m = append(m, "without Landlock's scopes (Linux 6.12), a guest's root that has taken over its kernel can signal other processes of the kernel's user")
	}
	switch {
	case !s.Seccomp:
		m = append(m, "without seccomp filters, a guest's root that has taken over its kernel can make every system call, and change modes, owners and times of files")
	case !s.Notify:
		m = append(m, "without seccomp's notifications and openat2 (Linux 5.6), the modes, owners and times of files can't be changed in rw mounts")
	}
	if s.Root && !s.ChangeUser {
		m = append(m, "kernels run as root, because this process may not change its user")
	}
	return m
}

// A Policy says what one kernel may do. Paths are absolute.
type Policy struct {
	// Read are the files and folders that may be read, but for what Hide names; none: all. Those that aren't there are left out.
	Read []string
	// Hide are files and folders that may not be read, whether they exist yet or not. Names and attributes stay visible: the host has no
	// means against that.
	Hide []string
	// Show may be read in spite of Hide. What Hide names within stays hidden, however.
	Show []string
	// Write may be changed, in every way. Each may be read, too, as if it stood in Show.
	Write []string
	// Root keeps root's user and capabilities, if sekexe is root.
	Root bool
	// Failed is told of a failure to decide on a call of the kernel's.
	Failed func(error)
}

// Own is what a kernel needs besides: paths as in a Policy.
type Own struct {
	// Exec are the files that may be executed, and read.
	Exec []string
	// Show may be read.
	Show []string
	// Private are folders that may be changed and read.
	Private []string
	// Read and Write are open files that the kernel opens once more by their descriptors, whatever their paths are: Write to change them, too.
	Read, Write []*os.File
	// Folder, if set, is an open folder that may be changed and read, wherever it is.
	Folder *os.File
}

// devices are the device files that a kernel opens by itself, with more than reading. The others of /dev are not for it: they can hold
// all files there are.
var devices = []struct {
	path   string
	rights uint64
}{
	{"/dev/null", readFile | unix.LANDLOCK_ACCESS_FS_WRITE_FILE},
	{"/dev/zero", readFile},
	{"/dev/random", readFile},
	{"/dev/urandom", readFile},
	{"/dev/ptmx", readFile | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | ioctlDev}, // it tries what a terminal does when it can be written
	{"/proc/cpuinfo", readFile},
}

// kernelFolders are what the host's kernel says of itself and all processes, and devices. A guest has its own.
var kernelFolders = []string{"/proc", "/sys", "/dev"}

// A Domain is a Policy as this host enforces it, for one kernel. It must be closed.
type Domain struct {
	support  Support
	policy   Policy
	rules    *ruleset // nil: no Landlock
	hidden   *hiding
	links    resolver
	places   []place
	listener *os.File // nil: none
}

// New writes a Policy down. It opens files, but restricts nobody yet.
func New(s Support, p Policy) (d *Domain, err error) {
	d = &Domain{support: s, policy: p}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if s.Notify {
		if d.places, err = openPlaces(p.Write); err != nil {
			return nil, err
		}
	}
	if s.Landlock > 0 {
		if d.rules, err = newRuleset(s.Landlock); err != nil {
			return nil, err
		}
		if err := d.allowFiles(); err != nil {
			return nil, fmt.Errorf("landlock: allow what may be read: %w", err)
		}
	}
	return d, nil
}

// allowFiles makes the rules.
func (d *Domain) allowFiles() error {
	p, r := &d.policy, d.rules
	d.links = resolver{}
	var hidden []string
	for _, h := range slices.Concat(p.Hide, kernelFolders) {
		hidden = append(hidden, d.links.resolve(h))
	}
	d.hidden = newHiding(hidden)
	// The names in a folder can't be hidden without hiding the folders that lead to it.
	if err := r.allow("/", true, readDir); err != nil {
		return err
	}
	read := p.Read
	if len(read) == 0 {
		read = []string{"/"}
	}
	read = slices.DeleteFunc(slices.Clone(read), func(path string) bool { return d.hidden.covers(d.links.resolve(path)) })
	if err := d.allow(d.hidden, slices.Concat(read, p.Show, p.Write), readFile); err != nil {
		return err
	}
	changes := uint64(change)
	if p.Root {
		changes |= nodes
	}
	if err := d.allow(newHiding(nil), p.Write, changes); err != nil {
		return err
	}
	for _, dev := range devices {
		if err := r.allow(dev.path, false, dev.rights); err != nil {
			return err
		}
	}
	return nil
}

// allow allows rights to all of the paths but what is hidden in them.
func (d *Domain) allow(h *hiding, paths []string, rights uint64) error {
	for _, path := range paths {
		if err := h.visible(d.links.resolve(path), d.rules, rights); err != nil {
			return err
		}
	}
	return nil
}

// Allow adds what the kernel needs for itself. It must be called before Enter.
func (d *Domain) Allow(o Own) error {
	if d.rules == nil {
		return nil
	}
	none := newHiding(nil)
	for _, g := range []struct {
		hidden *hiding
		paths  []string
		rights uint64
	}{{d.hidden, o.Show, readFile}, {none, o.Exec, readFile | execute}, {none, o.Private, readFile | change}} {
		if err := d.allow(g.hidden, g.paths, g.rights); err != nil {
			return fmt.Errorf("landlock: allow what the kernel needs: %w", err)
		}
	}
	for _, g := range []struct {
		files  []*os.File
		rights uint64
	}{{o.Read, readFile}, {o.Write, readFile | writeFile}} {
		for _, file := range g.files {
			if err := d.rules.allowFile(file, g.rights); err != nil {
				return err
			}
		}
	}
	if o.Folder != nil {
		return d.rules.allowOpen(o.Folder, readFile|change)
	}
	return nil
}

// Thread calls do in a goroutine with a thread of its own, which ends with it. That is never the process's first thread: signals and ptrace
// are about that one, so that a kernel in its domain could reach the process.
func Thread(do func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			do()
			return
		}
		elsewhere := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(elsewhere)
			do()
		}()
		<-elsewhere
		runtime.UnlockOSThread()
	}()
}

// Enter makes the calling thread, which must be one of Thread's, and all that it starts from now on, obey.
func (d *Domain) Enter() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if d.rules != nil {
		if err := d.rules.restrictThread(); err != nil {
			return err
		}
	}
	if !d.policy.Root {
		keep := uint64(fileCaps)
		if d.rules == nil {
			keep = readCaps
		}
		if !d.support.Root {
			keep = 0
		}
		if err := takeIdentity(keep, d.support.ChangeUser); err != nil {
			return err
		}
	}
	if !d.support.Seccomp {
		return nil
	}
	return d.filter()
}

// ownUser says whether the kernel's user is not sekexe's.
func (d *Domain) ownUser() bool { return d.support.ChangeUser && !d.policy.Root }

// filter filters the calling thread's system calls.
func (d *Domain) filter() error {
	s := filterSpec{attributes: notify, create: allow, truncate: allow}
	if d.ownUser() && len(d.policy.Write) > 0 {
		s.create = notify // or what a guest's root makes would belong to nobody
	}
	if d.support.Landlock < abiTruncate {
		s.truncate = notify
	}
	if d.support.Notify {
		fd, err := install(s.program(), true)
		if err == nil {
			err = unix.SetNonblock(fd, true) // so that Go's runtime waits for it, without a thread
			d.listener = os.NewFile(uintptr(fd), "seccomp")
			return err
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if len(d.policy.Write) > 0 {
			d.fail(errors.New("another process does that for sekexe itself: modes, owners and times of files can't be changed in rw mounts"))
		}
	}
	s = filterSpec{attributes: refuse, create: allow, truncate: refuse, memoryFile: true}
	if d.support.Landlock >= abiTruncate {
		s.truncate = allow
	}
	_, err := install(s.program(), false)
	return err
}

// Close gives back what the Domain holds. What has entered it stays restricted.
func (d *Domain) Close() error {
	var errs []error
	if d.rules != nil {
		errs = append(errs, unix.Close(d.rules.fd))
	}
	for _, p := range d.places {
		errs = append(errs, unix.Close(p.fd))
	}
	if d.listener != nil {
		errs = append(errs, d.listener.Close())
	}
	return errors.Join(errs...)
}
