package guest

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// isForeign says whether a root is another system's than the host's, which the kernel has mounted.
func isForeign(r *wire.Root) bool { return r.Source != "" || r.FileSystem != "" }

// enterRoot makes the new root and the guest's first process live in it. The kernel has mounted the host's / by hostfs, read-only.
func (p *initProcess) enterRoot(s *wire.Spec) error {
	if s.Root.Mode == "ro" && !isForeign(&s.Root) {
		if err := unix.Unmount(exchangeDir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("root: detach the exchange folder: %w", err)
		}
		return nil
	}
	base := path.Join(exchangeDir, "mnt")
	data := "mode=755"
	if s.Root.Size > 0 {
		data += ",size=" + strconv.FormatInt(s.Root.Size, 10)
	}
	if err := unix.Mount("root", base, "tmpfs", 0, data); err != nil {
		return fmt.Errorf("root: mount the memory of the overlay: %w", err)
	}
	root := path.Join(base, "root")
	if err := unix.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("root: make its folder: %w", err)
	}
	if s.Root.Mode == "ro" {
		if err := mountForeign(s, base, root); err != nil {
			return err
		}
	} else if err := p.overlayRoot(s, base, root); err != nil {
		return err
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("root: enter it: %w", err)
	}
	// pivot_root(2), "pivot_root(".", ".")": the old root ends up stacked on the new one, from where it is taken off.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("root: pivot: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("root: detach the old root: %w", err)
	}
	return unix.Chdir("/")
}

// overlayRoot mounts the overlay that is the root, whose layers are in base.
func (p *initProcess) overlayRoot(s *wire.Spec, base, root string) error {
	lower := "/"
	l, err := p.makeLayer(s, base)
	if err != nil {
		return err
	}
	if isForeign(&s.Root) {
		lower = path.Join(base, "lower")
		if err := unix.Mkdir(lower, 0o755); err != nil {
			return fmt.Errorf("root: make a folder for the overlay: %w", err)
		}
		if err := mountForeign(s, base, lower); err != nil {
			return err
		}
	}
	options := ""
	if p.layer != nil {
		options = keptOptions
	}
	if l.kept {
		if err := l.clearEtc(s); err != nil {
			return err
		}
		if err := l.clearRun(); err != nil {
			return err
		}
	}
	// Files of the guest's own lie in the upper layer from the start, which saves their being copied up.
	if err := writeEtc(path.Join(l.upper, "etc"), s); err != nil {
		return err
	}
	if isForeign(&s.Root) && !l.kept {
		for _, d := range []string{"", "etc"} {
			if err := copyAttributes(path.Join(lower, d), path.Join(l.upper, d)); err != nil {
				return err
			}
		}
	}
	return mountOverlay(lower, l.upper, l.work, root, options, s.Modules)
}

// copyAttributes gives a folder of the upper layer the owner and mode of the one that it covers.
func copyAttributes(lower, upper string) error {
	st, err := os.Lstat(lower)
	if err != nil || !st.IsDir() {
		return nil // it covers none
	}
	sys := st.Sys().(*syscall.Stat_t)
	err = os.Lchown(upper, int(sys.Uid), int(sys.Gid))
	if err == nil {
		err = unix.Chmod(upper, sys.Mode&0o7777)
	}
	if err != nil {
		return fmt.Errorf("root: give the upper layer the mode of %s: %w", lower, err)
	}
	return nil
}

// mountForeign mounts the root of another system, read-only: a folder of the host, or the file system of a disk.
func mountForeign(s *wire.Spec, base, target string) error {
	if s.Root.FileSystem == "" {
		return hostfs(s.Root.Source, target, true).do()
	}
	disk := path.Join(base, "disk")
	if err := unix.Mknod(disk, unix.S_IFBLK|0o600, int(ubd(s.Root.Disk))); err != nil {
		return fmt.Errorf("root: make the node of its disk: %w", err)
	}
	kind := s.Root.FileSystem
	mount := func() error { return unix.Mount(disk, target, kind, unix.MS_RDONLY, "") }
	err := mount()
	if err == unix.ENODEV {
		if err := loadModule(s.Modules, kind); err != nil {
			return &hintError{fmt.Errorf("root: mount its disk: the kernel has no %s: %w", kind, err),
				fmt.Sprintf("use a kernel with CONFIG_%s=y, or name the folder of its modules", kernelSymbol(kind))}
		}
		err = mount()
	}
	if err != nil {
		return &hintError{fmt.Errorf("root: mount the %s file system of its disk: %w", kind, err),
			"the file may be damaged or cut off, or made with something that this kernel lacks, such as another compression; --verbose shows what the kernel says"}
	}
	return nil
}

// kernelSymbol is the symbol of the kernel's configuration for a file system.
func kernelSymbol(kind string) string {
	switch kind {
	case "ext4", "erofs":
		return strings.ToUpper(kind) + "_FS"
	}
	return strings.ToUpper(kind)
}

// ubd is the number of a disk's device (arch/um/drivers/ubd_kern.c: major 98, 16 partitions each).
func ubd(n int) uint64 { return unix.Mkdev(98, uint32(16*n)) }

// mountOverlay mounts an overlay, and loads the module for it where the kernel needs one. The options begin with a comma, if there are any.
func mountOverlay(lower, upper, work, target, options, modules string) error {
	data := "lowerdir=" + overlayPath(lower) + ",upperdir=" + overlayPath(upper) + ",workdir=" + overlayPath(work) + options
	err := unix.Mount("overlay", target, "overlay", 0, data)
	if err == unix.ENODEV {
		if err := loadModule(modules, "overlay"); err != nil {
			return &hintError{fmt.Errorf("root: mount an overlay: the kernel has no overlayfs: %w", err),
				"use a kernel with CONFIG_OVERLAY_FS=y, name the folder of its modules, or choose a read-only root"}
		}
		err = unix.Mount("overlay", target, "overlay", 0, data)
	}
	if err != nil {
		return fmt.Errorf("root: mount an overlay on %s: %w", target, err)
	}
	return nil
}

// overlayPath quotes what separates paths in overlayfs's options (Documentation/filesystems/overlayfs.rst).
func overlayPath(p string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(p)
}
