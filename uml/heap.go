package uml

import (
	"debug/elf"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// pageSize is that of x86-64.
const pageSize = 4 << 10

// hugePage is the size of the host's huge pages, in bytes.
const hugePage = 2 << 20

// A program is what its ELF headers say of a kernel.
type program struct {
	interpreter string // its dynamic loader; empty: it has none
	end         uint64 // the first address after it; 0: it can lie anywhere
}

// readProgram reads the headers of a file. One that can't be read, the host will refuse to execute.
func readProgram(path string) program {
	var p program
	f, err := elf.Open(path)
	if err != nil {
		return p
	}
	defer f.Close()
	for _, h := range f.Progs {
		switch {
		case h.Type == elf.PT_INTERP && h.Filesz < 4096:
			b := make([]byte, h.Filesz)
			if _, err := h.ReadAt(b, 0); err == nil {
				p.interpreter = strings.TrimRight(string(b), "\x00")
			}
		case h.Type == elf.PT_LOAD && f.Type == elf.ET_EXEC:
			p.end = max(p.end, h.Vaddr+h.Memsz)
		}
	}
	return p
}

// heapGap is the most that the host leaves between a program and its heap where addresses are randomized, in bytes (arch/x86/kernel/process.c,
// arch_randomize_brk). The kernel takes as much more memory, of which it uses nothing.
const heapGap = 1 << 30

// randomized says whether kernels have addresses at random, because sekexe may not turn that off: the seccomp profile of a container may forbid it.
// Nothing can be said then about where the heap is.
var randomized = sync.OnceValue(func() bool {
	runtime.LockOSThread() // the personality is that of a thread
	defer runtime.UnlockOSThread()
	const query = 0xffffffff // personality(2)
	old, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, query, 0, 0)
	if errno != 0 {
		return true
	}
	_, _, errno = unix.RawSyscall(unix.SYS_PERSONALITY, old|noRandomize, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, old, 0, 0)
	return errno != 0
})

// heapPad is what the heap of a kernel's C library has to take, in bytes, so that the guest's memory, which begins where the heap ends, begins
// with a huge page. It begins with small ones otherwise, which are the first that the guest takes: 400 page faults of a boot. 0: it doesn't matter.
//
// The kernel takes a heap of more than 1 MiB for an effect of exec-shield, and makes up for it with that much more memory
// (arch/um/kernel/um_arch.c, linux_main). So the memory to be asked for is memory, so that it ends with a huge page, too.
func heapPad(end uint64, size int64) (pad, memory int64) {
	if end == 0 {
		return 0, size
	}
	begin := int64(end+pageSize-1) / pageSize * pageSize
	pad = hugePage - begin%hugePage
	if pad <= 1<<20 {
		pad += hugePage
	}
	return pad, (size+pad+hugePage-1)/hugePage*hugePage - pad
}
