package uml

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml/confine"
	"github.com/sekexe/sekexe/uml/ext4"
	"github.com/sekexe/sekexe/uml/seed"
)

// A disk is an open file that holds one. The kernel's process inherits it and opens it again by its number, so that its name, which may
// have any characters or none, doesn't matter, and so that the lock lasts as long as the kernel does.
type disk struct {
	*orchestrator.Disk
	file *os.File
	// below is the seed that the disk begins as; nil: none.
	below *seed.Seed
}

// openDisks opens the job's disks, made and grown where they have to be.
func (s *session) openDisks() error {
	for i := range s.job.Disks {
		d := disk{Disk: &s.job.Disks[i]}
		if s.given != nil && s.given.Disk == d.Disk {
			d = *s.given
		}
		if err := d.open(); err != nil {
			return fmt.Errorf("disk %s: %w", d.Target, err)
		}
		s.disks = append(s.disks, d)
	}
	if s.job.Root.Persist == "" {
		return nil
	}
	d, err := openLayer(&s.job.Root)
	if err != nil {
		return fmt.Errorf("root: keep it in %s: %w", s.job.Root.Persist, err)
	}
	s.disks = append(s.disks, d)
	return nil
}

func (s *session) closeDisks() {
	for _, d := range s.disks {
		d.file.Close()
	}
	s.disks = nil
}

func (d *disk) open() (err error) {
	switch {
	case d.file != nil:
		return nil
	case d.below != nil:
		d.file, err = newFleetingDisk(func(*os.File) error { return nil }) // see attach
		return err
	case d.File == "":
		d.file, err = newFleetingDisk(func(f *os.File) error { return fill(f, d.Disk) })
		return err
	}
	for { // until the file that is locked is the one of that name
		if d.file, err = os.OpenFile(d.File, os.O_RDWR, 0); errors.Is(err, fs.ErrNotExist) {
			if err := newDisk(d.Disk); err != nil {
				return fmt.Errorf("make it: %w", err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := d.lock(); err != nil {
			d.file.Close()
			return err
		}
		if d.isCurrent() {
			break
		}
		d.file.Close()
	}
	if err := d.fit(); err != nil {
		d.file.Close()
		return err
	}
	return nil
}

// isCurrent says whether the open file still has its name.
func (d *disk) isCurrent() bool {
	open, err := d.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(d.File)
	return err == nil && os.SameFile(open, named)
}

// newDisk makes a disk of a name. It gets the name when it is whole, so that no other run, and no later one, ever sees a part of it.
func newDisk(d *orchestrator.Disk) error {
	dir := filepath.Dir(d.File)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(d.File)+".*")
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if err := fill(f, d); err != nil {
		return err
	}
	if err := os.Link(f.Name(), d.File); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// tmpfsMagic is the type of a tmpfs, for statfs(2).
const tmpfsMagic = 0x01021994

// newFleetingDisk makes a disk without a name: it is gone with the last process that has it open, however that ends. It had better not lie
// in memory.
func newFleetingDisk(fill func(*os.File) error) (*os.File, error) {
	candidates := []string{"/var/tmp", "/tmp"}
	if dir := os.Getenv("TMPDIR"); dir != "" {
		candidates = append([]string{dir}, candidates...)
	}
	slices.SortStableFunc(candidates, func(a, b string) int { return memoryRank(a) - memoryRank(b) })
	var errs []error
	for _, dir := range candidates {
		f, err := os.CreateTemp(dir, "sekexe-disk-*")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err = errors.Join(os.Remove(f.Name()), fill(f)); err == nil {
			return f, nil
		}
		f.Close()
		errs = append(errs, fmt.Errorf("%s: %w", dir, err))
	}
	return nil, withHint(fmt.Errorf("make it: %w", errors.Join(errs...)), "name a folder that can be written to in TMPDIR")
}

// fill makes the file system of a new disk.
func fill(f *os.File, d *orchestrator.Disk) error {
	if err := f.Truncate(d.Size); err != nil {
		return err
	}
	return ext4.Make(f, d.Size, ext4.Options{Mode: d.Mode, Time: time.Now()})
}

// lockPatience is how long a disk is waited for whose user was killed.
const lockPatience = 10 * time.Second

// lock takes the disk for this run. What holds it may be the kernel of a run that was killed, which is gone in a moment: the process that
// took the lock is gone then, and it is waited for.
func (d *disk) lock() error {
	err := unix.Flock(int(d.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		if pid := lockHolder(d.file); pid != 0 && unix.Kill(pid, 0) == unix.ESRCH {
			err = awaitLock(d.file, lockPatience)
		}
	}
	switch err {
	case nil:
		return nil
	case unix.EWOULDBLOCK:
		return withHint(fmt.Errorf("%s is in use by %s", d.File, processText(lockHolder(d.file))), "wait for it to end, or name another file: only one sub-kernel can use a disk at a time")
	default:
		return fmt.Errorf("lock %s: %w", d.File, err)
	}
}

// awaitLock locks a file as soon as nobody else does; unix.EWOULDBLOCK: they did for all the time. Nothing can end flock(2) before: what waits
// has a descriptor of its own then, which is closed when it gets the lock after all, and with that the lock is gone.
func awaitLock(f *os.File, patience time.Duration) error {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	locked := make(chan error, 1)
	go func() {
		err := unix.Flock(fd, unix.LOCK_EX)
		for err == unix.EINTR {
			err = unix.Flock(fd, unix.LOCK_EX)
		}
		unix.Close(fd)
		locked <- err
	}()
	select {
	case err := <-locked:
		return err
	case <-time.After(patience):
		return unix.EWOULDBLOCK
	}
}

// lockHolder returns the process that locked a file, by proc_locks(5): "1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF"; 0: it isn't known.
func lockHolder(f *os.File) int {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	where := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		w := strings.Fields(sc.Text())
		if len(w) > 5 && w[1] == "FLOCK" && w[5] == where {
			pid, _ := strconv.Atoi(w[4])
			return max(pid, 0)
		}
	}
	return 0
}

// processText names a process for a message.
func processText(pid int) string {
	switch {
	case pid == 0:
		return "another process"
	case pid == os.Getpid():
		return "another sub-kernel of this run"
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, clean(strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " ")))
}

// fit checks what a file holds, and makes it larger if it is to be. Its file system is grown by the guest.
func (d *disk) fit() error {
	st, err := d.file.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", d.File)
	}
	if st.Size() == 0 { // such as what mktemp made
		if err := fill(d.file, d.Disk); err != nil {
			return fmt.Errorf("make it in %s: %w", d.File, err)
		}
		return nil
	}
	if err := checkDisk(d.file); err != nil {
		return withHint(fmt.Errorf("%s: %w", d.File, err), "name another file, or remove it: a new disk is made where there is none")
	}
	switch {
	case st.Size() > d.Size:
		return withHint(fmt.Errorf("%s has %d MiB already, and %d MiB are wanted: a disk isn't made smaller", d.File, st.Size()>>20, d.Size>>20),
			"give it that size, or remove it: a new disk is made where there is none")
	case st.Size() < d.Size:
		if err := d.file.Truncate(d.Size); err != nil {
			return fmt.Errorf("make %s larger: %w", d.File, err)
		}
	}
	return nil
}

// checkDisk says why a file can't be a disk. A copy-on-write header would make the kernel look at a file that the guest has named there
// (arch/um/drivers/cow_user.c).
func checkDisk(f *os.File) error {
	var b [2048]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return errors.New("it holds no ext4 file system")
	}
	switch {
	case string(b[:4]) == "OOOM" || string(b[:4]) == "MOOO":
		return errors.New("it is a copy-on-write file")
	case binary.LittleEndian.Uint16(b[1024+0x38:]) != 0xef53:
		return errors.New("it holds no ext4 file system")
	}
	return nil
}

