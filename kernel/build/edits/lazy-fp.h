/* SPDX-License-Identifier: GPL-2.0 */
/*
 * To write the floating-point registers of a traced process takes the host a tenth of what it takes to run a short one: for each time it allocates a
 * buffer and maps it (arch/x86/kernel/fpu/regset.c, xstateregs_set). To read them costs little, and so does to write those alone that were there before AVX
 * (xfpregs_set). So they are written only if they are not those that the process has, and all of them only if more than those differ.
 */
#ifndef __SEKEXE_LAZY_FP_H
#define __SEKEXE_LAZY_FP_H

/* A power of 2. With processes of the same place in the table each takes it from the other. */
#define FP_TABLE 64

/* What FXSAVE writes, and with it XSAVE's header, in bytes (Intel SDM, volume 1, 13.4). */
#define FP_LEGACY 512
#define FP_HEADER_END 576

/* The registers that stopped processes have. They are written with ptrace alone, and that has one CPU (arch/um/os-Linux/start_up.c). */
static struct fp_entry {
	int pid; /* 0: none */
	char *fp;
} fp_table[FP_TABLE];

/* The process does not have the registers any more that it stopped with: a handler of a signal has begun in it (arch/x86/kernel/signal.c, handle_signal). */
static void forget_fp_registers(int pid)
{
	if (pid > 0 && fp_table[pid % FP_TABLE].pid == pid)
		fp_table[pid % FP_TABLE].pid = 0;
}

/* Called with the registers of a process that has stopped. */
static void note_fp_registers(int pid, unsigned long *fp)
{
	struct fp_entry *e = &fp_table[pid % FP_TABLE];

	e->pid = 0;
	if (!e->fp)
		e->fp = malloc(host_fp_size);
	if (!e->fp)
		return;
	memcpy(e->fp, fp, host_fp_size);
	e->pid = pid;
}

/* Whether a process has other registers than those at fp beyond the first ones. What is in the header follows from the registers. */
static int other_extended_registers(struct fp_entry *e, char *fp)
{
	return host_fp_size > FP_HEADER_END &&
	       memcmp(e->fp + FP_HEADER_END, fp + FP_HEADER_END, host_fp_size - FP_HEADER_END);
}

static int put_changed_fp_registers(int pid, unsigned long *fp)
{
	struct fp_entry *e = &fp_table[pid % FP_TABLE];

	if (e->pid != pid) {
		e->pid = 0;
		if (!e->fp)
			e->fp = malloc(host_fp_size);
		if (!e->fp || get_fp_registers(pid, (unsigned long *)e->fp))
			return put_fp_registers(pid, fp);
		e->pid = pid;
	}
	if (!memcmp(e->fp, fp, host_fp_size))
		return 0;
	e->pid = 0; /* until it stops again */
	if (other_extended_registers(e, (char *)fp))
		return put_fp_registers(pid, fp);
	return ptrace(PTRACE_SETFPREGS, pid, 0, fp) < 0 ? -errno : 0;
}

#endif
