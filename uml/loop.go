package uml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// never is a time for timers that are not needed.
const never = 1 << 62

// loop brings the sub-kernel from its boot to its power-off. It returns when the guest is gone.
func (s *session) loop(ctx context.Context, stop <-chan struct{}) {
	boot := s.job.BootTimeout
	if boot <= 0 {
		boot = DefaultBootTimeout
	}
	s.deadline = time.NewTimer(boot)
	defer s.deadline.Stop()
	s.jobTimer = time.NewTimer(orNever(s.job.Timeout))
	defer s.jobTimer.Stop()
	s.ready.init(s.job)
	defer s.ready.stop()
	for {
		select {
		case f, ok := <-s.frames:
			if !ok {
				return // the kernel is gone, or spoke nonsense: see finish
			}
			if err := s.handle(f); err != nil {
				s.wordErr = err
				s.proc.kill()
				s.drain()
				return
			}
		case <-stop:
			stop = nil
			s.end(s.stopping())
		case <-ctx.Done():
			s.endNow(s.stopping())
			return
		case id := <-s.copyFailed:
			if s.copying != nil && s.copying.id == id {
				s.copyDone(&wire.Copied{}, nil)
			}
		case <-s.jobTimer.C:
			s.end(ending{outcome: orchestrator.TimedOut, reason: fmt.Sprintf("it ran for longer than %v", s.job.Timeout), job: true})
		case <-s.deadline.C:
			s.expired()
		case r := <-s.docker.said():
			s.dockerSaid(r)
		case size := <-s.resizes():
			s.send(wire.KindResize, &wire.Resize{ID: wire.ID(s.step), Rows: size.Rows, Cols: size.Cols})
		case <-s.ready.tick():
			s.probe()
		case <-s.ready.seen:
			s.isReady()
		case <-s.ready.expired():
			s.end(ending{outcome: orchestrator.TimedOut, reason: s.ready.overdue(), job: true})
		}
	}
}

func orNever(d time.Duration) time.Duration {
	if d <= 0 {
		return never
	}
	return d
}

// handle carries out one word of the guest's. An error ends the sub-kernel.
func (s *session) handle(f frame) error {
	switch f.kind {
	case wire.KindHello:
		return s.hello(f.payload)
	case wire.KindUp:
		return s.isUp()
	case wire.KindFailure:
		s.failure = &wire.Failure{}
		s.phase = off
		s.deadline.Reset(powerOffTimeout)
		return wire.Decode(f.kind, f.payload, s.failure)
	case wire.KindExited:
		return s.exited(f.payload)
	case wire.KindProbed:
		var p wire.Probed
		if err := wire.Decode(f.kind, f.payload, &p); err != nil {
			return err
		}
		s.probed(p.ID, p.OK)
	case wire.KindInputTaken, wire.KindInputClosed:
		id, _, err := wire.SplitID(f.kind, f.payload)
		if err != nil {
			return err
		}
		if s.in != nil && id == s.in.id {
			s.in.heard(f.kind)
		}
	case wire.KindCopied:
		return s.copied(f.payload)
	case wire.KindLeased:
		return s.leased(f.payload)
	case wire.KindNotice:
		s.sink.Notice(clean(string(f.payload)))
	case wire.KindTrace:
		return s.guestSpans(f.payload)
	case wire.KindDone:
		// Nothing of the guest's is left to be written, so that there is nothing to wait for: what the kernel does at its power-off takes
		// longer than to kill it.
		s.done = true
		s.proc.kill()
	default:
		return fmt.Errorf("guest: %w: a frame of kind %#x", wire.ErrProtocol, f.kind)
	}
	return nil
}

// hello answers the guest's first word with the Spec, and the first step behind it.
func (s *session) hello(payload []byte) error {
	var h wire.Hello
	if err := wire.Decode(wire.KindHello, payload, &h); err != nil {
		return err
	}
	if s.phase != booting {
		return fmt.Errorf("guest: %w: a second Hello", wire.ErrProtocol)
	}
	if h.Protocol != wire.Protocol {
		return fmt.Errorf("guest: %w: it speaks version %d, this program version %d", wire.ErrProtocol, h.Protocol, wire.Protocol)
	}
	s.phase = greeted
	s.mark = s.span("the kernel boots, until hello", s.mark)
	s.guestZero = s.mark.Add(-time.Duration(h.Clock))
	s.res.Boot = time.Since(s.start)
	s.res.KernelVersion = clean(h.Kernel)
	s.sink.Booted(s.res.KernelVersion)
	sp := s.spec()
	s.send(wire.KindSpec, &sp)
	switch {
	case s.docker != nil:
		s.startDocker()
		s.tasks.Go(func() { s.prefault(dockerMemory) })
	case len(s.job.Steps) > 0:
		s.exec(0)
	}
	if slices.ContainsFunc(s.links, func(l orchestrator.Link) bool { return l.DHCP }) {
		s.releaseBoot() // who gives it an address may be a sub-kernel that is yet to boot
	}
	s.learnBoot()
	s.seal()
	return nil
}

