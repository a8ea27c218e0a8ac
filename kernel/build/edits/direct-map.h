/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file of a host's folder that is mounted read-only is on the host, and in its memory mostly, just as a guest's process is to see it. So what such a process maps of it, to
 * execute or to read, is mapped from the host's file, all of it at once, in place of copies of its pages that are read into the guest's memory, and mapped a
 * window for each fault. The host's kernel then has the faults.
 *
 * A page table knows nothing of such a mapping. A page that it has (because it was written to, a debugger's way, or read by this kernel for a system
 * call) is mapped over it, and where the mapping is not, because the host refused it or because a page was taken out again, a fault brings the page as ever.
 * Nothing but the process itself uses the mapping: for all else, these are pages that are not there yet.
 *
 * vm_private_data of such an area is the address space whose process was told to map it, and a flag keeps others from growing over it, which
 * would not be told of that (mm/vma.c, is_mergeable_vma).
 */
#ifndef __SEKEXE_DIRECT_MAP_H
#define __SEKEXE_DIRECT_MAP_H

#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/userfaultfd_k.h>
#include <asm/direct-map.h>

/* How many are brought with the area that a process has touched: the other parts of a program and of its libraries are next. */
#define DIRECT_MAP_AREAS 16

/* Not used on UML. It is set with the lock of the address space held for reading, as VM_ATOMIC_SET_ALLOWED of mm.h. */
#define DIRECT_MAPPED ((__force int)VMA_HIGH_ARCH_5_BIT)

int map_file(struct mm_id *mm_idp, unsigned long virt, unsigned long len, int prot, int fd, unsigned long long offset);

int (*direct_map_fd)(struct file *file);
EXPORT_SYMBOL_GPL(direct_map_fd);

int (*direct_map_read)(struct file *file, loff_t pos, char *buf, int len);
EXPORT_SYMBOL_GPL(direct_map_read);

static bool direct_mapped(struct vm_area_struct *vma)
{
	return test_bit(DIRECT_MAPPED, vma->flags.__vma_flags);
}

static int direct_map_outdate(pte_t *pte, unsigned long addr, unsigned long next, struct mm_walk *walk)
{
	if (!pte_none(*pte)) { /* or there is to be none, as in a guard region */
		*pte = pte_mkneedsync(*pte);
		*(bool *)walk->private = true;
	}
	return 0;
}

/* Has what a page table says of pages done again, over what is there now. */
static void direct_map_resync(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	static const struct mm_walk_ops ops = { .pte_entry = direct_map_outdate, .walk_lock = PGWALK_RDLOCK };
	bool found = false;

	walk_page_range(mm, start, end, &ops, &found);
	if (found)
		um_tlb_mark_sync(mm, start, end);
}

static void direct_map_drop(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct mm_id *id = &mm->context.id;
	int err;

	enter_turnstile(id);
	unmap(id, start, end - start);
	/* The file may be closed next, and its descriptor not have been sent. */
	if (using_seccomp && id->syscall_fd_num) {
		err = syscall_stub_flush(id);
		if (err)
			id->syscall_data_len = err;
	}
	exit_turnstile(id);
}

/* A process that was forked has an area's description of the other one, but nothing is mapped for it. */
static void direct_map_open(struct vm_area_struct *vma)
{
	if (vma->vm_private_data != vma->vm_mm) {
		vma->vm_private_data = NULL;
		clear_bit(DIRECT_MAPPED, vma->flags.__vma_flags);
	}
}

static void direct_map_close(struct vm_area_struct *vma)
{
	struct mm_struct *mm = vma->vm_mm;

	/* The process of an address space that has no users left is about to be ended. */
	if (direct_mapped(vma) && atomic_read(&mm->mm_users))
		direct_map_drop(mm, vma->vm_start, vma->vm_end);
}

