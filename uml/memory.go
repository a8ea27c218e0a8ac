package uml

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/uml/confine"
	"github.com/sekexe/sekexe/uml/tmpfs"
)

// EnvHugePages says whether guest memory shall lie on huge pages: "on" if it can, "off" never. Otherwise it does if it can and EnvMemoryDir names no folder.
const EnvHugePages = "SEKEXE_HUGE_PAGES"

// A hugeMemory is a file system of huge pages for guest memory. Of a boot's page faults on the host two thirds go with small pages. nil: the
// host has none, or the user has named another place.
//
// A huge page is used up by the first byte in it, so that guests take more than they use: as a rule 4 MiB more, but all of their memory if they want to.
// So no more is given out than the host had left when the run began; who comes then gets small pages.
type hugeMemory struct {
	root *os.File

	mu   sync.Mutex
	free int64 // bytes to be given out
	next int
}

// openHugeMemory makes one of the memory that the host has left. changeUser says that kernels have another user.
func openHugeMemory(changeUser bool) *hugeMemory {
	if !WantHugePages() {
		return nil
	}
	h, err := newHugeMemory(changeUser)
	if err != nil {
		return nil // there are other places
	}
	return h
}

func newHugeMemory(changeUser bool) (*hugeMemory, error) {
	free := availableMemory("/")
	if free == 0 {
		return nil, errors.New("no memory is left, or /proc/meminfo doesn't say how much")
	}
	root, err := tmpfs.Open(2*free, changeUser) // a kernel's file has a little more in it than the guest's memory, and may never meet this bound
	if err != nil {
		return nil, err
	}
	h := &hugeMemory{root: root, free: free}
	if err := h.try(changeUser); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// try does there what a kernel will: a host's security module may forbid it, or a sandbox around sekexe, and that would keep the kernel from booting.
func (h *hugeMemory) try(changeUser bool) error {
	f, err := h.take(0, changeUser)
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer f.release()
	fd, err := unix.Open(f.path()+"/try", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, pageSize); err != nil {
		return fmt.Errorf("enlarge a file: %w", err)
	}
	m, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map a file executable: %w", err)
	}
	return unix.Munmap(m)
}

// WantHugePages says whether guest memory shall lie on huge pages if the host has them.
func WantHugePages() bool {
	switch os.Getenv(EnvHugePages) {
	case "on":
		return true
	case "off":
		return false
	}
	return os.Getenv(EnvMemoryDir) == ""
}

// TryHugePages makes a place of huge pages for guest memory, and removes it.
func TryHugePages() error {
	h, err := newHugeMemory(confine.Probe().ChangeUser)
	if err != nil {
		return err
	}
	h.close()
	if b, err := os.ReadFile(shmemEnabled); err == nil && bytes.Contains(b, []byte("[deny]")) {
		return errors.New(shmemEnabled + " is deny")
	}
	return nil
}

// shmemEnabled says what the host's kernel lets file systems in memory have: "deny" means none, whatever they were mounted with
// (Documentation/admin-guide/mm/transhuge.rst).
const shmemEnabled = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

func (h *hugeMemory) close() {
	if h != nil {
		h.root.Close()
	}
}

// A memoryFolder is the folder in which one kernel makes the file that is its memory.
type memoryFolder struct {
	of   *hugeMemory
	dir  *os.File // opened with O_PATH; nil: it is closed, or not made
	name string   // empty: there is none any more
	size int64
}

// path leads to the folder in this process.
func (f *memoryFolder) path() string {
	return "/proc/self/fd/" + strconv.Itoa(int(f.of.root.Fd())) + "/" + f.name
}

// take makes a folder for a kernel with that much memory, in bytes. nil: there is no place for it. changeUser says that the kernel will have another user.
func (h *hugeMemory) take(size int64, changeUser bool) (*memoryFolder, error) {
	if h == nil {
		return nil, nil
	}
	h.mu.Lock()
	if h.free < size {
		h.mu.Unlock()
		return nil, nil
	}
	h.free -= size
	h.next++
	f := &memoryFolder{of: h, name: strconv.Itoa(h.next), size: size}
	h.mu.Unlock()
	if err := f.make(changeUser); err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

func (f *memoryFolder) make(changeUser bool) error {
	root := int(f.of.root.Fd())
	if err := unix.Mkdirat(root, f.name, 0o700); err != nil {
		return err
	}
	if changeUser {
		if err := unix.Fchownat(root, f.name, confine.Nobody, confine.Nobody, 0); err != nil {
			return err
		}
	}
	fd, err := unix.Openat(root, f.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f.dir = os.NewFile(uintptr(fd), f.name)
	return nil
}

// remove removes the folder: nothing can be put into it any more. The kernel keeps its file, which has no name.
func (f *memoryFolder) remove() error {
	if f == nil || f.name == "" {
		return nil
	}
	if f.dir != nil {
		f.dir.Close()
		f.dir = nil
	}
	if err := os.RemoveAll(f.path()); err != nil {
		return err // release tries it once more
	}
	f.name = ""
	return nil
}

// release gives the memory back, when the kernel has ended.
func (f *memoryFolder) release() {
	if f == nil {
		return
	}
	if f.remove() != nil {
		return // what is in there is in use until the run ends
	}
	f.of.mu.Lock()
	f.of.free += f.size
	f.of.mu.Unlock()
}
