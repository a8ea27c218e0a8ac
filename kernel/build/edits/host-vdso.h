/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's vDSO in the processes of a guest; arch/x86/um/vdso/vdso-clock.h says what it is for. Without randomization of addresses, which the kernel turns
 * off for itself (arch/um/os-Linux/main.c) and so for them, it is at the same address in each. The data that it reads is below it.
 */
#ifndef __SEKEXE_HOST_VDSO_H
#define __SEKEXE_HOST_VDSO_H

#include <elf.h>
#include <sys/auxv.h>

/* In bytes, a bound of what the vDSO and its data may take: more is not left in a process above and below its address. */
#define HOST_VDSO_ROOM (16 * UM_KERN_PAGE_SIZE)

extern unsigned long task_size;
void vdso_clock_start(void);
void vdso_clock_stop(void);

/* Where it begins in processes, and its clock_gettime; 0: it is not used. Both are known when the first process is. */
unsigned long host_vdso, host_vdso_clock_gettime;
static int host_vdso_sought;

/* Returns the offset of a function in the vDSO that is in this process; 0: it has none. */
static unsigned long host_vdso_function(const char *name)
{
	unsigned long base = getauxval(AT_SYSINFO_EHDR), offset = 0;
	const Elf64_Ehdr *ehdr = (void *)base;
	const Elf64_Phdr *phdr = (void *)(base + ehdr->e_phoff);
	const Elf64_Dyn *dyn = NULL;
	const Elf64_Sym *sym = NULL;
	const char *str = NULL;
	int i;

	if (!base)
		return 0;
	for (i = 0; i < ehdr->e_phnum; i++) {
		if (phdr[i].p_type == PT_LOAD)
			offset = phdr[i].p_vaddr - phdr[i].p_offset;
		if (phdr[i].p_type == PT_DYNAMIC)
			dyn = (void *)(base + phdr[i].p_offset);
	}
	for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
		if (dyn->d_tag == DT_SYMTAB)
			sym = (void *)(base + dyn->d_un.d_ptr - offset);
		if (dyn->d_tag == DT_STRTAB)
			str = (void *)(base + dyn->d_un.d_ptr - offset);
	}
	/* The strings follow the symbols. */
	for (; sym && (void *)(sym + 1) <= (void *)str; sym++)
		if (ELF64_ST_TYPE(sym->st_info) == STT_FUNC && sym->st_shndx != SHN_UNDEF && !strcmp(str + sym->st_name, name))
			return sym->st_value - offset;
	return 0;
}

/*
 * Called with where a new process says that it has the host's vDSO; 0: it says nothing. If it is not where others have it, as where the host does not let
 * randomization be turned off, nobody uses it from then on.
 */
static void host_vdso_found(unsigned long address)
{
	unsigned long function;

	if (host_vdso_sought) {
		if (host_vdso && address != host_vdso)
			vdso_clock_stop();
		return;
	}
	host_vdso_sought = 1;
	function = host_vdso_function("__vdso_clock_gettime");
	if (!function || address < task_size + HOST_VDSO_ROOM || address + HOST_VDSO_ROOM > STUB_START)
		return;
	host_vdso_clock_gettime = address + function;
	host_vdso = address;
	vdso_clock_start();
}

#endif
