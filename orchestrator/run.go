package orchestrator

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options say how a plan is run.
type Options struct {
	// Parallel is how many jobs may run at once, 0 for any number. A service counts until it is ready: if it did for longer, those that
	// need it would wait for it to end.
	Parallel int
	// AbortOnFailure cancels the rest after the first job that does not meet its expectation.
	AbortOnFailure bool
	// Timeout bounds the whole run; zero: it may take as long as it needs.
	Timeout time.Duration
	// Stop, when closed, ends the run gracefully: jobs are asked to end, services after those that need them. May be nil.
	Stop <-chan struct{}
	// Observer is told what happens; may be nil.
	Observer Observer
	// Networks connects the jobs that have NICs. May be nil if none has.
	Networks Networks
	// Forward makes the socket of a job's Docker daemon, when the job starts. May be nil: then there is none.
	Forward func(job *Job) (*Forward, error)
	// RunDir is passed on to the report.
	RunDir string
}

// Run carries a plan out and returns how it went. It returns when every job has, so that nothing is left running. When ctx ends, all jobs
// are killed and no other starts.
//
// A job starts when each of its dependencies has reached its condition; it never does once one of them has failed, or is a service that is
// no longer there: it is skipped then. Services are stopped when the last job that is none has ended, each after those that depend on it; in
// a plan of services alone they run until Options.Stop or Options.Timeout.
func Run(ctx context.Context, p *Plan, rt Runtime, o Options) *Report {
	r := newRun(ctx, p, rt, o)
	if o.Timeout > 0 {
		timer := time.NewTimer(o.Timeout)
		defer timer.Stop()
		r.timeUp = timer.C
	}
	if nets := o.Networks; nets != nil {
		nets.Watch(func(network int, l Lease) {
			r.observe(Event{Time: time.Now(), Job: -1, Kind: Leased, Text: p.Networks[network].Name + ": " + l.String()})
		})
	}
	r.loop()
	// The loop has seen every job's end; this waits for the last lines of their goroutines, and for the observer.
	_ = r.group.Wait() // the goroutines return no errors: each job's result is in its task
	rep := r.report()
	r.observe(Event{Time: time.Now(), Job: -1, Kind: RunEnded, Run: rep})
	return rep
}

// A run is the state of Run. But for what says otherwise, only the goroutine of Run's caller touches it.
type run struct {
	ctx     context.Context
	plan    *Plan
	runtime Runtime
	options Options
	observe func(Event)
	started time.Time

	tasks []task
	// dependents are the reverse of the plan's Deps.
	dependents [][]int
	// unfinished counts the jobs that have not ended, and unfinishedWork those of them that are no services.
	unfinished, unfinishedWork int
	onlyServices               bool
	slots                      int // taken ones

	// ending is why the run ends before it is done; nil: it goes on.
	ending *ending
	// asked says that Options.Stop has been seen closed, late that the run's time is up, and killed that the context has ended.
	asked, late, killed bool

	messages chan message
	// notices are the events of jobs that never start, and of the run. Its capacity is the number that there can be, so that a slow observer never
	// blocks the loop.
	notices chan Event
	group   errgroup.Group
	stop    <-chan struct{}
	timeUp  <-chan time.Time
}

// The states of a task.
type taskState int

const (
	waiting taskState = iota
	running
	ended
)

// A task is the state of one job in a run.
type task struct {
	state     taskState
	up, ready bool
	slot      bool // it holds one
	// blamed is the job whose failure made this one skipped; -1: none.
	blamed int
	// stop is closed to end the job, after stopCause was set to why. The goroutine of the job reads stopCause when it has seen stop closed.
	stop      chan struct{}
	stopCause *ending
	result    SubkernelReport
}

// A message tells the loop what a running job has come to.
type message struct {
	job  int
	kind messageKind
	// result is set with hasEnded.
	result SubkernelReport
}

type messageKind int

const (
	wentUp messageKind = iota
	gotReady
	hasEnded
)

