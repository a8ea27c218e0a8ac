package orchestrator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// TestRandomGraphs runs a thousand jobs with random dependencies, some of which fail, and checks that no job starts before each of its
// dependencies has reached its condition, or after one of them failed, and that every status in the report is the job's own.
func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			g := newRandomGraph(t, rand.New(rand.NewPCG(seed, 0)), 1000)
			g.check(t, Run(t.Context(), g.plan, g, Options{Parallel: int(seed%2) * 50}))
		})
	}
}

// A randomGraph is a plan with what its jobs do, and the Runtime and the judge of it. Its jobs take no time but turns of the scheduler.
type randomGraph struct {
	t    *testing.T
	plan *Plan
	want []int // statuses of the jobs that run
	// turns are how often each job lets others run before it is up, and before it ends.
	turns [][2]int

	mu    sync.Mutex
	index map[string]int
	// begun are the jobs that were entered, ended those that have left.
	begun, up, ready, ended []bool
}

func newRandomGraph(t *testing.T, rnd *rand.Rand, n int) *randomGraph {
	g := &randomGraph{
		t: t, index: make(map[string]int), want: make([]int, n), turns: make([][2]int, n),
		begun: make([]bool, n), up: make([]bool, n), ready: make([]bool, n), ended: make([]bool, n),
	}
	nodes := make([]testNode, n)
	for i := range nodes {
		name := fmt.Sprint("job", i)
		g.index[name] = i
		nodes[i] = work(name)
		if rnd.IntN(5) == 0 {
			nodes[i] = service(name)
		}
		if i > 0 {
			for range rnd.IntN(4) {
				on := &nodes[rnd.IntN(i)]
				conditions := []Condition{Completed, IsReady, IsStarted}
				if on.service {
					conditions = conditions[1:]
				}
				nodes[i].deps = append(nodes[i].deps, fmt.Sprintf("%s:%s", on.name, conditions[rnd.IntN(len(conditions))]))
			}
		}
		if !nodes[i].service && rnd.IntN(20) == 0 {
			g.want[i] = 1 + rnd.IntN(123)
		}
		g.turns[i] = [2]int{rnd.IntN(20), rnd.IntN(100)}
	}
	g.plan = newTestPlan(t, nodes...)
	return g
}

// Run implements Runtime: it checks the dependencies of a job, and hands it to the fake.
func (g *randomGraph) Run(_ context.Context, job *Job, _ []Link, stop <-chan struct{}, sink Sink) Result {
	i := g.index[job.Name]
	g.mu.Lock()
	if g.begun[i] {
		g.t.Errorf("%s started twice", job.Name)
	}
	g.begun[i] = true
	for _, d := range g.plan.Nodes[i].Deps {
		g.checkDep(job.Name, d)
	}
	g.mu.Unlock()
	defer g.set(g.ended, i)
	return g.play(i, job, stop, sink)
}

// play is the life of a job.
func (g *randomGraph) play(i int, job *Job, stop <-chan struct{}, sink Sink) Result {
	g.yield(g.turns[i][0])
	sink.Booting()
	sink.Booted("7.2.13")
	g.set(g.up, i)
	sink.Up()
	if job.Service {
		g.yield(g.turns[i][1])
		g.set(g.ready, i)
		sink.Ready()
		<-stop
		return Result{Outcome: Stopped}
	}
	sink.StepStarted(0)
	g.yield(g.turns[i][1])
	step := StepResult{Outcome: Exited, Status: g.want[i], OK: g.want[i] == 0}
	sink.StepEnded(0, step)
	return Result{Outcome: Exited, Status: g.want[i], Steps: []StepResult{step}}
}

func (g *randomGraph) yield(turns int) {
	for range turns {
		runtime.Gosched()
	}
}

func (g *randomGraph) checkDep(name string, d Dep) {
	on := &g.plan.Nodes[d.Index].Job
	reached := map[Condition]bool{
		Completed: g.ended[d.Index], IsStarted: g.up[d.Index], IsReady: g.ready[d.Index] || !on.Service && g.ended[d.Index],
	}[d.Condition]
	if !reached {
		g.t.Errorf("%s started before %s was %s", name, on.Name, d.Condition)
	}
	// One that only had to be started may fail at the same moment.
	if d.Condition != IsStarted && g.want[d.Index] != 0 {
		g.t.Errorf("%s started after %s had failed", name, on.Name)
	}
}

func (g *randomGraph) set(flags []bool, i int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	flags[i] = true
}

// check holds the report against what must have come of each job: what it depends on has either failed, and it is skipped, or it ran.
func (g *randomGraph) check(t *testing.T, r *Report) {
	for i := range r.Subkernels {
		s := &r.Subkernels[i]
		switch {
		case s.Outcome == Skipped:
			if g.begun[i] || !g.hasFailedDep(r, i) {
				t.Errorf("%s was skipped, though it ran or nothing that it depends on failed: %s", s.Name, s.Reason)
			}
		case s.Service:
			if s.Outcome != Stopped || s.Status != 0 || !s.OK {
				t.Errorf("service %s %s with status %d, OK = %v", s.Name, s.Outcome, s.Status, s.OK)
			}
		case s.Outcome != Exited || s.Status != g.want[i] || s.OK != (g.want[i] == 0):
			t.Errorf("%s %s with status %d, OK = %v; want status %d", s.Name, s.Outcome, s.Status, s.OK, g.want[i])
		}
		if s.Outcome != Skipped && g.hasUnmetDep(r, i) {
			t.Errorf("%s was not skipped, though it depends on a failure", s.Name)
		}
	}
}

func (g *randomGraph) hasFailedDep(r *Report, i int) bool {
	for _, d := range g.plan.Nodes[i].Deps {
		if !r.Subkernels[d.Index].OK {
			return true
		}
	}
	return false
}

// hasUnmetDep says whether a condition can never have been reached. A dependency that started and failed later may have been.
func (g *randomGraph) hasUnmetDep(r *Report, i int) bool {
	for _, d := range g.plan.Nodes[i].Deps {
		if on := &r.Subkernels[d.Index]; !on.OK && (d.Condition != IsStarted || on.Outcome == Skipped) {
			return true
		}
	}
	return false
}
