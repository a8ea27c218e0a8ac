package seed

import (
	"encoding/binary"
	"fmt"
	"os"
)

// A copy-on-write file of UML's block driver (arch/um/drivers/cow_user.c, version 3) begins with a header, which names the file below. Behind it are a
// bitmap of the sectors that have been written, and those sectors, each at its place.
const (
	cowMagic     = 0x4f4f4f4d
	cowVersion   = 3
	cowSector    = 512
	cowAlignment = 4096
	cowPath      = 4096
)

// WriteCOW makes an empty file the copy-on-write file of a seed that the kernel finds at a path. The driver compares the seed's size and its time
// with the header's; a guest can't change that, because its disk begins behind.
func (s *Seed) WriteCOW(f *os.File, path string) error {
	st, err := s.File.Stat()
	if err != nil {
		return err
	}
	if len(path) >= cowPath {
		return fmt.Errorf("%s: the path is too long", path)
	}
	be := binary.BigEndian
	h := be.AppendUint32(nil, cowMagic)
	h = be.AppendUint32(h, cowVersion)
	h = be.AppendUint32(h, uint32(st.ModTime().Unix()))
	h = be.AppendUint64(h, uint64(st.Size()))
	h = be.AppendUint32(h, cowSector)
	h = be.AppendUint32(h, cowAlignment)
	h = be.AppendUint32(h, 0) // a bitmap
	h = append(h, path...)
	// The header is as long as the longest path allows, and then aligned.
	const headerSize = 32 + cowPath
	const bitmap = (headerSize + cowAlignment - 1) / cowAlignment * cowAlignment
	sectors := (st.Size() + cowSector - 1) / cowSector
	data := (bitmap + (sectors+7)/8 + cowAlignment - 1) / cowAlignment * cowAlignment
	if _, err := f.WriteAt(h, 0); err != nil {
		return err
	}
	return f.Truncate(data + st.Size())
}
