package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sekexe/sekexe/image"
	"github.com/sekexe/sekexe/orchestrator"
)

// useArchives finds the files with images for the Docker daemons of a plan, and has those made into others that not all daemons can load.
func (im *images) useArchives(ctx context.Context, plan *orchestrator.Plan) error {
	files := make([][]string, len(plan.Nodes))
	var all []string
	for i := range plan.Nodes {
		job := &plan.Nodes[i].Job
		if job.Docker == nil || len(job.Docker.Images) == 0 {
			continue
		}
		var err error
		if files[i], err = matches(job.Docker.Images); err != nil {
			return ofJob(job, err)
		}
		all = append(all, files[i]...)
	}
	slices.Sort(all)
	failed := im.lookAtAll(ctx, slices.Compact(all))
	for i := range plan.Nodes {
		if len(files[i]) == 0 {
			continue
		}
		job := &plan.Nodes[i].Job
		var list []orchestrator.Archive
		for _, f := range files[i] {
			if err := failed[f]; err != nil {
				return ofJob(job, err)
			}
			a := im.archives[f]
			list = append(list, orchestrator.Archive{Source: f, File: a.Path, Contents: a.Contents})
		}
		job.UseArchives(list)
	}
	return nil
}

// ofJob says whose images an error is about.
func ofJob(job *orchestrator.Job, err error) error {
	return fmt.Errorf("%s: docker: %w", job.Name, err)
}

// matches returns the files that patterns stand for, each once, in the order of their names, by which they are loaded.
func matches(patterns []string) ([]string, error) {
	var all []string
	for _, p := range patterns {
		found := []string{p}
		if _, err := os.Lstat(p); err != nil { // what has the name itself is meant, whatever characters are in it
			if found, err = filepath.Glob(p); err != nil {
				return nil, fmt.Errorf("images: pattern %s: %w", p, err)
			}
		}
		if len(found) == 0 {
			return nil, &hintedError{fmt.Errorf("images: find %s: there is no such file", p), "make the file (docker save -o FILE IMAGE), or correct the path, which is relative to that of the configuration"}
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// lookAtAll looks at files, several at once, and returns what went wrong, by their paths. Each of the others is in im.archives.
func (im *images) lookAtAll(ctx context.Context, files []string) map[string]error {
	var mu sync.Mutex
	failed := map[string]error{}
	var g errgroup.Group
	g.SetLimit(max(2, runtime.NumCPU()))
	for _, f := range files {
		g.Go(func() error {
			a, err := im.lookAt(ctx, f)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[f] = err
			} else {
				im.archives[f] = a
			}
			return nil
		})
	}
	_ = g.Wait() // it has no errors
	return failed
}

// lookAt looks at one file. A link is followed here: in the sub-kernel it might lead elsewhere.
func (im *images) lookAt(ctx context.Context, file string) (*image.Archive, error) {
	path, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", file, err)
	}
	a, err := im.store.FindArchive(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	if _, err := im.ask(ctx, file, image.Request{Archive: path}); err != nil {
		return nil, err
	}
	return im.store.FindArchive(path)
}
