package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/docker/go-units"

	"github.com/sekexe/sekexe/image"
	"github.com/sekexe/sekexe/orchestrator"
)

// envImageLimit is the environment variable with how much disk space images may take.
const envImageLimit = "SEKEXE_IMAGE_LIMIT"

// images are the images that a run boots, and those that it loads into Docker daemons. They must be closed when it has ended.
type images struct {
	store    *image.Store
	quiet    bool
	found    map[[2]string]*image.Image // by name and policy
	archives map[string]*image.Archive  // by path
	locked   *imageLock                 // nil: none is
}

// newImages opens the folder for images.
func newImages(quiet bool) (*images, error) {
	cache := cacheDir()
	if cache == "" {
		return nil, errNoCache
	}
	im := &images{store: &image.Store{Dir: filepath.Join(cache, "images")}, quiet: quiet, found: map[[2]string]*image.Image{}, archives: map[string]*image.Archive{}}
	if s := os.Getenv(envImageLimit); s != "" {
		n, err := units.RAMInBytes(s)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%s=%s: want a size such as 20G", envImageLimit, s)
		}
		im.store.Limit = n
	}
	return im, nil
}

// close lets others remove the images.
func (im *images) close() {
	if im == nil {
		return
	}
	for _, i := range im.found {
		_ = i.Close()
	}
	for _, a := range im.archives {
		_ = a.Close()
	}
}

// needsImages says whether any sub-kernel of a plan has an image for its root, or images for a Docker daemon.
func needsImages(plan *orchestrator.Plan) bool {
	for i := range plan.Nodes {
		job := &plan.Nodes[i].Job
		if job.Root.Image != "" || job.Docker != nil && len(job.Docker.Images) > 0 {
			return true
		}
	}
	return false
}

// findImages brings the images of a plan here and makes them the roots of its jobs, and finds those for its Docker daemons; nil: there are none.
// change, if it is not nil, may alter what the image says; locked, if it is not nil, says which it must be. Nothing has booted yet.
func findImages(ctx context.Context, plan *orchestrator.Plan, quiet bool, locked *imageLock, change func(*orchestrator.Job, *orchestrator.Image)) (*images, error) {
	if !needsImages(plan) {
		return nil, nil
	}
	im, err := newImages(quiet)
	if err != nil {
		return nil, failure(err)
	}
	im.locked = locked
	in := watchSignals(ctx, func() {})
	defer in.close()
	ctx, cancel := context.WithCancel(in.ctx)
	defer cancel()
	go func() {
		select {
		case <-in.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	err = im.useAll(ctx, plan, change)
	if err == nil {
		err = im.useArchives(ctx, plan)
	}
	if err != nil {
		im.close()
		if in.status() != 0 {
			return nil, status(in.status())
		}
		return nil, failure(err)
	}
	return im, nil
}

// useAll makes images the roots of the jobs that want it.
func (im *images) useAll(ctx context.Context, plan *orchestrator.Plan, change func(*orchestrator.Job, *orchestrator.Image)) error {
	for i := range plan.Nodes {
		job := &plan.Nodes[i].Job
		if job.Root.Image == "" {
			continue
		}
		if err := im.use(ctx, job, change); err != nil {
			return err
		}
	}
	return nil
}

// use makes its image the root of a job.
func (im *images) use(ctx context.Context, job *orchestrator.Job, change func(*orchestrator.Job, *orchestrator.Image)) error {
	key := [2]string{job.Root.Image, job.Root.Pull}
	found := im.found[key]
	if found == nil {
		var err error
		get := im.get
		if im.locked != nil {
			get = im.getLocked
		}
		if found, err = get(ctx, job.Root.Image, job.Root.Pull); err != nil {
			return err
		}
		im.found[key] = found
	}
	c := found.Config
	img := &orchestrator.Image{ID: found.ID, Path: found.Path, FileSystem: image.FileSystem, Env: c.Env, Dir: c.Dir, User: c.User, Entrypoint: c.Entrypoint, Cmd: c.Cmd}
	if change != nil {
		change(job, img)
	}
	if err := job.UseImage(img); err != nil {
		return fmt.Errorf("image %s: run it: %w", job.Root.Image, err)
	}
	return nil
}

// hintedError is an error with advice.
type hintedError struct {
	error
	hint string
}

// Hint returns the advice.
func (h *hintedError) Hint() string { return h.hint }

// Unwrap returns the error.
func (h *hintedError) Unwrap() error { return h.error }

// get finds an image as a policy says: see docs/images.md.
func (im *images) get(ctx context.Context, name, pull string) (*image.Image, error) {
	have, err := im.store.Find(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	_, _, _, local := image.CutLocal(name)
	switch {
	case have != nil && (local || pull != "always"):
		return have, nil
	case !local && pull == "never":
		return nil, &hintedError{fmt.Errorf("image %s: find it: it is not here", name), `pull "missing" or "always" gets it from its registry`}
	}
	id, err := im.ask(ctx, name, image.Request{Name: name})
	if err == nil {
		if have != nil {
			_ = have.Close()
		}
		return im.store.Get(id)
	}
	var re *replyError
	if have != nil && errors.As(err, &re) && re.reply.Unreachable {
		if !im.quiet {
			say("warning", err.Error()+": what it was before is used")
		}
		return have, nil
	}
	if have != nil {
		_ = have.Close()
	}
	return nil, err
}

// A replyError is what the program that makes images has answered in place of an image.
type replyError struct{ reply image.Reply }

// Error says what happened.
func (e *replyError) Error() string { return e.reply.Error }

// Hint says what to do about it.
func (e *replyError) Hint() string { return e.reply.Hint }

// ask lets the program that makes images bring one here, or look at an archive, of that name, and returns its ID.
func (im *images) ask(ctx context.Context, name string, req image.Request) (string, error) {
	r, err := im.askAll(ctx, name, req)
	return r.ID, err
}

// askAll is ask, and returns all of the answer.
func (im *images) askAll(ctx context.Context, name string, req image.Request) (image.Reply, error) {
	none := image.Reply{}
	program, err := layDown(imageProgram, cacheDir(), "")
	if err != nil {
		return none, err
	}
	req.Dir, req.Limit = im.store.Dir, im.store.Limit
	cmd := exec.CommandContext(ctx, program)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second // it removes what it has written
	cmd.Stderr = os.Stderr
	// Ctrl-C is for sekexe, which passes it on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return none, fmt.Errorf("image %s: start the program that makes images: %w", name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return none, fmt.Errorf("image %s: start the program that makes images: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return none, fmt.Errorf("image %s: start the program that makes images: %w", name, err)
	}
	p := newPullProgress(im.quiet, name)
	err = json.NewEncoder(in).Encode(req)
	last := image.Reply{}
	for sc := bufio.NewScanner(out); err == nil && sc.Scan(); {
		var r image.Reply
		if err = json.Unmarshal(sc.Bytes(), &r); err == nil && r.ID == "" && r.Error == "" {
			p.show(r)
			continue
		}
		last = r
	}
	p.end(last.ID != "")
	err = errors.Join(err, cmd.Wait())
	switch {
	case ctx.Err() != nil:
		return none, ctx.Err()
	case last.Error != "":
		return none, &replyError{last}
	case last.ID == "" || err != nil:
		return none, fmt.Errorf("image %s: make it: the program that makes images has ended without an answer: %w", name, err)
	}
	return last, nil
}
