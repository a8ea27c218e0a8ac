/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A page fault of a guest's process costs at least three stops of a traced process, and a page that is mapped with another one next to nothing. The
 * pages of files that are read are mapped in windows already (mm/memory.c, do_fault_around). This does it for memory of a process's own: who
 * is the first to write to a page of it gets its neighbours, too.
 */
#ifndef __SEKEXE_FAULT_AROUND_H
#define __SEKEXE_FAULT_AROUND_H

#include <linux/memcontrol.h>
#include <linux/pagemap.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmstat.h>

/* In pages; a power of 2. */
#define FAULT_AROUND_WINDOW 16UL

/* The same, where the page before the window was written to. */
#define FAULT_AROUND_NEXT 64UL

#ifndef fault_around_hosts
/* Whether what an area has of a file comes from the host's file, whoever waits for whom in the guest. */
#define fault_around_hosts(vma) false
#endif

/*
 * In pages of its own: a process that has more gets what it asks for and no others. It bounds what can be wasted on one that touches a page here and there, of the
 * guest's memory and of the mappings that the host allows (vm.max_map_count), of which each page may need one.
 */
#define FAULT_AROUND_MOST 16384UL

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
 * Whether a page was never touched, so that it needs no more than memory. What is there and not to be written to has been shared since a fork, and
 * most of it is not worth a copy.
 */
static bool fault_around_untouched(struct mm_struct *mm, unsigned long address)
{
	bool none = true;
	pte_t *pte;

	if (!virt_to_pte(mm, address))
		return true; /* there is no table, either */
	pte = pte_offset_map(pmd_off(mm, address), address);
	if (pte) {
		none = pte_none(ptep_get(pte));
		pte_unmap(pte);
	}
	return none;
}

/* Whether a process has written to the page before a window of FAULT_AROUND_WINDOW: it may be on its way from one end of an area to the other. */
static bool fault_around_before(struct vm_area_struct *vma, unsigned long address)
{
	unsigned long before = (address & ~(FAULT_AROUND_WINDOW * PAGE_SIZE - 1)) - PAGE_SIZE;
	pte_t *pte, val = __pte(0);

	if (before < vma->vm_start || before >= vma->vm_end || !virt_to_pte(vma->vm_mm, before))
		return false;
	pte = pte_offset_map(pmd_off(vma->vm_mm, before), before);
	if (pte) {
		val = ptep_get(pte);
		pte_unmap(pte);
	}
	return pte_present(val) && pte_write(val) && pte_dirty(val);
}

/*
 * Whether the page of a private file mapping is in memory, or the host's. Nothing is read for a neighbour: who is to bring it, such as a daemon of FUSE, may be waiting
 * for this process.
 */
static bool fault_around_cached(struct vm_area_struct *vma, unsigned long address)
{
	struct folio *folio;
	bool cached;

	if (vma_is_anonymous(vma) || fault_around_hosts(vma))
		return true;
	if (!vma->vm_file)
		return false;
	folio = filemap_get_folio(vma->vm_file->f_mapping, linear_page_index(vma, address));
	if (IS_ERR_OR_NULL(folio))
		return false;
	cached = folio_test_uptodate(folio) && !folio_test_locked(folio);
	folio_put(folio);
	return cached;
}

/* Whether a process may get pages that it has not asked for. */
static bool fault_around_allowed(struct mm_struct *mm)
{
	return get_mm_counter(mm, MM_ANONPAGES) <= FAULT_AROUND_MOST &&
	       global_zone_page_state(NR_FREE_PAGES) >= totalram_pages() / 8 &&
	       !fault_around_limited(mm);
}

/*
 * Faults in what is around a page that was just written to. The lock of the address space is held for reading, and is not given up with
 * FAULT_FLAG_RETRY_NOWAIT. Failures do no harm: nobody has asked for these pages.
 */
static void fault_around(struct vm_area_struct *vma, unsigned long address)
{
	const vm_flags_t flags = VM_WRITE | VM_SHARED | VM_IO | VM_PFNMAP | VM_MIXEDMAP | VM_LOCKED | VM_LOCKONFAULT;
	unsigned long window = address & ~(FAULT_AROUND_WINDOW * PAGE_SIZE - 1);
	unsigned long addr = max(window, vma->vm_start);
	unsigned long pages = fault_around_before(vma, address) ? FAULT_AROUND_NEXT : FAULT_AROUND_WINDOW;
	unsigned long end = min3(window + pages * PAGE_SIZE, vma->vm_end, (window & PMD_MASK) + PMD_SIZE);

	if ((vma->vm_flags & flags) != VM_WRITE || userfaultfd_armed(vma) ||
	    !fault_around_allowed(vma->vm_mm))
		return;

	for (; addr < end; addr += PAGE_SIZE) {
		if (!fault_around_untouched(vma->vm_mm, addr) || !fault_around_cached(vma, addr))
			continue;
		if (handle_mm_fault(vma, addr, FAULT_FLAG_WRITE | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT, NULL) &
		    (VM_FAULT_ERROR | VM_FAULT_RETRY))
			return;
	}
}

#endif
