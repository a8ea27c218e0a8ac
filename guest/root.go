package guest

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// A mount is one call of mount(2), with the making of its mount point.
type mount struct {
	fs, source, target, data string
	flags                    uintptr
	mode                     uint32 // of the mount point, if it is made
	// optional mounts are left out where the kernel doesn't know the file system.
	optional bool
}

const noExecSuidDev = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV

// systemMounts are what every root has, in order.
var systemMounts = []mount{
	{fs: "proc", target: "/proc", flags: noExecSuidDev, mode: 0o555},
	{fs: "sysfs", target: "/sys", flags: noExecSuidDev, mode: 0o555},
	{fs: "devpts", target: "/dev/pts", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: "gid=5,mode=620,ptmxmode=666", mode: 0o755},
	{fs: "tmpfs", source: "shm", target: "/dev/shm", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=1777", mode: 0o1777},
	{fs: "mqueue", target: "/dev/mqueue", flags: noExecSuidDev, mode: 0o1777, optional: true},
	{fs: "tmpfs", source: "run", target: "/run", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=755", mode: 0o755},
}

// do mounts m.
func (m mount) do() error {
	src := m.source
	if src == "" {
		src = m.fs
	}
	err := unix.Mount(src, m.target, m.fs, m.flags, m.data)
	if err == unix.ENOENT {
		if err = makeDir(m.target, m.mode); err != nil {
			return fmt.Errorf("root: mount %s: make its mount point: %w", m.target, err)
		}
		err = unix.Mount(src, m.target, m.fs, m.flags, m.data)
	}
	if m.optional && errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("root: mount %s on %s: %w", m.fs, m.target, err)
	}
	return nil
}

// makeDir makes a folder and its parents, with the given mode for the last.
func makeDir(name string, mode uint32) error {
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := unix.Mkdir(name, mode); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

// mountDev puts the kernel's device nodes on dir, or on a kernel without devtmpfs the few that everybody needs.
func mountDev(dir string) error {
	err := unix.Mount("dev", dir, "devtmpfs", unix.MS_NOSUID, "mode=755")
	if err == nil || err == unix.EBUSY { // EBUSY: CONFIG_DEVTMPFS_MOUNT did it
		return nil
	}
	if err := unix.Mount("dev", dir, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return fmt.Errorf("init: mount %s: %w", dir, err)
	}
	for _, n := range []struct {
		name         string
		major, minor uint32
	}{
		{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}, {"console", 5, 1}, {"ttyS0", 4, 64},
	} {
		if err := unix.Mknod(path.Join(dir, n.name), unix.S_IFCHR|0o666, int(unix.Mkdev(n.major, n.minor))); err != nil {
			return fmt.Errorf("init: make device %s: %w", n.name, err)
		}
	}
	return nil
}

// makeRoot makes the guest's file tree as the Spec says and enters it.
func (p *initProcess) makeRoot(s *wire.Spec, n *network) error {
	if len(s.Disks) > 0 || s.Root.Layer != "" {
		end := p.trace.begin("look at the disks")
		if err := p.prepareDisks(s); err != nil {
			return err
		}
		end()
	}
	// After the first, every path is one of the guest's own root: links in it, absolute ones too, lead where they lead in the guest.
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"enter the root", func() error { return p.enterRoot(s) }},
		{"mount the devices", func() error { return mountDevices(s) }},
		{"mount the system's file systems", func() error { return mountSystem(s) }},
		{"describe the CPUs", func() error { return describeCPUs(p.notice) }},
		{"lay files over the root", func() error { return readOnlyExtras(s, p.notice) }},
		{"open resolv.conf", n.openResolv},
		{"link the devices", linkDevices},
		{"mount the control groups", func() error { return mountCgroups(s.Cgroups) }},
		{"show the modules", func() error { return mountModules(s) }},
		{"mount what the spec says", func() error { return p.mountAll(s) }},
		{"settle", func() error { return settle(s, p.notice) }},
	} {
		end := p.trace.begin(part.name)
		if err := part.do(); err != nil {
			return err
		}
		end()
	}
	return nil
}

// mountDevices puts the device nodes on the new root's /dev, which another system's may lack.
func mountDevices(s *wire.Spec) error {
	if isForeign(&s.Root) {
		if err := makeDir("/dev", 0o755); err != nil {
			return withMountHint(fmt.Errorf("root: make /dev: %w", err), "/dev")
		}
	}
	return mountDev("/dev")
}

