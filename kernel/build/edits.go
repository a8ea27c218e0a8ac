package build

import (
	"crypto/sha256"
	_ "embed" // for the files of edits
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An edit is a change to the source of every kernel that is not built unmodified. Each makes what sub-kernels do most often cost less, and
// nothing else; docs/kernels.md says which there are, for users.
//
// A source that has other lines than an edit looks for is built without it.
type edit struct {
	name    string
	needs   place             // a text that must be there, too; its zero value: nothing
	adds    map[string]string // the texts of new files, by their paths
	changes []replacement     // all of them or none
}

// A place is a text in a file of the source, whose path is relative to its top folder.
type place struct{ file, text string }

// A replacement is a text in the place of another one, which stands in the file once.
type replacement struct {
	place
	to string
}

//go:embed edits/fault-around.h
var faultAround string

//go:embed edits/fault-guess.h
var faultGuess string

//go:embed edits/hostfs-readahead.h
var hostfsReadahead string

//go:embed edits/vdso-clock.h
var vdsoClock string

//go:embed edits/vdso-clock-user.h
var vdsoClockUser string

//go:embed edits/vdso-clock-kernel.h
var vdsoClockKernel string

//go:embed edits/host-vdso.h
var hostVDSO string

//go:embed edits/direct-map.h
var directMap string

//go:embed edits/direct-map-hostfs.h
var directMapHostfs string

//go:embed edits/direct-map-ops.h
var directMapOps string

//go:embed edits/direct-map-stub.h
var directMapStub string

//go:embed edits/direct-map-user.h
var directMapUser string

//go:embed edits/stub-pool.h
var stubPool string

//go:embed edits/lazy-fp.h
var lazyFP string

const (
	umPgtable  = "arch/um/include/asm/pgtable.h"
	umTrap     = "arch/um/kernel/trap.c"
	umStub     = "arch/um/kernel/skas/stub.c"
	umStubExe  = "arch/um/kernel/skas/stub_exe.c"
	umMem      = "arch/um/os-Linux/skas/mem.c"
	umMMU      = "arch/um/kernel/skas/mmu.c"
	umSyscall  = "arch/um/kernel/skas/syscall.c"
	umVDSO     = "arch/x86/um/vdso/um_vdso.c"
	umVMA      = "arch/x86/um/vdso/vma.c"
	hostfsKern = "fs/hostfs/hostfs_kern.c"
	hostfsUser = "fs/hostfs/hostfs_user.c"
	umProcess  = "arch/um/os-Linux/skas/process.c"
	umThreads  = "arch/um/kernel/process.c"
	umReboot   = "arch/um/kernel/reboot.c"
	umPtrace   = "arch/x86/um/ptrace.c"
)

// edits are in the order in which they are made.
var edits = []edit{
	{
		// Of the pages that are mapped in one call each follows the one before it; the kernel steps by as many as are left. It matters as soon as
		// more than two are mapped so.
		name:    "page-step",
		changes: []replacement{{place{umPgtable, "(nr << PFN_PTE_SHIFT)"}, "(1UL << PFN_PTE_SHIFT)"}},
	},
	{
		// A page that is mapped into a guest's process was asked for by a fault of it, and would be faulted in on the host by a second one.
		// MAP_POPULATE (mmap(2)) spares that. A process that was just made has more of them, which it may never touch.
		name: "populate",
		changes: []replacement{{
			place{umStub, "MAP_SHARED | MAP_FIXED,"},
			"MAP_SHARED | MAP_FIXED |\n\t\t\t\t\t    (d->syscall_data_len <= 70 && sc->mem.length <= 64 * UM_KERN_PAGE_SIZE ? MAP_POPULATE : 0),",
		}},
	},
	{
		// edits/fault-around.h says why. Only since it notes what is to be mapped (um_tlb_mark_sync, from 6.11 on) does the kernel map more than
		// the page of the fault.
		name:  "fault-around",
		needs: place{umPgtable, "um_tlb_mark_sync"},
		adds:  map[string]string{"arch/um/kernel/fault-around.h": faultAround},
		changes: []replacement{
			{place{umTrap, "#include <skas.h>\n"}, "#include <skas.h>\n#include \"fault-around.h\"\n"},
			{place{umTrap, "\tdo {\n\t\tvm_fault_t fault;\n"}, "\tbool around = is_write && is_user && fault_around_untouched(mm, address);\n\n\tdo {\n\t\tvm_fault_t fault;\n"},
			{place{umTrap, "} while (!pte_present(*pte));\n"}, "} while (!pte_present(*pte));\n\tif (around)\n\t\tfault_around(vma, address);\n"},
		},
	},
	{
		// edits/fault-guess.h says why.
		name:  "fault-guess",
		needs: place{umTrap, "#include \"fault-around.h\"\n"},
		adds:  map[string]string{"arch/um/kernel/fault-guess.h": faultGuess},
		changes: []replacement{
			{place{umTrap, "static void show_segv_info("}, "#include \"fault-guess.h\"\n\nstatic void show_segv_info("},
			{place{umProcess, "static void get_skas_faultinfo("}, "int fault_guess(struct faultinfo *fi, unsigned long address, unsigned long ip, int code);\nvoid fault_guessed(struct faultinfo *fi, unsigned long ip);\n\nstatic void get_skas_faultinfo("},
			{place{umProcess, "\tsiginfo_t *si;\n\tint sig;\n"}, "\tsiginfo_t *si;\n\tint sig, guessed;\n"},
			{place{umProcess, "\t\tcurrent_mm_sync();\n"}, "\t\tguessed = 0;\n\t\tcurrent_mm_sync();\n"},
			{
				place{umProcess, "\t\t\t\tcase SIGSEGV:\n\t\t\t\t\tget_skas_faultinfo("},
				"\t\t\t\tcase SIGSEGV:\n" +
					"\t\t\t\t\tguessed = !ptrace(PTRACE_GETSIGINFO, pid, 0, &si_local) &&\n" +
					"\t\t\t\t\t\t  fault_guess(&regs->faultinfo, (unsigned long)si_local.si_addr,\n" +
					"\t\t\t\t\t\t\t      UPT_IP(regs), si_local.si_code);\n" +
					"\t\t\t\t\tif (guessed)\n" +
					"\t\t\t\t\t\tbreak;\n" +
					"\t\t\t\t\tget_skas_faultinfo(",
			},
			{
				place{umProcess, "\t\t\tcase SIGSEGV:\n\t\t\t\tif (using_seccomp"},
				"\t\t\tcase SIGSEGV:\n\t\t\t\tif (guessed)\n\t\t\t\t\tfault_guessed(&regs->faultinfo, UPT_IP(regs));\n\t\t\t\telse if (using_seccomp",
			},
		},
	},
	{
		// Files that are read are mapped in windows of 32 pages in place of 16: as many as are read ahead.
		name:    "file-fault-around",
		needs:   place{umPgtable, "um_tlb_mark_sync"},
		changes: []replacement{{place{"mm/memory.c", "\t65536 >> PAGE_SHIFT;"}, "\t131072 >> PAGE_SHIFT;"}},
	},
	{
		// Of a program's text what is read ahead is what follows the page of the fault; what the window has before it is read by faults of its own.
		// It begins with the window if the folios that an architecture prefers for text, as large as it, do (mm/filemap.c, do_sync_mmap_readahead).
		name:  "text-read-ahead",
		needs: place{"mm/filemap.c", "ra->order = exec_folio_order();"},
		changes: []replacement{{
			place{umPgtable, "#define PFN_PTE_SHIFT\t\tPAGE_SHIFT\n"},
			"#define PFN_PTE_SHIFT\t\tPAGE_SHIFT\n\n#define exec_folio_order exec_folio_order\nstatic inline unsigned int exec_folio_order(void)\n{\n\treturn 5;\n}\n",
		}},
	},
	{
		// A forked process has its parent's pages marked as not used yet, which UML makes the host find out: the first read of each is a fault. It serves
		// to find what may be swapped out, and is not worth that.
		name: "fork-young",
		changes: []replacement{{
			place{"mm/memory.c", "\tpte = pte_mkold(pte);\n\n\tif (!userfaultfd_wp(dst_vma))\n"},
			"\n\tif (!userfaultfd_wp(dst_vma))\n",
		}},
	},
	{
		// edits/hostfs-readahead.h says what it is for.
		name: "hostfs-readahead",
		adds: map[string]string{"fs/hostfs/hostfs-readahead.h": hostfsReadahead},
		changes: []replacement{
			{place{hostfsKern, "static const struct address_space_operations hostfs_aops = {\n"}, "#include \"hostfs-readahead.h\"\n\nstatic const struct address_space_operations hostfs_aops = {\n\t.readahead\t= hostfs_readahead,\n"},
			{place{"fs/hostfs/hostfs.h", "extern int read_file("}, "extern int read_pages(int fd, unsigned long long offset, void **pages, int count, int size);\nextern int read_file("},
			{place{hostfsUser, "#include <utime.h>\n"}, "#include <sys/uio.h>\n#include <utime.h>\n"},
			{
				place{hostfsUser, "int read_file(int fd,"},
				"int read_pages(int fd, unsigned long long offset, void **pages, int count, int size)\n{\n\tstruct iovec iov[32];\n\tint i, n;\n\n" +
					"\tfor (i = 0; i < count && i < 32; i++)\n\t\tiov[i] = (struct iovec) { .iov_base = pages[i], .iov_len = size };\n" +
					"\tn = preadv64(fd, iov, i, offset);\n\treturn n < 0 ? -errno : n;\n}\n\nint read_file(int fd,",
			},
		},
	},
	{
		// edits/lazy-fp.h says why.
		name: "lazy-fp",
		adds: map[string]string{"arch/um/os-Linux/skas/lazy-fp.h": lazyFP},
		changes: []replacement{
			{place{umProcess, "#include \"../internal.h\"\n"}, "#include \"../internal.h\"\n#include \"lazy-fp.h\"\n"},
			{place{umProcess, "if (put_fp_registers(pid, regs->fp)) {"}, "if (put_changed_fp_registers(pid, regs)) {"},
			{place{umProcess, "if (get_fp_registers(pid, regs->fp)) {"}, "if (stopped_fp_registers(pid, regs)) {"},
			{place{umProcess, "\terr = ptrace(PTRACE_CONT, pid, 0, SIGSEGV);\n"}, "\ttake_fp_registers(pid);\n\terr = ptrace(PTRACE_CONT, pid, 0, SIGSEGV);\n"},
			{place{"arch/x86/um/shared/sysdep/ptrace.h", "#define EMPTY_UML_PT_REGS { }\n"},
				"void fetch_fp_registers(struct uml_pt_regs *regs);\nvoid drop_fp_registers(struct uml_pt_regs *regs);\n\n#define EMPTY_UML_PT_REGS { }\n"},
			{place{umThreads, "int arch_dup_task_struct(struct task_struct *dst,"},
				"void arch_release_task_struct(struct task_struct *tsk)\n{\n\tdrop_fp_registers(&tsk->thread.regs.regs);\n}\n\nint arch_dup_task_struct(struct task_struct *dst,"},
			{place{umThreads, "\t/* init_task is not dynamically sized (missing FPU state) */\n"}, "\tfetch_fp_registers(&src->thread.regs.regs);\n\t/* init_task is not dynamically sized (missing FPU state) */\n"},
			{place{"arch/um/kernel/exec.c", "\tget_safe_registers(current_pt_regs()->regs.gp,\n"}, "\tdrop_fp_registers(&current_pt_regs()->regs);\n\tget_safe_registers(current_pt_regs()->regs.gp,\n"},
			{place{"arch/x86/um/signal.c", "\terr = copy_from_user(regs->regs.fp, from_fp64, host_fp_size);\n"}, "\tfetch_fp_registers(&regs->regs);\n\terr = copy_from_user(regs->regs.fp, from_fp64, host_fp_size);\n"},
			{place{"arch/x86/um/signal.c", "\tif (copy_to_user(to_fp64, regs->regs.fp, host_fp_size))\n"}, "\tfetch_fp_registers(&regs->regs);\n\tif (copy_to_user(to_fp64, regs->regs.fp, host_fp_size))\n"},
			{place{umPtrace, "\tmembuf_write(&to, fpregs, regset->size * regset->n);\n"}, "\tfetch_fp_registers(&task_pt_regs(target)->regs);\n\tmembuf_write(&to, fpregs, regset->size * regset->n);\n"},
			{place{umPtrace, "\treturn user_regset_copyin(&pos, &count, &kbuf, &ubuf,\n\t\t\t\t  fpregs,"}, "\tfetch_fp_registers(&task_pt_regs(target)->regs);\n\treturn user_regset_copyin(&pos, &count, &kbuf, &ubuf,\n\t\t\t\t  fpregs,"},
			// What runs in the process between two stops, the stub, may not use the registers.
			{place{"arch/um/kernel/skas/Makefile", "CFLAGS_stub.o := $(CFLAGS_NO_HARDENING)"}, "CFLAGS_stub.o := $(CFLAGS_NO_HARDENING) -mgeneral-regs-only"},
			{place{umProcess, "\tif (mm_id->pid < 0) {\n"}, "\tforget_fp_registers(mm_id->pid);\n\tif (mm_id->pid < 0) {\n"},
		},
	},
	{
		// edits/vdso-clock.h and host-vdso.h say why and how.
		name: "vdso-clock",
		adds: map[string]string{
			"arch/x86/um/vdso/vdso-clock.h":        vdsoClock,
			"arch/x86/um/vdso/vdso-clock-user.h":   vdsoClockUser,
			"arch/x86/um/vdso/vdso-clock-kernel.h": vdsoClockKernel,
			"arch/um/os-Linux/skas/host-vdso.h":    hostVDSO,
		},
		changes: []replacement{
			// A new process says where the host's vDSO is.
			{place{umStubExe, "\t/* In SECCOMP mode, we only need the signalling FD from now on */\n"},
				"\tunsigned long auxv[64], i;\n\tlong size = stub_syscall5(__NR_prctl, 0x41555856 /* PR_GET_AUXV */, (unsigned long)auxv, sizeof(auxv), 0, 0);\n\n" +
					"\tfor (i = 0; size > 0 && i < 62 && auxv[i]; i += 2)\n\t\tif (auxv[i] == 33 /* AT_SYSINFO_EHDR */)\n" +
					"\t\t\t((struct stub_data *)(init_data.stub_start + UM_KERN_PAGE_SIZE))->syscall_data[0].mem.addr = auxv[i + 1];\n\n" +
					"\t/* In SECCOMP mode, we only need the signalling FD from now on */\n"},
			{place{umProcess, "int start_userspace(struct mm_id *mm_id)\n"}, "#include \"host-vdso.h\"\n\nint start_userspace(struct mm_id *mm_id)\n"},
			{place{umProcess, "\tif (munmap(stack, UM_KERN_PAGE_SIZE) < 0) {\n"},
				"\thost_vdso_found(proc_data->syscall_data[0].mem.addr);\n" +
					"\tif (munmap(stack, UM_KERN_PAGE_SIZE) < 0) {\n"},
			{place{umMMU, "\tunmap(new_id, 0, STUB_START);\n"},
				"\tif (host_vdso) {\n\t\tunmap(new_id, 0, host_vdso - 16 * PAGE_SIZE);\n\t\tunmap(new_id, host_vdso + 16 * PAGE_SIZE, STUB_START - host_vdso - 16 * PAGE_SIZE);\n\t} else {\n\t\tunmap(new_id, 0, STUB_START);\n\t}\n"},
			{place{umMMU, "static_assert(sizeof(struct stub_data)"}, "extern unsigned long host_vdso;\n\nstatic_assert(sizeof(struct stub_data)"},
			// What the host's vDSO asks the host's kernel for, because it can't tell the time by itself, ends here. Processes ask once more.
			{place{umSyscall, "void handle_syscall("}, "extern unsigned long host_vdso;\n\nvoid handle_syscall("},
			{place{umSyscall, "\tPT_REGS_SET_SYSCALL_RETURN(regs, -ENOSYS);\n"},
				"\tPT_REGS_SET_SYSCALL_RETURN(regs, -ENOSYS);\n\n\tif (host_vdso && UPT_IP(r) >= host_vdso && UPT_IP(r) < STUB_START)\n\t\treturn;\n"},
			{place{umSyscall, "#include <asm/delay.h>\n"}, "#include <asm/delay.h>\n#include <as-layout.h>\n"},
			{place{umVDSO, "#include <asm/unistd.h>\n"}, "#include <asm/unistd.h>\n#include \"vdso-clock-user.h\"\n"},
			{place{umVDSO, "\tlong ret;\n\n\tasm(\"syscall\"\n\t\t: \"=a\" (ret)\n\t\t: \"0\" (__NR_clock_gettime)"},
				"\tunsigned long long sec;\n\tunsigned long nsec;\n\tlong ret;\n\n" +
					"\tif (vdso_clock_read(clock, &sec, &nsec)) {\n\t\tts->tv_sec = sec;\n\t\tts->tv_nsec = nsec;\n\t\treturn 0;\n\t}\n" +
					"\tasm(\"syscall\"\n\t\t: \"=a\" (ret)\n\t\t: \"0\" (__NR_clock_gettime)"},
			{place{umVDSO, "\tlong ret;\n\n\tasm(\"syscall\"\n\t\t: \"=a\" (ret)\n\t\t: \"0\" (__NR_gettimeofday)"},
				"\tunsigned long long sec;\n\tunsigned long nsec;\n\tlong ret;\n\n" +
					"\tif (tv && !tz && vdso_clock_read(CLOCK_REALTIME, &sec, &nsec)) {\n\t\ttv->tv_sec = sec;\n\t\ttv->tv_usec = nsec / 1000;\n\t\treturn 0;\n\t}\n" +
					"\tasm(\"syscall\"\n\t\t: \"=a\" (ret)\n\t\t: \"0\" (__NR_gettimeofday)"},
			{
				place{"arch/x86/um/vdso/Makefile", "CFLAGS_REMOVE_um_vdso.o = -pg -fprofile-arcs -ftest-coverage\n"},
				"CFLAGS_REMOVE_um_vdso.o = -pg -fprofile-arcs -ftest-coverage\nKASAN_SANITIZE_um_vdso.o := n\nUBSAN_SANITIZE_um_vdso.o := n\nKCOV_INSTRUMENT_um_vdso.o := n\n",
			},
			{place{umVMA, "#include <linux/init.h>\n"}, "#include <linux/init.h>\n#include \"vdso-clock-kernel.h\"\n"},
			{place{umVMA, "\tum_vdso_addr = task_size - PAGE_SIZE;\n"}, "\tum_vdso_addr = task_size - 2 * PAGE_SIZE; /* STACK_TOP is there */\n\tvdso_clock_init();\n"},
			{place{umVMA, "\tmmap_write_unlock(mm);\n\n\treturn IS_ERR(vma) ? PTR_ERR(vma) : 0;\n"},
				"\tint err = IS_ERR(vma) ? PTR_ERR(vma) : vdso_clock_map(mm, um_vdso_addr + PAGE_SIZE);\n\n\tmmap_write_unlock(mm);\n\n\treturn err;\n"},
		},
	},
	{
		// edits/direct-map.h says why and how.
		name:  "direct-map",
		needs: place{umTrap, "fault_around(vma, address)"},
		adds: map[string]string{
			"arch/um/include/asm/direct-map.h":        directMapOps,
			"arch/um/kernel/direct-map.h":             directMap,
			"arch/um/kernel/skas/direct-map-stub.h":   directMapStub,
			"arch/um/os-Linux/skas/direct-map-user.h": directMapUser,
			"fs/hostfs/direct-map-hostfs.h":           directMapHostfs,
		},
		changes: []replacement{
			{place{umTrap, "#include \"fault-around.h\"\n"}, "#include <asm/direct-map.h>\n#include \"fault-around.h\"\n#include \"direct-map.h\"\n"},
			{place{umTrap, "\tif (around)\n\t\tfault_around(vma, address);\n"}, "\tif (around)\n\t\tdirect_map_around(vma, address, ip);\n"},
			{place{umTrap, "\tdo {\n\t\tvm_fault_t fault;\n"}, "\tif (is_user && !is_write && direct_map(vma, ip)) {\n\t\terr = 0;\n\t\tgoto out;\n\t}\n\n\tdo {\n\t\tvm_fault_t fault;\n"},
			// The address of a fault that the host has had nothing for is with the signal alone.
			{place{umTrap, "\tif ((err == 0) && (siginfo_layout(sig, code) == SIL_FAULT)) {\n\t\tstruct faultinfo *fi = UPT_FAULTINFO(regs);\n"},
				"\tif ((err == 0) && (siginfo_layout(sig, code) == SIL_FAULT)) {\n\t\tstruct faultinfo *fi = UPT_FAULTINFO(regs);\n\n" +
					"\t\tif (sig == SIGBUS)\n\t\t\t*fi = (struct faultinfo) { .cr2 = (unsigned long)si->si_addr, .trap_no = 14 };\n"},
			{place{"arch/um/include/shared/skas/stub-data.h", "\tSTUB_SYSCALL_MUNMAP,\n"}, "\tSTUB_SYSCALL_MUNMAP,\n\tSTUB_SYSCALL_FILE,\n"},
			{place{umStub, "static __always_inline int syscall_handler("}, "#include \"direct-map-stub.h\"\n\nstatic __always_inline int syscall_handler("},
			{place{umStub, "\t\tdefault:\n"}, "\t\tcase STUB_SYSCALL_FILE:\n\t\t\tmap_file(sc, fd_map);\n\t\t\tbreak;\n\t\tdefault:\n"},
			// Of a file that was cut short on the host, pages are not there.
			{place{umStubExe, "\t\tres = stub_syscall4(__NR_rt_sigaction, SIGFPE,\n"},
				"\t\tres = stub_syscall4(__NR_rt_sigaction, SIGBUS,\n\t\t\t\t    (unsigned long)&sa, 0, sizeof(sa.sa_mask));\n\t\tif (res != 0)\n\t\t\tstub_syscall1(__NR_exit, 22);\n\n" +
					"\t\tres = stub_syscall4(__NR_rt_sigaction, SIGFPE,\n"},
			{place{umMem, "#include <sys/mman.h>\n"}, "#include <fcntl.h>\n#include <sys/mman.h>\n#include <sys/socket.h>\n"},
			{place{umMem, "static inline long do_syscall_stub("}, "static void send_files(struct stub_data *proc_data);\n\nstatic inline long do_syscall_stub("},
			{place{umMem, "\t\tn = ptrace_setregs(pid, syscall_regs);\n"}, "\t\tsend_files(proc_data);\n\t\tn = ptrace_setregs(pid, syscall_regs);\n"},
			{place{umMem, "int map(struct mm_id *mm_idp,"}, "#include \"direct-map-user.h\"\n\nint map(struct mm_id *mm_idp,"},
			{place{umProcess, "static int userspace_tramp("}, "void open_file_socks(void);\nvoid inherit_file_socks(void);\n\nstatic int userspace_tramp("},
			{place{umProcess, "\tfcntl(init_data.stub_data_fd, F_SETFD, 0);\n"}, "\tfcntl(init_data.stub_data_fd, F_SETFD, 0);\n\tinherit_file_socks();\n"},
			{place{umProcess, "\tmm_id->pid = clone("}, "\topen_file_socks();\n\tmm_id->pid = clone("},
			{place{hostfsKern, "static const struct file_operations hostfs_file_fops = {\n"}, "#include \"direct-map-hostfs.h\"\n\nstatic const struct file_operations hostfs_file_fops = {\n"},
			{place{hostfsKern, "\t.mmap_prepare\t= generic_file_mmap_prepare,\n"}, "\t.mmap_prepare\t= hostfs_mmap_prepare,\n"},
			{place{hostfsKern, "\treturn register_filesystem(&hostfs_type);\n"}, "\tdirect_map_fd = hostfs_direct_map_fd;\n\tdirect_map_read = hostfs_direct_map_read;\n\treturn register_filesystem(&hostfs_type);\n"},
		},
	},
	{
		// edits/stub-pool.h says why.
		name:  "stub-pool",
		needs: place{umProcess, "\tforget_fp_registers(mm_id->pid);\n"},
		adds:  map[string]string{"arch/um/kernel/skas/stub-pool.h": stubPool},
		changes: []replacement{
			{place{umMMU, "int init_new_context("}, "#include \"stub-pool.h\"\n\nint init_new_context("},
			{place{umMMU, "\tstack = __get_free_pages(GFP_KERNEL | __GFP_ZERO, ilog2(STUB_DATA_PAGES));\n"},
				"\tbool kept = stub_pool_get(new_id);\n\n\tstack = kept ? new_id->stack : __get_free_pages(GFP_KERNEL | __GFP_ZERO, ilog2(STUB_DATA_PAGES));\n"},
			{place{umMMU, "\tret = start_userspace(new_id);\n"}, "\tret = kept ? 0 : start_userspace(new_id);\n"},
			{place{umMMU, "\tif (mmu->id.pid > 0) {\n"}, "\tif (stub_pool_put(&mmu->id))\n\t\treturn;\n\n\tif (mmu->id.pid > 0) {\n"},
			{place{umProcess, "int start_userspace(struct mm_id *mm_id)\n"},
				"int stub_is_stopped(int pid);\n\n/* Called with a process that is to run another program. */\nint stub_is_stopped(int pid)\n{\n\tunsigned long regs[MAX_REG_NR];\n\n" +
					"\tforget_fp_registers(pid);\n\treturn ptrace(PTRACE_GETREGS, pid, 0, regs) >= 0;\n}\n\nint start_userspace(struct mm_id *mm_id)\n"},
			{place{umReboot, "static void kill_off_processes(void)\n"}, "void stub_pool_drain(void);\n\nstatic void kill_off_processes(void)\n"},
			{place{umReboot, "\tread_lock(&tasklist_lock);\n"}, "\tstub_pool_drain();\n\tread_lock(&tasklist_lock);\n"},
		},
	},
}

// editsHash tells one version of the edits from another, in hexadecimal.
func editsHash() string {
	h := sha256.New()
	for _, e := range edits {
		fmt.Fprintf(h, "%q %q %q %q\n", e.name, e.needs, e.adds, e.changes) // maps are printed in order
	}
	return hex.EncodeToString(h.Sum(nil))
}

// editsFile is a file in an edited source with the names of the edits that it has no place for, a line each.
const editsFile = ".sekexe-unapplied"

// applyEdits makes the edits in a source that is sekexe's own.
func applyEdits(dir string) error {
	var unapplied strings.Builder
	for _, e := range edits {
		ok, err := e.apply(dir)
		if err != nil {
			return withHint(fmt.Errorf("source: edit it: %w", err), "build it --unmodified, or from a copy without links that lead out of it")
		}
		if !ok {
			fmt.Fprintln(&unapplied, e.name)
		}
	}
	if err := replaceFile(dir, editsFile, unapplied.String()); err != nil {
		return fmt.Errorf("source: edit it: %w", err)
	}
	return nil
}

// editsOf says which edits a source has, and for which it had no place.
func editsOf(dir string) (applied, unapplied []string, err error) {
	b, err := os.ReadFile(filepath.Join(dir, editsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("source: look for its edits: %w", err)
	}
	unapplied = strings.Fields(string(b))
	for _, e := range edits {
		if !slices.Contains(unapplied, e.name) {
			applied = append(applied, e.name)
		}
	}
	return applied, unapplied, nil
}

// apply makes an edit, or says that it has no place there.
func (e *edit) apply(dir string) (bool, error) {
	files := map[string]string{}
	read := func(name string) (string, error) {
		if text, ok := files[name]; ok {
			return text, nil
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return string(b), err
	}
	if e.needs.file != "" {
		if text, err := read(e.needs.file); err != nil || !strings.Contains(text, e.needs.text) {
			return false, err
		}
	}
	for _, c := range e.changes {
		text, err := read(c.file)
		if err != nil || strings.Count(text, c.text) != 1 {
			return false, err
		}
		files[c.file] = strings.Replace(text, c.text, c.to, 1)
	}
	maps.Copy(files, e.adds)
	for name, text := range files {
		if err := replaceFile(dir, name, text); err != nil {
			return false, err
		}
	}
	return true, nil
}

// replaceFile makes a new file in the place of what is there below dir, which may be a link to the user's source. A folder may not be one.
func replaceFile(dir, name, text string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.WriteFile(name, []byte(text), 0o644)
}

// link makes a copy of the user's source without its version control, in which every file is a symbolic link.
func link(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		switch {
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(dst, 0o755)
		case d.Type()&fs.ModeSymlink != 0: // those of a kernel's source are relative
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, dst)
		case d.Name() == ".git": // of a work tree or a submodule
			return nil
		}
		return os.Symlink(path, dst)
	})
}
