package guest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// heapAhead is how much of the heap, in bytes, the init will use soon: measured, and the same at every boot but for a few pages.
const heapAhead = 256 << 10

// prefault has the kernel map all pages that the init is going to touch: its program and the begin of its heap. In a sub-kernel a page fault
// costs as much as a hundred pages that are mapped in one call (measured: 151 us against 2 us), because the host process behind it is
// stopped, read and written several times over. Where the kernel is too old for these calls (they came with 5.14), nothing is lost.
func prefault() {
	for _, p := range programHeaders() {
		if p.kind != 1 { // PT_LOAD, elf(5)
			continue
		}
		advice := unix.MADV_POPULATE_READ
		if p.flags&2 != 0 { // PF_W
			advice = unix.MADV_POPULATE_WRITE
		}
		populate(uintptr(p.address), uintptr(p.size), advice)
	}
	heapBegin = new([64]byte)
	populate(uintptr(unsafe.Pointer(heapBegin)), heapAhead, unix.MADV_POPULATE_WRITE)
}

// heapBegin keeps the compiler from laying the object on a stack.
var heapBegin *[64]byte

// populate maps the pages of a range, as far as there are any.
func populate(address, size uintptr, advice int) {
	const page = 4096
	begin := address &^ (page - 1)
	end := (address + size + page - 1) &^ (page - 1)
	_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, begin, end-begin, uintptr(advice)) // an error means that the faults come later
}

// programHeader is Elf64_Phdr of elf(5).
type programHeader struct {
	kind, flags                                    uint32
	offset, address, physical, inFile, size, align uint64
}

// programHeaders are those of the running program, where the kernel says that they are (getauxval(3)).
func programHeaders() []programHeader {
	aux, err := unix.Auxv()
	if err != nil {
		return nil
	}
	var at, n uintptr
	for _, kv := range aux {
		switch kv[0] {
		case 3: // AT_PHDR
			at = kv[1]
		case 5: // AT_PHNUM
			n = kv[1]
		}
	}
	if at == 0 {
		return nil
	}
	return unsafe.Slice((*programHeader)(unsafe.Add(nil, at)), n)
}
