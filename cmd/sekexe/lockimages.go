package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/image"
	"github.com/sekexe/sekexe/orchestrator"
)

// rootImages are the names of the images that are roots in a plan, each once.
func rootImages(plan *orchestrator.Plan) []string {
	var names []string
	for i := range plan.Nodes {
		if name := plan.Nodes[i].Job.Root.Image; name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// resolveImages finds out what the images of a project's roots are by now. What is wrong with one is said at once; the result is nil then.
func resolveImages(ctx context.Context, p *config.Project) ([]config.LockedImage, error) {
	plan, err := orchestrator.NewPlan(p)
	if err != nil {
		return nil, &statusError{status: exitUsage, err: err}
	}
	all := []config.LockedImage{}
	names := rootImages(plan)
	if len(names) == 0 {
		return all, nil
	}
	im, err := newImages(true)
	if err != nil {
		return nil, failure(err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ok := true
	for _, name := range names {
		r, err := im.askAll(ctx, name, image.Request{Name: name, Resolve: true})
		if ctx.Err() != nil {
			return nil, status(130)
		}
		if err != nil {
			sayError(err)
			ok = false
			continue
		}
		all = append(all, config.LockedImage{Name: config.LockName(name, p.Dir), Config: r.ID, Manifest: r.Manifest})
	}
	if !ok {
		return nil, nil
	}
	return all, nil
}

// An imageLock says which images the roots of a project must be.
type imageLock struct {
	dir  string // of the lock
	lock *config.Lock
}

// of returns what is locked for an image.
func (l *imageLock) of(name string) (config.LockedImage, bool) {
	return l.lock.Image(config.LockName(name, l.dir))
}

// check says which images of a plan are not locked.
func (l *imageLock) check(plan *orchestrator.Plan) bool {
	ok := true
	for _, name := range rootImages(plan) {
		if _, is := l.of(name); !is {
			say("error", fmt.Sprintf("image %s: it is not locked", name))
			ok = false
		}
	}
	return ok
}

// advise adds to an error what to do about the image that is locked.
func (l *imageLock) advise(err error) error {
	return &hintedError{err, "have the image that " + filepath.Join(l.dir, config.LockFile) + " names, or lock what it is by now by sekexe lock"}
}

// getLocked is get of an image that is locked. One of a registry is asked for by its digest, whatever its name means by now; one in a file must be
// the one that is locked.
func (im *images) getLocked(ctx context.Context, name, pull string) (*image.Image, error) {
	want, is := im.locked.of(name)
	if !is {
		return nil, im.locked.advise(fmt.Errorf("image %s: it is not locked", name))
	}
	_, _, _, local := image.CutLocal(name)
	exact := name
	if !local {
		have, err := im.store.Get(want.Config)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return have, err
		}
		if want.Manifest != "" {
			exact = repository(name) + "@" + want.Manifest
		}
	}
	found, err := im.get(ctx, exact, pull)
	if err != nil {
		var re *replyError
		if errors.As(err, &re) && !re.reply.Unreachable && re.reply.Hint == "" {
			return nil, im.locked.advise(err)
		}
		return nil, err
	}
	if found.ID != want.Config {
		_ = found.Close()
		return nil, im.locked.advise(fmt.Errorf("image %s: it is %s, and %s is locked", name, found.ID, want.Config))
	}
	return found, nil
}

// repository takes the tag or the digest off the name of an image of a registry, which is written out.
func repository(name string) string {
	if r, _, ok := strings.Cut(name, "@"); ok {
		return r
	}
	return name[:strings.LastIndexByte(name, ':')]
}
