/* SPDX-License-Identifier: GPL-2.0 */
/*
 * To write the floating-point registers of a traced process takes the host a tenth of what it takes to run a short one: for each time it allocates a
 * buffer and maps it (arch/x86/kernel/fpu/regset.c, xstateregs_set). After a system call the process still has them, unless another thread of its,
 * or a signal, has run in between.
 */
#ifndef __SEKEXE_LAZY_FP_H
#define __SEKEXE_LAZY_FP_H

/* The process that this CPU ran last, -1 if its registers were changed since or it is a new one of the same number, and what they were. */
static __thread int fp_pid = -1;
static __thread void *fp_last;

static int put_changed_fp_registers(int pid, unsigned long *fp)
{
	if (pid == fp_pid && !memcmp(fp_last, fp, host_fp_size))
		return 0;
	return put_fp_registers(pid, fp);
}

/*
 * Called with the registers of a process that has stopped. intact: it will keep them until it is continued. A signal that is delivered to it, as for
 * a page fault, resets them (arch/x86/kernel/signal.c, handle_signal).
 */
static void note_fp_registers(int pid, int intact, unsigned long *fp)
{
	if (!fp_last)
		fp_last = malloc(host_fp_size);
	fp_pid = intact && fp_last ? pid : -1;
	if (fp_pid == pid)
		memcpy(fp_last, fp, host_fp_size);
}

#endif
