package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// EnvKernel names the kernel to boot where the user's file or flags don't.
const EnvKernel = "SEKEXE_KERNEL"

// A Choice says which kernel is wanted. The zero Choice is the default one.
type Choice struct {
	Path    string // of the executable
	Version string // or its version, or the beginning of that
	Modules string // folder that holds VERSION/; empty: found
}

// A Finder finds kernels. Its methods may be called from several goroutines.
type Finder struct {
	cache string
	// getenv and lookPath are the process's; tests have their own.
	getenv   func(string) string
	lookPath func(string) (string, error)
}

// NewFinder returns a Finder that keeps what it learns in the folder cache; empty: nowhere.
func NewFinder(cache string) *Finder {
	return &Finder{cache: cache, getenv: os.Getenv, lookPath: exec.LookPath}
}

// pathNames are what distributions call a UML kernel.
var pathNames = []string{"linux.uml", "linux"}

// A NotFoundError says that there is no kernel of the wanted kind.
type NotFoundError struct{ what, hint string }

func (e *NotFoundError) Error() string { return "kernel: find " + e.what }

// Hint says how to get one.
func (e *NotFoundError) Hint() string { return e.hint }

const howToGet = "install one (Debian, Ubuntu: apt-get install user-mode-linux), or name an executable in " + EnvKernel + " or by --kernel"

// Resolve finds the kernel that is wanted: the one that is named, else the one in EnvKernel, else linux.uml or linux on PATH.
func (f *Finder) Resolve(ctx context.Context, c Choice) (*Info, error) {
	if c.Path != "" {
		return f.inspect(ctx, c.Path, c.Modules)
	}
	var broken []error
	var seen []string
	for _, p := range f.candidates() {
		i, err := f.inspect(ctx, p, c.Modules)
		if err != nil {
			if p == f.getenv(EnvKernel) {
				return nil, err // the user meant this one
			}
			broken = append(broken, err)
			continue
		}
		if matches(i.Version, c.Version) {
			return i, nil
		}
		seen = append(seen, i.Version+" at "+i.Path)
	}
	if c.Version != "" {
		e := &NotFoundError{fmt.Sprintf("version %s: there is none", c.Version), howToGet}
		if len(seen) > 0 {
			e.what = fmt.Sprintf("version %s: there is only %s", c.Version, join(seen))
		}
		return nil, e
	}
	if len(broken) > 0 {
		return nil, errors.Join(broken...)
	}
	return nil, &NotFoundError{"one: there is no linux.uml or linux on PATH", howToGet}
}

func join(list []string) string {
	s := list[0]
	for _, l := range list[1:] {
		s += ", " + l
	}
	return s
}

// candidates are the kernels to choose from, the preferred ones first.
func (f *Finder) candidates() []string {
	var ps []string
	if p := f.getenv(EnvKernel); p != "" {
		ps = append(ps, p)
	}
	for _, n := range pathNames {
		if p, err := f.lookPath(n); err == nil {
			ps = append(ps, p)
		}
	}
	return ps
}

// inspect inspects a kernel, or remembers having done so.
func (f *Finder) inspect(ctx context.Context, path, modules string) (*Info, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, &InspectError{path, err, "name a kernel by its whole path"}
	}
	i := f.recall(path)
	if i == nil {
		if i, err = Inspect(ctx, path); err != nil {
			return nil, err
		}
		f.remember(i)
	}
	if m := Missing(i); len(m) > 0 {
		return nil, &InspectError{path, fmt.Errorf("it was built without what sekexe needs: %s", join(m)), "build the kernel with these, or use another one"}
	}
	i.Modules = findModules(i, modules)
	if modules != "" && i.Modules == "" && i.Config.Has("CONFIG_MODULES") {
		return nil, &NotFoundError{fmt.Sprintf("the modules of %s: %s has no modules.dep", path, filepath.Join(modules, i.Version)),
			"name the folder that holds the modules' folder, which is called by the kernel's version"}
	}
	return i, nil
}
