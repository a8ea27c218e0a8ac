/* SPDX-License-Identifier: GPL-2.0 */
/*
 * With ptrace the kernel knows of a page fault its address, and whether the host has a page there (siginfo's si_code), but not whether it was a read or
 * a write: for that it delivers the signal to the process, whose handler tells it, and stops once more. Mostly it follows from what is mapped
 * there, and where it does not, a write may be assumed of memory of the process's own that it may write to. That spares a third of the stops of a fault.
 *
 * A guess can only bring a page that the process may have. Where it does not bring one, the process is continued, faults again, and then is asked; so signals
 * come of nothing but what it says.
 */
#ifndef __SEKEXE_FAULT_GUESS_H
#define __SEKEXE_FAULT_GUESS_H

/* A trap_no of struct faultinfo, which is a task's own: its last fault was guessed, and no page came of it. */
#define FAULT_GUESS_FAILED -1

/* In pages; a private mapping of a file that is larger than that may be one of which most is only read, unless what is before has been written to. */
#define FAULT_GUESS_FILE 64UL

/*
 * Whether a fault is a write (1) or a read (0), or may well be one that is not known (-1).
 */
static int fault_guess_write(struct mm_struct *mm, unsigned long address, unsigned long ip, int code)
{
	struct vm_area_struct *vma = find_vma(mm, address);
	bool own, writable;
	pte_t pte = __pte(0);

	if (!vma || address < vma->vm_start || !(vma->vm_flags & VM_READ) ||
	    (vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP)) || userfaultfd_armed(vma))
		return -1;
	/* To execute what is not executable is a fault of its own kind. */
	if (address == ip && !(vma->vm_flags & VM_EXEC))
		return -1;

	writable = vma->vm_flags & VM_WRITE;
	if (virt_to_pte(mm, address))
		pte = ptep_get(virt_to_pte(mm, address));
	if (pte_present(pte) && pte_young(pte))
		/* The process can read it: so it has written to it, and may not yet. */
		return code == SEGV_ACCERR && writable && !(pte_write(pte) && pte_dirty(pte)) ? 1 : -1;
	if (!pte_none(pte) && !pte_present(pte))
		return -1;
	if (!writable)
		return 0;
	own = !(vma->vm_flags & VM_SHARED) && (vma_is_anonymous(vma) || vma_pages(vma) <= FAULT_GUESS_FILE ||
					       fault_around_before(vma, address));
	return own && fault_around_allowed(mm) ? 1 : -1;
}

int fault_guess(struct faultinfo *fi, unsigned long address, unsigned long ip, int code);
void fault_guessed(struct faultinfo *fi, unsigned long ip);

/*
 * Called with a process that is about to get a SIGSEGV, of that address and code, before it is continued. Returns whether the fault was guessed;
 * the guess is in fi.
 */
int fault_guess(struct faultinfo *fi, unsigned long address, unsigned long ip, int code)
{
	struct mm_struct *mm = current->mm;
	int write = -1;

	if (code != SEGV_MAPERR && code != SEGV_ACCERR)
		return 0;
	if (fi->trap_no == FAULT_GUESS_FAILED && fi->cr2 == address)
		return 0;
	if (mmap_read_trylock(mm)) {
		write = fault_guess_write(mm, address, ip, code);
		mmap_read_unlock(mm);
	}
	if (write < 0)
		return 0;
	*fi = (struct faultinfo) { .error_code = write ? 2 : 0, .cr2 = address, .trap_no = 14 };
	return 1;
}

/* Handles a fault that was guessed. */
void fault_guessed(struct faultinfo *fi, unsigned long ip)
{
	int code;

	if (handle_page_fault(FAULT_ADDRESS(*fi), ip, FAULT_WRITE(*fi), 1, &code))
		fi->trap_no = FAULT_GUESS_FAILED;
}

#endif
