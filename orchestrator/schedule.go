package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// An ending is why jobs are ended that did not end by themselves.
type ending struct {
	why   endingWhy
	after time.Duration // timeUp: the run's timeout
	name  string        // aborted: the first failure
	cause error         // killed: what ended the context
}

type endingWhy int

const (
	unneeded endingWhy = iota + 1 // a service that nobody needs any more
	interrupted
	timeUp
	aborted
	killed
)

// reason says why in the words of a report.
func (e *ending) reason() string {
	switch e.why {
	case interrupted:
		return "the run was interrupted"
	case timeUp:
		return fmt.Sprintf("the run's time of %s was up", e.after)
	case aborted:
		return fmt.Sprintf("the run was aborted when %s failed", e.name)
	case killed:
		return "the run was killed: " + e.cause.Error()
	default:
		return "nobody needs it any more"
	}
}

// startWhatCan starts the jobs that can, in the plan's order, and skips those that never will. One pass is enough: what a job depends on
// stands before it.
func (r *run) startWhatCan() {
	for i := range r.tasks {
		if r.tasks[i].state != waiting {
			continue
		}
		switch decision, blamed, reason := r.decide(i); {
		case decision == skip:
			r.tasks[i].blamed = blamed
			r.finishUnstarted(i, Skipped, reason)
		case decision == start && (r.options.Parallel == 0 || r.slots < r.options.Parallel):
			r.start(i)
		}
	}
}

type decision int

const (
	wait decision = iota
	start
	skip
)

// decide says whether a waiting job can start, must wait, or is to be skipped; and for the last because of whom, and why.
func (r *run) decide(i int) (d decision, blamed int, reason string) {
	d = start
	for _, dep := range r.plan.Nodes[i].Deps {
		on, job := &r.tasks[dep.Index], &r.plan.Nodes[dep.Index].Job
		switch {
		case on.state == ended && !on.result.OK:
			blamed, reason = r.blame(dep.Index)
			return skip, blamed, reason
		case on.state == ended && job.Service:
			return skip, dep.Index, fmt.Sprintf("it depends on service %s, which had ended by itself before this could start", job.Name)
		case !on.reached(dep.Condition, job.Service):
			d = wait // but a later one may have failed
		}
	}
	return d, -1, ""
}

// reached says whether a job that has not failed has come as far as condition.
func (t *task) reached(condition Condition, service bool) bool {
	switch {
	case condition == IsStarted:
		return t.up || t.state == ended
	case condition == IsReady && service:
		return t.ready
	default:
		return t.state == ended
	}
}

// blame returns the failure that began it all, and the reason for skipping what depends on job on.
func (r *run) blame(on int) (job int, reason string) {
	direct := &r.tasks[on]
	if direct.blamed < 0 {
		return on, fmt.Sprintf("it depends on %s, which %s", direct.result.Name, direct.result.ending())
	}
	first := &r.tasks[direct.blamed].result
	return direct.blamed, fmt.Sprintf("it depends on %s, which was skipped because %s %s", direct.result.Name, first.Name, first.ending())
}

// start runs a job in a goroutine of its own, which the group waits for.
func (r *run) start(i int) {
	t := &r.tasks[i]
	t.state = running
	if r.options.Parallel > 0 {
		t.slot = true
		r.slots++
	}
	r.group.Go(func() error {
		r.runJob(i)
		return nil
	})
}

// runJob is the goroutine of a job. Of the run's state it reads only what never changes, and the cause of a stop.
func (r *run) runJob(i int) {
	node, t := &r.plan.Nodes[i], &r.tasks[i]
	sink := newJobSink(i, &node.Job, r.observe, func(m message) { r.messages <- m })
	raw := r.runWatched(i, sink)
	result := judge(node, raw, r.causeOf(t, raw.Outcome), sink)
	if len(node.Job.Publish) > 0 && r.options.Networks != nil {
		result.Published = r.options.Networks.Published(i)
	}
	// The observer hears of an end before the dependents start or are skipped, so that what it shows is in order.
	sink.event(Event{Kind: JobEnded, Report: &result})
	r.messages <- message{job: i, kind: hasEnded, result: result}
}

