/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What time it is costs a process of a guest a system call, which is what the vDSO of every other architecture spares it. The kernel reads the host's
 * monotonic clock for it, by the host's vDSO; which is in each of its processes, too, above all that is theirs. So it is left there, and theirs
 * calls it and does with what it says what the kernel would (kernel/time/vsyscall.c, lib/vdso/gettimeofday.c).
 */
#ifndef __SEKEXE_VDSO_CLOCK_H
#define __SEKEXE_VDSO_CLOCK_H

/* The page after the code's, which processes read and the kernel writes. A clock is sec seconds and nsec nanoseconds, shifted, at cycle. */
struct vdso_clock_page {
	unsigned int seq;		/* odd while it is written */
	unsigned int mult, shift;	/* of nanoseconds a cycle */
	unsigned int multiplier;	/* nanoseconds of the host's clock a cycle */
	unsigned long long cycle;
	unsigned long long real_sec, real_nsec;
	unsigned long long mono_sec, mono_nsec;
	unsigned long host;		/* the host's clock_gettime; 0: there is none, ask the kernel */
};

#endif
