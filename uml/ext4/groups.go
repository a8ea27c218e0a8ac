package ext4

const (
	groupInodesUnused = 1 // the inode bitmap isn't written: none is in use
	groupBlocksUnused = 2 // nor is the block bitmap: the metadata alone is in use
	groupTableZeroed  = 4
)

// writesBitmap says whether a group has its block bitmap written. In the last, it says where the blocks end.
func (m *maker) writesBitmap(group int) bool { return group == 0 || group == m.groups-1 }

// writeBitmaps writes the bitmaps that don't follow from the layout.
func (m *maker) writeBitmaps() error {
	for _, g := range []int{0, m.groups - 1} {
		b := make([]byte, BlockSize)
		setBits(b, 0, m.used(g))
		setBits(b, m.groupBlocks(g), blocksPerGroup) // what there isn't counts as used
		m.bitmapSums[g] = crc(m.seed, b)
		if err := m.write(m.start(g)+uint64(m.superBlocks(g)), b); err != nil {
			return err
		}
	}
	b := make([]byte, BlockSize)
	setBits(b, 0, usedInodes)
	setBits(b, inodesPerGroup, 8*BlockSize)
	m.inodeSum = crc(m.seed, b[:inodesPerGroup/8])
	return m.write(uint64(m.superBlocks(0)+1), b)
}

// setBits sets the bits from first to end, without end.
func setBits(b []byte, first, end int) {
	for i := first; i < end; i++ {
		b[i/8] |= 1 << (i % 8)
	}
}

// writeDescriptors writes the descriptors of all groups, with their copies.
func (m *maker) writeDescriptors() error {
	b := make([]byte, m.gdBlocks*BlockSize)
	for g := range m.groups {
		m.fillDescriptor(b[g*descSize:][:descSize], g)
	}
	for g := range m.groups {
		if hasSuper(g) {
			if err := m.write(m.start(g)+1, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *maker) fillDescriptor(d []byte, g int) {
	bitmap := m.start(g) + uint64(m.superBlocks(g))
	put := func(low, high int, v uint64) {
		le.PutUint32(d[low:], uint32(v))
		le.PutUint32(d[high:], uint32(v>>32))
	}
	put(0x00, 0x20, bitmap)
	put(0x04, 0x24, bitmap+1)
	put(0x08, 0x28, bitmap+2)
	le.PutUint16(d[0x0c:], uint16(m.groupBlocks(g)-m.used(g)))
	freeInodes, folders, flags := inodesPerGroup, 0, uint16(groupTableZeroed)
	if g == 0 {
		freeInodes, folders = inodesPerGroup-usedInodes, 2
		le.PutUint16(d[0x1a:], uint16(m.inodeSum))
		le.PutUint16(d[0x3a:], uint16(m.inodeSum>>16))
	} else {
		flags |= groupInodesUnused
	}
	if m.writesBitmap(g) {
		le.PutUint16(d[0x18:], uint16(m.bitmapSums[g]))
		le.PutUint16(d[0x38:], uint16(m.bitmapSums[g]>>16))
	} else {
		flags |= groupBlocksUnused
	}
	le.PutUint16(d[0x0e:], uint16(freeInodes))
	le.PutUint16(d[0x10:], uint16(folders))
	le.PutUint16(d[0x12:], flags)
	le.PutUint16(d[0x1c:], uint16(freeInodes)) // at the end of the table, never used
	var number [4]byte
	le.PutUint32(number[:], uint32(g))
	le.PutUint16(d[0x1e:], uint16(crc(crc(m.seed, number[:]), d))) // its own field is still 0
}

const (
	compatFeatures   = 0x04 | 0x08 | 0x10 | 0x20                // has_journal, ext_attr, resize_inode, dir_index
	incompatFeatures = 0x02 | 0x40 | 0x80 | 0x200               // filetype, extents, 64bit, flex_bg
	roFeatures       = 0x01 | 0x02 | 0x08 | 0x20 | 0x40 | 0x400 // sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum
	mountOptions     = 0x04 | 0x08                              // user_xattr, acl
	onErrorReadOnly  = 2                                        // further damage is worse than a command that fails
	superblockOffset = 1024                                     // in block 0; at the beginning of the others
)

// writeSuperblocks writes the superblock and its copies, the first one last: without it, there is no file system.
func (m *maker) writeSuperblocks() error {
	for g := m.groups - 1; g >= 0; g-- {
		if !hasSuper(g) {
			continue
		}
		at := int64(m.start(g)) * BlockSize
		if g == 0 {
			at = superblockOffset
		}
		if _, err := m.w.WriteAt(m.superblock(g), at); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) superblock(group int) []byte {
	b := make([]byte, 1024)
	free := m.freeBlocks()
	for at, v := range map[int]uint32{
		0x00: uint32(m.groups) * inodesPerGroup, 0x04: uint32(m.blocks), 0x0c: uint32(free), 0x10: uint32(m.groups)*inodesPerGroup - usedInodes,
		0x18: 2, 0x1c: 2, // 1024 << 2 bytes are a block, and a cluster
		0x20: blocksPerGroup, 0x24: blocksPerGroup, 0x28: inodesPerGroup,
		0x30: m.now, 0x40: m.now, 0x108: m.now, // written, checked, made
		0x4c: 1, 0x54: lostFoundInode, // revision; the first inode that isn't reserved
		0x5c: compatFeatures, 0x60: incompatFeatures, 0x64: roFeatures,
		0xe0: journalInode, 0x100: mountOptions,
		0x150: uint32(m.blocks >> 32), 0x158: uint32(free >> 32),
		0x160: 1, // hashes of names are made of signed characters
	} {
		le.PutUint32(b[at:], v)
	}
	for at, v := range map[int]uint16{
		0x36: 0xffff, // no check after so many mounts
		0x38: 0xef53, 0x3a: 1, 0x3c: onErrorReadOnly,
		0x58: inodeSize, 0x5a: uint16(group), 0xce: uint16(m.reserved), 0xfe: descSize, 0x15c: 32, 0x15e: 32,
	} {
		le.PutUint16(b[at:], v)
	}
	copy(b[0x68:], m.uuid[:])
	copy(b[0xec:], m.hashSeed[:])
	b[0xfc], b[0xfd] = 1, 1   // half_md4 for names; a copy of the journal's block map follows
	b[0x174], b[0x175] = 4, 1 // 16 groups make a larger one; checksums are crc32c
	copy(b[0x10c:], m.journalMap[:])
	le.PutUint32(b[0x10c+16*4:], uint32(m.journalBlocks)*BlockSize)
	le.PutUint32(b[0x3fc:], crc(^uint32(0), b[:0x3fc]))
	return b
}
