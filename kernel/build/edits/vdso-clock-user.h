/* SPDX-License-Identifier: GPL-2.0 */
/* The part of vdso-clock.h that is in the vDSO. */
#ifndef __SEKEXE_VDSO_CLOCK_USER_H
#define __SEKEXE_VDSO_CLOCK_USER_H

#include "vdso-clock.h"

#define VDSO_CLOCK_NSEC 1000000000ULL

static __always_inline const volatile struct vdso_clock_page *vdso_clock_page(void)
{
	unsigned long here;

	asm("lea 0(%%rip), %0" : "=r" (here));
	return (const void *)((here & ~4095UL) + 4096);
}

/* Reads CLOCK_REALTIME or CLOCK_MONOTONIC; 0: the kernel is to be asked. */
static __always_inline int vdso_clock_read(clockid_t clock, unsigned long long *sec, unsigned long *nsec)
{
	const volatile struct vdso_clock_page *p = vdso_clock_page();
	int (*host)(clockid_t, struct __kernel_timespec *);
	struct __kernel_timespec now;
	unsigned __int128 shifted;
	unsigned long long ns, cycles;
	unsigned int seq;

	host = (void *)p->host;
	if (!host || (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC))
		return 0;
	do {
		while ((seq = p->seq) & 1)
			asm volatile("pause" ::: "memory");
		asm volatile("" ::: "memory"); /* loads are in order on x86 */
		if (host(CLOCK_MONOTONIC, &now))
			return 0;
		cycles = (now.tv_sec * VDSO_CLOCK_NSEC + now.tv_nsec) / p->multiplier;
		shifted = clock == CLOCK_REALTIME ? p->real_nsec : p->mono_nsec;
		if (cycles > p->cycle) /* long ago, if the kernel was stopped meanwhile */
			shifted += (unsigned __int128)(cycles - p->cycle) * p->mult;
		ns = shifted >> p->shift;
		*sec = clock == CLOCK_REALTIME ? p->real_sec : p->mono_sec;
		asm volatile("" ::: "memory");
	} while (p->seq != seq);
	*sec += ns / VDSO_CLOCK_NSEC;
	*nsec = ns % VDSO_CLOCK_NSEC;
	return 1;
}

#endif
