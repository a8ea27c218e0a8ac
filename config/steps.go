package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/sys/unix"
)

// kernelFolders are the folders of the guest that belong to its kernel: nothing can be mounted on or below them.
var kernelFolders = []string{"/proc", "/sys", "/dev"}

// target checks the label of a mount or tmpfs. targets are those of the block so far.
func (d *decoder) target(b *block, targets map[string]hcl.Range) string {
	t, rng := b.label(), b.labelRanges[0]
	fail := func(summary, detail string) string {
		d.bad = true
		d.l.diags.errorAt(rng, summary, detail)
		return t
	}
	switch clean := path.Clean(t); {
	case strings.ContainsRune(t, 0):
		return fail("Invalid character", "A path can't hold a NUL character. Remove it.")
	case !path.IsAbs(t):
		return fail("Path not absolute", fmt.Sprintf("%q is a path in the guest and begins with /.", t))
	case clean != t:
		return fail("Path not clean", fmt.Sprintf("Write %q, without doubled or trailing slashes, . and ..", clean))
	case t == "/":
		return fail("Mount on the root", "The root itself can't be mounted over. Mount on a folder, or see the root block.")
	}
	for _, f := range kernelFolders {
		if t == f || strings.HasPrefix(t, f+"/") {
			return fail("Mount on a kernel folder", fmt.Sprintf("%s belongs to the guest's kernel. Mount somewhere else.", f))
		}
	}
	if first, ok := targets[t]; ok {
		return fail("Duplicate mount target", fmt.Sprintf("Something is mounted on %s already, at %s. Choose another target.", t, place(first)))
	}
	targets[t] = rng
	return t
}

// readable returns an error unless path can be read, and entered if it is a folder.
func readable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	mode := uint32(unix.R_OK)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		mode |= unix.X_OK
	}
	return unix.Access(path, mode)
}

// stepNames are the names that steps may have: printable, and no path.
var stepNames = newPattern(`^[^\pC/]{1,100}$`)

// buildSteps fills in the steps. It reports whether the command attribute is good, or not there.
func (l *loader) buildSteps(in *instance, s *Subkernel, c content, d *decoder) bool {
	for _, b := range c.blocks["step"] {
		if !stepNames.MatchString(b.label()) || strings.TrimSpace(b.label()) == "" {
			l.diags.errorAt(b.labelRanges[0], "Invalid name", "The name of a step has 1 to 100 printable characters, and no slash.")
		}
		s.Steps = append(s.Steps, l.buildStep(in, b))
	}
	var shell string
	argv, ok := tried(d, func() (argv []string) {
		shell, argv = d.command("command")
		return argv
	})
	if s.Docker != nil && s.Docker.Compose != "" {
		l.addCompose(s, d)
		return ok
	}
	if shell == "" && argv == nil {
		return ok
	}
	if i := slices.IndexFunc(s.Steps, func(st Step) bool { return st.Name == commandStep }); i >= 0 {
		d.error(&attrValue{attr: d.last("command")}, "Duplicate step", fmt.Sprintf("The command attribute is the last step, named %q, and a step block has that name. Rename that one.", commandStep))
	}
	s.Steps = append(s.Steps, Step{Name: commandStep, Shell: shell, Argv: argv, ExpectExit: []int{0}, Range: toRange(d.last("command").Range)})
	return ok
}

func (l *loader) buildStep(in *instance, b *block) Step {
	d := l.nested(in, b)
	d.require(b, "command")
	shell, argv := d.command("command")
	if d.last("command") != nil && !d.bad && shell == "" && argv == nil {
		l.diags.errorAt(d.last("command").Expr.Range(), "Empty command", "A step needs a command. Write one, or remove the step.")
	}
	return Step{
		Name:            b.label(),
		Shell:           shell,
		Argv:            argv,
		Env:             d.stringMap("env"),
		Workdir:         d.guestPath("workdir"),
		User:            d.user("user"),
		Timeout:         d.duration("timeout", 0, 0),
		ContinueOnError: d.boolean("continue_on_error", false),
		ExpectExit:      d.statuses("expect_exit", []int{0}),
		Range:           toRange(b.defRange),
	}
}

// runs reports whether the sub-kernel runs anything: steps, or an image's own command.
func (s *Subkernel) runs() bool { return len(s.Steps) > 0 || s.Root.Image != "" }

