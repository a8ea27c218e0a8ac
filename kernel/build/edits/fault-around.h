/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A page fault of a guest's process costs at least three stops of a traced process, and a page that is mapped with another one next to nothing. The
 * pages of files that are read are mapped in windows already (mm/memory.c, do_fault_around). This does it for memory of a process's own: who
 * is the first to write to a page of it gets its neighbours, too.
 */
#ifndef __SEKEXE_FAULT_AROUND_H
#define __SEKEXE_FAULT_AROUND_H

#include <linux/memcontrol.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmstat.h>

/* In pages; a power of 2, so that a window never leaves its page table. */
#define FAULT_AROUND_WINDOW 16UL

/*
 * A control group with a limit, or one in such a group, gets the pages that it asks for and no others: they could be what takes it over the limit.
 */
static bool fault_around_limited(struct mm_struct *mm)
{
	bool limited = false;
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg;

	rcu_read_lock();
	memcg = mem_cgroup_from_task(rcu_dereference(mm->owner));
	for (; memcg && !limited; memcg = parent_mem_cgroup(memcg))
		limited = READ_ONCE(memcg->memory.max) != PAGE_COUNTER_MAX ||
			  READ_ONCE(memcg->memory.high) != PAGE_COUNTER_MAX;
	rcu_read_unlock();
#endif
	return limited;
}

/*
 * A page that is there already, but not to be written to, has been shared since a fork. Neighbours of such a one would have to be copied, which
 * most of them are not worth.
 */
static bool fault_around_wanted(struct mm_struct *mm, unsigned long address)
{
	pte_t *pte = virt_to_pte(mm, address);

	return !pte || pte_none(*pte);
}

/*
 * Faults in what is around a page that was just written to. The lock of the address space is held for reading. With FAULT_FLAG_RETRY_NOWAIT it is
 * not given up, and nothing waits for a page that has to be read first: nobody has asked for it, and who is to bring it, as a daemon of FUSE, may be
 * waiting for this process. Failures do no harm, for the same reason.
 */
static void fault_around(struct vm_area_struct *vma, unsigned long address)
{
	unsigned long window = address & ~(FAULT_AROUND_WINDOW * PAGE_SIZE - 1);
	unsigned long addr = max(window, vma->vm_start);
	unsigned long end = min(window + FAULT_AROUND_WINDOW * PAGE_SIZE, vma->vm_end);
	unsigned int flags = FAULT_FLAG_WRITE | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT;

	if ((vma->vm_flags & (VM_WRITE | VM_SHARED | VM_IO | VM_PFNMAP | VM_MIXEDMAP)) != VM_WRITE ||
	    userfaultfd_armed(vma) ||
	    global_zone_page_state(NR_FREE_PAGES) < totalram_pages() / 8 ||
	    fault_around_limited(vma->vm_mm))
		return;

	for (; addr < end; addr += PAGE_SIZE) {
		pte_t *pte = pte_offset_kernel(pmd_off(vma->vm_mm, addr), addr);

		if ((pte_none(*pte) || (pte_present(*pte) && !pte_write(*pte))) &&
		    (handle_mm_fault(vma, addr, flags, NULL) & (VM_FAULT_ERROR | VM_FAULT_RETRY)))
			return;
	}
}

#endif
