package uml

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
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
	h := openHugeMemory()
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
	if names, err := filepath.Glob("/proc/self/fd/" + strconv.Itoa(int(h.root.Fd())) + "/*"); err != nil || len(names) > 0 {
		t.Errorf("folders: %v, %v", names, err)
	}
	one.release()
	if h.free != 3*kernelMemory {
		t.Errorf("%d bytes are free then", h.free)
	}
	if two, err := h.take(2*kernelMemory, false); two == nil || err != nil {
		t.Errorf("take what was given back: %v, %v", two, err)
	}
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
