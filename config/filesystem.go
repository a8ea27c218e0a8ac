package config

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// A RootError says why a file can't be the root of a guest, and what to do about it.
type RootError struct {
	Text   string // what it is
	Advice string // in the form of a hint: without a capital and a full stop
}

// Error returns the text.
func (e *RootError) Error() string { return e.Text }

// Hint returns the advice.
func (e *RootError) Hint() string { return e.Advice }

// headSize is how much of a file tells what it is, in bytes: the label of Btrfs lies farthest.
const headSize = 66 << 10

// FileSystemOf returns the file system in an image: "ext4" (with its elders ext2 and ext3), "squashfs" or "erofs". Its error is a *RootError if
// the file can be read, and is none of them.
func FileSystemOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", &RootError{"neither a folder nor a regular file", "name the root of a system, or a file with an ext4, squashfs or erofs file system"}
	}
	head := make([]byte, headSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	kind, err := fileSystemIn(head[:n])
	if err == nil && kind == "ext4" {
		err = checkExt4(head)
	}
	return kind, err
}

// at returns size bytes of b from offset on; zeros where b is shorter.
func at(b []byte, offset, size int) []byte {
	out := make([]byte, size)
	if offset < len(b) {
		copy(out, b[offset:])
	}
	return out
}

// The magic numbers of file systems (include/uapi/linux/magic.h) and where they lie.
func fileSystemIn(head []byte) (string, error) {
	switch {
	case binary.LittleEndian.Uint16(at(head, 1024+56, 2)) == 0xef53:
		return "ext4", nil
	case string(at(head, 0, 4)) == "hsqs":
		return "squashfs", nil
	case binary.LittleEndian.Uint32(at(head, 1024, 4)) == 0xe0f5e1e2:
		return "erofs", nil
	}
	return "", notRoot(head)
}

// others are files that are taken for images of roots, or are ones that can't be used.
var others = []struct {
	offset       int
	magic        string
	what, advice string
}{
	{512, "EFI PART", "a whole disk with a partition table", ""},
	{0, "QFI\xfb", "a disk image in the format qcow2", "write the file system in it to a file of its own: qemu-img convert -O raw makes a whole disk of it, of which losetup -P shows the partitions"},
	{0, "OOOM", "a copy-on-write file of User Mode Linux's", "name the image that it was made from"},
	{0, "MOOO", "a copy-on-write file of User Mode Linux's", "name the image that it was made from"},
	{0, "XFSB", "an XFS file system", "use ext4, squashfs or erofs"},
	{65536 + 64, "_BHRfS_M", "a Btrfs file system", "use ext4, squashfs or erofs"},
	{32769, "CD001", "an ISO image", "use ext4, squashfs or erofs"},
	{257, "ustar", "a tar archive", "unpack it into a folder and name that; if it comes from docker save, name the image docker-archive:FILE"},
	{0, "\x1f\x8b", "compressed by gzip", "unpack it first"},
	{0, "\xfd7zXZ\x00", "compressed by xz", "unpack it first"},
	{0, "\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first"},
}

// notRoot says what a file is that has none of the file systems.
func notRoot(head []byte) error {
	const disk = "write the partition with the root to a file of its own: its first sector and size are in the output of fdisk -l, and " +
		"dd skip=FIRST count=SIZE copies it"
	for _, o := range others {
		if string(at(head, o.offset, len(o.magic))) == o.magic {
			advice := o.advice
			if advice == "" {
				advice = disk
			}
			return &RootError{"it is " + o.what, advice}
		}
	}
	if partitioned(head) {
		return &RootError{"it is a whole disk with a partition table", disk}
	}
	return &RootError{"it has no ext4, squashfs or erofs file system", "name a folder with the root of a system, or the image of such a file system"}
}

// partitioned says whether there is a partition table in the first sector: four entries of 16 bytes, each of which begins with 0 or 0x80.
func partitioned(head []byte) bool {
	if !bytes.Equal(at(head, 510, 2), []byte{0x55, 0xaa}) {
		return false
	}
	used := false
	for i := range 4 {
		entry := at(head, 446+16*i, 16)
		if entry[0]&0x7f != 0 {
			return false
		}
		used = used || entry[4] != 0
	}
	return used
}

// checkExt4 refuses a file system that was not unmounted: read-only, its journal can't be replayed (EXT4_FEATURE_INCOMPAT_RECOVER).
func checkExt4(head []byte) error {
	const incompat, needsRecovery = 1024 + 96, 0x4
	if binary.LittleEndian.Uint32(at(head, incompat, 4))&needsRecovery == 0 {
		return nil
	}
	return &RootError{"its ext4 file system was not unmounted", "let e2fsck -p replay its journal"}
}
