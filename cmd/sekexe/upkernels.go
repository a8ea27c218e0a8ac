package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/signal"
	"slices"
	"syscall"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/kernel/build"
	"github.com/sekexe/sekexe/orchestrator"
)

// errNoCache says that built kernels have no place.
var errNoCache = errors.New("cache folder: find it: neither HOME nor XDG_CACHE_HOME is set")

// A kernelBuilder finds and builds the kernels that a project's file says what to build of.
type kernelBuilder struct {
	cache string
	build bool // what is missing
	quiet bool
	// sources are those that were looked at: a folder takes a second, and several kernels may be built of one. fetched says which of them
	// may be built of as they are.
	sources map[build.Origin]*build.Source
	fetched map[build.Origin]bool
}

func newKernelBuilder(missing, quiet bool) *kernelBuilder {
	return &kernelBuilder{cache: cacheDir(), build: missing, quiet: quiet, sources: map[build.Origin]*build.Source{}, fetched: map[build.Origin]bool{}}
}

// ready sets the paths of the kernels in the plan that are built of what the file says, and builds those that are missing if that is wanted.
// Nothing has booted yet. What is wrong with a kernel is said at once, because the others may be missing, too.
func (k *kernelBuilder) ready(ctx context.Context, p *config.Project, plan *orchestrator.Plan) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	paths := map[string]string{} // by the kernel's name
	failed, missing := false, false
	for i := range p.Kernels {
		b := &p.Kernels[i]
		if b.Build == nil || !boots(plan, b.Name) {
			continue
		}
		path, err := k.path(ctx, b)
		if ctx.Err() != nil {
			return buildEnded(ctx, err)
		}
		if err != nil {
			sayError(fmt.Errorf("kernel %s: %w", b.Name, err))
			failed, missing = true, missing || errors.Is(err, errNotBuilt)
		}
		paths[b.Name] = path
	}
	if missing {
		say("hint", buildHint)
	}
	if failed {
		return status(exitFailed)
	}
	for i := range plan.Nodes {
		if c := &plan.Nodes[i].Job.Kernel; c.Build != "" {
			c.Path = paths[c.Name]
		}
	}
	return nil
}

// boots says whether a sub-kernel boots the kernel of a name.
func boots(plan *orchestrator.Plan, name string) bool {
	return slices.ContainsFunc(plan.Nodes, func(n orchestrator.Node) bool { return n.Job.Kernel.Name == name })
}

// buildHint says what to do about errNotBuilt.
const buildHint = "sekexe up --build builds what is missing"

// errNotBuilt says that a kernel is not there.
var errNotBuilt = errors.New("it is not built")

// path returns the executable of a kernel.
func (k *kernelBuilder) path(ctx context.Context, b *config.Kernel) (string, error) {
	if k.cache == "" {
		return "", errNoCache
	}
	from := build.Origin{Path: b.Build.Source, Version: b.Build.Version, Suite: b.Build.Debian}
	recipe := build.Recipe{Flavour: b.Flavour, Fragments: b.Build.Fragments, Unmodified: b.Build.Unmodified}
	for _, name := range slices.Sorted(maps.Keys(b.Build.Set)) {
		recipe.Set = append(recipe.Set, name+"="+b.Build.Set[name])
	}
	found, err := k.find(ctx, from, recipe)
	switch unknown := errors.Is(err, build.ErrUnknown); {
	case err != nil && !unknown:
		return "", err
	case k.build && (found == nil || from.Suite != ""): // a suite may have something newer
		return k.make(ctx, b.Name, from, recipe, found)
	case unknown:
		return "", fmt.Errorf("%w: of %s nothing was ever built here", errNotBuilt, from)
	case found == nil:
		return "", fmt.Errorf("%w of %s as that is now, with this configuration", errNotBuilt, from)
	}
	return found.Path, nil
}

// find looks for a kernel that is built, without the network; nil: it is not there.
func (k *kernelBuilder) find(ctx context.Context, from build.Origin, recipe build.Recipe) (*build.Result, error) {
	if k.sources[from] == nil {
		s, err := from.Known(ctx, k.cache)
		if err != nil {
			return nil, err
		}
		k.sources[from], k.fetched[from] = s, from.Path != ""
	}
	return build.Built(k.cache, k.sources[from], recipe)
}

// make builds a kernel. If its source can't be fetched, old, which was built of what the source was before, will do, if there is one.
func (k *kernelBuilder) make(ctx context.Context, name string, from build.Origin, recipe build.Recipe, old *build.Result) (string, error) {
	p := newBuildProgress(k.quiet, "kernel "+name+": ")
	defer p.end()
	if !k.fetched[from] {
		p.show(build.Progress{Phase: "looking for " + from.String()})
		src, err := from.Fetch(ctx, k.cache)
		if err != nil {
			p.end()
			if old == nil || ctx.Err() != nil {
				return "", err
			}
			say("warning", fmt.Sprintf("kernel %s: %v: %s, which was built before, is booted", name, err, old.Key))
			return old.Path, nil
		}
		k.sources[from], k.fetched[from] = src, true
		if r, err := build.Built(k.cache, src, recipe); err != nil {
			return "", err
		} else if r != nil {
			return r.Path, nil
		}
	}
	r, err := build.Kernel(ctx, build.Options{
		Source: k.sources[from], Recipe: recipe, CacheDir: k.cache, Progress: p.show,
		Waiting: func() { p.say("another build of this kernel is under way: waiting for it") },
	})
	if err != nil {
		p.end()
		return "", err
	}
	p.report(r)
	return r.Path, nil
}
