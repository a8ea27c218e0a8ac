package uml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml/confine"
	"github.com/sekexe/sekexe/uml/reaper"
)

// DefaultBootTimeout bounds a boot whose job doesn't say.
const DefaultBootTimeout = time.Minute

// Options are what a Runtime needs from its surroundings.
type Options struct {
	// ID names the run: unique on the host, fit for a file name, short (it becomes part of a socket's path, of 108 bytes).
	ID string
	// Init returns the host path of the guest's init. Where it has no better place it may lay it into fallback, a folder of the user's
	// own. The path must be free of blanks, quotes and commas.
	Init func(fallback string) (string, error)
	// Docker returns the host path of the program that keeps a Docker daemon in a guest, in the same way. It is called for jobs with one.
	Docker func(fallback string) (string, error)
	// Kernels finds kernels.
	Kernels *kernel.Finder
	// LogDir is the folder for the logs of sub-kernels, each in a folder of its own; empty: no logs.
	LogDir string
	// MaxMemory is the greatest memory of a sub-kernel of the run, in bytes.
	MaxMemory int64
	// Hide are files and folders of sekexe's own, which no sub-kernel may read.
	Hide []string
	// Host is what the host can enforce; nil: New finds it out.
	Host *confine.Support
	// Verbose lets kernels print their whole log.
	Verbose bool
	// Trace, if set, is told what New and Close take, and lets guests measure what they do.
	Trace func(orchestrator.Span)
}

// A Runtime boots sub-kernels on this host. It must be closed.
type Runtime struct {
	o       Options
	init    string
	scratch *scratch
	huge    *hugeMemory
	cpus    *cpus
	reaper  *reaper.Reaper
	host    confine.Support
	// boots holds a token for each sub-kernel that is booting. Boots are work for the CPU alone: more of them at once than that has
	// hands would only make each of them slower, up to its timeout.
	boots chan struct{}

	mu      sync.Mutex
	kernels map[kernelKey]func() (*kernel.Info, error)
	next    int
}

var _ orchestrator.Runtime = (*Runtime)(nil)

// New makes a Runtime, with its scratch folder and its reaper. The errors of folders that won't do say why for each.
func New(o Options) (*Runtime, error) {
	end := o.begin("make the scratch folder")
	host := o.Host
	if host == nil {
		found := confine.Probe()
		host = &found
	}
	huge := openHugeMemory(host.ChangeUser)
	s, err := openScratch(o.ID, o.MaxMemory, huge != nil)
	if err != nil {
		huge.close()
		return nil, &MemoryError{err}
	}
	end()
	r := &Runtime{o: o, scratch: s, huge: huge, host: *host, kernels: map[kernelKey]func() (*kernel.Info, error){}}
	notes := filepath.Join(s.base, cpuDir)
	end = o.begin("lay down the init")
	if r.init, err = o.Init(s.base); err != nil {
		return nil, errors.Join(err, r.closeFolders())
	}
	end()
	end = o.begin("start the reaper")
	if r.reaper, err = reaper.Start(r.init, s.dir, notes); err != nil {
		return nil, errors.Join(err, r.closeFolders())
	}
	end()
	if r.cpus, err = newCPUs(notes, o.ID); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.boots = make(chan struct{}, max(2, len(r.cpus.allowed)))
	return r, nil
}

// begin begins a span of the Runtime's own, which the returned function ends.
func (o *Options) begin(name string) (end func()) {
	if o.Trace == nil {
		return func() {}
	}
	start := time.Now()
	return func() { o.Trace(orchestrator.Span{Name: name, Start: start, Duration: time.Since(start)}) }
}

// A MemoryError says that no folder can hold guest memory.
type MemoryError struct{ Err error }

// Error says why each of the folders won't do, in one line.
func (e *MemoryError) Error() string {
	return "guest memory: find a folder for it: " + strings.ReplaceAll(e.Err.Error(), "\n", "; ")
}

// Unwrap returns the reasons.
func (e *MemoryError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *MemoryError) Hint() string { return memoryHint }

const memoryHint = "name a folder on a file system with enough space that is not mounted noexec in " + EnvMemoryDir + " (docker run: --tmpfs /dev/shm:exec,size=4g), or give the sub-kernels less memory"

// Close removes what the sub-kernels have shared. All of them must have ended.
func (r *Runtime) Close() error {
	removeNotes(r.scratch.base, r.o.ID)
	end := r.o.begin("stop the reaper")
	err := r.reaper.Stop()
	end()
	end = r.o.begin("remove the scratch folder")
	err = errors.Join(err, r.closeFolders())
	end()
	return err
}

func (r *Runtime) closeFolders() error {
	r.huge.close()
	return r.scratch.close()
}

// A kernelKey is all that the choice of a kernel depends on.
type kernelKey struct {
	choice orchestrator.KernelChoice
	smp    bool // several CPUs are wanted
}

// kernel finds a kernel, each once.
func (r *Runtime) kernel(ctx context.Context, k kernelKey) (*kernel.Info, error) {
	c := k.choice
	r.mu.Lock()
	f := r.kernels[k]
	if f == nil {
		f = sync.OnceValues(func() (*kernel.Info, error) {
			if c.Build != "" && c.Path == "" { // or the default kernel would be booted in its place
				return nil, fmt.Errorf("kernel %s: boot it: nobody has looked whether it is built", c.Name)
			}
			return r.o.Kernels.Resolve(ctx, kernel.Choice{Path: c.Path, Version: c.Version, Flavour: c.Flavour, Modules: c.Modules, SMP: k.smp})
		})
		r.kernels[k] = f
	}
	r.mu.Unlock()
	return f()
}

// folder makes the scratch folder of one sub-kernel, with the exchange folder in it and the one that the kernel may write to, and returns them.
func (r *Runtime) folder() (dir, exchange, private string, err error) {
	r.mu.Lock()
	r.next++
	n := r.next
	r.mu.Unlock()
	dir = filepath.Join(r.scratch.dir, fmt.Sprint(n))
	exchange = filepath.Join(dir, "x")
	private = filepath.Join(dir, "k")
	for _, d := range []string{dir, exchange, filepath.Join(exchange, "mnt"), private} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return "", "", "", err
		}
	}
	if r.host.ChangeUser {
		err = os.Chown(private, confine.Nobody, confine.Nobody)
	}
	return dir, exchange, private, err
}

// Run implements orchestrator.Runtime.
func (r *Runtime) Run(ctx context.Context, job *orchestrator.Job, links []orchestrator.Link, stop <-chan struct{}, sink orchestrator.Sink) orchestrator.Result {
	defer closeLinks(links)
	s := newSession(r, job, links, sink)
	if job.Docker != nil && job.Docker.Seed != "" {
		end, failed := s.useSeed(ctx, stop)
		if failed != nil {
			return *failed
		}
		defer end()
	} else {
		s.job = withArchives(job)
	}
	return s.runInTurn(ctx, stop)
}

// runInTurn is run, when there is a place for one more boot.
func (s *session) runInTurn(ctx context.Context, stop <-chan struct{}) orchestrator.Result {
	boots := s.rt.boots
	select {
	case boots <- struct{}{}:
	case <-stop:
		return cancelled("it was stopped before its boot began")
	case <-ctx.Done():
		return cancelled("it was stopped before its boot began")
	}
	s.releaseBoot = sync.OnceFunc(func() { <-boots })
	defer s.releaseBoot()
	return s.run(ctx, stop)
}

func cancelled(reason string) orchestrator.Result {
	return orchestrator.Result{Outcome: orchestrator.Cancelled, Status: orchestrator.StatusFailed, Reason: reason}
}