// mountSystem makes the mounts that every root has.
func mountSystem(s *wire.Spec) error {
	for _, m := range systemMounts {
		if m.target == "/run" && s.Root.KeepRun {
			continue
		}
		if err := m.do(); err != nil {
			return withMountHint(err, m.target)
		}
	}
	return nil
}

// linkDevices makes the names in /dev that lead elsewhere.
func linkDevices() error {
	for _, l := range [][2]string{
		{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"},
		{"pts/ptmx", "/dev/ptmx"},
	} {
		err := unix.Symlink(l[0], l[1])
		if err == unix.EEXIST { // such as /dev/ptmx, a device of the kernel's
			_ = unix.Unlink(l[1])
			err = unix.Symlink(l[0], l[1])
		}
		if err != nil {
			return fmt.Errorf("root: make %s: %w", l[1], err)
		}
	}
	return nil
}

// mountAll makes the mounts of the Spec, each after those that it may lie in.
func (p *initProcess) mountAll(s *wire.Spec) error {
	type step struct {
		target string
		do     func() error
	}
	var steps []step
	for i, m := range s.Mounts {
		steps = append(steps, step{m.Target, func() error { return mountHost(i, m) }})
	}
	for _, t := range s.Tmpfs {
		steps = append(steps, step{t.Target, func() error { return mountTmpfs(t) }})
	}
	for _, d := range p.disks {
		steps = append(steps, step{d.Target, func() error { return d.mount(s.Modules) }})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return strings.Count(a.target, "/") - strings.Count(b.target, "/") })
	for _, m := range steps {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// settle sets what is neither a file nor a mount.
func settle(s *wire.Spec, notice func(error)) error {
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("root: set the hostname %q: %w", s.Hostname, err)
	}
	// As systemd does: a low soft limit for select(2)'s sake, a high hard one for those who ask.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 524288}); err != nil {
		notice(fmt.Errorf("root: set the limit of open files: %w", err))
	}
	return nil
}

// writeEtc writes the files of /etc that are the guest's own into dir.
func writeEtc(dir string, s *wire.Spec) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("root: make /etc: %w", err)
	}
	for name, text := range etcFiles(s) {
		if err := writeFile(path.Join(dir, name), text, 0o644); err != nil {
			return fmt.Errorf("root: write /etc/%s: %w", name, err)
		}
	}
	return nil
}

// etcFiles are the contents of the guest's own files in /etc.
func etcFiles(s *wire.Spec) map[string]string {
	return map[string]string{
		"hostname":    s.Hostname + "\n",
		"hosts":       "127.0.0.1\tlocalhost\n127.0.1.1\t" + s.Hostname + "\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		"resolv.conf": resolvText(s, nil),
	}
}

// ownEtc is where the guest's own files in /etc lie if the root is read-only.
const ownEtc = "/run/sekexe/etc"

