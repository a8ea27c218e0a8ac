/* SPDX-License-Identifier: GPL-2.0 */
/*
 * To write the floating-point registers of a traced process takes the host a tenth of what it takes to run a short one: for each time it allocates a
 * buffer and maps it (arch/x86/kernel/fpu/regset.c, xstateregs_set). To read them takes a tenth of a stop, and so does to write those alone that were there before AVX
 * (xfpregs_set). So they are left where they are, in the process, until somebody wants them: another thread of it, a fork, a signal's handler or a debugger.
 * They are written only if they are not those that the process has, and all of them only if more than those differ.
 */
#ifndef __SEKEXE_LAZY_FP_H
#define __SEKEXE_LAZY_FP_H

/* A power of 2. With processes of the same place in the table each takes it from the other. */
#define FP_TABLE 64

/* What FXSAVE writes, in bytes; behind it XSAVE says which registers have other than their initial values (Intel SDM, volume 1, 13.4). */
#define FP_LEGACY 512

/* The registers of stopped processes. It is for ptrace alone, and that has one CPU (arch/um/os-Linux/start_up.c). */
static struct fp_entry {
	int pid; /* 0: none */
	struct uml_pt_regs *owner; /* the thread whose registers only the process has; NULL: fp has them, and so has the thread */
	char *fp;
} fp_table[FP_TABLE];

/* Gives a thread the registers that the process has. That fails if it is gone, as it is for one that executes another program, or ends. */
static void fetch_fp_entry(struct fp_entry *e)
{
	int on = um_set_signals(0); /* a thread that has ended is freed in an interrupt, too (drop_fp_registers) */

	if (e->owner && get_fp_registers(e->pid, e->owner->fp))
		e->pid = 0;
	else if (e->owner)
		memcpy(e->fp, e->owner->fp, host_fp_size);
	e->owner = NULL;
	um_set_signals(on);
}

static struct fp_entry *fp_entry(int pid)
{
	struct fp_entry *e = &fp_table[pid % FP_TABLE];

	return e->pid == pid ? e : NULL;
}

/* A process is new, and may have the number of one that was there before. */
static void forget_fp_registers(int pid)
{
	struct fp_entry *e = pid > 0 ? fp_entry(pid) : NULL;

	if (e) {
		e->pid = 0;
		e->owner = NULL;
	}
}

/* A process will not have the registers any more that it has stopped with: a handler of a signal begins in it (arch/x86/kernel/signal.c, handle_signal). */
static void take_fp_registers(int pid)
{
	struct fp_entry *e = fp_entry(pid);

	if (e) {
		fetch_fp_entry(e);
		e->pid = 0;
	}
}

/* The place of a process in the table; NULL: there is no memory. This may sleep, and nothing that uses the place does. */
static struct fp_entry *fp_place(int pid)
{
	struct fp_entry *e = &fp_table[pid % FP_TABLE];
	char *fp;

	if (e->fp)
		return e;
	fp = malloc(host_fp_size);
	if (!e->fp)
		e->fp = fp;
	else
		free(fp); /* another one has come first */
	return e->fp ? e : NULL;
}

/* Called when a process has stopped that ran a thread. */
static int stopped_fp_registers(int pid, struct uml_pt_regs *regs)
{
	struct fp_entry *e = fp_place(pid);

	if (!e)
		return get_fp_registers(pid, regs->fp);
	if (e->pid != pid && e->pid)
		fetch_fp_entry(e);
	e->pid = pid;
	e->owner = regs;
	return 0;
}

/* Whether a process has other registers than those at fp beyond the first ones. */
static int other_extended_registers(struct fp_entry *e, char *fp)
{
	return host_fp_size > FP_LEGACY && memcmp(e->fp + FP_LEGACY, fp + FP_LEGACY, host_fp_size - FP_LEGACY);
}

/* Called with a process that is about to run a thread. */
static int put_changed_fp_registers(int pid, struct uml_pt_regs *regs)
{
	struct fp_entry *e = fp_place(pid);

	if (!e)
		return put_fp_registers(pid, regs->fp);
	if (e->pid == pid && e->owner == regs)
		return 0;
	if (e->pid)
		fetch_fp_entry(e);
	if (e->pid != pid) {
		e->pid = 0;
		if (get_fp_registers(pid, (unsigned long *)e->fp))
			return put_fp_registers(pid, regs->fp);
		e->pid = pid;
	}
	if (!memcmp(e->fp, regs->fp, host_fp_size))
		return 0;
	e->pid = 0; /* until it stops again */
	if (other_extended_registers(e, (char *)regs->fp))
		return put_fp_registers(pid, regs->fp);
	return ptrace(PTRACE_SETFPREGS, pid, 0, regs->fp) < 0 ? -errno : 0;
}

static struct fp_entry *owned_fp_entry(struct uml_pt_regs *regs)
{
	int i;

	for (i = 0; !using_seccomp && i < FP_TABLE; i++)
		if (fp_table[i].pid && fp_table[i].owner == regs)
			return &fp_table[i];
	return NULL;
}

/* To be called before the registers of a thread are read or written that does not run. */
void fetch_fp_registers(struct uml_pt_regs *regs)
{
	struct fp_entry *e = owned_fp_entry(regs);

	if (e)
		fetch_fp_entry(e);
}

/* A thread does not need the registers any more that it had: it gets others, or is gone. */
void drop_fp_registers(struct uml_pt_regs *regs)
{
	struct fp_entry *e = owned_fp_entry(regs);

	if (e) {
		e->pid = 0;
		e->owner = NULL;
	}
}

#endif