// buildService decides whether the sub-kernel is a service, and how it is expected to end. What follows from that is not checked where it is not
// sure, because of an error that is reported.
func (l *loader) buildService(in *instance, s *Subkernel, c content, d *decoder, sure bool) {
	s.Service = len(s.Steps) == 0 || s.Steps[len(s.Steps)-1].Compose
	if v := d.get("service"); v != nil {
		var ok bool
		s.Service, ok = tried(d, func() bool { return d.boolean("service", s.Service) })
		if ok && sure && !s.Service && !s.runs() {
			d.error(v, "Nothing to run", "A sub-kernel without a command and steps is a service. Give it a command, or remove this.")
		}
		sure = sure && ok
	}
	for _, b := range c.blocks["ready"] {
		s.Ready = l.buildReady(in, b, s, sure)
	}
	l.buildExpect(s, d, sure)
}

func (l *loader) buildReady(in *instance, b *block, s *Subkernel, sure bool) *Ready {
	d := l.nested(in, b)
	r := &Ready{
		Port:     d.wholeNumber("port", 0, 1, 65535),
		Log:      d.regexp("log"),
		Interval: d.duration("interval", defaultReadyInterval, time.Millisecond),
		Timeout:  d.duration("timeout", defaultReadyTimeout, time.Millisecond),
		Range:    toRange(b.defRange),
	}
	r.Shell, r.Argv = d.command("command")
	switch {
	case r.Shell == "" && r.Argv == nil && r.Port == 0 && r.Log == "" && !d.bad:
		l.diags.errorAt(b.defRange, "Nothing to wait for", "Say when the service is ready: set one of command, port and log, or remove the block.")
	case !sure:
	case !s.Service:
		l.diags.errorAt(b.defRange, "Readiness of what is no service", fmt.Sprintf("%s runs to its end, and is ready when it has ended well. Set service = true, or remove the block.", s.Name))
	case r.Log != "" && !s.runs():
		l.diags.errorAt(b.defRange, "No output to wait for", fmt.Sprintf("%s has no command whose output could match. Give it one, or use command or port here.", s.Name))
	}
	return r
}

// regexp returns a regular expression, or "" if it is not set.
func (d *decoder) regexp(name string) string {
	v := d.get(name)
	if v == nil || !d.text(v, "a regular expression") {
		return ""
	}
	s := v.val.AsString()
	if s == "" {
		d.error(v, "Invalid regular expression", "An empty expression matches everything. Write what the line must hold.")
		return ""
	}
	if _, err := regexp.Compile(s); err != nil {
		d.error(v, "Invalid regular expression", fmt.Sprintf("%s. The syntax is RE2's; in a quoted string a backslash is written twice.", strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
		return ""
	}
	return s
}

// buildExpect decides what counts as success. What the sub-kernel expects is what its last step does.
func (l *loader) buildExpect(s *Subkernel, d *decoder, sure bool) {
	s.Expect = Expect{Exit: []int{0}, Outcome: d.oneOf("expect_outcome", "exited", "exited", "panicked", "timed-out")}
	if n := len(s.Steps); n > 0 {
		s.Expect.Exit = s.Steps[n-1].ExpectExit
	}
	exit, outcome := d.get("expect_exit"), d.get("expect_outcome")
	if exit != nil {
		s.Expect.Exit = d.statuses("expect_exit", s.Expect.Exit)
	}
	const service = "A service is stopped when nobody needs it any more, so that it has no status to expect. Remove this, or service = true."
	switch {
	case !sure:
	case s.Service && exit != nil:
		d.error(exit, "Expectation of a service", service)
	case s.Service && outcome != nil:
		d.error(outcome, "Expectation of a service", service)
	case exit != nil && s.Expect.Outcome != "exited":
		d.error(exit, "Attributes exclude each other", fmt.Sprintf("With expect_outcome = %q there is no exit status to expect. Remove one of the two.", s.Expect.Outcome))
	case exit != nil && len(s.Steps) > 0 && s.Steps[len(s.Steps)-1].stepExpectsOther(s.Expect.Exit):
		d.error(exit, "Attributes exclude each other", fmt.Sprintf("The last step, %q, has an expect_exit of its own. Remove one of the two.", s.Steps[len(s.Steps)-1].Name))
	}
	if n := len(s.Steps); n > 0 {
		s.Steps[n-1].ExpectExit = s.Expect.Exit
	}
}

// stepExpectsOther reports whether the step names statuses, and not these.
func (st Step) stepExpectsOther(exit []int) bool {
	return !slices.Equal(st.ExpectExit, []int{0}) && !slices.Equal(st.ExpectExit, exit)
}