func newRun(ctx context.Context, p *Plan, rt Runtime, o Options) *run {
	n := len(p.Nodes)
	r := &run{
		ctx: ctx, plan: p, runtime: rt, options: o, started: time.Now(),
		tasks: make([]task, n), dependents: make([][]int, n),
		unfinished: n, onlyServices: true,
		messages: make(chan message), notices: make(chan Event, n+1),
		stop:    o.Stop,
		observe: func(Event) {},
	}
	if o.Observer != nil {
		r.observe = o.Observer.Event
	}
	for i := range p.Nodes {
		r.tasks[i].stop = make(chan struct{})
		r.tasks[i].blamed = -1
		for _, d := range p.Nodes[i].Deps {
			r.dependents[d.Index] = append(r.dependents[d.Index], i)
		}
		if !p.Nodes[i].Job.Service {
			r.unfinishedWork++
			r.onlyServices = false
		}
	}
	return r
}

// loop starts and stops jobs until all have ended.
func (r *run) loop() {
	r.group.Go(func() error {
		for e := range r.notices {
			r.observe(e)
		}
		return nil
	})
	defer close(r.notices)
	ctxDone := r.ctx.Done()
	for {
		// A select with several ready cases takes any of them, but nothing may start once the run is to end: so this is looked at first.
		r.checkEnding()
		r.startWhatCan()
		r.stopServices()
		if r.unfinished == 0 {
			return
		}
		select {
		case m := <-r.messages:
			r.handle(m)
			r.handleWaiting()
		case <-ctxDone:
			ctxDone = nil
		case <-r.stop:
			r.asked, r.stop = true, nil
		case <-r.timeUp:
			r.late = true
		}
	}
}

// checkEnding ends the run early if something says so.
func (r *run) checkEnding() {
	select {
	case <-r.stop:
		r.asked, r.stop = true, nil
	default:
	}
	select {
	case <-r.timeUp:
		r.late = true
	default:
	}
	r.killed = r.ctx.Err() != nil
	switch {
	case r.killed:
		r.endEarly(&ending{why: killed, cause: context.Cause(r.ctx)})
	case r.asked:
		r.endEarly(&ending{why: interrupted})
	case r.late:
		r.endEarly(&ending{why: timeUp, after: r.options.Timeout})
	}
}

// handleWaiting handles the messages that are there already, so that a thousand jobs that end at once cost one look at what can start.
func (r *run) handleWaiting() {
	for {
		select {
		case m := <-r.messages:
			r.handle(m)
		default:
			return
		}
	}
}

func (r *run) handle(m message) {
	t := &r.tasks[m.job]
	switch m.kind {
	case wentUp:
		t.up = true
	case gotReady:
		t.ready = true
		r.freeSlot(t)
	case hasEnded:
		r.finish(m.job, m.result)
	}
}

// finish makes a job's result final. Its dependents look only after this.
func (r *run) finish(i int, result SubkernelReport) {
	t := &r.tasks[i]
	t.state = ended
	t.result = result
	r.freeSlot(t)
	r.unfinished--
	if !r.plan.Nodes[i].Job.Service {
		r.unfinishedWork--
	}
	if !result.OK && r.options.AbortOnFailure {
		r.endEarly(&ending{why: aborted, name: result.Name})
	}
}

func (r *run) freeSlot(t *task) {
	if t.slot {
		t.slot = false
		r.slots--
	}
}

// report puts the results together.
func (r *run) report() *Report {
	rep := &Report{
		Project: r.plan.Project, RunDir: r.options.RunDir, Started: r.started, Duration: time.Since(r.started),
		Subkernels: make([]SubkernelReport, len(r.tasks)),
	}
	rep.Interrupted = r.killed || r.ending != nil && r.ending.why == interrupted
	rep.TimedOut = r.ending != nil && r.ending.why == timeUp
	for i := range r.tasks {
		rep.Subkernels[i] = r.tasks[i].result
	}
	if r.options.Networks != nil {
		r.options.Networks.Watch(nil) // the last event is the run's end
		rep.Networks = r.options.Networks.Describe()
	}
	return rep
}
