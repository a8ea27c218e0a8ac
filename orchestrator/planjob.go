package orchestrator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sekexe/sekexe/config"
)

// baseEnv is the environment below that of the file. Nothing of the host's environment gets in: the same file, the same run.
var baseEnv = map[string]string{
	"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LANG": "C.UTF-8",
	"TERM": "dumb",
}

// stepUmask is the umask of commands, as login shells have it.
const stepUmask = 0o022

// isService says whether a sub-kernel runs until the others have ended: because it says so, or because it has nothing to end it.
func isService(sub *config.Subkernel) bool {
	return sub.Service || len(sub.Steps) == 0 && sub.Root.Image == ""
}

func newNode(sub *config.Subkernel, id string) Node {
	job := Job{
		Name:        sub.Name,
		ID:          id,
		Hostname:    sub.Hostname,
		Kernel:      newKernelChoice(&sub.Kernel),
		Memory:      sub.Memory,
		CPUs:        sub.CPUs,
		Isolation:   sub.Isolation,
		Root:        Root{Mode: sub.Root.Mode, Source: sub.Root.Source, FileSystem: sub.Root.FileSystem, Image: sub.Root.Image, Pull: sub.Root.Pull, Persist: sub.Root.Persist, Size: sub.Root.Size},
		Cgroups:     sub.Cgroups,
		Service:     isService(sub),
		Ready:       newReady(sub),
		Timeout:     sub.Timeout,
		BootTimeout: sub.BootTimeout,
		StopTimeout: sub.StopTimeout,
	}
	for _, m := range sub.Mounts {
		job.Mounts = append(job.Mounts, Mount{Target: m.Target, Source: m.Source, Mode: m.Mode})
	}
	job.Confine = Confine{
		Read: slices.Clone(sub.Confine.Read), Hide: slices.Clone(sub.Confine.Hide), Show: slices.Clone(sub.Confine.Show),
		Root: sub.Confine.Root, Required: sub.Confine.Required,
	}
	if sub.Docker != nil {
		job.UseDocker(sub.Docker, environ(envBelow(sub), sub.Env))
	}
	for _, t := range sub.Tmpfs {
		job.Tmpfs = append(job.Tmpfs, Tmpfs{Target: t.Target, Size: t.Size, Mode: t.Mode})
	}
	for _, d := range sub.Disks {
		job.Disks = append(job.Disks, Disk{Target: d.Target, Size: d.Size, File: d.File, Mode: d.Mode})
	}
	for _, c := range sub.CopyOut {
		job.CopyOut = append(job.CopyOut, CopyOut{From: c.From, To: c.To, Optional: c.Optional, Limit: c.Limit})
	}
	for i := range sub.Steps {
		step := newStep(sub, &sub.Steps[i])
		if sub.Steps[i].Compose {
			addCompose(&job, sub, &step)
		}
		job.Steps = append(job.Steps, step)
	}
	if len(sub.Steps) == 0 && sub.Root.Image != "" {
		step := newStep(sub, &config.Step{Name: "command", ExpectExit: sub.Expect.Exit})
		step.OfImage = true
		job.Steps = append(job.Steps, step)
	}
	node := Node{Job: job, Block: sub.Block, Expect: newExpect(sub, job.Steps)}
	for _, m := range sub.Matrix {
		node.Matrix = append(node.Matrix, MatrixValue(m))
	}
	return node
}

func newKernelChoice(k *config.Kernel) KernelChoice {
	return KernelChoice{Name: k.Name, Path: k.Path, Version: k.Version, Flavour: k.Flavour, Modules: k.Modules, Build: buildText(k.Build)}
}

// buildText says what a kernel is built of; empty: it isn't.
func buildText(b *config.Build) string {
	if b == nil {
		return ""
	}
	text := b.Source
	switch {
	case b.Version != "":
		text = "kernel.org " + b.Version
	case b.Debian != "":
		text = "Debian " + b.Debian
	}
	for _, f := range b.Fragments {
		text += ", " + f
	}
	for _, k := range slices.Sorted(maps.Keys(b.Set)) {
		text += ", " + k + "=" + b.Set[k]
	}
	if b.Unmodified {
		text += ", unmodified"
	}
	return text
}

