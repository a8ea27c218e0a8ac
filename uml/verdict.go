package uml

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// finish decides how the job ended, once the guest is gone or has been given up.
func (s *session) finish() {
	s.proc.kill()
	<-s.proc.done
	<-s.console.done
	s.span("the kernel powers off", s.mark)
	s.cutCopies()
	r := &s.res
	switch {
	case s.ending != nil && s.ending.job:
		r.Outcome, r.Reason, r.Status = s.ending.outcome, s.ending.reason, statusOf(s.ending.outcome)
		if r.Hint = s.ending.hint; r.Hint == "" && r.Outcome == orchestrator.BootFailed {
			r.Hint = bootHint
		}
		s.cutStep(r.Outcome, r.Reason)
	case s.failure != nil:
		r.Outcome, r.Reason, r.Hint = orchestrator.BootFailed, clean(s.failure.Text), clean(s.failure.Hint)
	case s.done:
		s.lastStep()
	case s.phase == booting || s.phase == greeted || s.phase == starting:
		r.Outcome, r.Hint = orchestrator.BootFailed, s.crashHint(bootHint)
		r.Reason = s.vanished("before the guest was up")
	case s.phase == off && len(s.res.Steps) > 0 || s.phase == off && len(s.job.Steps) == 0:
		// The commands have ended, and we know how. That the kernel could not end as it should is beside that.
		s.lastStep()
		s.sink.Notice(s.vanished("while it powered off"))
	default:
		r.Outcome, r.Reason = orchestrator.Panicked, s.vanished("before its commands had ended")
		r.Hint = s.crashHint("")
		s.cutStep(r.Outcome, r.Reason)
	}
}

const bootHint = "the kernel's log may say why: run it with --verbose to see all of it; sekexe doctor checks this host"

// crashHint is what to do about a kernel that is gone, where the surroundings say more than usual tells.
func (s *session) crashHint(usual string) string {
	if s.console.says("likely just ran out of space") { // arch/um/kernel/trap.c, about SIGBUS
		if s.memory != nil {
			return "the host had no more memory, and a kernel that can't have a page of its memory dies: give the sub-kernels less memory, or run fewer at once"
		}
		return s.rt.scratch.base + ", where guest memory lies, was full, and a kernel that can't have a page of its memory dies: " + memoryHint
	}
	if s.phase == booting && s.console.says("ptrace") {
		return "the kernel needs ptrace(2), which seems to be forbidden here: in a container, docker run --cap-add SYS_PTRACE or " +
			"--security-opt seccomp=unconfined allows it; elsewhere see /proc/sys/kernel/yama/ptrace_scope; sekexe doctor tries it"
	}
	return usual
}

// lastStep takes the job's outcome from its last step that ran, or the first failure that was not to be ignored.
func (s *session) lastStep() {
	r := &s.res
	if len(r.Steps) == 0 {
		r.Outcome, r.Status = orchestrator.Stopped, 0
		return
	}
	last := r.Steps[len(r.Steps)-1]
	r.Outcome, r.Status, r.Signal, r.Reason = last.Outcome, last.Status, last.Signal, last.Reason
}

// cutStep gives a result to the step that was running when the job ended.
func (s *session) cutStep(o orchestrator.Outcome, reason string) {
	if s.phase != up || len(s.res.Steps) != s.step || s.step >= len(s.job.Steps) {
		return
	}
	r := orchestrator.StepResult{
		Name: s.job.Steps[s.step].Name, Outcome: o, Status: statusOf(o), Reason: reason, Started: s.stepAt, Duration: time.Since(s.stepAt),
	}
	s.res.Steps = append(s.res.Steps, r)
	s.sink.StepEnded(s.step, r)
}

// vanished says how the kernel's process ended, and what it or the line had to say about it.
func (s *session) vanished(when string) string {
	if err := cmp.Or(s.wordErr, s.readErr); err != nil {
		return fmt.Sprintf("the guest's words made no sense %s: %s", when, clean(err.Error()))
	}
	text := fmt.Sprintf("the kernel was gone %s: %s", when, s.proc.how())
	if p := s.console.panicLine(); p != "" {
		text += ": " + p
	}
	return text
}

// spec is what the guest is to make.
func (s *session) spec() wire.Spec {
	j := s.job
	sp := wire.Spec{
		Hostname: j.Hostname, Root: wireRoot(&j.Root, len(j.Disks)), Cgroups: j.Cgroups, Modules: s.info.Modules,
		Trace: s.rt.o.Trace != nil,
	}
	for _, m := range j.Mounts {
		sp.Mounts = append(sp.Mounts, wire.Mount{Source: m.Source, Target: m.Target, Mode: m.Mode, File: isFile(m.Source)})
	}
	for i := range s.links {
		if s.links[i].Forward == nil {
			sp.NICs = append(sp.NICs, wireNIC(i, &s.links[i]))
		}
	}
	for _, t := range j.Tmpfs {
		sp.Tmpfs = append(sp.Tmpfs, wire.Tmpfs{Target: t.Target, Size: t.Size, Mode: t.Mode})
	}
	if s.docker != nil {
		sp.Agent = s.docker.program
	}
	for i := range j.Disks {
		sp.Disks = append(sp.Disks, wireDisk(i, &j.Disks[i]))
	}
	return sp
}

// wireRoot is what the guest is told of its root. The disk with its upper layer comes after the others, then
// that with all of it.
func wireRoot(r *orchestrator.Root, disks int) wire.Root {
	w := wire.Root{Mode: r.Mode, Source: r.Source, FileSystem: r.FileSystem, Size: r.Size, KeepRun: r.Container && r.Mode != "ro"}
	if r.FileSystem != "" {
		w.Source, w.Disk = "", disks
		if r.Persist != "" {
			w.Disk++
		}
	}
	if r.Persist != "" {
		w.Layer, w.Size = deviceName(disks), 0
	}
	return w
}

// exec sends a step on its way.
func (s *session) exec(i int) {
	st := s.job.Steps[i]
	e := wire.Exec{ID: wire.ID(i), Argv: st.Argv, Env: st.Env, Dir: st.Dir, User: st.User, Umask: st.Umask, Input: st.Stdin != nil}
	if st.Compose != "" {
		e.Agent, e.Argv = true, append([]string{agentName, wire.AgentCompose, st.Compose}, st.Argv...)
	}
	if st.TTY != nil {
		e.TTY, e.Rows, e.Cols = true, st.TTY.Size.Rows, st.TTY.Size.Cols
	}
	s.send(wire.KindExec, &e)
}

// clean makes a guest's text fit for a message: one line, of bounded length, without control characters.
func clean(text string) string {
	const most = 1000
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(text), string(unicode.ReplacementChar)))
}
