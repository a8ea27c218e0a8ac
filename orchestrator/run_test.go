package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// work and service make nodes; deps are "NAME" or "NAME:CONDITION" of earlier nodes.
func work(name string, deps ...string) testNode { return testNode{name: name, deps: deps, steps: 1} }
func service(name string, deps ...string) testNode {
	return testNode{name: name, deps: deps, service: true}
}

type testNode struct {
	name            string
	deps            []string
	steps           int
	service         bool
	ready           *Ready
	expect          Expect
	continueOnError bool
}

func (n testNode) withSteps(steps int) testNode { n.steps = steps; return n }
func (n testNode) expecting(e Expect) testNode  { n.expect = e; return n }
func (n testNode) continuing() testNode         { n.continueOnError = true; return n }
func (n testNode) plan(index map[string]int) (Node, string) {
	node := Node{Job: Job{Name: n.name, ID: n.name, Service: n.service, Ready: n.ready}, Expect: n.expect}
	for i := range n.steps {
		node.Job.Steps = append(node.Job.Steps, Step{Name: fmt.Sprintf("s%d", i+1), ContinueOnError: n.continueOnError})
	}
	for _, d := range n.deps {
		name, condition, ok := strings.Cut(d, ":")
		at, known := index[name]
		if !known {
			return node, "unknown dependency " + name
		}
		if !ok {
			condition = string(Completed)
		}
		node.Deps = append(node.Deps, Dep{Index: at, Condition: Condition(condition)})
	}
	return node, ""
}

func newTestPlan(t *testing.T, nodes ...testNode) *Plan {
	t.Helper()
	p := &Plan{Project: "test"}
	index := make(map[string]int)
	for i, n := range nodes {
		node, problem := n.plan(index)
		if problem != "" {
			t.Fatal(problem)
		}
		index[n.name] = i
		p.Nodes = append(p.Nodes, node)
	}
	return p
}

// lines are the report in short: "NAME OUTCOME STATUS ok|bad: REASON".
func lines(r *Report) []string {
	var out []string
	for _, s := range r.Subkernels {
		verdict := "bad"
		if s.OK {
			verdict = "ok"
		}
		line := fmt.Sprintf("%s %s %d %s", s.Name, s.Outcome, s.Status, verdict)
		if s.Reason != "" {
			line += ": " + s.Reason
		}
		out = append(out, line)
	}
	return out
}

