package orchestrator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// judge turns what a Runtime says about a job into what the report says: why it was ended, if it was, and whether it met its expectation.
// cause is why it was asked to end, or killed; nil: it was left alone.
func judge(node *Node, raw Result, cause *ending, sink *jobSink) SubkernelReport {
	r := newSubkernelReport(node, raw)
	byUs := cause != nil && (raw.Outcome == Cancelled || raw.Outcome == Stopped)
	if byUs {
		r.applyCause(cause)
	}
	r.padSteps(node.Job.Steps)
	r.judgeLastStep()
	ready := sink.wasReady()
	r.OK = r.metExpectation(byUs, ready)
	if !r.OK {
		r.explain(ready)
	} else if i := r.failedCopy(); i >= 0 {
		r.OK = false
		r.Reason = fmt.Sprintf("copy of %s: %s", r.Copies[i].From, r.Copies[i].Error)
	}
	r.Stdout, r.Stderr = make([]string, len(r.Steps)), make([]string, len(r.Steps))
	for i := range r.Steps {
		if !r.Steps[i].OK {
			r.Stdout[i], r.Stderr[i] = sink.tail(i)
		}
	}
	return r
}

// unstarted is the report of a job that never started.
func unstarted(node *Node, outcome Outcome, reason string) SubkernelReport {
	r := newSubkernelReport(node, Result{Outcome: outcome, Status: StatusFailed, Reason: reason})
	if outcome == Stopped {
		r.Status, r.OK = 0, true
	}
	r.padSteps(node.Job.Steps)
	r.Stdout, r.Stderr = make([]string, len(r.Steps)), make([]string, len(r.Steps))
	return r
}

func newSubkernelReport(node *Node, raw Result) SubkernelReport {
	r := SubkernelReport{
		Name: node.Job.Name, Block: node.Block, Matrix: node.Matrix, Service: node.Job.Service, Result: raw,
		Expect: Expect{Exit: node.Expect.statuses(), Outcome: node.Expect.outcome()},
	}
	r.Steps = slices.Clone(raw.Steps)
	return r
}

// applyCause gives a job that we ended, and the step that ran, the outcome that goes with the reason.
func (r *SubkernelReport) applyCause(cause *ending) {
	outcome, status := Cancelled, StatusFailed
	switch cause.why {
	case unneeded:
		outcome, status = Stopped, 0
	case timeUp:
		outcome, status = TimedOut, StatusTimedOut
	}
	r.Outcome, r.Status, r.Signal = outcome, status, 0
	r.Reason = ""
	if cause.why != unneeded {
		r.Reason = cause.reason()
	}
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Outcome == Cancelled || s.Outcome == Stopped {
			s.Outcome, s.Status, s.Signal, s.Reason, s.OK = outcome, status, 0, "", outcome == Stopped
		}
	}
}

// padSteps gives each step of the job an entry: those that never ran are skipped, or cancelled if the job was.
func (r *SubkernelReport) padSteps(steps []Step) {
	r.Steps = r.Steps[:min(len(r.Steps), len(steps))]
	for i := range r.Steps {
		r.Steps[i].Name = steps[i].Name
	}
	outcome := Skipped
	if r.Outcome == Cancelled {
		outcome = Cancelled
	}
	for i := len(r.Steps); i < len(steps); i++ {
		r.Steps = append(r.Steps, StepResult{Name: steps[i].Name, Outcome: outcome, Status: StatusFailed})
	}
}

// judgeLastStep holds the last step against the job's expectation, which goes above the step's own.
func (r *SubkernelReport) judgeLastStep() {
	if len(r.Steps) == 0 || r.Expect.Outcome != Exited {
		return
	}
	if last := &r.Steps[len(r.Steps)-1]; last.endedByItself() {
		last.OK = slices.Contains(r.Expect.Exit, last.Status)
	}
}

func (s *StepResult) endedByItself() bool { return s.Outcome == Exited || s.Outcome == Signalled }

