/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The process on the host that an address space runs in takes the host some hundred microseconds to make, and as many to end, of the three milliseconds of a small
 * program's life. So a few that are not needed any more are kept, stopped, for the next address spaces. Such a process has nothing of its own but what is mapped and
 * its registers: the former is unmapped before it runs again (init_new_context), as the host's own mappings in a new one are, and registers are set
 * whenever a process is continued.
 *
 * It is for ptrace alone: with seccomp a process has a socket, too, and several CPUs may be at it.
 */
#ifndef __SEKEXE_STUB_POOL_H
#define __SEKEXE_STUB_POOL_H

/* A shell that starts programs needs two; what is kept has a few hundred KiB of the host's memory, with the page tables of what it ran. */
#define STUB_POOL 3

int stub_is_stopped(int pid);
void stub_pool_drain(void);

static struct {
	spinlock_t lock;
	int len;
	struct {
		int pid;
		unsigned long stack;
	} stubs[STUB_POOL];
} stub_pool = { .lock = __SPIN_LOCK_UNLOCKED(stub_pool.lock) };

/* Takes the process of an address space that nobody uses any more. Returns whether it did. */
static bool stub_pool_put(struct mm_id *id)
{
	/* What was not told to it (a negative number: it failed to do it) is of no use to the next one. */
	if (using_seccomp || id->pid <= 0 || id->syscall_data_len < 0)
		return false;

	guard(spinlock_irqsave)(&stub_pool.lock);
	if (stub_pool.len == STUB_POOL)
		return false;
	stub_pool.stubs[stub_pool.len].pid = id->pid;
	stub_pool.stubs[stub_pool.len++].stack = id->stack;
	id->pid = -1;
	return true;
}

static bool stub_pool_pop(struct mm_id *id)
{
	guard(spinlock_irqsave)(&stub_pool.lock);
	if (!stub_pool.len)
		return false;
	id->pid = stub_pool.stubs[--stub_pool.len].pid;
	id->stack = stub_pool.stubs[stub_pool.len].stack;
	return true;
}

static void stub_pool_end(struct mm_id *id)
{
	os_kill_ptraced_process(id->pid, 1);
	free_pages(id->stack, ilog2(STUB_DATA_PAGES));
}

/* Gives an address space a process, and the page that they share. Returns whether there was one. */
static bool stub_pool_get(struct mm_id *id)
{
	while (stub_pool_pop(id)) {
		if (stub_is_stopped(id->pid)) {
			memset((void *)id->stack, 0, STUB_DATA_PAGES * PAGE_SIZE);
			return true;
		}
		stub_pool_end(id); /* the host has ended it, or it was left at something */
	}
	return false;
}

/* Called before this kernel ends, or starts again. */
void stub_pool_drain(void)
{
	struct mm_id id;

	while (stub_pool_pop(&id))
		stub_pool_end(&id);
}

#endif