// newExpect also makes the last step agree with what is expected of the whole: of the two, the one that says more than the default holds.
func newExpect(sub *config.Subkernel, steps []Step) Expect {
	expect := Expect{Exit: slices.Clone(sub.Expect.Exit), Outcome: Outcome(sub.Expect.Outcome)}
	if len(steps) == 0 {
		return expect
	}
	last := &steps[len(steps)-1]
	if expect.statuses()[0] == 0 && len(expect.statuses()) == 1 {
		expect.Exit = slices.Clone(last.ExpectExit)
	} else {
		last.ExpectExit = slices.Clone(expect.Exit)
	}
	return expect
}

func newStep(sub *config.Subkernel, s *config.Step) Step {
	step := Step{
		Name:            s.Name,
		Argv:            argv(s.Argv, s.Shell),
		Env:             environ(envBelow(sub), sub.Env, s.Env),
		Dir:             s.Workdir,
		User:            s.User,
		Umask:           stepUmask,
		Timeout:         s.Timeout,
		ContinueOnError: s.ContinueOnError,
		ExpectExit:      slices.Clone(s.ExpectExit),
	}
	if step.Dir == "" {
		step.Dir = sub.Workdir
	}
	if step.User == "" {
		step.User = sub.User
	}
	return step
}

func newReady(sub *config.Subkernel) *Ready {
	if sub.Ready == nil {
		return nil
	}
	r := &Ready{Port: sub.Ready.Port, Log: sub.Ready.Log, Interval: sub.Ready.Interval, Timeout: sub.Ready.Timeout}
	if r.Port == 0 && r.Log == "" {
		r.Argv = argv(sub.Ready.Argv, sub.Ready.Shell)
		r.Env = environ(envBelow(sub), sub.Env)
		r.Dir = sub.Workdir
		r.User = sub.User
	}
	return r
}

// envBelow is the environment below the file's: that of an image comes with UseImage.
func envBelow(sub *config.Subkernel) map[string]string {
	if sub.Root.Image != "" {
		return nil
	}
	return baseEnv
}

func argv(argv []string, shell string) []string {
	if len(argv) == 0 && shell != "" {
		return []string{"/bin/sh", "-c", shell}
	}
	return slices.Clone(argv)
}

// environ returns K=V of all layers, sorted by K; a later layer wins.
func environ(layers ...map[string]string) []string {
	all := make(map[string]string)
	for _, layer := range layers {
		maps.Copy(all, layer)
	}
	env := make([]string, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		env = append(env, k+"="+all[k])
	}
	return env
}

// maxID keeps file names made of an ID well below the 255 bytes that file systems allow.
const maxID = 64

// newIDs returns an ID for each sub-kernel: its name with all but [a-z0-9.-] replaced, and a number after the names that this makes equal.
func newIDs(subs []config.Subkernel) []string {
	ids := make([]string, len(subs))
	taken := make(map[string]bool, len(subs))
	for i := range subs {
		base := newID(subs[i].Name)
		id := base
		for n := 2; taken[id]; n++ {
			id = fmt.Sprintf("%s-%d", base, n)
		}
		taken[id] = true
		ids[i] = id
	}
	return ids
}

func newID(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.':
			b.WriteRune(r)
		default:
			// One dash for any run of others: web["a"] becomes web-a.
			if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
				b.WriteByte('-')
			}
		}
	}
	id := b.String()
	id = strings.Trim(id[:min(len(id), maxID)], ".-")
	if id == "" {
		return "subkernel"
	}
	return id
}

// statuses returns Exit, or its default.
func (e Expect) statuses() []int {
	if len(e.Exit) == 0 {
		return []int{0}
	}
	return e.Exit
}

// outcome returns Outcome, or its default.
func (e Expect) outcome() Outcome {
	if e.Outcome == "" {
		return Exited
	}
	return e.Outcome
}