// metExpectation decides whether a job ended as it was meant to. byUs says that its outcome is that of a stop.
func (r *SubkernelReport) metExpectation(byUs, ready bool) bool {
	if r.Expect.Outcome != Exited {
		return r.Outcome == r.Expect.Outcome && !byUs
	}
	switch r.Outcome {
	case Exited, Signalled:
		// A service that ends by itself may: a server for one client does. But not before anybody could have used it.
		return slices.Contains(r.Expect.Exit, r.Status) && r.stepsOK() && (!r.Service || ready)
	case Stopped:
		return r.Service && byUs && r.failedStep() < 0
	default:
		return false
	}
}

func (r *SubkernelReport) stepsOK() bool {
	return !slices.ContainsFunc(r.Steps, func(s StepResult) bool { return !s.OK })
}

// failedStep returns the first step that ran and failed, or -1.
func (r *SubkernelReport) failedStep() int {
	return slices.IndexFunc(r.Steps, func(s StepResult) bool {
		return !s.OK && s.Outcome != Skipped && s.Outcome != Cancelled && s.Outcome != Stopped
	})
}

// failedCopy returns the first copy that failed, or -1.
func (r *SubkernelReport) failedCopy() int {
	return slices.IndexFunc(r.Copies, func(c CopyResult) bool { return c.Error != "" })
}

// explain fills in the reason of a failure.
func (r *SubkernelReport) explain(ready bool) {
	failed := r.failedStep()
	switch {
	case r.Outcome == Cancelled || r.Outcome == Skipped:
	case r.Expect.Outcome != Exited:
		r.Reason = joinReason("expected "+r.Expect.String()+", but it "+describe(r.Outcome, r.Status, r.Signal), r.Reason)
	case r.Reason != "":
	case failed >= 0:
		s := &r.Steps[failed]
		r.Reason = joinReason(fmt.Sprintf("step %s %s", s.Name, describe(s.Outcome, s.Status, s.Signal)), s.Reason)
		if failed == len(r.Steps)-1 && s.endedByItself() && !isZero(r.Expect.Exit) {
			r.Reason += ", expected " + r.Expect.String()
		}
	case r.Service && !ready && (r.Outcome == Exited || r.Outcome == Signalled):
		r.Reason = "it " + describe(r.Outcome, r.Status, r.Signal) + " before it was ready"
	default:
		r.Reason = "it " + describe(r.Outcome, r.Status, r.Signal)
	}
}

func joinReason(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

func isZero(statuses []int) bool { return len(statuses) == 1 && statuses[0] == 0 }

// ending says how a job ended, in words that follow "which".
func (r *SubkernelReport) ending() string {
	if i := r.failedStep(); i >= 0 && i < len(r.Steps)-1 && r.Outcome == Exited {
		s := &r.Steps[i]
		return fmt.Sprintf("failed in step %s (it %s)", s.Name, describe(s.Outcome, s.Status, s.Signal))
	}
	return describe(r.Outcome, r.Status, r.Signal)
}

// describe says in words that follow "it" how something ended.
func describe(o Outcome, status, signal int) string {
	switch o {
	case Exited:
		return "exited with status " + strconv.Itoa(status)
	case Signalled:
		return "was killed by signal " + strconv.Itoa(signal)
	case TimedOut:
		return "timed out"
	case Panicked:
		return "panicked"
	case BootFailed:
		return "did not boot"
	default:
		return "was " + string(o)
	}
}

// String says what is expected: "exit status 0 or 3", "a panic" or "a timeout".
func (e Expect) String() string {
	switch e.outcome() {
	case Panicked:
		return "a panic"
	case TimedOut:
		return "a timeout"
	}
	words := make([]string, 0, len(e.statuses()))
	for _, s := range e.statuses() {
		words = append(words, strconv.Itoa(s))
	}
	return "exit status " + strings.Join(words, " or ")
}