// diskArg is the option of the kernel's command line for disk number i, whose file is descriptor fd (arch/um/drivers/ubd_kern.c). The flag
// d says that it is no copy-on-write file, whatever is in it.
func diskArg(i, fd int) string { return fmt.Sprintf("ubd%dd=/proc/self/fd/%d", i, fd) }

// attach returns the option for disk number i, whose first file will be descriptor fd, and its files, and allows the kernel to use them.
//
// What is written above a seed goes to a copy-on-write file. Its header, which names the file below, is written here, and the guest can't change it: its
// disk begins behind. The kernel may only read the file below. The flag t: to give back what is deleted is not worth it where all is gone soon.
func (d *disk) attach(i, fd int, own *confine.Own) (arg string, files []*os.File, err error) {
	own.Write = append(own.Write, d.file)
	if d.below == nil {
		return diskArg(i, fd), []*os.File{d.file}, nil
	}
	own.Read = append(own.Read, d.below.File)
	below := fmt.Sprintf("/proc/self/fd/%d", fd+1)
	if err := d.below.WriteCOW(d.file, below); err != nil {
		return "", nil, fmt.Errorf("disk %s: %w", d.Target, err)
	}
	return fmt.Sprintf("ubd%dt=/proc/self/fd/%d,%s", i, fd, below), []*os.File{d.file, d.below.File}, nil
}

// wireDisk is what the guest is told of disk number i.
func wireDisk(i int, d *orchestrator.Disk) wire.Disk {
	return wire.Disk{Device: deviceName(i), Target: d.Target, Fleeting: d.File == ""}
}

// deviceName is what the kernel calls disk number i.
func deviceName(i int) string { return "ubd" + string(rune('a'+i)) }

// memoryRank puts folders that lie in memory behind the others.
func memoryRank(dir string) int {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == tmpfsMagic {
		return 1
	}
	return 0
}
