// Package ext4 makes empty ext4 file systems in files, as mkfs.ext4 does, without a program of the host's and without root.
//
// What it makes is sparse: of a new file only the few blocks that aren't zero are written, so that the size costs nothing. It has a
// journal, checksums of all metadata, and room in its layout to be grown while it is mounted (EXT4_IOC_RESIZE_FS) to a thousand times its size.
// The format is that of the kernel's Documentation/filesystems/ext4; numbers in comments are offsets there.
package ext4

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// BlockSize is the size of a block of what Make makes, in bytes.
const BlockSize = 4096

// MinSize and MaxSize bound what Make makes, in bytes.
const (
	MinSize = 16 << 20
	MaxSize = 16 << 40
)

const (
	blocksPerGroup = 8 * BlockSize // as many as a bitmap of one block has bits
	inodesPerGroup = 8192          // one for each 16 KiB
	inodeSize      = 256
	tableBlocks    = inodesPerGroup * inodeSize / BlockSize
	descSize       = 64
	addrsPerBlock  = BlockSize / 4
	// leastRest is how many blocks a last, shorter group must have beyond its metadata to be worth it.
	leastRest = 50
)

// The numbers of inodes.
const (
	rootInode      = 2
	resizeInode    = 7
	journalInode   = 8
	lostFoundInode = 11
	usedInodes     = 11 // the first ten are reserved
)

// Options say what the file system's root is like.
type Options struct {
	// Mode is the permission bits of the root folder, which belongs to root.
	Mode uint32
	// Time is when it was made.
	Time time.Time
}

// Make makes a file system of at most size bytes, which must be from MinSize to MaxSize, in w, where nothing but zeros may be. It is a
// little smaller than size if the rest makes no group of blocks.
func Make(w io.WriterAt, size int64, o Options) error {
	if size < MinSize || size > MaxSize {
		return fmt.Errorf("ext4: make a file system: %d bytes are not from %d to %d", size, int64(MinSize), int64(MaxSize))
	}
	m := newMaker(w, size, o)
	for _, part := range []func() error{m.writeFiles, m.writeResizeInode, m.writeBitmaps, m.writeDescriptors, m.writeSuperblocks} {
		if err := part(); err != nil {
			return fmt.Errorf("ext4: make a file system: %w", err)
		}
	}
	return nil
}

// A maker makes one file system.
type maker struct {
	w        io.WriterAt
	o        Options
	now      uint32
	uuid     [16]byte
	hashSeed [16]byte
	seed     uint32 // of checksums

	blocks   uint64
	groups   int
	gdBlocks int // blocks of group descriptors
	reserved int // blocks for descriptors of groups to come

	// Where the files of group 0 lie: blocks, one after the other, behind the group's metadata.
	rootBlock, lostFoundBlock, resizeBlock, journalBlock uint64
	journalBlocks                                        int

	journalMap [60]byte // the journal's inode's block map, of which the superblock has a copy
	bitmapSums map[int]uint32
	inodeSum   uint32 // of group 0's inode bitmap
}

func newMaker(w io.WriterAt, size int64, o Options) *maker {
	m := &maker{w: w, o: o, now: uint32(o.Time.Unix()), blocks: uint64(size / BlockSize), bitmapSums: map[int]uint32{}}
	rand.Read(m.uuid[:])
	m.uuid[6], m.uuid[8] = m.uuid[6]&0x0f|0x40, m.uuid[8]&0x3f|0x80 // RFC 9562, version 4
	rand.Read(m.hashSeed[:])
	m.seed = crc(^uint32(0), m.uuid[:])
	m.layOut()
	if last := m.groups - 1; last > 0 && int(m.blocks-uint64(last)*blocksPerGroup) < m.overhead(last)+leastRest {
		m.blocks = uint64(last) * blocksPerGroup
		m.layOut()
	}
	m.rootBlock = uint64(m.overhead(0))
	m.lostFoundBlock = m.rootBlock + 1
	m.resizeBlock = m.rootBlock + 2
	m.journalBlock = m.rootBlock + 3
	m.journalBlocks = journalBlocks(m.blocks)
	return m
}

// layOut computes what depends on the number of blocks.
func (m *maker) layOut() {
	m.groups = int((m.blocks + blocksPerGroup - 1) / blocksPerGroup)
	m.gdBlocks = descBlocks(m.groups)
	most := min(m.blocks*1024, 1<<32-1)
	m.reserved = min(max(descBlocks(int(most/blocksPerGroup))-m.gdBlocks, 0), addrsPerBlock) // one block maps them
}

func descBlocks(groups int) int { return (groups*descSize + BlockSize - 1) / BlockSize }

// journalBlocks is the size of the journal, as mkfs.ext4 chooses it, but at most what fits into a group.
func journalBlocks(blocks uint64) int {
	switch {
	case blocks < 32<<10:
		return 1024
	case blocks < 256<<10:
		return 4096
	case blocks < 512<<10:
		return 8192
	default:
		return 16384
	}
}

// hasSuper says whether a group has a copy of the superblock and the descriptors (sparse_super): 0, 1 and the powers of 3, 5 and 7.
func hasSuper(group int) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// superBlocks is how many blocks a group has before its bitmaps.
func (m *maker) superBlocks(group int) int {
	if hasSuper(group) {
		return 1 + m.gdBlocks + m.reserved
	}
	return 0
}

// overhead is how many blocks of a group its metadata takes. It lies at the group's beginning.
func (m *maker) overhead(group int) int { return m.superBlocks(group) + 2 + tableBlocks }

// used is how many blocks of a group are taken, all of them at its beginning.
func (m *maker) used(group int) int {
	if group == 0 {
		return int(m.journalBlock) + m.journalBlocks
	}
	return m.overhead(group)
}

// groupBlocks is how many blocks a group has.
func (m *maker) groupBlocks(group int) int {
	return int(min(blocksPerGroup, m.blocks-uint64(group)*blocksPerGroup))
}

func (m *maker) start(group int) uint64 { return uint64(group) * blocksPerGroup }

func (m *maker) freeBlocks() uint64 {
	free := uint64(0)
	for g := range m.groups {
		free += uint64(m.groupBlocks(g) - m.used(g))
	}
	return free
}

// write writes one or more blocks.
func (m *maker) write(block uint64, b []byte) error {
	_, err := m.w.WriteAt(b, int64(block)*BlockSize)
	return err
}

var le = binary.LittleEndian