// seal takes from the kernel the folders that it could write to besides those of rw mounts, where a guest could fill the memory that is all
// guests': what it needed there, it has opened.
func (s *session) seal() {
	if err := errors.Join(os.RemoveAll(s.private), s.memory.remove()); err != nil {
		s.sink.Notice(fmt.Sprintf("scratch folder: take it from the kernel: %v", err))
	}
}

// isUp hears that root and mounts are made.
func (s *session) isUp() error {
	if s.phase != greeted {
		return fmt.Errorf("guest: %w: Up out of turn", wire.ErrProtocol)
	}
	s.releaseBoot()
	s.mark = s.span("the guest makes its root", s.mark)
	if s.docker != nil {
		s.phase = starting
		s.docker.started = time.Now()
		s.deadline.Reset(s.job.Docker.Wait)
		return nil
	}
	s.begin()
	return nil
}

// begin begins the first step's time, or, without steps, the service's.
func (s *session) begin() {
	s.phase = up
	s.res.Up = time.Since(s.start)
	s.deadline.Reset(never)
	s.sink.Up()
	if len(s.job.Steps) == 0 {
		s.serving()
		return
	}
	s.beginStep(0)
}

// beginStep starts the clocks of a step whose Exec is on its way.
func (s *session) beginStep(i int) {
	st := s.job.Steps[i]
	s.step, s.stepAt = i, time.Now()
	s.deadline.Reset(orNever(st.Timeout))
	s.sink.StepStarted(i)
	if st.Stdin != nil {
		s.in = newFeed(wire.ID(i), st.Stdin, s.exchange, s.out)
		s.tasks.Go(s.in.run)
	}
	if i == len(s.job.Steps)-1 {
		s.serving()
	}
}

// serving is called when a service does what it is there for; it may not be ready yet.
func (s *session) serving() {
	if s.job.Service && s.ready.begin() {
		s.isReady()
	}
}

func (s *session) isReady() {
	s.ready.stop()
	s.res.Ready = time.Since(s.start)
	s.sink.Ready()
}

// exited notes the end of a command and goes on.
func (s *session) exited(payload []byte) error {
	var e wire.Exited
	if err := wire.Decode(wire.KindExited, payload, &e); err != nil {
		return err
	}
	if e.Status < 0 || e.Status > 255 || e.Signal < 0 || e.Signal > 64 {
		return fmt.Errorf("guest: %w: a status of %d, a signal of %d", wire.ErrProtocol, e.Status, e.Signal)
	}
	if e.ID == agentID && s.docker != nil {
		s.dockerExited(&e)
		return nil
	}
	if e.ID >= probeID {
		s.probed(e.ID, e.Status == 0)
		return nil
	}
	if s.phase != up || int(e.ID) != s.step || s.step >= len(s.job.Steps) || s.step != len(s.res.Steps) {
		return fmt.Errorf("guest: %w: the end of command %d out of turn", wire.ErrProtocol, e.ID)
	}
	s.stopFeed()
	r := s.stepResult(e)
	s.res.Steps = append(s.res.Steps, r)
	s.sink.StepEnded(s.step, r)
	goOn := r.OK || s.job.Steps[s.step].ContinueOnError
	if s.ending != nil && !s.ending.job {
		s.ending = nil
	}
	if s.ending == nil && goOn && s.step+1 < len(s.job.Steps) {
		s.exec(s.step + 1)
		s.beginStep(s.step + 1)
		return nil
	}
	s.powerOff()
	return nil
}

// stepResult turns the guest's word into a result; what we ended has our reason.
func (s *session) stepResult(e wire.Exited) orchestrator.StepResult {
	st := s.job.Steps[s.step]
	r := orchestrator.StepResult{
		Name: st.Name, Outcome: orchestrator.Exited, Status: e.Status, Reason: clean(e.Error), Started: s.stepAt, Duration: time.Since(s.stepAt),
	}
	if e.Signal != 0 {
		r.Outcome, r.Signal, r.Status = orchestrator.Signalled, e.Signal, 128+e.Signal
	}
	if s.ending != nil {
		r.Outcome, r.Reason = s.ending.outcome, s.ending.reason
		r.Status = statusOf(s.ending.outcome)
		return r
	}
	r.OK = r.Outcome == orchestrator.Exited && slices.Contains(st.ExpectExit, e.Status)
	if r.Outcome == orchestrator.Signalled {
		r.OK = slices.Contains(st.ExpectExit, r.Status)
	}
	return r
}

