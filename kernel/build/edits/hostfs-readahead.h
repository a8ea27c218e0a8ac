/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pages of a file of the host's that are read ahead, by one system call for up to 32 of them, and not by one for each.
 */
#ifndef __SEKEXE_HOSTFS_READAHEAD_H
#define __SEKEXE_HOSTFS_READAHEAD_H

#include <linux/pagemap.h>

#define HOSTFS_READ_MOST 32

/*
 * Reads into folios that follow each other in their file. One that the host has not filled, and that is not the file's last, is left as it is: who wants it
 * reads it alone (hostfs_read_folio), and hears of the error.
 */
static void hostfs_read_folios(struct file *file, struct folio **folios, int count)
{
	void *buffers[HOSTFS_READ_MOST];
	loff_t pos = folio_pos(folios[0]);
	loff_t size = i_size_read(file_inode(file));
	int i, left;

	for (i = 0; i < count; i++)
		buffers[i] = kmap_local_folio(folios[i], 0);
	left = read_pages(FILE_HOSTFS_I(file)->fd, pos, buffers, count, PAGE_SIZE);
	for (i = 0; i < count; i++) {
		int here = clamp(left, 0, (int)PAGE_SIZE);

		left -= here;
		pos += here;
		if (here && here < PAGE_SIZE && pos >= size) {
			memset(buffers[i] + here, 0, PAGE_SIZE - here);
			here = PAGE_SIZE;
		}
		folio_end_read(folios[i], here == PAGE_SIZE);
	}
	for (i = count - 1; i >= 0; i--)
		kunmap_local(buffers[i]);
}

static void hostfs_readahead(struct readahead_control *rac)
{
	struct folio *folios[HOSTFS_READ_MOST];
	struct folio *folio;
	int count = 0;

	/* They are of one page each: the mapping has not said that they may be larger. */
	while ((folio = readahead_folio(rac))) {
		folios[count++] = folio;
		if (count == HOSTFS_READ_MOST) {
			hostfs_read_folios(rac->file, folios, count);
			count = 0;
		}
	}
	if (count)
		hostfs_read_folios(rac->file, folios, count);
}

#endif