func TestRun(t *testing.T) {
	tests := []struct {
		name    string
		nodes   []testNode
		scripts map[string]script
		options Options
		stopAt  time.Duration // closes Options.Stop
		killAt  time.Duration // ends the context
		want    []string
		took    time.Duration
	}{
		{
			name: "no jobs",
		},
		{
			name:  "independent jobs run at once",
			nodes: []testNode{work("a"), work("b"), work("c")},
			want:  []string{"a exited 0 ok", "b exited 0 ok", "c exited 0 ok"},
			took:  1010 * time.Millisecond,
		},
		{
			name:  "a dependent starts when its dependency is completed",
			nodes: []testNode{work("a"), work("b", "a")},
			want:  []string{"a exited 0 ok", "b exited 0 ok"},
			took:  2020 * time.Millisecond,
		},
		{
			name:  "a dependent of a started job runs beside it",
			nodes: []testNode{work("a"), work("b", "a:started")},
			want:  []string{"a exited 0 ok", "b exited 0 ok"},
			took:  1020 * time.Millisecond,
		},
		{
			name:  "ready of a job that is no service is completed",
			nodes: []testNode{work("a"), work("b", "a:ready")},
			want:  []string{"a exited 0 ok", "b exited 0 ok"},
			took:  2020 * time.Millisecond,
		},
		{
			name:    "each status is its own",
			nodes:   []testNode{work("a"), work("b"), work("c").expecting(Expect{Exit: []int{7, 9}})},
			scripts: map[string]script{"a": {status: []int{3}}, "c": {status: []int{9}}},
			want:    []string{"a exited 3 bad: step s1 exited with status 3", "b exited 0 ok", "c exited 9 ok"},
			took:    1010 * time.Millisecond,
		},
		{
			name:  "zero is a failure where another status is expected",
			nodes: []testNode{work("a").expecting(Expect{Exit: []int{7, 9}})},
			want:  []string{"a exited 0 bad: step s1 exited with status 0, expected exit status 7 or 9"},
			took:  1010 * time.Millisecond,
		},
		{
			name:    "what depends on a failure is skipped, and what depends on that too",
			nodes:   []testNode{work("a"), work("b", "a"), work("c", "b"), work("d", "c"), work("e")},
			scripts: map[string]script{"a": {status: []int{3}}, "e": {step: time.Minute}},
			want: []string{
				"a exited 3 bad: step s1 exited with status 3",
				"b skipped 125 bad: it depends on a, which exited with status 3",
				"c skipped 125 bad: it depends on b, which was skipped because a exited with status 3",
				"d skipped 125 bad: it depends on c, which was skipped because a exited with status 3",
				"e exited 0 ok",
			},
			took: 60*time.Second + 10*time.Millisecond,
		},
		{
			name:    "a skip does not wait for the other dependencies",
			nodes:   []testNode{work("slow"), work("a"), work("b", "slow", "a")},
			scripts: map[string]script{"a": {outcome: Panicked}, "slow": {step: time.Hour}},
			stopAt:  2 * time.Second,
			want: []string{
				"slow cancelled 125 bad: the run was interrupted",
				"a panicked 125 bad: step s1 panicked",
				"b skipped 125 bad: it depends on a, which panicked",
			},
			took: 2 * time.Second,
		},
		{
			name:    "started, but it never is",
			nodes:   []testNode{work("a"), work("b", "a:started")},
			scripts: map[string]script{"a": {outcome: BootFailed}},
			want: []string{
				"a boot-failed 125 bad: the guest was not up within 10s",
				"b skipped 125 bad: it depends on a, which did not boot",
			},
			took: 10 * time.Millisecond,
		},
		{
			name:    "a panic and a timeout that are expected",
			nodes:   []testNode{work("a").expecting(Expect{Outcome: Panicked}), work("b").expecting(Expect{Outcome: TimedOut}), work("c").expecting(Expect{Outcome: Panicked}), work("d", "a", "b")},
			scripts: map[string]script{"a": {outcome: Panicked}, "b": {outcome: TimedOut}},
			want: []string{
				"a panicked 125 ok", "b timed-out 124 ok",
				"c exited 0 bad: expected a panic, but it exited with status 0",
				"d exited 0 ok",
			},
			took: 2020 * time.Millisecond,
		},
		{
			name:    "the first failing step ends the job",
			nodes:   []testNode{work("a").withSteps(3), work("b", "a")},
			scripts: map[string]script{"a": {status: []int{0, 4, 0}}},
			want: []string{
				"a exited 4 bad: step s2 exited with status 4",
				"b skipped 125 bad: it depends on a, which failed in step s2 (it exited with status 4)",
			},
			took: 2010 * time.Millisecond,
		},
		{
			name:    "a failure that does not end the job still counts",
			nodes:   []testNode{work("a").withSteps(3).continuing(), work("b", "a")},
			scripts: map[string]script{"a": {status: []int{0, 4, 0}}},
			want: []string{
				"a exited 0 bad: step s2 exited with status 4",
				"b skipped 125 bad: it depends on a, which failed in step s2 (it exited with status 4)",
			},
			took: 3010 * time.Millisecond,
		},
		{
			name:    "services end when the work is done",
			nodes:   []testNode{service("db"), work("a", "db:ready"), work("b")},
			scripts: map[string]script{"b": {step: 3 * time.Second}},
			want:    []string{"db stopped 0 ok", "a exited 0 ok", "b exited 0 ok"},
			took:    3010 * time.Millisecond,
		},
		{
			name:    "a service that nobody needed any more before it could start",
			nodes:   []testNode{{name: "db", service: true, ready: &Ready{Port: 1}}, service("web", "db:ready"), work("a")},
			scripts: map[string]script{"db": {ready: time.Hour}},
			want:    []string{"db stopped 0 ok", "web stopped 0 ok: nobody needed it any more before it could start", "a exited 0 ok"},
			took:    1010 * time.Millisecond,
		},
		{
			name:    "a service that fails before it is ready",
			nodes:   []testNode{service("db").withSteps(1), work("a", "db:ready")},
			scripts: map[string]script{"db": {ends: true, unready: true, status: []int{1}}},
			want: []string{
				"db exited 1 bad: step s1 exited with status 1",
				"a skipped 125 bad: it depends on db, which exited with status 1",
			},
			took: 1010 * time.Millisecond,
		},
		{
			name:    "a service that ends before it is ready, but with an expected status",
			nodes:   []testNode{service("db").withSteps(1), service("empty"), work("a", "db:ready", "empty:started")},
			scripts: map[string]script{"db": {ends: true, unready: true}},
			want: []string{
				"db exited 0 bad: it exited with status 0 before it was ready",
				"empty stopped 0 ok",
				"a skipped 125 bad: it depends on db, which exited with status 0",
			},
			took: 1010 * time.Millisecond,
		},
		{
			name:    "a service that fails while a dependent runs",
			nodes:   []testNode{{name: "db", service: true, steps: 1, ready: &Ready{Port: 1}}, work("a", "db:ready")},
			scripts: map[string]script{"db": {ready: time.Second, outcome: Panicked, ends: true}},
			want:    []string{"db panicked 125 bad: step s1 panicked", "a exited 0 ok"},
			took:    2010*time.Millisecond + 10*time.Millisecond,
		},
		{
			name:    "a service that ends with an expected status before a dependent could start",
			nodes:   []testNode{work("slow"), service("db").withSteps(1), work("a", "slow", "db:ready")},
			scripts: map[string]script{"db": {ends: true, step: 100 * time.Millisecond}},
			want: []string{
				"slow exited 0 ok", "db exited 0 ok",
				"a skipped 125 bad: it depends on service db, which had ended by itself before this could start",
			},
			took: 1010 * time.Millisecond,
		},
		{
			name:    "a service that fails before a dependent could start",
			nodes:   []testNode{work("slow"), service("db").withSteps(1), work("a", "slow", "db:started")},
			scripts: map[string]script{"db": {ends: true, status: []int{1}, step: 100 * time.Millisecond}},
			want: []string{
				"slow exited 0 ok", "db exited 1 bad: step s1 exited with status 1",
				"a skipped 125 bad: it depends on db, which exited with status 1",
			},
			took: 1010 * time.Millisecond,
		},
		{
			name:    "one place, taken in the order of the plan, and a service gives it up when it is ready",
			nodes:   []testNode{service("db"), work("a"), work("b", "db:ready"), work("c")},
			options: Options{Parallel: 1},
			want:    []string{"db stopped 0 ok", "a exited 0 ok", "b exited 0 ok", "c exited 0 ok"},
			took:    10*time.Millisecond + 3*1010*time.Millisecond,
		},
		{
			name:    "abort on failure",
			nodes:   []testNode{service("db"), work("a"), work("b", "db:ready"), work("c", "b")},
			scripts: map[string]script{"a": {status: []int{3}, step: 100 * time.Millisecond}},
			options: Options{AbortOnFailure: true},
			want: []string{
				"db stopped 0 ok",
				"a exited 3 bad: step s1 exited with status 3",
				"b cancelled 125 bad: the run was aborted when a failed",
				"c cancelled 125 bad: the run was aborted when a failed before it could start",
			},
			took: 110 * time.Millisecond,
		},
		{
			name:    "the run's timeout",
			nodes:   []testNode{service("db"), work("quick"), work("a", "db:ready"), work("b", "a")},
			scripts: map[string]script{"a": {step: time.Hour}},
			options: Options{Timeout: time.Minute},
			want: []string{
				"db stopped 0 ok", "quick exited 0 ok",
				"a timed-out 124 bad: the run's time of 1m0s was up",
				"b cancelled 125 bad: the run's time of 1m0s was up before it could start",
			},
			took: time.Minute,
		},
		{
			name:    "the run's timeout is no timeout that a job is expected to have",
			nodes:   []testNode{work("a").expecting(Expect{Outcome: TimedOut})},
			scripts: map[string]script{"a": {step: time.Hour}},
			options: Options{Timeout: time.Minute},
			want:    []string{"a timed-out 124 bad: expected a timeout, but it timed out: the run's time of 1m0s was up"},
			took:    time.Minute,
		},
		{
			name:    "a service that is not ready when the run's time is up",
			nodes:   []testNode{{name: "db", service: true, ready: &Ready{Port: 1}}, work("a", "db:ready")},
			scripts: map[string]script{"db": {ready: time.Hour}},
			options: Options{Timeout: time.Minute},
			want: []string{
				"db timed-out 124 bad: the run's time of 1m0s was up",
				"a cancelled 125 bad: the run's time of 1m0s was up before it could start",
			},
			took: time.Minute,
		},
		{
			name:    "services alone run until they are stopped",
			nodes:   []testNode{service("db"), service("web", "db:ready")},
			scripts: map[string]script{"db": {stubborn: time.Second}, "web": {stubborn: time.Second}},
			stopAt:  time.Hour,
			want:    []string{"db stopped 0 ok", "web stopped 0 ok"},
			took:    time.Hour + 2*time.Second,
		},
		{
			name:    "services alone, and the run's timeout",
			nodes:   []testNode{service("db")},
			options: Options{Timeout: time.Hour},
			want:    []string{"db timed-out 124 bad: the run's time of 1h0m0s was up"},
			took:    time.Hour,
		},
		{
			name:    "a graceful stop",
			nodes:   []testNode{service("db"), work("a", "db:ready"), work("b", "a")},
			scripts: map[string]script{"a": {stubborn: 5 * time.Second}},
			stopAt:  500 * time.Millisecond,
			want: []string{
				"db stopped 0 ok",
				"a cancelled 125 bad: the run was interrupted",
				"b cancelled 125 bad: the run was interrupted before it could start",
			},
			took: 5500 * time.Millisecond,
		},
		{
			name:    "a graceful stop and then a kill",
			nodes:   []testNode{service("db"), work("a", "db:ready"), work("b", "a")},
			scripts: map[string]script{"a": {stubborn: time.Hour}},
			stopAt:  500 * time.Millisecond,
			killAt:  600 * time.Millisecond,
			want: []string{
				"db cancelled 125 bad: the run was killed: a second Ctrl-C",
				"a cancelled 125 bad: the run was interrupted",
				"b cancelled 125 bad: the run was interrupted before it could start",
			},
			took: 600 * time.Millisecond,
		},
		{
			name:   "a kill",
			nodes:  []testNode{service("db"), work("a", "db:ready"), work("b", "a")},
			killAt: 500 * time.Millisecond,
			want: []string{
				"db cancelled 125 bad: the run was killed: a second Ctrl-C",
				"a cancelled 125 bad: the run was killed: a second Ctrl-C",
				"b cancelled 125 bad: the run was killed: a second Ctrl-C before it could start",
			},
			took: 500 * time.Millisecond,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if test.stopAt > 0 {
					stop := make(chan struct{})
					test.options.Stop = stop
					time.AfterFunc(test.stopAt, func() { close(stop) })
				}
				if test.killAt > 0 {
					time.AfterFunc(test.killAt, func() { cancel(errors.New("a second Ctrl-C")) })
				}
				rt := &fakeRuntime{scripts: test.scripts}
				r := Run(ctx, newTestPlan(t, test.nodes...), rt, test.options)
				if diff := cmp.Diff(test.want, lines(r)); diff != "" {
					t.Errorf("report (-want +got):\n%s", diff)
				}
				if r.Duration != test.took {
					t.Errorf("the run took %v; want %v", r.Duration, test.took)
				}
				if len(rt.left) != len(rt.entered) {
					t.Errorf("Run returned while jobs were running: entered %v, left %v", rt.entered, rt.left)
				}
			})
		})
	}
}

func TestRunAlreadyOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	closed := make(chan struct{})
	close(closed)
	for name, run := range map[string]func(rt Runtime, p *Plan) *Report{
		"context": func(rt Runtime, p *Plan) *Report { return Run(ctx, p, rt, Options{}) },
		"stop":    func(rt Runtime, p *Plan) *Report { return Run(t.Context(), p, rt, Options{Stop: closed}) },
	} {
		t.Run(name, func(t *testing.T) {
			rt := &fakeRuntime{}
			r := run(rt, newTestPlan(t, work("a"), service("b")))
			if len(rt.entered) > 0 {
				t.Errorf("started %v in a run that was over", rt.entered)
			}
			if !r.Interrupted || r.OK() || r.ExitCode() != 1 {
				t.Errorf("Interrupted = %v, OK = %v, ExitCode = %d; want true, false, 1", r.Interrupted, r.OK(), r.ExitCode())
			}
		})
	}
}

func TestServicesAreStoppedAfterTheirDependents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := script{stubborn: time.Second}
		rt := &fakeRuntime{scripts: map[string]script{"a": slow, "b": slow, "c": slow}}
		Run(t.Context(), newTestPlan(t, service("a"), service("b", "a:started"), service("c", "b:ready"), work("w", "c:ready")), rt, Options{})
		if want := []string{"w", "c", "b", "a"}; !slices.Equal(rt.left, want) {
			t.Errorf("ended in the order %v; want %v", rt.left, want)
		}
	})
}

func TestParallelKeepsTheOrderOfThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fakeRuntime{}
		Run(t.Context(), newTestPlan(t, work("a"), work("b", "a"), work("c"), work("d"), work("e")), rt, Options{Parallel: 1})
		if want := []string{"a", "b", "c", "d", "e"}; !slices.Equal(rt.entered, want) {
			t.Errorf("started in the order %v; want %v", rt.entered, want)
		}
	})
}

func TestReportKeepsTheEndOfAFailedStepsOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fakeRuntime{scripts: map[string]script{
			"bad":  {status: []int{0, 1}, output: "the end\n"},
			"good": {output: "nobody needs it\n"},
		}}
		r := Run(t.Context(), newTestPlan(t, work("bad").withSteps(2), work("good")), rt, Options{})
		if diff := cmp.Diff([]string{"", "the end\n"}, r.Subkernels[0].Stdout); diff != "" {
			t.Errorf("Stdout of a failure (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{""}, r.Subkernels[1].Stdout); diff != "" {
			t.Errorf("Stdout of a success (-want +got):\n%s", diff)
		}
	})
}

// An eventLog writes down events in short.
type eventLog struct{ events chan string }

func (l *eventLog) Event(e Event) { l.events <- fmt.Sprintf("%d %s", e.Job, e.Kind) }

func TestEventsOfAJobComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &eventLog{events: make(chan string, 100)}
		rt := &fakeRuntime{scripts: map[string]script{"w": {output: "x", status: []int{1}}}}
		Run(t.Context(), newTestPlan(t, service("s"), work("w", "s:ready"), work("x", "w")), rt, Options{Observer: log})
		close(log.events)
		byJob := make(map[string][]string)
		for e := range log.events {
			job, kind, _ := strings.Cut(e, " ")
			byJob[job] = append(byJob[job], kind)
		}
		want := map[string][]string{
			"0":  {"booting", "booted", "up", "ready", "stopping", "ended"},
			"1":  {"booting", "booted", "up", "step-started", "output", "step-ended", "ended"},
			"2":  {"ended"},
			"-1": {"run-ended"},
		}
		if diff := cmp.Diff(want, byJob); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestStatusOf(t *testing.T) {
	r := &Report{Subkernels: []SubkernelReport{{Name: "a", Result: Result{Status: 3}}}}
	if status, ok := r.StatusOf("a"); status != 3 || !ok {
		t.Errorf("StatusOf(a) = %d, %v; want 3, true", status, ok)
	}
	if _, ok := r.StatusOf("b"); ok {
		t.Error("StatusOf(b) = _, true; want false")
	}
}