// statusOf is the status of what did not end by itself.
func statusOf(o orchestrator.Outcome) int {
	switch o {
	case orchestrator.TimedOut:
		return orchestrator.StatusTimedOut
	case orchestrator.Stopped:
		return 0
	}
	return orchestrator.StatusFailed
}

// stopping is the ending that a stop means at this point: a service that was doing its work has done it.
func (s *session) stopping() ending {
	if s.job.Service && s.phase == up && (len(s.job.Steps) == 0 || s.step == len(s.job.Steps)-1) {
		return ending{outcome: orchestrator.Stopped, job: true}
	}
	return ending{outcome: orchestrator.Cancelled, reason: "it was stopped", job: true}
}

// end ends the step or the job before its time: SIGTERM first. A decision about the job stands.
func (s *session) end(e ending) {
	if s.phase == off || s.ending != nil && s.ending.job {
		return
	}
	s.ending = &e
	switch {
	case s.phase != up:
		// The guest hears nothing yet, and nothing has happened that would want a graceful end.
		s.endNow(e)
	case len(s.job.Steps) == 0:
		s.powerOff()
	default:
		s.signal(15, false)
		s.deadline.Reset(s.job.StopTimeout)
	}
}

// endNow ends the sub-kernel at once.
func (s *session) endNow(e ending) {
	if s.ending == nil || !s.ending.job {
		s.ending = &e
	}
	s.proc.kill()
}

// expired is called when the phase, the step or its ending has taken too long.
func (s *session) expired() {
	switch {
	case s.phase == starting:
		s.failDocker(s.docker.overdue(), "")
	case s.phase == off && s.docker.runs():
		s.docker.giveUp()
		s.poweringOff()
	case s.phase == booting || s.phase == greeted:
		s.endNow(ending{outcome: orchestrator.BootFailed, job: true, reason: s.bootOverdue()})
	case s.copying != nil:
		s.copyDone(&wire.Copied{}, errors.New("it took too long"))
	case s.phase == off:
		s.proc.kill()
	case s.ending == nil:
		s.end(ending{outcome: orchestrator.TimedOut, reason: fmt.Sprintf("step %q ran for longer than %v", s.job.Steps[s.step].Name, s.job.Steps[s.step].Timeout)})
	case !s.ending.killed:
		s.ending.killed = true
		s.signal(9, true)
		s.deadline.Reset(powerOffTimeout)
	default: // the guest does nothing about it, or nobody takes what it says
		s.ending.job = true
		s.proc.kill()
	}
}

func (s *session) bootOverdue() string {
	t := s.job.BootTimeout
	if t <= 0 {
		t = DefaultBootTimeout
	}
	if s.phase == greeted {
		return fmt.Sprintf("the guest was not up within %v", t)
	}
	return fmt.Sprintf("the kernel did not say hello within %v", t)
}

// powerOff stops the Docker daemon, copies out what is wanted, and asks the guest to end then.
func (s *session) powerOff() {
	s.phase = off
	s.mark = s.span("steps", s.mark)
	s.ready.stop()
	if s.docker.runs() {
		s.stopDocker()
		return
	}
	s.poweringOff()
}

func (s *session) poweringOff() {
	if !s.copyNext() {
		s.sayPowerOff()
	}
}

// flushTimeout is how long a guest may take to write what it has in memory to its disks.
const flushTimeout = 2 * time.Minute

func (s *session) sayPowerOff() {
	if len(s.job.CopyOut) > 0 {
		s.mark = s.span("copy out", s.mark)
	}
	s.out.put(wire.KindPowerOff)
	limit := max(powerOffTimeout, s.job.StopTimeout)
	if len(s.disks) > 0 {
		limit = max(limit, flushTimeout)
	}
	s.deadline.Reset(limit)
}

func (s *session) signal(n int, wholeSession bool) {
	s.send(wire.KindSignal, &wire.Signal{ID: wire.ID(s.step), Number: n, Session: wholeSession})
}

// resizes is the channel of the running step's terminal; nil without one.
func (s *session) resizes() <-chan orchestrator.WindowSize {
	if s.phase != up || s.step >= len(s.job.Steps) || s.job.Steps[s.step].TTY == nil {
		return nil
	}
	return s.job.Steps[s.step].TTY.Resize
}

func (s *session) stopFeed() {
	if s.in != nil {
		s.in.stop()
		s.in = nil
	}
}