static int direct_map_mprotect(struct vm_area_struct *vma, unsigned long start, unsigned long end, unsigned long newflags)
{
	if (direct_mapped(vma)) {
		direct_map_drop(vma->vm_mm, start, end);
		direct_map_resync(vma->vm_mm, start, end);
	}
	return 0;
}

/*
 * A page of a file that a process writes to becomes its own, and is read from the host's file into that, in place of the page cache, of which it would be a
 * copy. With its neighbours (fault_around) it is read by one system call for several of them.
 */
static struct {
	struct mutex lock;
	struct task_struct *owner; /* whose fault it is; NULL: nobody's */
	struct file *file; /* of which there is something; NULL: of none */
	pgoff_t first;
	int len; /* in bytes */
	char *buf;
} direct_map_window = { .lock = __MUTEX_INITIALIZER(direct_map_window.lock) };

static void direct_map_own_window(struct task_struct *owner)
{
	guard(mutex)(&direct_map_window.lock);
	if (!owner && direct_map_window.owner != current)
		return;
	direct_map_window.owner = owner;
	direct_map_window.file = NULL;
	if (owner && !direct_map_window.buf)
		direct_map_window.buf = kmalloc(FAULT_AROUND_WINDOW * PAGE_SIZE, GFP_KERNEL | __GFP_NOWARN);
}

/* Returns how many bytes of the page there are, or a negative error number. */
static int direct_map_read_page(struct file *file, pgoff_t index, char *to)
{
	loff_t pos = (loff_t)index << PAGE_SHIFT;
	int here;

	guard(mutex)(&direct_map_window.lock);
	if (direct_map_window.owner != current || !direct_map_window.buf)
		return direct_map_read(file, pos, to, PAGE_SIZE);

	if (direct_map_window.file != file || index < direct_map_window.first ||
	    index >= direct_map_window.first + FAULT_AROUND_WINDOW) {
		direct_map_window.file = NULL;
		here = direct_map_read(file, pos, direct_map_window.buf, FAULT_AROUND_WINDOW * PAGE_SIZE);
		if (here < 0)
			return here;
		direct_map_window.file = file;
		direct_map_window.first = index;
		direct_map_window.len = here;
	}
	pos = (index - direct_map_window.first) << PAGE_SHIFT;
	here = clamp(direct_map_window.len - (int)pos, 0, (int)PAGE_SIZE);
	memcpy(to, direct_map_window.buf + pos, here);
	return here;
}

static vm_fault_t direct_map_fault(struct vm_fault *vmf)
{
	struct file *file = vmf->vma->vm_file;
	loff_t pos = (loff_t)vmf->pgoff << PAGE_SHIFT;
	loff_t left = i_size_read(file_inode(file)) - pos;
	char *to;
	int here;
	vm_fault_t ret;

	/* What is in the page cache may be what the process has seen. */
	if (!vmf->cow_page || !direct_map_read || left <= 0 || !sb_rdonly(file_inode(file)->i_sb) ||
	    filemap_range_has_page(file->f_mapping, pos, pos + PAGE_SIZE - 1))
		return filemap_fault(vmf);

	to = page_address(vmf->cow_page);
	here = direct_map_read_page(file, vmf->pgoff, to);
	if (here < min(left, (loff_t)PAGE_SIZE))
		return filemap_fault(vmf);
	memset(to + here, 0, PAGE_SIZE - here);
	__SetPageUptodate(vmf->cow_page);
	ret = finish_fault(vmf);
	return ret ? ret : VM_FAULT_DONE_COW;
}

const struct vm_operations_struct direct_map_ops = {
	.open		= direct_map_open,
	.close		= direct_map_close,
	.mprotect	= direct_map_mprotect,
	.fault		= direct_map_fault,
	.map_pages	= filemap_map_pages,
	.page_mkwrite	= filemap_page_mkwrite,
};
EXPORT_SYMBOL_GPL(direct_map_ops);

