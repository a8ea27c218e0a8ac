package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what to build and where.
type Options struct {
	Source *Source
	Recipe Recipe
	// CacheDir is the folder that kernel.Finder looks in, too: the result is in CacheDir/kernels/KEY.
	CacheDir string
	// Jobs is how many compilers run at once; 0: one more than CPUs.
	Jobs int
	// Progress is told how far a build is, at most a few times a second; may be nil.
	Progress func(Progress)
	// Waiting is called when another build of the same kernel is under way, which is waited for; may be nil.
	Waiting func()
}

// A Result is a kernel that was built, now or before.
type Result struct {
	Key string
	// Path is the executable. Beside it are its configuration, "config", and "provenance.json".
	Path    string
	Dropped []Dropped
	// Unapplied names the edits of sekexe's for which the source has other lines than they look for.
	Unapplied []string
	// Cached says that it had been built before.
	Cached   bool
	Duration time.Duration
}

// Provenance is what is known of how a kernel was built. It lies beside it.
type Provenance struct {
	Schema     int       `json:"schema"` // 1
	Key        string    `json:"key"`
	Version    string    `json:"version"`
	Flavour    string    `json:"flavour"`
	Origin     string    `json:"origin"`
	SourceHash string    `json:"source_sha256"`
	ConfigHash string    `json:"config_sha256"`
	Compiler   string    `json:"compiler"`
	Built      time.Time `json:"built"`
	Seconds    float64   `json:"seconds"`
	Dropped    []string  `json:"dropped,omitempty"`
	Set        []string  `json:"set,omitempty"`
	// Edits names the edits of sekexe's that the source has, Unapplied those that it has no place for. Both are empty where it was left as it was.
	Edits     []string `json:"edits,omitempty"`
	Unapplied []string `json:"edits_unapplied,omitempty"`
}

// A builder is one build under way.
type builder struct {
	o        Options
	key      string
	fragment string
	work     string // folder of the build: src, out, log
	final    string // folder of the result
	started  time.Time
}

