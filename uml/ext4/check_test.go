package ext4

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckClean(t *testing.T) {
	const size = 64 << 20
	// change alters the superblock; sum tells whether its checksum is made right again.
	for _, test := range []struct {
		name   string
		change func(b []byte)
		sum    bool
		size   int64
		want   string // empty: it is clean
	}{
		{name: "as made", change: func([]byte) {}},
		{name: "zeros", change: func(b []byte) { clear(b) }, want: "no ext4"},
		{name: "a bit", change: func(b []byte) { b[0x200] ^= 1 }, want: "damaged"},
		{name: "mounted", change: func(b []byte) { b[0x60] |= 4 }, sum: true, want: "not unmounted"},
		{name: "errors", change: func(b []byte) { b[0x3a] |= 2 }, sum: true, want: "has errors"},
		{name: "cut off", change: func([]byte) {}, size: size / 2, want: "cut off"},
		{name: "shorter than a superblock", change: func([]byte) {}, size: 1500, want: "superblock"},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if err := Make(f, size, Options{Mode: 0o755, Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1024)
		if _, err := f.ReadAt(b, 1024); err != nil {
			t.Fatal(err)
		}
		test.change(b)
		if test.sum {
			binary.LittleEndian.PutUint32(b[0x3fc:], crc(^uint32(0), b[:0x3fc]))
		}
		if _, err := f.WriteAt(b, 1024); err != nil {
			t.Fatal(err)
		}
		if test.size == 0 {
			test.size = size
		} else if err := f.Truncate(test.size); err != nil {
			t.Fatal(err)
		}
		err = CheckClean(f, test.size)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}
