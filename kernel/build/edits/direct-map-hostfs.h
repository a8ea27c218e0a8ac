/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Files that nobody here can change may be mapped from the host's: direct-map.h in arch/um/kernel. Of others, pages may have been written to that the host has
 * not got yet.
 */
#ifndef __SEKEXE_DIRECT_MAP_HOSTFS_H
#define __SEKEXE_DIRECT_MAP_HOSTFS_H

#include <asm/direct-map.h>

/* The host's descriptor; it lives as long as the inode. */
static int hostfs_direct_map_fd(struct file *file)
{
	return FILE_HOSTFS_I(file)->fd;
}

static int hostfs_direct_map_read(struct file *file, loff_t pos, char *buf, int len)
{
	unsigned long long at = pos;

	return read_file(FILE_HOSTFS_I(file)->fd, &at, buf, len);
}

static int hostfs_mmap_prepare(struct vm_area_desc *desc)
{
	int err = generic_file_mmap_prepare(desc);

	if (!err && sb_rdonly(file_inode(desc->file)->i_sb))
		desc->vm_ops = &direct_map_ops;
	return err;
}

#endif