// Kernel builds a kernel, or finds that it is there. When ctx ends, the build stops and can be taken up again.
func Kernel(ctx context.Context, o Options) (*Result, error) {
	fragment, err := o.Recipe.text()
	if err != nil {
		return nil, err
	}
	if err := checkTools(o.Source); err != nil {
		return nil, err
	}
	b := &builder{o: o, key: key(o.Source, o.Recipe, fragment), fragment: fragment, started: time.Now()}
	b.work = filepath.Join(o.CacheDir, "build", b.key)
	b.final = filepath.Join(o.CacheDir, "kernels", b.key)
	if r := b.cached(); r != nil {
		return r, nil
	}
	if err := os.MkdirAll(b.work, 0o700); err != nil {
		return nil, fmt.Errorf("build: make its folder: %w", err)
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if r := b.cached(); r != nil { // who had the lock before us has built it
		return r, nil
	}
	return b.build(ctx)
}

// cached returns the result of an earlier build.
func (b *builder) cached() *Result {
	path := filepath.Join(b.final, "linux")
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	r := &Result{Key: b.key, Path: path, Cached: true}
	if p, err := ReadProvenance(b.final); err == nil {
		for _, d := range p.Dropped {
			name, got, _ := strings.Cut(d, " (it is ")
			k, v, _ := strings.Cut(name, "=")
			r.Dropped = append(r.Dropped, Dropped{Symbol{k, v}, strings.TrimSuffix(got, ")")})
		}
		r.Unapplied = p.Unapplied
	}
	return r
}

// ReadProvenance reads what lies beside a kernel that was built; dir is its folder.
func ReadProvenance(dir string) (*Provenance, error) {
	t, err := os.ReadFile(filepath.Join(dir, "provenance.json"))
	if err != nil {
		return nil, err
	}
	var p Provenance
	if err := json.Unmarshal(t, &p); err != nil {
		return nil, fmt.Errorf("provenance of %s: read it: %w", dir, err)
	}
	return &p, nil
}

// lock waits for the work folder. The lock file lies beside it, because the folder goes when the build is done.
func (b *builder) lock(ctx context.Context) (func(), error) {
	f, err := os.OpenFile(b.work+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("build: lock it: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return func() { f.Close() }, nil
	}
	if b.o.Waiting != nil {
		b.o.Waiting()
	}
	got := make(chan error, 1)
	go func() { got <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-got:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("build: lock it: %w", err)
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		go func() { <-got; f.Close() }() // the call can't be interrupted; it ends with this process at the latest
		return nil, ctx.Err()
	}
}

// build builds.
func (b *builder) build(ctx context.Context) (*Result, error) {
	src := b.o.Source.Dir
	if src == "" || !b.o.Recipe.Unmodified {
		src = filepath.Join(b.work, "src")
		b.report(Progress{Phase: "unpacking the source"})
		if err := b.o.Source.prepare(ctx, src, b.o.Recipe.Unmodified); err != nil {
			return nil, err
		}
	}
	out := filepath.Join(b.work, "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, fmt.Errorf("build: make its folder: %w", err)
	}
	b.report(Progress{Phase: "configuring"})
	dropped, err := b.configure(ctx, src, out)
	if err != nil {
		return nil, err
	}
	if err := b.compile(ctx, src, out); err != nil {
		return nil, err
	}
	r := &Result{Key: b.key, Path: filepath.Join(b.final, "linux"), Dropped: dropped, Duration: time.Since(b.started)}
	if err := b.keep(ctx, src, out, r); err != nil {
		return nil, err
	}
	return r, os.RemoveAll(b.work)
}

// make is the arguments of make for a target.
func (b *builder) make(src, out string, more ...string) []string {
	// A reproducible build says nothing of who built it when and where (Documentation/kbuild/reproducible-builds.rst).
	return append([]string{"make", "-C", src, "O=" + out, "ARCH=um", "KBUILD_BUILD_USER=sekexe", "KBUILD_BUILD_HOST=sekexe", "KBUILD_BUILD_TIMESTAMP=1970-01-01"}, more...)
}

// configure makes the configuration and says what Kconfig dropped of what we asked.
func (b *builder) configure(ctx context.Context, src, out string) ([]Dropped, error) {
	log, err := b.openLog("configure.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	name := filepath.Join(out, ".config")
	want := filepath.Join(out, ".sekexe-fragment")
	if prev, err := os.ReadFile(want); err == nil && string(prev) == b.fragment {
		if _, err := os.Stat(name); err == nil {
			return b.dropped(name) // a build that goes on: a new file would build everything anew
		}
	}
	if err := run(ctx, "", log, b.make(src, out, "x86_64_defconfig")...); err != nil {
		return nil, b.failed("configure", "configure.log", err)
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	_, err = io.WriteString(f, "\n"+b.fragment)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("configuration: write it: %w", err)
	}
	if err := run(ctx, "", log, b.make(src, out, "olddefconfig")...); err != nil {
		return nil, b.failed("configure", "configure.log", err)
	}
	if err := os.WriteFile(want, []byte(b.fragment), 0o644); err != nil {
		return nil, fmt.Errorf("configuration: write it: %w", err)
	}
	return b.dropped(name)
}

func (b *builder) dropped(name string) ([]Dropped, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	got, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("configuration: read it: %w", err)
	}
	asked, err := parse(strings.NewReader(b.fragment))
	if err != nil {
		return nil, fmt.Errorf("configuration: read the fragments: %w", err)
	}
	return compare(asked, got)
}

func (b *builder) openLog(name string) (*os.File, error) {
	f, err := os.Create(filepath.Join(b.work, name))
	if err != nil {
		return nil, fmt.Errorf("build: open its log: %w", err)
	}
	return f, nil
}

// failed makes an error of a step that failed, with the end of its log.
func (b *builder) failed(what, log string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	name := filepath.Join(b.work, log)
	tail := ""
	if t, rerr := os.ReadFile(name); rerr == nil {
		lines := strings.Split(strings.TrimSpace(string(t)), "\n")
		tail = ":\n  " + strings.Join(lines[max(0, len(lines)-15):], "\n  ")
	}
	return withHint(fmt.Errorf("kernel %s: %s it: %w%s", b.key, what, err, tail), "the whole log is in "+name)
}

// compile runs the compiler.
func (b *builder) compile(ctx context.Context, src, out string) error {
	log, err := b.openLog("build.log")
	if err != nil {
		return err
	}
	defer log.Close()
	jobs := b.o.Jobs
	if jobs <= 0 {
		jobs = cpus() + 1
	}
	c := newCounter(log, b.o.CacheDir, b.key, b.report)
	err = run(ctx, "", c, b.make(src, out, "-j"+strconv.Itoa(jobs), "linux")...)
	if err != nil {
		return b.failed("compile", "build.log", err)
	}
	c.finish()
	return nil
}

// keep puts the result where it is found, in one step.
func (b *builder) keep(ctx context.Context, src, out string, r *Result) error {
	b.report(Progress{Phase: "keeping the result"})
	tmp := filepath.Join(b.work, "result")
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return fmt.Errorf("result: keep it: %w", err)
	}
	strip := []string{"strip", "-o", filepath.Join(tmp, "linux"), filepath.Join(out, "linux")}
	if b.o.Recipe.Flavour == "debug" { // its symbols are what it is for
		strip = []string{"cp", filepath.Join(out, "linux"), filepath.Join(tmp, "linux")}
	}
	if err := run(ctx, "", nil, strip...); err != nil {
		return fmt.Errorf("result: strip it: %w", err)
	}
	cfg, err := os.ReadFile(filepath.Join(out, ".config"))
	if err != nil {
		return fmt.Errorf("result: keep its configuration: %w", err)
	}
	edited, unapplied, err := editsOf(src)
	if err != nil {
		return err
	}
	if len(edited) > 0 { // who compares configurations, as a lock does, sees other edits, too
		cfg = fmt.Appendf(cfg, "# Edits of sekexe's to the source: %s (%s)\n", strings.Join(edited, ", "), editsHash()[:16])
	}
	r.Unapplied = unapplied
	p := Provenance{
		Schema: 1, Key: b.key, Version: b.o.Source.Version, Flavour: b.o.Recipe.Flavour, Origin: b.o.Source.Origin, SourceHash: b.o.Source.Hash,
		ConfigHash: hashText(cfg), Compiler: compiler(ctx), Built: time.Now().UTC().Truncate(time.Second), Seconds: r.Duration.Seconds(), Set: b.o.Recipe.Set,
		Edits: edited, Unapplied: unapplied,
	}
	for _, d := range r.Dropped {
		p.Dropped = append(p.Dropped, d.String())
	}
	j, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("result: keep its provenance: %w", err)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(tmp, "config"), cfg, 0o644),
		os.WriteFile(filepath.Join(tmp, "provenance.json"), append(j, '\n'), 0o644),
		os.MkdirAll(filepath.Dir(b.final), 0o700))
	if err != nil {
		return fmt.Errorf("result: keep it: %w", err)
	}
	if err := os.Rename(tmp, b.final); err != nil {
		return fmt.Errorf("result: keep it: %w", err)
	}
	return nil
}

// compiler is the first line of what the compiler says of itself.
func compiler(ctx context.Context) string {
	t, err := exec.CommandContext(ctx, "gcc", "--version").Output()
	if err != nil {
		return ""
	}
	l, _, _ := strings.Cut(string(t), "\n")
	return l
}
