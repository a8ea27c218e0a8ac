package ext4

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sizes are those at the edges of the layout: one group, a last group that is too short, many copies of the superblock, many descriptors.
var sizes = []int64{
	MinSize, 17<<20 + 12345, 128 << 20, 128<<20 + 2<<20, 128<<20 + 4<<20, 256 << 20, 1 << 30, 2 << 30, 5<<30 + 777, 64 << 30, MaxSize,
}

func TestMakeIsClean(t *testing.T) {
	e2fsck, err := exec.LookPath("e2fsck")
	if err != nil {
		e2fsck = "/sbin/e2fsck"
	}
	if _, err := os.Stat(e2fsck); err != nil {
		t.Fatal("e2fsck is not installed: apt install e2fsprogs")
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "disk")
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(size); err != nil {
				t.Skipf("no file of this size here: %v", err)
			}
			if err := Make(f, size, Options{Mode: 0o755, Time: time.Unix(1e9, 0)}); err != nil {
				t.Fatal(err)
			}
			if size == MaxSize {
				return // e2fsck would take gigabytes of memory
			}
			out, err := exec.Command(e2fsck, "-f", "-n", name).CombinedOutput()
			if err != nil || strings.Contains(string(out), "? no") { // some of what it would correct doesn't count as an error
				t.Errorf("e2fsck: %v\n%s", err, out)
			}
		})
	}
}

func TestMakeRefusesSizes(t *testing.T) {
	for _, size := range []int64{-1, 0, MinSize - 1, MaxSize + 1} {
		if err := Make(nil, size, Options{}); err == nil {
			t.Errorf("Make of %d bytes: no error", size)
		}
	}
}
