package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/orchestrator"
)

// addRootFlags adds the flags that name another root than this machine's.
func (f *runFlags) addRootFlags(fl *pflag.FlagSet) {
	fl.StringVar(&f.rootfs, "rootfs", "", "root of another system: a folder, or a file with an ext4, squashfs or erofs file system")
	fl.StringVar(&f.image, "image", "", "root from an OCI image: of a registry, such as alpine:3.20, or oci:DIR[:TAG], or docker-archive:FILE[:NAME:TAG]")
	fl.StringVar(&f.persist, "persist", "", "folder that keeps what is written to the root, for the next run with the same root")
	fl.StringVar(&f.pull, "pull", "missing", "when its registry is asked for the image: missing (if it isn't here yet), always or never")
	fl.StringVar(&f.entrypoint, "entrypoint", "", "program in place of the image's entrypoint; '' for none")
}

// otherRoot says whether the root isn't this machine's.
func (f *runFlags) otherRoot() bool { return f.rootfs != "" || f.image != "" }

// rootOf checks --root, --rootfs and --image.
func (f *runFlags) rootOf() (r orchestrator.Root, err error) {
	r = orchestrator.Root{Mode: f.root}
	if r.Persist, err = f.persistOf(); err != nil {
		return r, err
	}
	switch {
	case f.root != "overlay" && f.root != "ro":
		return r, misuse("--root %s: want overlay or ro; another root is named by --rootfs or --image", f.root)
	case f.rootfs != "" && f.image != "":
		return r, misuse("--rootfs and --image exclude each other")
	case f.image == "" && f.entrypointSet:
		return r, misuse("--entrypoint %s: only an image has an entrypoint: name one by --image", f.entrypoint)
	case f.pull != "missing" && f.pull != "always" && f.pull != "never":
		return r, misuse("--pull %s: want missing, always or never", f.pull)
	case f.image != "":
		dir, err := os.Getwd()
		if err != nil {
			return r, failure(err)
		}
		if r.Image, err = config.ParseImage(f.image, dir); err != nil {
			return r, misuse("--image %s: %w", f.image, err)
		}
		r.Pull = f.pull
	case f.rootfs != "":
		return r, f.sourceOf(&r)
	}
	return r, nil
}

// persistOf checks --persist.
func (f *runFlags) persistOf() (string, error) {
	switch {
	case f.persist == "":
		return "", nil
	case f.root == "ro":
		return "", misuse("--persist %s: nothing is written to a read-only root: leave it or --root ro out", f.persist)
	case len(f.disks) == maxDisks:
		return "", misuse("--disk: at most %d disks besides that of --persist", maxDisks-1)
	}
	dir, err := filepath.Abs(f.persist)
	if err == nil {
		err = config.CheckLayer(dir)
	}
	if err != nil {
		return "", misuse("--persist %s: %w", f.persist, err)
	}
	return dir, nil
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

// useImage makes the command what docker run would make of it. A single argument is a command line for the image's shell, as always, if the
// image has no entrypoint and it is more than a word.
func (f *runFlags) useImage(job *orchestrator.Job, img *orchestrator.Image) {
	if f.entrypointSet {
		img.Entrypoint, img.Cmd = nil, nil
		if f.entrypoint != "" {
			img.Entrypoint = []string{f.entrypoint}
		}
	}
	st := &job.Steps[0]
	if len(img.Entrypoint) == 0 && len(st.Argv) == 1 && strings.ContainsAny(st.Argv[0], " \t\n|&;<>()$`\\\"'*?[#~=%!{}") {
		st.Argv = []string{"/bin/sh", "-c", st.Argv[0]}
	}
}
