package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sekexe/sekexe/cmd/sekexe/internal/rundir"
	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/network"
	"github.com/sekexe/sekexe/network/kernelnet"
	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml"
	"github.com/sekexe/sekexe/uml/confine"
)

// cacheDir is the folder for what can be made again: $XDG_CACHE_HOME/sekexe, by default ~/.cache/sekexe; empty if the user has no home.
func cacheDir() string {
	d, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(d, "sekexe")
}

// configDir is the folder for what the user has chosen: $XDG_CONFIG_HOME/sekexe, by default ~/.config/sekexe; empty if the user has no home.
func configDir() string {
	d, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(d, "sekexe")
}

// newFinder finds kernels as this process's environment and the user's choice say.
func newFinder() *kernel.Finder {
	f := kernel.NewFinder(cacheDir())
	f.ConfigDir = configDir()
	return f
}

// runOptions are the flags that run and up share.
type runOptions struct {
	runDir  string
	keep    bool
	verbose bool
	quiet   bool
	trace   string // file
	// requireConfinement makes it an error that the host can't enforce what sub-kernels may do.
	requireConfinement bool
}

// hostSupport is what the host can enforce; nil: the runtime finds it out.
var hostSupport *confine.Support

// A host is what a run needs of this machine: its run directory and its Runtime.
type host struct {
	dir     *rundir.Dir // nil: there is no place for one
	runtime *uml.Runtime
	// networks is nil where a run has none.
	networks *network.Networks
	id       string
	// file is the project's; empty: there is none.
	file    string
	sockets atomic.Int32 // of Docker daemons, that were made
	o       runOptions
	tracing *tracing // nil without --trace
}

// openHost makes both, for a plan. It must be closed.
func openHost(o runOptions, plan *orchestrator.Plan, tr *tracing) (*host, error) {
	leaveCPUs()
	id := rundir.NewID()
	h := &host{o: o, tracing: tr, id: id}
	if os.Geteuid() == 0 { // nobody else can have left anything, or take it away
		if err := kernelnet.Sweep(kernelnet.StateDir); err != nil {
			h.notice("networks of a killed run: remove them: " + err.Error())
		}
	}
	tr.span("read what to do")
	var err error
	if o.runDir != "" {
		if h.dir, err = rundir.Use(o.runDir, id); err != nil {
			return nil, err
		}
	} else if h.dir, err = defaultRunDir(id); err != nil {
		if o.keep {
			return nil, err
		}
		h.notice("no logs are kept: " + err.Error())
	}
	tr.span("make the run directory")
	uo := uml.Options{
		ID: id, Kernels: newFinder(), LogDir: h.path(), MaxMemory: greatestMemory(plan), Verbose: o.verbose,
		Init:   func(fallback string) (string, error) { return layDown(initProgram, cacheDir(), fallback) },
		Docker: func(fallback string) (string, error) { return layDown(dockerProgram, cacheDir(), fallback) },
		Trace:  tr.add(),
		Hide:   ownFolders(), Host: hostSupport,
	}
	if h.runtime, err = uml.New(uo); err != nil {
		h.closeDir(false)
		return nil, err
	}
	tr.span("make the runtime")
	h.confine(plan)
	return h, nil
}

// confine says what the host can't enforce, once, unless that is an error.
func (h *host) confine(plan *orchestrator.Plan) {
	required := true
	for i := range plan.Nodes {
		c := &plan.Nodes[i].Job.Confine
		c.Required = c.Required || h.o.requireConfinement
		required = required && c.Required
	}
	if missing := h.runtime.Unenforced(); len(missing) > 0 && !required {
		h.notice("confinement: " + strings.Join(missing, "; "))
	}
}

// ownFolders are those that sekexe keeps what it knows in, of which the cache alone is nobody's secret.
func ownFolders() []string {
	dirs := []string{configDir()}
	if root, err := rundir.Root(); err == nil {
		dirs = append(dirs, filepath.Dir(root))
	}
	return slices.DeleteFunc(dirs, func(d string) bool { return d == "" })
}

// connect makes the networks of a plan.
func (h *host) connect(ctx context.Context, plan *orchestrator.Plan) error {
	if len(plan.Networks) == 0 {
		return nil
	}
	n, err := network.Open(ctx, plan, network.Options{Run: h.id, Notice: h.notice})
	if err != nil {
		return err
	}
	h.networks = n
	h.tracing.span("make the networks")
	return nil
}

// connections is what a run gets of the networks.
func (h *host) connections() orchestrator.Networks {
	if h.networks == nil {
		return nil // and not an interface that holds a nil
	}
	return h.networks
}

// leaveCPUs keeps this process to half of the CPUs, so that the sub-kernels, each of which is on one, have the others. It gains by that
// itself: what it does for networks are many small pieces that wake each other, and a piece on a CPU of its own costs a wake-up in place of a
// function call. See bench/README.md.
func leaveCPUs() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}

func defaultRunDir(id string) (*rundir.Dir, error) {
	root, err := rundir.Root()
	if err != nil {
		return nil, err
	}
	return rundir.Create(root, id, time.Now())
}

// path is the run directory; empty if there is none.
func (h *host) path() string {
	if h.dir == nil {
		return ""
	}
	return h.dir.Path
}

// notice tells the user of something that ends nothing.
func (h *host) notice(text string) {
	if !h.o.quiet {
		say("warning", text)
	}
}

// close ends the Runtime, finishes the run directory and writes the trace.
func (h *host) close(ok bool) {
	if h.networks != nil {
		if err := h.networks.Close(); err != nil {
			h.notice(err.Error())
		}
		h.tracing.span("remove the networks")
	}
	if err := h.runtime.Close(); err != nil {
		h.notice(err.Error())
	}
	h.tracing.span("close the runtime")
	h.closeDir(ok)
	h.tracing.span("finish the run directory")
	if err := h.tracing.write(); err != nil {
		h.notice(err.Error())
	}
}

func (h *host) closeDir(ok bool) {
	if h.dir == nil {
		return
	}
	if err := h.dir.Close(ok, h.o.keep); err != nil {
		h.notice("run directory: finish it: " + err.Error())
	}
}
