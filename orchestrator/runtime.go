package orchestrator

import (
	"context"
	"net/netip"
	"time"
)

// A Runtime boots and runs sub-kernels. Its methods may be called from several goroutines.
type Runtime interface {
	// Run boots the sub-kernel of job, runs its steps to the end, and returns how it went, when nothing of the sub-kernel is left: no
	// process, file descriptor, goroutine or file but its logs.
	//
	// The Runtime enforces the job's timeouts. Closing stop asks the guest to end: its commands get SIGTERM, and after
	// job.StopTimeout the sub-kernel is killed. When ctx ends it is killed at once. What ends because of that is Stopped if it is a
	// service and ctx goes on, else Cancelled, whatever its command's status was; Run says why. What had ended by itself before says
	// how. What the sink is told comes from one goroutine at
	// a time for each method, but Output and Kernel may come at the same time as the others.
	//
	// links are the job's connections, one for each of its NICs, and last, if it has a Docker daemon, that of a Forward; Run closes their files.
	Run(ctx context.Context, job *Job, links []Link, stop <-chan struct{}, sink Sink) Result
}

// A Sink is told what happens in one sub-kernel while it runs. A slow sink slows the guest's output down, nothing else. The bytes are the
// guest's, who is not trusted: whoever shows them on a terminal decides what that means. They are valid during the call only.
type Sink interface {
	// Booting is called once, when the boot begins. The Runtime may make a job wait for its turn before.
	Booting()
	// Booted is called once, when the guest has said hello, with its kernel's version.
	Booted(kernelVersion string)
	// Up is called once, when root and mounts are made and the first step can start.
	Up()
	// Ready is called at most once, for services: when the test that Job.Ready describes succeeds; without one, when the last step
	// starts, or after Up if there are no steps.
	Ready()
	// StepStarted and StepEnded are called for each step that runs, in order.
	StepStarted(step int)
	StepEnded(step int, r StepResult)
	// Output passes on what a step printed. It may come after StepEnded, from what the step left running.
	Output(step int, stream Stream, p []byte)
	// Kernel passes on the kernel's log.
	Kernel(p []byte)
	// Seeding is called at most once, before Booting, when another sub-kernel begins to prepare the seed of the job's Docker daemon, or is waited for
	// that does: Job.Docker.Seed is where.
	Seeding()
	// Docker is called at most once, when the job's Docker daemon can be used, with its version.
	Docker(version string)
	// Addressed is called when a NIC, an index in Job.NICs, has got an address by DHCP: at the start, and for each other one later.
	Addressed(nic int, addr netip.Prefix)
	// Notice passes on a sentence for the user about something that went wrong without ending the job.
	Notice(text string)
	// Span passes on what something took.
	Span(s Span)
}

// A Stream is one of the two outputs of a command.
type Stream int

// The streams, with the numbers of their descriptors.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// String returns "stdout" or "stderr".
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// An Outcome is the reason why something ended. It is what a report's reader looks at first; the status comes second.
type Outcome string

// The outcomes. Skipped and cancelled are given by the orchestrator too, to jobs that never started.
const (
	// Exited: the last command that ran ended by itself, with Status.
	Exited Outcome = "exited"
	// Signalled: it was killed in the guest by Signal; Status is 128 + Signal.
	Signalled Outcome = "signalled"
	// TimedOut: a step's or the sub-kernel's time was up; Status is 124.
	TimedOut Outcome = "timed-out"
	// Panicked: the kernel was gone before it had said how the commands ended; Status is 125.
	Panicked Outcome = "panicked"
	// BootFailed: the guest did not get as far as the first step; Status is 125.
	BootFailed Outcome = "boot-failed"
	// Cancelled: the user, or a failure elsewhere, ended it or kept it from starting; Status is 125.
	Cancelled Outcome = "cancelled"
	// Skipped: something that it depends on failed, or an earlier step did; it never started. Status is 125.
	Skipped Outcome = "skipped"
	// Stopped: a service that was ended because nobody needs it any more; Status is 0.
	Stopped Outcome = "stopped"
)

// StatusTimedOut and StatusFailed are the statuses of what has no status of its own (coreutils' timeout and docker run have the same).
const (
	StatusTimedOut = 124
	StatusFailed   = 125
)

// A Result says how one job went.
type Result struct {
	Outcome Outcome
	// Status is that of the last step that ran, 0 to 255, or one of the constants above: see Outcome.
	Status int
	Signal int // of a signalled one
	// Reason says in a sentence without a full stop what happened, where the outcome alone doesn't; Hint what to do about it.
	Reason, Hint  string
	KernelVersion string
	KernelPath    string
	Steps         []StepResult
	// Copies are those of Job.CopyOut that were begun, or could have been.
	Copies []CopyResult
	// Started is when the boot began: the zero time for a job that never did.
	Started time.Time
	// Boot is from there until hello, Up until the first step can start, Ready until a service was ready, Total until nothing is left.
	// Zero: it did not get so far.
	Boot, Up, Ready, Total time.Duration
	PeakMemory             int64         // bytes: the greatest resident size of the sub-kernel's process
	CPU                    time.Duration // user and system time of the sub-kernel's processes
	// Console is the end of the kernel's log, by lines, where the job failed in a way that it may explain.
	Console []string
	// NICs are the job's, with their addresses.
	NICs []NICResult
	// Docker is what came of the job's Docker daemon; nil: it has none.
	Docker *DockerResult
	// Logs is the folder with the job's logs; empty if there is none.
	Logs string
}

// A CopyResult says what was copied out.
type CopyResult struct {
	From, To string
	Files    int    // folders and links included
	Bytes    int64  // of the files, holes included
	Error    string // why it is not complete; empty: it is
}

// A StepResult says how one step went.
type StepResult struct {
	Name    string
	Outcome Outcome // Exited, Signalled, TimedOut, Panicked, Cancelled, Stopped or Skipped
	Status  int
	Signal  int
	Reason  string
	// OK says whether the step counts as success: see Step.ExpectExit.
	OK       bool
	Started  time.Time
	Duration time.Duration
	// Stdout and Stderr are the files with what it printed; empty if there are none.
	Stdout, Stderr string
}
