package uml

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// dockerMemory is how far up a guest's memory is made, in bytes. When a Docker daemon answers, some 100 MiB are in use with dockerd 20.10 and containerd 1.6; to make
// all of them keeps the other CPU busy for longer than it helps, where CPUs are threads of one core.
const dockerMemory = 64 << 20

// prefaultChunk is how much memory is made at a time, in bytes: a huge page.
const prefaultChunk = 2 << 20

// prefault makes the memory that the guest is about to use, up to an offset in it, while the guest runs on another CPU. A kernel uses its memory from below.
// To get a page from a host that is a virtual machine itself, and has given what it does not use back to its own host, can take 4 ms
// a MiB, sixty times as long as to clear it. What fails is no loss: the guest gets it when it touches it. The kernel is not trusted with more than that.
func (s *session) prefault(end int64) {
	if s.memory == nil {
		return
	}
	f := s.memoryFile()
	if f == nil {
		return
	}
	defer f.Close()
	end = min(end, s.job.Memory/2)
	for off := usedMemory(f, end); off < end; off += prefaultChunk {
		select {
		case <-s.proc.done:
			return
		default:
		}
		if populate(f, off) != nil {
			return
		}
	}
}

// populate gives a file pages for one chunk. Nothing is read or written through the mapping, so that a file that was cut short does no harm.
func populate(f *os.File, off int64) error {
	m, err := unix.Mmap(int(f.Fd()), off, prefaultChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	err = unix.Madvise(m, unix.MADV_POPULATE_WRITE) // an error, not a SIGBUS, if there is nothing to populate (madvise(2))
	if e := unix.Munmap(m); err == nil {
		err = e
	}
	return err
}

// memoryFile opens the file that is the kernel's memory, which has no name; nil: it can't be found. Of what the kernel has open only a regular file in
// the file system of guest memory is opened, where it has none but its own.
func (s *session) memoryFile() *os.File {
	var root, st unix.Stat_t
	if err := unix.Fstat(int(s.memory.of.root.Fd()), &root); err != nil {
		return nil
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.proc.pid))
	if err != nil {
		return nil // the process is gone, or not ours to look into
	}
	for _, e := range fds {
		fd, err := unix.Open(filepath.Join("/proc", strconv.Itoa(s.proc.pid), "fd", e.Name()), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		found := unix.Fstat(fd, &st) == nil && st.Dev == root.Dev && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size >= s.job.Memory
		var f *os.File
		if found {
			f, _ = os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDWR, 0)
		}
		unix.Close(fd)
		if f != nil {
			return f
		}
	}
	return nil
}

// maxExtents bounds how often a file is asked where it has data: a kernel's memory has a handful of such places.
const maxExtents = 64

// usedMemory returns where the data below end ends, in a file of memory, on the border of a chunk.
func usedMemory(f *os.File, end int64) int64 {
	var used int64
	fd := int(f.Fd())
	for range maxExtents {
		data, err := unix.Seek(fd, used, unix.SEEK_DATA)
		if err != nil || data >= end {
			break
		}
		if used, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
			return end
		}
	}
	return used / prefaultChunk * prefaultChunk
}