// runWatched runs a job, and tells the observer when it is asked to end: from here, so that this comes before its end.
func (r *run) runWatched(i int, sink *jobSink) Result {
	job, t := &r.plan.Nodes[i].Job, &r.tasks[i]
	links, err := r.attach(i)
	var forward *Forward
	if err == nil {
		forward, links, err = r.forward(job, links)
	}
	if err != nil {
		res := Result{Outcome: BootFailed, Status: StatusFailed, Reason: err.Error()}
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			res.Hint = h.Hint()
		}
		return res
	}
	if len(job.Publish) > 0 {
		for _, p := range r.options.Networks.Published(i) {
			sink.event(Event{Kind: PortPublished, Text: p.String()})
		}
	}
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-t.stop:
			sink.event(Event{Kind: JobStopping, Text: t.stopCause.reason()})
		case <-done:
		}
	})
	raw := r.runtime.Run(r.ctx, job, links, t.stop, sink)
	close(done)
	watch.Wait()
	forward.end(&raw, sink)
	return raw
}

// attach connects a job to its networks.
func (r *run) attach(i int) ([]Link, error) {
	job := &r.plan.Nodes[i].Job
	switch {
	case len(job.NICs) == 0 && len(job.Publish) == 0:
		return nil, nil
	case r.options.Networks == nil:
		return nil, errors.New("networks: connect the sub-kernel: nobody has made them")
	}
	return r.options.Networks.Attach(i)
}

// causeOf returns why a job with this outcome was asked to end, or killed; nil: it was not. It is called by the job's goroutine: the close of
// stop orders its read of stopCause after the loop's write.
func (r *run) causeOf(t *task, o Outcome) *ending {
	var cause *ending
	select {
	case <-t.stop:
		cause = t.stopCause
	default:
	}
	if o == Cancelled && r.ctx.Err() != nil && (cause == nil || cause.why == unneeded) {
		return &ending{why: killed, cause: context.Cause(r.ctx)}
	}
	return cause
}

// finishUnstarted ends a job that never started.
func (r *run) finishUnstarted(i int, outcome Outcome, reason string) {
	result := unstarted(&r.plan.Nodes[i], outcome, reason)
	r.notices <- Event{Time: time.Now(), Job: i, Kind: JobEnded, Report: &result}
	r.finish(i, result)
}

// endEarly ends the run before it is done: what waits never starts, and what is no service is asked to end. Services follow in their order.
// The first reason stays.
func (r *run) endEarly(e *ending) {
	if r.ending != nil {
		return
	}
	r.ending = e
	r.notices <- Event{Time: time.Now(), Job: -1, Kind: Notice, Text: e.reason() + ": ending what still runs"}
	for i := range r.tasks {
		switch t := &r.tasks[i]; {
		case t.state == waiting:
			r.finishUnstarted(i, Cancelled, e.reason()+" before it could start")
		case t.state == running && !r.plan.Nodes[i].Job.Service:
			r.stopJob(i, e)
		}
	}
}

// stopServices stops the services that nobody needs any more: when all work is done, and those that depend on a service have ended.
func (r *run) stopServices() {
	if r.unfinishedWork > 0 || (r.onlyServices && r.ending == nil) {
		return
	}
	for i := len(r.tasks) - 1; i >= 0; i-- {
		t := &r.tasks[i]
		switch {
		case t.state == waiting:
			r.finishUnstarted(i, Stopped, "nobody needed it any more before it could start")
		case t.state == running && r.dependentsEnded(i):
			r.stopJob(i, r.serviceEnding(t))
		}
	}
}

// serviceEnding decides whether a service that is stopped has done its duty. If it was ready it has, whatever ended the run; but where
// there is nothing but services, the run's timeout is theirs.
func (r *run) serviceEnding(t *task) *ending {
	if r.ending == nil || t.ready && (r.ending.why != timeUp || !r.onlyServices) {
		return &ending{why: unneeded}
	}
	return r.ending
}

func (r *run) dependentsEnded(i int) bool {
	for _, d := range r.dependents[i] {
		if r.tasks[d].state != ended {
			return false
		}
	}
	return true
}

func (r *run) stopJob(i int, e *ending) {
	t := &r.tasks[i]
	if t.stopCause != nil {
		return
	}
	t.stopCause = e
	close(t.stop)
}
