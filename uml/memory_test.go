package uml

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/uml/confine"
)

func TestHeapPad(t *testing.T) {
	const m = 1 << 20
	for _, tt := range []struct {
		end         uint64
		size        int64
		pad, memory int64
	}{
		{0, 64 * m, 0, 64 * m},                                       // it can lie anywhere
		{0x60c4c4c4, 512 * m, 0x1b3000, 514*m - 0x1b3000},            // a kernel of ours
		{0x60a86c94, 512 * m, 0x179000, 514*m - 0x179000},            // 6.1 of Debian
		{0x60c00000, 64 * m, 2 * m, 64 * m},                          // on a border already
		{0x60dfffff, 64 * m, 2 * m, 64 * m},                          // just before one
		{0x60dfe000, 64 * m, 2*m + 0x2000, 66*m - 0x2000},            // so near that the heap would be too small
		{0x60c4c4c4, 100000 << 10, 0x1b3000, 100*m - 0x1b3000},       // memory that is no multiple of huge pages
		{0x60d00000, 64 * m, 3 * m, 65 * m},                          // 1 MiB is not yet made up for
		{0x60cff000, 64 * m, m + 0x1000, 66*m - m - 0x1000},          // and this is
		{0x60c4c4c4, 0x1b3000 + 2*m, 0x1b3000, 4*m + 2*m - 0x1b3000}, // never less than asked for
	} {
		pad, memory := heapPad(tt.end, tt.size)
		if pad != tt.pad || memory != tt.memory {
			t.Errorf("heapPad(%#x, %d) = %#x, %d, want %#x, %d", tt.end, tt.size, pad, memory, tt.pad, tt.memory)
		}
		if tt.end != 0 && (memory+pad < tt.size || (memory+pad)%hugePage != 0) {
			t.Errorf("heapPad(%#x, %d): memory is %d in the end", tt.end, tt.size, memory+pad)
		}
	}
}

