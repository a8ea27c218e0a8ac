package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// EnvKernel is the environment variable that names a kernel where neither the file nor the command line does: a path, or a name on PATH.
const EnvKernel = "SEKEXE_KERNEL"

// The values of Info.Origin.
const (
	OriginNamed  = "named"
	OriginEnv    = EnvKernel
	OriginChosen = "chosen"
	OriginBuilt  = "built"
	OriginPath   = "PATH"
)

// pathNames are the names of kernels on PATH, the preferred one first: Debian's, and that of kernel builds.
var pathNames = []string{"linux.uml", "linux"}

// A Finder finds kernels. Its methods may be called from several goroutines.
type Finder struct {
	// CacheDir holds built kernels and what is known of others; empty: there are none, and nothing is remembered. It need not exist, nor be
	// writable.
	CacheDir string
	// ConfigDir holds the default that the user chose; empty: there is none. It need not exist.
	ConfigDir string
	// Getenv reads the environment; nil is os.Getenv.
	Getenv func(string) string

	in *inspector // nil: defaultInspector
	// learning is held while a lesson is read and written again.
	learning sync.Mutex
}

// NewFinder returns a Finder with the environment of this process.
func NewFinder(cacheDir string) *Finder {
	return &Finder{CacheDir: cacheDir, Getenv: os.Getenv}
}

func (f *Finder) getenv(name string) string {
	if f.Getenv == nil {
		return os.Getenv(name)
	}
	return f.Getenv(name)
}

