package uml

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryFileOf makes a file in memory with data in some of its MiBs.
func memoryFileOf(t *testing.T, size int64, data ...int64) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size << 20); err != nil {
		t.Fatal(err)
	}
	for _, at := range data {
		if _, err := f.WriteAt(make([]byte, 1<<20), at<<20); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestUsedMemory(t *testing.T) {
	for _, tc := range []struct {
		name string
		data []int64
		end  int64
		want int64
	}{
		{"none is used", nil, 32, 0},
		{"the top is not looked at", []int64{0, 1, 63}, 32, 2},
		{"holes are passed over", []int64{0, 1, 8, 9, 63}, 32, 10},
		{"the chunk that has begun is not done", []int64{0, 1, 2}, 32, 2},
		{"more is used than is asked for", []int64{30, 31, 32, 33}, 32, 34},
	} {
		f := memoryFileOf(t, 64, tc.data...)
		if got := usedMemory(f, tc.end<<20); got != tc.want<<20 {
			t.Errorf("%s: %d MiB, want %d", tc.name, got>>20, tc.want)
		}
	}
}

// TestPopulate also holds that a kernel that makes its file shorter meanwhile does no harm.
func TestPopulate(t *testing.T) {
	f := memoryFileOf(t, 8)
	if err := populate(f, 4<<20); err != nil {
		t.Fatal(err)
	}
	data, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
	if err != nil || data != 4<<20 {
		t.Errorf("data begins at %d, %v; want 4 MiB", data, err)
	}
	if end, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE); err != nil || end != 6<<20 {
		t.Errorf("data ends at %d, %v; want 6 MiB", end, err)
	}
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := populate(f, 4<<20); err == nil {
		t.Error("no error for what is beyond the file's end")
	}
}