func TestHugeMemory(t *testing.T) {
	t.Setenv(EnvHugePages, "on")
	h := openHugeMemory(false)
	if h == nil {
		t.Fatal("there is none; sekexe doctor says why")
	}
	defer h.close()
	h.free = 3 * kernelMemory
	one, err := h.take(kernelMemory, false)
	if err != nil || one == nil {
		t.Fatalf("take: %v, %v", one, err)
	}
	if two, err := h.take(2*kernelMemory+1, false); two != nil || err != nil {
		t.Errorf("more than there is: %v, %v", two, err)
	}
	dir := "/proc/self/fd/" + strconv.Itoa(int(one.dir.Fd()))
	if err := os.WriteFile(dir+"/left", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if err := one.remove(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/self/fd/"+strconv.Itoa(int(kept.Fd()))+"/more", nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("write to the folder once it is removed: %v", err)
	}
	if names, err := filepath.Glob(dirOf(h) + "/*"); err != nil || len(names) > 0 {
		t.Errorf("folders: %v, %v", names, err)
	}
	if err := os.Mkdir(dirOf(h)+"/old", 0o700); err != nil {
		t.Fatal(err)
	}
	one.name = "old/." // which nobody can remove
	if one.release(); h.free != 2*kernelMemory {
		t.Errorf("%d bytes are free while a folder is left", h.free)
	}
	one.name = "old"
	one.release()
	if h.free != 3*kernelMemory {
		t.Errorf("%d bytes are free then", h.free)
	}
	if two, err := h.take(2*kernelMemory, false); two == nil || err != nil {
		t.Errorf("take what was given back: %v, %v", two, err)
	}
}

func dirOf(h *hugeMemory) string { return "/proc/self/fd/" + strconv.Itoa(int(h.root.Fd())) }

// TestHugeMemoryOfRoot has it as root of a container, who changes the user of kernels, but may not mount: his user namespace has no other user.
func TestHugeMemoryOfRoot(t *testing.T) {
	runtime.LockOSThread() // whose capabilities they are; an ordinary user has none to lose
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		t.Fatal(err)
	}
	fewer := all
	fewer[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	if err := unix.Capset(&header, &fewer[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Capset(&header, &all[0]); err != nil {
			t.Fatal(err)
		}
	}()
	t.Setenv(EnvHugePages, "on")
	if h, err := newHugeMemory(true); !errors.Is(err, unix.EPERM) {
		t.Errorf("for kernels of another user: %v, %v", h, err)
	}
	h, err := newHugeMemory(false)
	if err != nil {
		t.Fatalf("for kernels of its own: %v", err)
	}
	h.close()
}

// TestHugeMemoryForbidden has a file system in which nothing can be made.
func TestHugeMemoryForbidden(t *testing.T) {
	root, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	h := &hugeMemory{root: root, free: 1}
	if err := h.try(false); err == nil || !strings.HasPrefix(err.Error(), "make a folder: ") {
		t.Errorf("try: %v", err)
	}
	if h.free != 1 {
		t.Errorf("%d bytes are free then", h.free)
	}
}

// TestScratchElsewhere wants more memory than any folder has.
func TestScratchElsewhere(t *testing.T) {
	t.Setenv(EnvMemoryDir, t.TempDir())
	if _, err := openScratch("id", 1<<60, false); err == nil || !strings.Contains(err.Error(), "MiB free") {
		t.Errorf("without another place: %v", err)
	}
	s, err := openScratch("id", 1<<60, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestMemoryFolderConfined is a kernel that a guest has taken over, with the descriptor of its folder.
func TestMemoryFolderConfined(t *testing.T) {
	t.Setenv(EnvHugePages, "on")
	host := confine.Probe()
	if host.Landlock == 0 {
		t.Fatal("this host has no Landlock, which this test needs")
	}
	h := openHugeMemory(host.ChangeUser)
	if h == nil {
		t.Fatal("there is none; sekexe doctor says why")
	}
	defer h.close()
	own, err := h.take(1, host.ChangeUser)
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.take(1, host.ChangeUser)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other.path()+"/memory", nil, 0o666); err != nil {
		t.Fatal(err)
	}
	d, err := confine.New(host, confine.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Allow(confine.Own{Folder: own.dir}); err != nil {
		t.Fatal(err)
	}
	fd := int(own.dir.Fd())
	open := func(name string, flags int) error {
		file, err := unix.Openat(fd, name, flags|unix.O_CLOEXEC, 0o600)
		if err == nil {
			unix.Close(file)
		}
		return err
	}
	ended, sealed := make(chan struct{}), make(chan struct{})
	entered := make(chan struct{})
	confine.Thread(func() {
		defer close(ended)
		err := d.Enter()
		if err != nil {
			t.Error(err)
		} else {
			if err := open("vm_file", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR); err != nil {
				t.Errorf("make memory: %v", err)
			}
			for name, flags := range map[string]int{
				"..": unix.O_RDONLY | unix.O_DIRECTORY, "../more": unix.O_CREAT | unix.O_RDWR, "../" + other.name: unix.O_RDONLY | unix.O_DIRECTORY,
				"../" + other.name + "/memory": unix.O_RDWR, "../" + other.name + "/more": unix.O_CREAT | unix.O_RDWR,
			} {
				if err := open(name, flags); err != unix.EACCES {
					t.Errorf("open %s: %v; want EACCES", name, err)
				}
			}
			if err := unix.Renameat(fd, "vm_file", fd, "../vm_file"); err == nil {
				t.Error("a file was moved out of the folder")
			}
		}
		close(entered)
		<-sealed
		for _, name := range []string{"vm_file", "more", "../more"} {
			if err := open(name, unix.O_CREAT|unix.O_RDWR); err == nil {
				t.Errorf("%s was made in a folder that is removed", name)
			}
		}
	})
	<-entered
	kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(kept)
	fd = kept // as the kernel has its own
	if err := own.remove(); err != nil {
		t.Error(err)
	}
	close(sealed)
	<-ended
}

func TestWantHugePages(t *testing.T) {
	for _, tt := range []struct {
		huge, dir string
		want      bool
	}{{"", "", true}, {"", "/tmp", false}, {"on", "/tmp", true}, {"off", "", false}, {"nonsense", "", true}} {
		t.Setenv(EnvHugePages, tt.huge)
		t.Setenv(EnvMemoryDir, tt.dir)
		if got := WantHugePages(); got != tt.want {
			t.Errorf("%s=%q %s=%q: %v", EnvHugePages, tt.huge, EnvMemoryDir, tt.dir, got)
		}
	}
}
