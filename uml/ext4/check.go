package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// CheckClean says why a file of size bytes isn't a whole file system that Make has made, and that was unmounted when it was last used. It
// looks at the superblock alone.
func CheckClean(r io.ReaderAt, size int64) error {
	var b [1024]byte
	if _, err := r.ReadAt(b[:], 1024); err != nil {
		return fmt.Errorf("read its superblock: %w", err)
	}
	const (
		clean, hasErrors = 1, 2
		needsRecovery    = 4
	)
	le := binary.LittleEndian
	state, incompatible := le.Uint16(b[0x3a:]), le.Uint32(b[0x60:])
	blocks := uint64(le.Uint32(b[0x04:])) | uint64(le.Uint32(b[0x150:]))<<32
	switch {
	case le.Uint16(b[0x38:]) != 0xef53:
		return errors.New("it holds no ext4 file system")
	case le.Uint32(b[0x3fc:]) != crc(^uint32(0), b[:0x3fc]):
		return errors.New("its superblock is damaged")
	case blocks > uint64(size)/BlockSize:
		return errors.New("it is cut off")
	case state&hasErrors != 0:
		return errors.New("its file system has errors")
	case state&clean == 0 || incompatible&needsRecovery != 0:
		return errors.New("its file system was not unmounted")
	}
	return nil
}
