package uml

import (
	"fmt"
	"os"

	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/orchestrator"
)

// rootDiskArg is the option of the kernel's command line for disk number i, whose file is the given descriptor, for reading alone
// (arch/um/drivers/ubd_kern.c). Without d the kernel would look whether the file is a copy-on-write one, and open the file that such a one names:
// whoever made it could name any. The path by way of the descriptor needs no quotes, and can't be made to mean another file in the meantime.
func rootDiskArg(i, fd int) string { return fmt.Sprintf("ubd%drd=/proc/self/fd/%d", i, fd) }

// openRootDisk opens the file with the root's file system; nil: the root is on none.
func openRootDisk(r *orchestrator.Root) (*os.File, error) {
	if r.FileSystem == "" {
		return nil, nil
	}
	f, err := os.Open(r.Source)
	if err != nil {
		return nil, fmt.Errorf("root: open its disk: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", r.Source)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("root: open its disk: %w", err)
	}
	return f, nil
}

// canMountRoot says whether a kernel has the file system that the root is in.
func canMountRoot(k *kernel.Info, r *orchestrator.Root) error {
	if r.Image != "" && r.FileSystem == "" {
		return fmt.Errorf("root: take image %s: nobody has unpacked it", r.Image)
	}
	if r.FileSystem == "" {
		return nil
	}
	for _, name := range []string{"block devices", r.FileSystem} {
		if f, ok := kernel.FeatureOf(k, name); ok && !f.Usable {
			return withHint(fmt.Errorf("kernel %s: mount a root that is a file with %s: it has no %s (%s: %s)", k.Path, r.FileSystem, name, f.Symbols[0], f),
				"use another kernel (sekexe kernel build makes one), name the folder of its modules, or unpack the root into a folder")
		}
	}
	return nil
}
