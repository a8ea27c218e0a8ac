package build

import (
	"crypto/sha256"
	_ "embed" // for the files of edits
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
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
	needs   place         // a text that must be there, too; its zero value: nothing
	adds    string        // the name of a file that is put beside the first changed one; empty: none
	text    string        // what is in it
	changes []replacement // all of them or none
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

//go:embed edits/lazy-fp.h
var lazyFP string

const (
	umPgtable = "arch/um/include/asm/pgtable.h"
	umTrap    = "arch/um/kernel/trap.c"
	umStub    = "arch/um/kernel/skas/stub.c"
	umProcess = "arch/um/os-Linux/skas/process.c"
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
			"MAP_SHARED | MAP_FIXED |\n\t\t\t\t\t    (d->syscall_data_len <= 70 && sc->mem.length <= 32 * UM_KERN_PAGE_SIZE ? MAP_POPULATE : 0),",
		}},
	},
	{
		// edits/fault-around.h says why. Only since it notes what is to be mapped (um_tlb_mark_sync, from 6.11 on) does the kernel map more than
		// the page of the fault.
		name:  "fault-around",
		needs: place{umPgtable, "um_tlb_mark_sync"},
		adds:  "fault-around.h",
		text:  faultAround,
		changes: []replacement{
			{place{umTrap, "#include <skas.h>\n"}, "#include <skas.h>\n#include \"fault-around.h\"\n"},
			{place{umTrap, "\tdo {\n\t\tvm_fault_t fault;\n"}, "\tbool around = is_write && is_user && fault_around_untouched(mm, address);\n\n\tdo {\n\t\tvm_fault_t fault;\n"},
			{place{umTrap, "} while (!pte_present(*pte));\n"}, "} while (!pte_present(*pte));\n\tif (around)\n\t\tfault_around(vma, address);\n"},
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
		// edits/lazy-fp.h says why.
		name: "lazy-fp",
		adds: "lazy-fp.h",
		text: lazyFP,
		changes: []replacement{
			{place{umProcess, "#include \"../internal.h\"\n"}, "#include \"../internal.h\"\n#include \"lazy-fp.h\"\n"},
			{place{umProcess, "if (put_fp_registers(pid, regs->fp)) {"}, "if (put_changed_fp_registers(pid, regs->fp)) {"},
			{place{umProcess, "sig = WSTOPSIG(status);\n"}, "sig = WSTOPSIG(status);\n\t\t\t\tnote_fp_registers(pid, sig == SIGTRAP + 0x80, regs->fp);\n"},
			// What runs in the process between two stops, the stub, may not use the registers.
			{place{"arch/um/kernel/skas/Makefile", "CFLAGS_stub.o := $(CFLAGS_NO_HARDENING)"}, "CFLAGS_stub.o := $(CFLAGS_NO_HARDENING) -mgeneral-regs-only"},
			{place{umProcess, "\tif (mm_id->pid < 0) {\n"}, "\tfp_pid = -1;\n\tif (mm_id->pid < 0) {\n"},
		},
	},
}

// editsHash tells one version of the edits from another, in hexadecimal.
func editsHash() string {
	h := sha256.New()
	for _, e := range edits {
		fmt.Fprintf(h, "%q %q %q %q %q\n", e.name, e.needs, e.adds, e.text, e.changes)
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
	if e.adds != "" {
		files[filepath.Join(filepath.Dir(e.changes[0].file), e.adds)] = e.text
	}
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