/* Whether an area may be mapped from the host's file, and was not. */
static bool direct_map_may(struct vm_area_struct *vma)
{
	const vm_flags_t flags = VM_READ | VM_WRITE | VM_SHARED | VM_LOCKED | VM_LOCKONFAULT | VM_MAYBE_GUARD;

	/* With pages of its own, such as those of relocated variables that are constant now, most of an area is there. */
	return vma->vm_ops == &direct_map_ops && !direct_mapped(vma) && !vma->anon_vma && direct_map_fd &&
	       (vma->vm_flags & flags) == VM_READ && !userfaultfd_armed(vma) && sb_rdonly(file_inode(vma->vm_file)->i_sb);
}

/* Maps an area of the current process, once. Returns whether it may be there now. */
static bool direct_map_area(struct vm_area_struct *vma)
{
	struct mm_struct *mm = vma->vm_mm;
	struct mm_id *id = &mm->context.id;
	unsigned long pages, len;
	int err;

	if (!direct_map_may(vma))
		return false;
	/* What is behind the end of the file is no page of this mapping. */
	pages = DIV_ROUND_UP(i_size_read(file_inode(vma->vm_file)), PAGE_SIZE);
	if (pages <= vma->vm_pgoff || test_and_set_bit(DIRECT_MAPPED, vma->flags.__vma_flags))
		return false;
	vma->vm_private_data = mm;
	len = min(vma_pages(vma), pages - vma->vm_pgoff) << PAGE_SHIFT;

	/* Nobody else may have the process run before the pages that there are are mapped again. */
	enter_turnstile(id);
	err = map_file(id, vma->vm_start, len,
		       UM_PROT_READ | (vma->vm_flags & VM_EXEC ? UM_PROT_EXEC : 0),
		       direct_map_fd(vma->vm_file), (unsigned long long)vma->vm_pgoff << PAGE_SHIFT);
	if (!err)
		direct_map_resync(mm, vma->vm_start, vma->vm_start + len);
	exit_turnstile(id);
	return !err;
}

/* Whether all of an area will soon be written to: the variables of a program or of a library, which are relocated first. */
static bool direct_map_variables(struct vm_area_struct *vma)
{
	return vma->vm_ops == &direct_map_ops && (vma->vm_flags & (VM_WRITE | VM_SHARED)) == VM_WRITE &&
	       !vma->anon_vma && vma_pages(vma) <= FAULT_AROUND_WINDOW;
}

/*
 * Brings what a process is likely to touch next that has just touched an area of the host's files: the lock of its address space is held for reading.
 */
static void direct_map_next(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	int n = 0;

	for_each_vma(vmi, vma) {
		if (direct_map_variables(vma)) {
			fault_around(vma, vma->vm_start);
			fault_around(vma, vma->vm_end - PAGE_SIZE);
		} else if (!direct_map_area(vma)) {
			continue;
		}
		if (++n == DIRECT_MAP_AREAS)
			break;
	}
}

/*
 * Called with an area in which a process has read and found nothing. Returns whether the process may be continued. Who reads for it (skas/uaccess.c,
 * maybe_map) wants a page.
 */
static bool direct_map(struct vm_area_struct *vma, unsigned long ip)
{
	if (!ip || !direct_map_area(vma))
		return false;
	direct_map_own_window(current);
	direct_map_next(vma->vm_mm);
	direct_map_own_window(NULL);
	return true;
}

/*
 * Called with an area in which a process has written to a page for the first time, or this kernel for it (which has no instruction pointer of the process): it
 * may be ending, and not have its turn with the process on the host to give away.
 */
static void direct_map_around(struct vm_area_struct *vma, unsigned long address, unsigned long ip)
{
	direct_map_own_window(current);
	fault_around(vma, address);
	if (ip && vma->vm_ops == &direct_map_ops)
		direct_map_next(vma->vm_mm);
	direct_map_own_window(NULL);
}

#endif