// readOnlyExtras lays what a guest needs to write over a read-only root: /tmp, and its own files in /etc where the host has them.
func readOnlyExtras(s *wire.Spec, notice func(error)) error {
	if s.Root.Mode != "ro" {
		return nil
	}
	tmp := mount{fs: "tmpfs", source: "tmp", target: "/tmp", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=1777", mode: 0o1777}
	if err := tmp.do(); err != nil {
		return withMountHint(err, "/tmp")
	}
	if err := writeEtc(ownEtc, s); err != nil {
		return err
	}
	for name := range etcFiles(s) {
		target := path.Join("/etc", name)
		if l, err := os.Readlink(target); err == nil { // such as to /run/systemd/resolve, of which nothing is here
			if target = l; !path.IsAbs(l) {
				target = path.Join("/etc", l)
			}
			_ = makeFile(target) // where that can't be, the mount says so
		}
		err := unix.Mount(path.Join(ownEtc, name), target, "", unix.MS_BIND, "")
		if (err == unix.ENOENT || err == unix.ENOTDIR) && name == "resolv.conf" && len(s.NICs) > 0 {
			notice(fmt.Errorf("root: lay a file over /etc/%s: %w: the root is read-only and has no such file, so that no names are found", name, err))
		}
		if err != nil && err != unix.ENOENT && err != unix.ENOTDIR {
			return fmt.Errorf("root: lay a file over %s: %w", target, err)
		}
	}
	return nil
}

// mountTmpfs mounts a memory file system that the Spec asks for.
func mountTmpfs(t wire.Tmpfs) error {
	data := "mode=" + strconv.FormatUint(uint64(t.Mode), 8)
	if t.Size > 0 {
		data += ",size=" + strconv.FormatInt(t.Size, 10)
	}
	err := mount{fs: "tmpfs", target: t.Target, data: data, mode: 0o755}.do()
	return withMountHint(err, t.Target)
}

// withMountHint explains the one failure that the Spec's author can do something about.
func withMountHint(err error, target string) error {
	if errors.Is(err, unix.EROFS) {
		return &hintError{err, "the root is read-only and has no " + target + ": make it there, or use an overlay root"}
	}
	return err
}

// mountHost makes a file or folder of the host visible.
func mountHost(i int, m wire.Mount) error {
	var err error
	switch {
	case m.Mode == "overlay":
		err = mountHostOverlay(i, m)
	case m.File:
		err = mountHostFile(i, m)
	default:
		err = hostfs(m.Source, m.Target, m.Mode != "rw").do()
	}
	return withMountHint(err, m.Target)
}

// hostfs is a mount of a folder of the host. The path goes into the options as it is (fs/hostfs/hostfs_kern.c), a comma included.
func hostfs(source, target string, readOnly bool) mount {
	m := mount{fs: "hostfs", source: "hostfs", target: target, data: source, mode: 0o755}
	if readOnly {
		m.flags = unix.MS_RDONLY
	}
	return m
}

// mountHostFile mounts the file's folder aside and binds the file from there: hostfs itself mounts folders.
func mountHostFile(i int, m wire.Mount) error {
	aside := "/run/sekexe/mount/" + strconv.Itoa(i)
	if err := makeDir(aside, 0o700); err != nil {
		return fmt.Errorf("root: mount %s: %w", m.Target, err)
	}
	if err := hostfs(path.Dir(m.Source), aside, m.Mode != "rw").do(); err != nil {
		return err
	}
	if _, err := os.Stat(m.Target); err != nil {
		if err := makeFile(m.Target); err != nil {
			return fmt.Errorf("root: mount %s: make its mount point: %w", m.Target, err)
		}
	}
	if err := unix.Mount(path.Join(aside, path.Base(m.Source)), m.Target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("root: bind %s: %w", m.Target, err)
	}
	return unix.Unmount(aside, unix.MNT_DETACH) // nothing but the one file stays visible
}

func makeFile(name string) error {
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// mountHostOverlay shows a folder of the host, or one file of it, below a memory layer that takes what is written.
func mountHostOverlay(i int, m wire.Mount) error {
	base := "/run/sekexe/mount/" + strconv.Itoa(i)
	lower, mem := base+".lower", base+".memory"
	if err := makeDir(lower, 0o700); err != nil {
		return fmt.Errorf("root: mount %s: %w", m.Target, err)
	}
	source := m.Source
	if m.File {
		source = path.Dir(source)
	}
	if err := hostfs(source, lower, true).do(); err != nil {
		return err
	}
	if err := (mount{fs: "tmpfs", target: mem, data: "mode=755", mode: 0o700}).do(); err != nil {
		return err
	}
	for _, d := range []string{mem + "/upper", mem + "/work", mem + "/all"} {
		if err := unix.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("root: mount %s: %w", m.Target, err)
		}
	}
	target := m.Target
	if m.File {
		target = mem + "/all"
	} else if err := makeDir(target, 0o755); err != nil {
		return fmt.Errorf("root: mount %s: make its mount point: %w", m.Target, err)
	}
	if err := mountOverlay(lower, mem+"/upper", mem+"/work", target, "", ""); err != nil {
		return err
	}
	if m.File {
		if _, err := os.Stat(m.Target); err != nil {
			if err := makeFile(m.Target); err != nil {
				return fmt.Errorf("root: mount %s: make its mount point: %w", m.Target, err)
			}
		}
		if err := unix.Mount(path.Join(target, path.Base(m.Source)), m.Target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("root: bind %s: %w", m.Target, err)
		}
	}
	// The overlay holds on to its layers; nobody needs a way to them.
	for _, d := range []string{mem, lower} {
		if err := unix.Unmount(d, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("root: detach a layer of %s: %w", m.Target, err)
		}
	}
	return nil
}
