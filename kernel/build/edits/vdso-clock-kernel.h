/* SPDX-License-Identifier: GPL-2.0 */
/* The part of vdso-clock.h that is in the kernel. */
#ifndef __SEKEXE_VDSO_CLOCK_KERNEL_H
#define __SEKEXE_VDSO_CLOCK_KERNEL_H

#include <linux/nsproxy.h>
#include <linux/pvclock_gtod.h>
#include <linux/time_namespace.h>
#include <linux/time-internal.h>
#include <linux/timekeeper_internal.h>
#include "vdso-clock.h"

extern unsigned long host_vdso_clock_gettime;
void vdso_clock_start(void);
void vdso_clock_stop(void);

/* One for all, and one without a clock for those who have clocks of their own. */
static struct page *vdso_clock, *vdso_no_clock;

/* Called with each change of the kernel's clock, by one at a time (kernel/time/timekeeping.c, update_pvclock_gtod). */
static int vdso_clock_update(struct notifier_block *nb, unsigned long was_set, void *data)
{
	struct timekeeper *tk = data;
	struct tk_read_base *base = &tk->tkr_mono;
	volatile struct vdso_clock_page *p = page_address(vdso_clock);
	u64 second = (u64)NSEC_PER_SEC << base->shift, mono;

	p->seq++;
	smp_wmb();
	p->mult = base->mult;
	p->shift = base->shift;
	p->cycle = base->cycle_last;
	p->real_sec = tk->xtime_sec;
	p->real_nsec = base->xtime_nsec;
	mono = base->xtime_nsec + ((u64)tk->wall_to_monotonic.tv_nsec << base->shift);
	p->mono_sec = tk->xtime_sec + tk->wall_to_monotonic.tv_sec + (mono >= second);
	p->mono_nsec = mono >= second ? mono - second : mono;
	smp_wmb();
	p->seq++;
	return NOTIFY_OK;
}

static struct notifier_block vdso_clock_updates = { .notifier_call = vdso_clock_update };

/*
 * Called when the host's vDSO has been found in a process, the first. Until then, and with a time that is not the host's, the page has no clock.
 */
void vdso_clock_start(void)
{
	struct vdso_clock_page *p;

	if (!vdso_clock || time_travel_mode != TT_MODE_OFF)
		return;
	p = page_address(vdso_clock);
	p->multiplier = TIMER_MULTIPLIER;
	pvclock_gtod_register_notifier(&vdso_clock_updates);
	smp_wmb();
	WRITE_ONCE(p->host, host_vdso_clock_gettime);
}

/* Called when a process, which has not run yet, has the host's vDSO elsewhere. */
void vdso_clock_stop(void)
{
	if (vdso_clock)
		WRITE_ONCE(((struct vdso_clock_page *)page_address(vdso_clock))->host, 0);
}

/* A process that joins a time namespace has its clock from the next program on that it executes. */
static vm_fault_t vdso_clock_fault(const struct vm_special_mapping *sm, struct vm_area_struct *vma, struct vm_fault *vmf)
{
	vmf->page = vdso_clock;
#ifdef CONFIG_TIME_NS
	if (!current->nsproxy || current->nsproxy->time_ns != &init_time_ns)
		vmf->page = vdso_no_clock;
#endif
	get_page(vmf->page);
	return 0;
}

static const struct vm_special_mapping vdso_clock_mapping = { .name = "[vvar]", .fault = vdso_clock_fault };

static int vdso_clock_map(struct mm_struct *mm, unsigned long address)
{
	return PTR_ERR_OR_ZERO(_install_special_mapping(mm, address, PAGE_SIZE, VM_READ | VM_MAYREAD, &vdso_clock_mapping));
}

static void __init vdso_clock_init(void)
{
	vdso_clock = alloc_page(GFP_KERNEL | __GFP_ZERO);
	vdso_no_clock = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!vdso_clock || !vdso_no_clock)
		panic("Cannot allocate vdso\n");
}

#endif
