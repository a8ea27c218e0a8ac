package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// A disk is a block device of the Spec's.
type disk struct {
	wire.Disk
	// grow is the number of blocks that the file system is to get; 0: it fills its device.
	grow uint64
	// ofRoot says that it keeps the root's upper layer.
	ofRoot bool
}

// prepareDisks looks at the disks, and has those repaired whose file system is known to be damaged. That is done while the root is still
// the host's, whose programs are there then.
func (p *initProcess) prepareDisks(s *wire.Spec) error {
	for _, w := range s.Disks {
		d := &disk{Disk: w}
		if err := d.look(p); err != nil {
			return fmt.Errorf("%s: %w", d.name(), err)
		}
		p.disks = append(p.disks, d)
	}
	if s.Root.Layer == "" {
		return nil
	}
	p.layer = &disk{Disk: wire.Disk{Device: s.Root.Layer}, ofRoot: true}
	if err := p.layer.look(p); err != nil {
		return fmt.Errorf("%s: %w", p.layer.name(), err)
	}
	return nil
}

// name is what messages call it.
func (d *disk) name() string {
	if d.ofRoot {
		return "disk of the root"
	}
	return "disk " + d.Target
}

func (d *disk) device() string { return "/dev/" + d.Device }

// look reads the superblock (Documentation/filesystems/ext4/super.rst).
func (d *disk) look(p *initProcess) error {
	fd, err := unix.Open(d.device(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &hintError{fmt.Errorf("open its device %s: %w", d.device(), err), "the kernel's log says why it doesn't have the device: run it with --verbose to see all of it"}
	}
	defer unix.Close(fd)
	var b [1024]byte
	if n, err := unix.Pread(fd, b[:], 1024); err != nil || n < len(b) {
		return fmt.Errorf("read its superblock: %w", err)
	}
	size, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return fmt.Errorf("look at its size: %w", err)
	}
	le := binary.LittleEndian
	const hasErrors = 2
	if le.Uint16(b[0x3a:])&hasErrors != 0 {
		if err := p.repair(d.device()); err != nil {
			return err
		}
		p.notice(fmt.Errorf("%s: its file system had errors, which e2fsck has corrected", d.name()))
	}
	blocks := uint64(le.Uint32(b[0x04:]))
	if le.Uint32(b[0x60:])&0x80 != 0 { // the feature 64bit
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	if shift := 10 + le.Uint32(b[0x18:]); shift <= 16 && uint64(size)>>shift > blocks {
		d.grow = uint64(size) >> shift
	}
	return nil
}

// checkers are where e2fsck may lie.
var checkers = []string{"/sbin/e2fsck", "/usr/sbin/e2fsck"}

// repair lets the host's e2fsck correct a file system, in here, where what a damaged one does to it is of no concern to the host. The
// journal alone needs no such thing: the kernel replays it.
func (p *initProcess) repair(device string) error {
	var st unix.Stat_t
	for _, file := range checkers {
		if unix.Stat(file, &st) != nil {
			continue
		}
		status, err := p.procs.tool(file, "-f", "-y", device)
		if err != nil {
			return fmt.Errorf("check it by %s: %w", file, err)
		}
		if status&^(1|2) != 0 { // e2fsck(8): 1 and 2 are errors that it has corrected
			return fmt.Errorf("check it: its file system has errors that %s can't correct: it ended with status %d", file, status)
		}
		return nil
	}
	return &hintError{errors.New("its file system has errors, and the host has no e2fsck"), "install it: apt install e2fsprogs"}
}

// tool runs a program of the host's to its end, without output, and returns its status. Nothing else may run yet.
func (ps *processes) tool(file string, args ...string) (int, error) {
	ps.mu.Lock() // the reaper must not take its end
	defer ps.mu.Unlock()
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(null)
	pid, err := syscall.ForkExec(file, append([]string{file}, args...), &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=/sbin:/usr/sbin:/bin:/usr/bin", "LC_ALL=C"}, Files: []uintptr{uintptr(null), uintptr(null), uintptr(null)},
	})
	if err != nil {
		return 0, err
	}
	var ws syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(pid, &ws, 0, nil); err != syscall.EINTR {
			break
		}
	}
	switch {
	case err != nil:
		return 0, err
	case ws.Signaled():
		return 0, errors.New("it was killed by signal " + strconv.Itoa(int(ws.Signal())))
	}
	return ws.ExitStatus(), nil
}

// mount mounts the disk, and lets its file system grow to the size of its device. The journal of one that wasn't unmounted is replayed.
func (d *disk) mount(modules string) error {
	m := mount{fs: "ext4", source: d.device(), target: d.Target, data: "discard", mode: 0o755} // discard: the host's file stays sparse
	if d.Fleeting {
		m.data += ",nobarrier" // nobody waits for the host to write it to its disk
	}
	err := m.do()
	if errors.Is(err, unix.ENODEV) {
		if err := loadModule(modules, "ext4"); err != nil {
			return &hintError{fmt.Errorf("%s: mount it: the kernel has no ext4: %w", d.name(), err), "use a kernel with CONFIG_EXT4_FS, or name the folder of its modules"}
		}
		err = m.do()
	}
	if err != nil {
		return withMountHint(err, d.Target)
	}
	if d.grow == 0 {
		return nil
	}
	f, err := os.Open(d.Target)
	if err != nil {
		return fmt.Errorf("%s: grow it: %w", d.name(), err)
	}
	defer f.Close()
	const resizeFS = 0x40086610 // EXT4_IOC_RESIZE_FS, fs/ext4/ext4.h
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), resizeFS, uintptr(unsafe.Pointer(&d.grow))); errno != 0 {
		return fmt.Errorf("%s: grow it to %d blocks: %w", d.name(), d.grow, errno)
	}
	return nil
}

// unmountDisks unmounts the disks, the last one first, or makes them read-only where something is mounted on them. Nothing runs any more.
func (p *initProcess) unmountDisks() {
	for i := len(p.disks) - 1; i >= 0; i-- {
		d := p.disks[i]
		err := unix.Unmount(d.Target, 0)
		if err == unix.EBUSY {
			err = unix.Mount("", d.Target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
		if err != nil && err != unix.EINVAL && err != unix.ENOENT { // EINVAL: somebody has unmounted it
			p.notice(fmt.Errorf("%s: unmount it: %w: the next use replays its journal", d.name(), err))
		}
	}
	p.disks = nil
}
