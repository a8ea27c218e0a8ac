package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/kernel/build"
	"github.com/sekexe/sekexe/orchestrator"
)

func newLockCommand() *cobra.Command {
	var p projectFlags
	cmd := &cobra.Command{
		Use:   "lock [flags]",
		Short: "Write down exactly which kernels and images a file's sub-kernels boot",
		Long: `lock writes ` + config.LockFile + ` beside the first file: for each kernel block the kernel's version and the hashes of the source and the
configuration that it was built of or, of one that sekexe did not build, the hash of the executable; for each image that is a root its digests,
as its registry or its file says by now. sekexe up --locked boots these kernels and images and no others.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			project, err := p.load()
			if err != nil {
				return err
			}
			return lockProject(cmd.Context(), project)
		},
	}
	p.add(cmd)
	return cmd
}

// lockProject is sekexe lock. What is wrong with a kernel is said at once, because it may be so with others, too.
func lockProject(ctx context.Context, p *config.Project) error {
	if len(p.Kernels) == 0 {
		return misuse(`%s: it declares no kernel: add a block such as kernel "k" {}, which is the default kernel, and kernel = kernel.k to the sub-kernels`, p.Files[0])
	}
	k := newKernelBuilder(false, true)
	var lock config.Lock
	failed, missing := false, false
	for i := range p.Kernels {
		now, _, err := k.identify(ctx, &p.Kernels[i])
		if err != nil {
			sayError(fmt.Errorf("kernel %s: %w", p.Kernels[i].Name, err))
			failed, missing = true, missing || errors.Is(err, errNotBuilt)
		}
		lock.Kernels = append(lock.Kernels, now)
	}
	if missing {
		say("hint", buildHint)
	}
	images, err := resolveImages(ctx, p)
	if err != nil {
		return err
	}
	if failed || images == nil {
		return status(exitFailed)
	}
	lock.Images = images
	lock.Sort()
	name := filepath.Join(p.Dir, config.LockFile)
	if err := writeWhole(name, lock.Write); err != nil {
		return failure(fmt.Errorf("lock: write it: %w", err))
	}
	fmt.Println(name)
	return nil
}

// identify finds the kernel of a kernel block and says what a lock says of it, and where it is.
func (k *kernelBuilder) identify(ctx context.Context, b *config.Kernel) (config.LockedKernel, string, error) {
	out := config.LockedKernel{Name: b.Name}
	c := kernel.Choice{Path: b.Path, Version: b.Version, Flavour: b.Flavour, Modules: b.Modules}
	if b.Build != nil {
		path, err := k.path(ctx, b)
		if err != nil {
			return out, "", err
		}
		c.Path = path
	}
	i, err := newFinder().Resolve(ctx, c)
	if err != nil {
		return out, "", err
	}
	out.Version = i.Version
	if i.Name != "" && b.Path == "" {
		p, err := build.ReadProvenance(filepath.Dir(i.Path))
		if err != nil {
			return out, "", err
		}
		if p.Flavour == "" || p.Version == "" || p.SourceHash == "" || p.ConfigHash == "" {
			return out, "", fmt.Errorf("%s: lock it: what lies beside it doesn't say what it was built of", i.Path)
		}
		out.Flavour, out.SourceVersion, out.SourceSHA256, out.ConfigSHA256 = p.Flavour, p.Version, p.SourceHash, p.ConfigHash
		return out, i.Path, nil
	}
	out.SHA256, err = hashFile(i.Path)
	return out, i.Path, err
}

// hashFile is the SHA-256 of a file, in hexadecimal.
func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: hash it: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checkLock says in what the kernels of the plan differ from those that are locked, and sets the paths of those that don't. It returns which
// images are locked.
func (k *kernelBuilder) checkLock(ctx context.Context, f *projectFlags, p *config.Project, plan *orchestrator.Plan) (*imageLock, error) {
	lock, diags := config.ReadLock(p.Dir)
	if err := f.show(diags); err != nil {
		return nil, failure(err)
	}
	if lock == nil {
		return nil, status(exitUsage)
	}
	images := &imageLock{dir: p.Dir, lock: lock}
	ok := checkNamed(plan)
	ok = images.check(plan) && ok
	paths := map[string]string{}
	for i := range p.Kernels {
		b := &p.Kernels[i]
		if !boots(plan, b.Name) {
			continue
		}
		locked, is := lock.Kernel(b.Name)
		if !is {
			say("error", fmt.Sprintf("kernel %s: it is not locked", b.Name))
			ok = false
			continue
		}
		now, path, err := k.identify(ctx, b)
		if err != nil {
			sayError(fmt.Errorf("kernel %s: %w", b.Name, err))
			ok = false
			continue
		}
		for _, d := range locked.Differences(now) {
			say("error", fmt.Sprintf("kernel %s at %s: %s", b.Name, path, d))
			ok = false
		}
		paths[b.Name] = path
	}
	if !ok {
		say("hint", "have the kernels that "+filepath.Join(p.Dir, config.LockFile)+" names, or lock those that are there by sekexe lock")
		return nil, status(exitFailed)
	}
	for i := range plan.Nodes {
		c := &plan.Nodes[i].Job.Kernel
		c.Path = paths[c.Name]
	}
	return images, nil
}

// checkNamed says which sub-kernels boot a kernel that can't be locked, because it is not one of a block.
func checkNamed(plan *orchestrator.Plan) bool {
	ok := true
	said := map[orchestrator.KernelChoice]bool{}
	for i := range plan.Nodes {
		j := &plan.Nodes[i].Job
		if j.Kernel.Name != "" || said[j.Kernel] {
			continue
		}
		what := "the default kernel"
		if j.Kernel.Path != "" {
			what = j.Kernel.Path
		}
		say("error", fmt.Sprintf("sub-kernel %s: it boots %s, and only a kernel block can be locked", j.Name, what))
		said[j.Kernel], ok = true, false
	}
	return ok
}
