package orchestrator

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A fakeRuntime runs each job as its script says, and remembers in which order jobs were entered and left.
type fakeRuntime struct {
	scripts map[string]script
	check   func(job *Job) // called when a job is entered; may be nil

	mu            sync.Mutex
	entered, left []string
}

// A script says how a job behaves. The zero script boots in 10 ms, and its steps exit with 0 after 1 s each; a service runs until it is stopped.
type script struct {
	boot, step time.Duration
	ends       bool          // a service ends by itself
	unready    bool          // a service ends before it is ready
	ready      time.Duration // from the last step's start until the test of readiness succeeds
	status     []int         // of the steps, by index
	outcome    Outcome       // of the last step, or BootFailed
	output     string        // of each step, to stdout
	stubborn   time.Duration // how long it takes to end when it is stopped
}

func (f *fakeRuntime) Run(ctx context.Context, job *Job, _ []Link, stop <-chan struct{}, sink Sink) Result {
	f.note(&f.entered, job.Name)
	defer f.note(&f.left, job.Name)
	if f.check != nil {
		f.check(job)
	}
	s := f.scripts[job.Name]
	g := &fakeGuest{script: s, job: job, sink: sink, ctx: ctx, stop: stop}
	g.result = Result{KernelVersion: "7.2.13", KernelPath: "/usr/bin/linux.uml", Started: time.Now(), PeakMemory: 64 << 20}
	g.run()
	g.result.Total = time.Since(g.result.Started)
	return g.result
}

func (f *fakeRuntime) note(list *[]string, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, name)
}

type fakeGuest struct {
	script
	job    *Job
	sink   Sink
	ctx    context.Context
	stop   <-chan struct{}
	result Result
}

func (g *fakeGuest) run() {
	r := &g.result
	g.sink.Booting()
	if g.boot == 0 {
		g.boot = 10 * time.Millisecond
	}
	if o := g.pause(g.boot); o != "" {
		r.Outcome, r.Status, r.Reason = Cancelled, StatusFailed, "it was stopped"
		return
	}
	if g.outcome == BootFailed {
		r.Outcome, r.Status, r.Reason, r.Hint = BootFailed, StatusFailed, "the guest was not up within 10s", "look at the log"
		r.Console = []string{"Linux version 7.2.13", "\x1b[31mVFS: no root\x1b[0m"}
		return
	}
	r.Boot, r.Up = g.boot, g.boot
	g.sink.Booted(r.KernelVersion)
	g.sink.Up()
	if len(g.job.Steps) == 0 {
		r.Outcome, r.Status, _ = g.last()
	}
	for i := range g.job.Steps {
		if ok := g.runStep(i); !ok && !g.job.Steps[i].ContinueOnError {
			return
		}
	}
}

// runStep also makes its outcome that of the job.
func (g *fakeGuest) runStep(i int) bool {
	step := &g.job.Steps[i]
	r := StepResult{Name: step.Name, Outcome: Exited, Started: time.Now()}
	g.sink.StepStarted(i)
	if g.output != "" {
		g.sink.Output(i, Stdout, []byte(g.output))
	}
	if i == len(g.job.Steps)-1 {
		r.Outcome, r.Status, r.Reason = g.last()
	} else if o := g.pause(g.stepTime()); o != "" {
		r.Outcome, r.Status, r.Reason = Cancelled, StatusFailed, "it was stopped"
	}
	if r.Outcome == Exited && i < len(g.status) {
		r.Status = g.status[i]
	}
	r.OK = r.Outcome == Exited && slices.Contains(append(step.ExpectExit, Expect{Exit: step.ExpectExit}.statuses()...), r.Status)
	r.Duration = time.Since(r.Started)
	g.sink.StepEnded(i, r)
	g.result.Steps = append(g.result.Steps, r)
	g.result.Outcome, g.result.Status, g.result.Reason = r.Outcome, r.Status, r.Reason
	return r.OK
}

// last is the last step, or the life of a service without steps.
func (g *fakeGuest) last() (Outcome, int, string) {
	length := g.stepTime()
	if g.job.Service {
		if o := g.pause(g.ready); o != "" {
			return o, StatusFailed, "it was stopped"
		}
		if !g.unready {
			g.sink.Ready()
		}
		if !g.ends {
			length = -1
		}
	}
	if o := g.pause(length); o != "" {
		return o, StatusFailed, "it was stopped"
	}
	if g.outcome != "" {
		status := StatusFailed
		if g.outcome == TimedOut {
			status = StatusTimedOut
		}
		return g.outcome, status, ""
	}
	return Exited, 0, ""
}

func (g *fakeGuest) stepTime() time.Duration {
	if g.step == 0 {
		return time.Second
	}
	return g.step
}

// pause waits, for ever if d is negative, and returns the outcome of what ended the wait early.
func (g *fakeGuest) pause(d time.Duration) Outcome {
	var after <-chan time.Time
	if d >= 0 {
		after = time.After(d)
	}
	select {
	case <-after:
		return ""
	case <-g.stop:
		select {
		case <-time.After(g.stubborn):
		case <-g.ctx.Done():
			return Cancelled
		}
		if g.job.Service {
			return Stopped
		}
		return Cancelled
	case <-g.ctx.Done():
		return Cancelled
	}
}
