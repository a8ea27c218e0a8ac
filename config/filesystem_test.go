package config

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// image makes a file with texts at offsets.
func image(t *testing.T, parts map[int]string) string {
	t.Helper()
	b := make([]byte, 128<<10)
	for offset, text := range parts {
		copy(b[offset:], text)
	}
	p := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFileSystemOf(t *testing.T) {
	const ext4 = "\x53\xef"
	le := func(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
	for _, tc := range []struct {
		name        string
		parts       map[int]string
		want, wrong string // one of them
	}{
		{"ext4", map[int]string{1080: ext4}, "ext4", ""},
		{"ext4 behind a boot sector", map[int]string{446: "\x80\x00\x00\x00\x83", 510: "\x55\xaa", 1080: ext4}, "ext4", ""},
		{"ext4 with a journal to replay", map[int]string{1080: ext4, 1120: le(0x4)}, "", "not unmounted"},
		{"squashfs", map[int]string{0: "hsqs"}, "squashfs", ""},
		{"erofs", map[int]string{1024: le(0xe0f5e1e2)}, "erofs", ""},
		{"a partition table", map[int]string{446: "\x80\x00\x00\x00\x83", 510: "\x55\xaa"}, "", "partition table"},
		{"GPT", map[int]string{512: "EFI PART"}, "", "partition table"},
		{"a boot sector alone", map[int]string{446: "\x12\x34", 510: "\x55\xaa"}, "", "no ext4, squashfs or erofs"},
		{"qcow2", map[int]string{0: "QFI\xfb"}, "", "qcow2"},
		{"a copy-on-write file", map[int]string{0: "MOOO"}, "", "copy-on-write"},
		{"Btrfs", map[int]string{65600: "_BHRfS_M"}, "", "Btrfs"},
		{"XFS", map[int]string{0: "XFSB"}, "", "XFS"},
		{"an ISO image", map[int]string{32769: "CD001"}, "", "ISO"},
		{"a tar archive", map[int]string{257: "ustar"}, "", "tar archive"},
		{"gzip", map[int]string{0: "\x1f\x8b"}, "", "gzip"},
		{"nothing", nil, "", "no ext4, squashfs or erofs"},
	} {
		got, err := FileSystemOf(image(t, tc.parts))
		switch {
		case tc.wrong == "" && (err != nil || got != tc.want):
			t.Errorf("%s: FileSystemOf: %q, %v; want %q", tc.name, got, err, tc.want)
		case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)):
			t.Errorf("%s: FileSystemOf: %q, %v; want an error with %q", tc.name, got, err, tc.wrong)
		}
	}
}

func TestParseImage(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for name, want := range map[string]string{
		"busybox":                          "docker.io/library/busybox:latest",
		"busybox:1.36":                     "docker.io/library/busybox:1.36",
		"docker.io/busybox":                "docker.io/library/busybox:latest",
		"index.docker.io/library/busybox":  "docker.io/library/busybox:latest",
		"me/tool":                          "docker.io/me/tool:latest",
		"localhost/a/b:c":                  "localhost/a/b:c",
		"localhost:5000/a":                 "localhost:5000/a:latest",
		"[::1]:5000/a:b":                   "[::1]:5000/a:b",
		"ghcr.io/o/r:v1" + digest:          "ghcr.io/o/r" + digest,
		"ghcr.io/o/r_s/t__u--v.w" + digest: "ghcr.io/o/r_s/t__u--v.w" + digest,
	} {
		if got, err := ParseImage(name, "/"); err != nil || got != want {
			t.Errorf("ParseImage(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "a:b:c", "A", "a//b", "-a", "a@sha256:1", "a:" + strings.Repeat("x", 129), "http://a/b", "a b"} {
		if got, err := ParseImage(name, "/"); err == nil {
			t.Errorf("ParseImage(%q) = %q; want an error", name, got)
		}
	}
}
