package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc is the kernel's crc32c: without the inversions before and after.
func crc(seed uint32, b []byte) uint32 { return ^crc32.Update(^seed, castagnoli, b) }

// inodeSeed is what the checksums of an inode, and of the blocks of its folder, start from.
func (m *maker) inodeSeed(number uint32) uint32 {
	var b [8]byte // its number, and its generation, which is 0
	le.PutUint32(b[:], number)
	return crc(m.seed, b[:])
}

// An inode is what differs between the inodes of a new file system.
type inode struct {
	number uint32
	mode   uint16
	links  uint16
	size   uint64
	blocks uint32 // of 512 bytes
	flags  uint32
	blockM [60]byte
}

const (
	flagExtents = 0x80000
	modeFolder  = 0o040000
	modeFile    = 0o100000
)

// writeInode writes an inode into the table of group 0.
func (m *maker) writeInode(n *inode) error {
	b := make([]byte, inodeSize)
	le.PutUint16(b[0x00:], n.mode)
	le.PutUint32(b[0x04:], uint32(n.size))
	for _, at := range []int{0x08, 0x0c, 0x10, 0x90} { // atime, ctime, mtime, crtime
		le.PutUint32(b[at:], m.now)
	}
	le.PutUint16(b[0x1a:], n.links)
	le.PutUint32(b[0x1c:], n.blocks)
	le.PutUint32(b[0x20:], n.flags)
	copy(b[0x28:], n.blockM[:])
	le.PutUint32(b[0x6c:], uint32(n.size>>32))
	le.PutUint16(b[0x80:], 32) // the length of what is behind the classical 128 bytes
	sum := crc(m.inodeSeed(n.number), b)
	le.PutUint16(b[0x7c:], uint16(sum))
	le.PutUint16(b[0x82:], uint16(sum>>16))
	table := int64(m.superBlocks(0)+2) * BlockSize
	_, err := m.w.WriteAt(b, table+int64(n.number-1)*inodeSize)
	return err
}

// extent is the block map of a file whose blocks lie one after the other.
func extent(start uint64, blocks int) (b [60]byte) {
	le.PutUint16(b[0:], 0xf30a)
	le.PutUint16(b[2:], 1) // extents
	le.PutUint16(b[4:], 4) // that there is room for
	le.PutUint16(b[16:], uint16(blocks))
	le.PutUint16(b[18:], uint16(start>>32))
	le.PutUint32(b[20:], uint32(start))
	return b
}

// writeFiles writes the root folder, lost+found and the journal.
func (m *maker) writeFiles() error {
	root := []entry{{rootInode, "."}, {rootInode, ".."}, {lostFoundInode, "lost+found"}}
	if err := m.writeFolder(rootInode, m.rootBlock, uint16(m.o.Mode&0o7777), 3, root); err != nil {
		return err
	}
	if err := m.writeFolder(lostFoundInode, m.lostFoundBlock, 0o700, 2, []entry{{lostFoundInode, "."}, {rootInode, ".."}}); err != nil {
		return err
	}
	m.journalMap = extent(m.journalBlock, m.journalBlocks)
	err := m.writeInode(&inode{
		number: journalInode, mode: modeFile | 0o600, links: 1, size: uint64(m.journalBlocks) * BlockSize,
		blocks: uint32(m.journalBlocks) * (BlockSize / 512), flags: flagExtents, blockM: m.journalMap,
	})
	if err != nil {
		return err
	}
	return m.write(m.journalBlock, m.journalSuperblock())
}

// journalSuperblock is the first block of an empty journal (jbd2, big-endian).
func (m *maker) journalSuperblock() []byte {
	be := binary.BigEndian
	b := make([]byte, BlockSize)
	be.PutUint32(b[0x00:], 0xc03b3998)
	be.PutUint32(b[0x04:], 4) // a superblock of version 2
	be.PutUint32(b[0x0c:], BlockSize)
	be.PutUint32(b[0x10:], uint32(m.journalBlocks))
	be.PutUint32(b[0x14:], 1) // the first block of the log
	be.PutUint32(b[0x18:], 1) // the first transaction
	copy(b[0x30:], m.uuid[:])
	be.PutUint32(b[0x40:], 1) // users
	return b
}

// An entry is one of a folder.
type entry struct {
	inode uint32
	name  string
}

// writeFolder writes a folder of one block and its inode. All of its entries are folders.
func (m *maker) writeFolder(number uint32, block uint64, mode, links uint16, entries []entry) error {
	const tail = 12 // a checksum that looks like an unused entry
	b := make([]byte, BlockSize)
	at := 0
	for i, e := range entries {
		length := (8 + len(e.name) + 3) &^ 3
		if i == len(entries)-1 {
			length = BlockSize - tail - at
		}
		le.PutUint32(b[at:], e.inode)
		le.PutUint16(b[at+4:], uint16(length))
		b[at+6], b[at+7] = byte(len(e.name)), 2 // a folder
		copy(b[at+8:], e.name)
		at += length
	}
	le.PutUint16(b[at+4:], tail)
	b[at+7] = 0xde
	le.PutUint32(b[at+8:], crc(m.inodeSeed(number), b[:at]))
	if err := m.write(block, b); err != nil {
		return err
	}
	return m.writeInode(&inode{
		number: number, mode: modeFolder | mode, links: links, size: BlockSize, blocks: BlockSize / 512, flags: flagExtents, blockM: extent(block, 1),
	})
}

// writeResizeInode writes the file that owns the blocks which are reserved for group descriptors: its double indirect block maps each
// of them, at the index of its number less one, and each of them maps its copies in other groups.
func (m *maker) writeResizeInode() error {
	indirect := make([]byte, BlockSize)
	blocks := 1
	for i := range m.reserved {
		number := 1 + m.gdBlocks + i
		le.PutUint32(indirect[(number-1)%addrsPerBlock*4:], uint32(number))
		blocks++
		copies := make([]byte, BlockSize)
		n := 0
		for g := 1; g < m.groups; g++ {
			if hasSuper(g) {
				le.PutUint32(copies[n*4:], uint32(m.start(g))+uint32(number))
				n++
			}
		}
		blocks += n
		if n == 0 {
			continue
		}
		if err := m.write(uint64(number), copies); err != nil {
			return err
		}
	}
	if err := m.write(m.resizeBlock, indirect); err != nil {
		return err
	}
	n := &inode{
		number: resizeInode, mode: modeFile | 0o600, links: 1, size: (12 + addrsPerBlock + addrsPerBlock*addrsPerBlock) * BlockSize,
		blocks: uint32(blocks) * (BlockSize / 512),
	}
	le.PutUint32(n.blockM[13*4:], uint32(m.resizeBlock))
	return m.writeInode(n)
}