// Resolve returns the kernel that c asks for. Without a path or a version that is $SEKEXE_KERNEL, else the chosen default, else the newest
// that was built of flavour "default", else linux.uml or linux on PATH; with a version the newest of all these that fits it, or one that was
// built of another flavour if none does; with a flavour the newest that was built of it and fits the version. The name of a built kernel stands
// for a version, too. Its modules are those in c.Modules/VERSION, else in /usr/lib/uml/modules/VERSION, else in modules/VERSION beside the
// executable.
//
// Errors are of type *Error, or ctx's. What was named is never replaced by something else.
func (f *Finder) Resolve(ctx context.Context, c Choice) (*Info, error) {
	if c.Version != "" {
		if _, err := parseRelease(c.Version); err != nil {
			return nil, &Error{Problem: ErrNone, Detail: err.Error(), hint: "write a version such as 7 or 6.12.1, or a path with a slash in it"}
		}
	}
	info, err := f.choose(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := checkEssentials(info); err != nil {
		return nil, err
	}
	return withModules(info, c.Modules)
}

// choose finds the executable.
func (f *Finder) choose(ctx context.Context, c Choice) (*Info, error) {
	if c.SMP && c.Path == "" && c.Flavour == "" && (c.Version != "" || f.fromEnv().path == "") {
		c.Flavour = "smp"
	}
	switch {
	case c.Path != "":
		info, err := f.look(ctx, candidate{c.Path, OriginNamed})
		if err == nil && c.Version != "" && !MatchesVersion(c.Version, info.Version) {
			return nil, problem(info.Path, ErrVersion, fmt.Sprintf("it is %s, and %s is wanted", info.Version, c.Version), "correct the version, or leave it out")
		}
		return c.checkFlavour(info, err)
	case c.Version != "" && f.CacheDir != "" && executable(f.builtPath(c.Version)):
		return c.checkFlavour(f.look(ctx, candidate{f.builtPath(c.Version), OriginBuilt}))
	case c.Flavour != "":
		return f.chooseFlavour(ctx, c)
	case c.Version != "":
		return f.chooseVersion(ctx, c.Version)
	}
	return f.chooseDefault(ctx)
}

// checkFlavour passes on what look returned, unless it is of another flavour than c asks for.
func (c Choice) checkFlavour(info *Info, err error) (*Info, error) {
	if err != nil || c.Flavour == "" || c.Flavour == info.Flavour {
		return info, err
	}
	is := "it was not built by sekexe, so that it has none"
	if info.Flavour != "" {
		is = "it is " + info.Flavour
	}
	return nil, problem(info.Path, ErrFlavour, fmt.Sprintf("%s, and %s is wanted", is, c.Flavour), "correct the flavour, or leave it out")
}

// chooseFlavour returns the newest kernel that was built of a flavour and fits the version, if there is one.
func (f *Finder) chooseFlavour(ctx context.Context, c Choice) (*Info, error) {
	all, err := f.lookAll(ctx, slices.DeleteFunc(f.built(), func(b candidate) bool { return flavourOf(b.path) != c.Flavour }))
	if ctx.Err() != nil {
		return nil, err
	}
	for _, i := range all {
		if c.Version == "" || MatchesVersion(c.Version, i.Version) {
			return i, nil
		}
	}
	detail, command := "no kernel was built of flavour "+c.Flavour, "sekexe kernel build --debian sid --flavour "+c.Flavour
	if c.Version != "" {
		detail = "no kernel of version " + c.Version + " was built of flavour " + c.Flavour
		command = "sekexe kernel build --version " + c.Version + " --flavour " + c.Flavour + ", with a whole version"
	}
	built, _ := f.lookAll(ctx, f.built()) // what is wrong with those of other flavours is no matter here
	var others []string
	for _, i := range built {
		others = append(others, fmt.Sprintf("%s of flavour %s (%s)", i.Version, cmp.Or(i.Flavour, "unknown"), i.Path))
	}
	return nil, &Error{Problem: ErrNone, Detail: detail + besides(others, err), hint: "build it: " + command + "; or leave the flavour out"}
}

// besides says in the error of a search what there is, and what is wrong with other kernels.
func besides(others []string, err error) string {
	text := ""
	if len(others) > 0 {
		text = "; there is " + strings.Join(others, ", ")
	}
	if err != nil {
		text += "; " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return text
}

// chooseDefault finds the executable where nobody has named one.
func (f *Finder) chooseDefault(ctx context.Context) (*Info, error) {
	if e := f.fromEnv(); e.path != "" {
		info, err := f.look(ctx, e)
		return info, blameEnv(err)
	}
	switch path, err := f.Chosen(); {
	case err != nil:
		return nil, err
	case path != "":
		info, err := f.look(ctx, candidate{path, OriginChosen})
		return info, blameChosen(err)
	}
	built := slices.DeleteFunc(f.built(), func(c candidate) bool { return flavourOf(c.path) != DefaultFlavour })
	all, err := f.lookAll(ctx, built)
	if len(all) > 0 {
		return all[0], nil // what is wrong with others is no matter then
	}
	if err != nil {
		return nil, err
	}
	for c := range f.onPath() {
		if info, err := f.look(ctx, c); err == nil || !isOther(err) {
			return info, err
		}
	}
	return nil, &Error{Problem: ErrNone, Detail: "none is named, and neither linux.uml nor linux is on PATH", hint: HowToGet}
}

// blameEnv adds to an error who named the kernel: whoever sees it may not know that the variable is set.
func blameEnv(err error) error {
	return blame(err, func(hint string) string { return "$" + EnvKernel + " names it; " + hint })
}

// blameChosen says who named the kernel and how to take that back.
func blameChosen(err error) error {
	return blame(err, func(string) string { return chosenHint })
}

// blame changes the hint of an error.
func blame(err error, change func(hint string) string) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	blamed := *e
	blamed.hint = change(e.hint)
	return &blamed
}

// chooseVersion returns the newest kernel that fits a version.
func (f *Finder) chooseVersion(ctx context.Context, version string) (*Info, error) {
	all, err := f.List(ctx)
	if ctx.Err() != nil {
		return nil, err
	}
	var best *Info
	var others []string
	for _, i := range all {
		switch {
		case !MatchesVersion(version, i.Version):
			others = append(others, fmt.Sprintf("%s (%s)", i.Version, i.Path))
		case best == nil || i.better(best):
			best = i
		}
	}
	if best != nil {
		return best, nil
	}
	return nil, &Error{Problem: ErrNone, Detail: "no kernel has version " + version + besides(others, err), hint: "build it (sekexe kernel build --version " + version + " takes a whole version), name the path of such a kernel, or leave the version out"}
}

// better says whether a kernel is to be preferred to another one that fits as well: special flavours come last, newer ones first.
func (i *Info) better(other *Info) bool {
	if i.special() != other.special() {
		return other.special()
	}
	return CompareVersions(i.Version, other.Version) > 0
}

// special says whether a kernel was built of another flavour than the default one.
func (i *Info) special() bool { return i.Name != "" && i.Flavour != DefaultFlavour }

// rank sorts a list: what is never the default without being named comes last.
func (i *Info) rank() int {
	if i.Origin == OriginBuilt && i.special() {
		return 1
	}
	return 0
}

// List returns the kernels that can be found without a name, each once: the one that Resolve takes for an empty choice comes first, those that
// it never takes for that come last. The error tells of those that can't be used, joined; the others are returned all the same.
func (f *Finder) List(ctx context.Context) ([]*Info, error) {
	var all []*Info
	var errs []error
	if e := f.fromEnv(); e.path != "" {
		info, err := f.look(ctx, e)
		if err != nil {
			errs = append(errs, blameEnv(err))
		} else {
			all = append(all, info)
		}
	}
	switch path, err := f.Chosen(); {
	case err != nil:
		errs = append(errs, err)
	case path != "":
		info, err := f.look(ctx, candidate{path, OriginChosen})
		if err != nil {
			errs = append(errs, blameChosen(err))
		} else {
			all = append(all, info)
		}
	}
	for _, c := range [][]candidate{f.built(), slices.Collect(f.onPath())} {
		found, err := f.lookAll(ctx, c)
		all = append(all, found...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	seen := map[identity]bool{}
	all = slices.DeleteFunc(all, func(i *Info) bool {
		dup := seen[i.id]
		seen[i.id] = true
		return dup
	})
	slices.SortStableFunc(all, func(a, b *Info) int { return cmp.Compare(a.rank(), b.rank()) })
	for n, i := range all {
		m, err := withModules(i, "")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all[n] = m
	}
	return all, errors.Join(errs...)
}

// A candidate is a file that may be a kernel.
type candidate struct{ path, origin string }

// fromEnv is the kernel that the environment names.
func (f *Finder) fromEnv() candidate {
	v := f.getenv(EnvKernel)
	if v == "" || strings.ContainsRune(v, '/') {
		return candidate{v, OriginEnv}
	}
	for _, dir := range f.pathDirs() {
		if p := filepath.Join(dir, v); executable(p) {
			return candidate{p, OriginEnv}
		}
	}
	return candidate{v, OriginEnv}
}

// onPath are the kernels on PATH, looked for one by one.
func (f *Finder) onPath() iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		dirs := f.pathDirs()
		for _, name := range pathNames {
			for _, dir := range dirs {
				if p := filepath.Join(dir, name); executable(p) && !yield(candidate{p, OriginPath}) {
					return
				}
			}
		}
	}
}

// pathDirs are the folders of PATH. Relative ones are left out, as os/exec does: what lies in the current folder is not to be started for
// being there.
func (f *Finder) pathDirs() []string {
	return slices.DeleteFunc(filepath.SplitList(f.getenv("PATH")), func(d string) bool { return !filepath.IsAbs(d) })
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && isRegular(st.Mode()) && st.Mode()&0o111 != 0
}

// lookAll inspects candidates of one kind. Built ones come newest first. On PATH, what has a kernel's name but isn't one is passed over
// silently: linux is a common word.
func (f *Finder) lookAll(ctx context.Context, cs []candidate) ([]*Info, error) {
	var all []*Info
	var errs []error
	for _, c := range cs {
		info, err := f.look(ctx, c)
		switch {
		case err == nil:
			all = append(all, info)
		case ctx.Err() != nil:
			return all, err
		case c.origin == OriginPath && isOther(err):
		default:
			errs = append(errs, err)
		}
	}
	if len(cs) > 0 && cs[0].origin == OriginBuilt {
		slices.SortStableFunc(all, func(a, b *Info) int {
			return cmp.Or(CompareVersions(b.Version, a.Version), b.Modified.Compare(a.Modified))
		})
	}
	if len(errs) == 1 {
		return all, errs[0]
	}
	return all, errors.Join(errs...)
}

// isOther says whether an error means that a file is simply another program.
func isOther(err error) bool {
	return errors.Is(err, ErrNotUML) || errors.Is(err, ErrNotELF) || errors.Is(err, ErrScript)
}

// look inspects a candidate, or remembers what was found out before.
func (f *Finder) look(ctx context.Context, c candidate) (*Info, error) {
	path, err := filepath.Abs(c.path)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: make the path absolute: %w", c.path, err)
	}
	id, err := identify(path)
	if err != nil {
		return nil, err
	}
	info, ok := f.recall(path, id)
	if !ok {
		in := defaultInspector
		if f.in != nil {
			in = *f.in
		}
		if info, err = in.inspectFile(ctx, path, id); err != nil {
			return nil, err
		}
		f.remember(info)
	}
	info.Origin = c.origin
	if info.Name = f.builtName(path); info.Name != "" {
		info.Flavour = flavourOf(path)
	}
	return info, nil
}
