package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/orchestrator"
)

// addRootFlags adds the flags that name another root than this machine's.
func (f *runFlags) addRootFlags(fl *pflag.FlagSet) {
	fl.StringVar(&f.rootfs, "rootfs", "", "root of another system: a folder, or a file with an ext4, squashfs or erofs file system")
}

// otherRoot says whether the root isn't this machine's.
func (f *runFlags) otherRoot() bool { return f.rootfs != "" || f.image != "" }

// rootOf checks --root, --rootfs and --image.
func (f *runFlags) rootOf() (orchestrator.Root, error) {
	r := orchestrator.Root{Mode: f.root}
	switch {
	case f.root != "overlay" && f.root != "ro":
		return r, misuse("--root %s: want overlay or ro; another root is named by --rootfs or --image", f.root)
	case f.rootfs != "":
		return r, f.sourceOf(&r)
	}
	return r, nil
}

// sourceOf checks --rootfs.
func (f *runFlags) sourceOf(r *orchestrator.Root) error {
	abs, err := filepath.Abs(f.rootfs)
	if err != nil {
		return failure(err)
	}
	r.Source = abs
	st, err := os.Stat(abs)
	var pe *os.PathError
	switch {
	case errors.As(err, &pe):
		return misuse("--rootfs %s: %w", f.rootfs, pe.Err)
	case err != nil:
		return misuse("--rootfs %s: %w", f.rootfs, err)
	case !st.IsDir():
		if r.FileSystem, err = config.FileSystemOf(abs); err != nil {
			return misuse("--rootfs %s: %w", f.rootfs, err)
		}
		return nil
	}
	if err := config.CheckTree(abs); err != nil && !f.quiet {
		say("warning", "--rootfs "+f.rootfs+" "+err.Error())
	}
	return nil
}
