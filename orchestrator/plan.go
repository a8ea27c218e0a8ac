package orchestrator

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sekexe/sekexe/config"
)

// A Plan is a graph of jobs. A dependency always stands before what depends on it.
type Plan struct {
	Project string
	// Networks are all of the project's, in the order of their declaration.
	Networks []Network
	Nodes    []Node
	// redactSecrets takes the values of sensitive variables out of what String and WriteJSON print; nil: there are none.
	redactSecrets func(string) string
}

// A Node is one job of a plan, with what must happen before it starts and how it is meant to end.
type Node struct {
	Job Job
	// Block is the name of what declared the job, which may have declared others too.
	Block string
	// Matrix is which of these it is for, where Block declares one for each combination of a matrix's elements; empty: it does not.
	Matrix []MatrixValue
	Deps   []Dep
	Expect Expect
}

// A Dep says that an earlier node must have reached a condition.
type Dep struct {
	Index     int // in Plan.Nodes, less than that of the node that has the Dep
	Condition Condition
}

// A Condition is what a dependent waits for.
type Condition string

// The conditions.
const (
	// Completed: all steps ended as expected. A service can't be waited for in this way: it is meant to end last.
	Completed Condition = "completed"
	// IsReady: a service is ready. A job that is no service is ready when it is completed.
	IsReady Condition = "ready"
	// IsStarted: the first step can start.
	IsStarted Condition = "started"
)

// Expect is the ending of a job that counts as success.
type Expect struct {
	// Exit are the statuses of the last step that count as success where Outcome is Exited; empty means 0 alone.
	Exit []int
	// Outcome is Exited, Panicked or TimedOut; empty means Exited.
	Outcome Outcome
}

// NewPlan makes the plan of a project: it does no I/O, and the same project gives the same plan. The nodes are in topological order, and
// where that leaves a choice, in the order of their declaration. The errors are those that config.Load would have found, but for a
// project that did not come from there.
func NewPlan(p *config.Project) (*Plan, error) {
	index, err := indexByName(p.Subkernels)
	if err != nil {
		return nil, err
	}
	deps, err := dependencies(p.Subkernels, index)
	if err != nil {
		return nil, err
	}
	order, err := topological(deps)
	if err != nil {
		return nil, fmt.Errorf("project %q: %w", p.Name, nameCycle(err, p.Subkernels))
	}
	return assemble(p, deps, order)
}

// assemble lays the nodes down in order and renumbers their dependencies.
func assemble(p *config.Project, deps [][]Dep, order []int) (*Plan, error) {
	place := make([]int, len(order))
	for at, declared := range order {
		place[declared] = at
	}
	ids := newIDs(p.Subkernels)
	plan := &Plan{Project: p.Name, Networks: p.Networks, Nodes: make([]Node, len(order)), redactSecrets: p.Redact}
	networks := make(map[string]int, len(p.Networks))
	for i := range p.Networks {
		networks[p.Networks[i].Name] = i
	}
	macs := givenMACs(p)
	for at, declared := range order {
		sub := &p.Subkernels[declared]
		node := newNode(sub, ids[declared])
		if err := addNICs(&node.Job, sub, p, networks, macs); err != nil {
			return nil, err
		}
		for _, d := range deps[declared] {
			node.Deps = append(node.Deps, Dep{Index: place[d.Index], Condition: d.Condition})
		}
		slices.SortStableFunc(node.Deps, func(a, b Dep) int { return a.Index - b.Index })
		plan.Nodes[at] = node
	}
	return plan, nil
}

func indexByName(subs []config.Subkernel) (map[string]int, error) {
	index := make(map[string]int, len(subs))
	for i := range subs {
		name := subs[i].Name
		if first, ok := index[name]; ok {
			return nil, fmt.Errorf("subkernel %q: declared twice, as number %d and %d: rename one of them", name, first+1, i+1)
		}
		index[name] = i
	}
	return index, nil
}

// dependencies resolves the names in depends_on to indices of declarations.
func dependencies(subs []config.Subkernel, index map[string]int) ([][]Dep, error) {
	deps := make([][]Dep, len(subs))
	for i := range subs {
		for _, d := range subs[i].DependsOn {
			on, ok := index[d.Name]
			if !ok {
				return nil, fmt.Errorf("subkernel %q: depends on %q, which is not declared", subs[i].Name, d.Name)
			}
			condition := Condition(d.Condition)
			switch condition {
			case IsReady, IsStarted:
			case Completed:
				if isService(&subs[on]) {
					return nil, fmt.Errorf("subkernel %q: waits for service %q to be completed, but a service runs until the others have ended: wait for \"ready\" or \"started\"",
						subs[i].Name, d.Name)
				}
			default:
				return nil, fmt.Errorf("subkernel %q: condition %q for %q is none of \"completed\", \"ready\" and \"started\"", subs[i].Name, d.Condition, d.Name)
			}
			deps[i] = append(deps[i], Dep{Index: on, Condition: condition})
		}
	}
	return deps, nil
}

// A cycleError holds the declarations that wait for each other, in order: each depends on the next, and the last on the first.
type cycleError []int

func (cycleError) Error() string { return "dependency cycle" }

// topological returns the declarations in an order in which each comes after its dependencies, the earliest declared first.
func topological(deps [][]Dep) ([]int, error) {
	missing := make([]int, len(deps))
	dependents := make([][]int, len(deps))
	for i, ds := range deps {
		missing[i] = len(ds)
		for _, d := range ds {
			dependents[d.Index] = append(dependents[d.Index], i)
		}
	}
	var free intHeap
	for i, n := range missing {
		if n == 0 {
			heap.Push(&free, i)
		}
	}
	order := make([]int, 0, len(deps))
	for len(free) > 0 {
		i := heap.Pop(&free).(int)
		order = append(order, i)
		for _, j := range dependents[i] {
			if missing[j]--; missing[j] == 0 {
				heap.Push(&free, j)
			}
		}
	}
	if len(order) < len(deps) {
		return nil, findCycle(deps, missing)
	}
	return order, nil
}

// findCycle follows unmet dependencies, of which each blocked declaration has one, until it meets a declaration again.
func findCycle(deps [][]Dep, missing []int) cycleError {
	blocked := func(i int) bool { return missing[i] > 0 }
	at := 0
	for !blocked(at) {
		at++
	}
	var path []int
	for !slices.Contains(path, at) {
		path = append(path, at)
		next := slices.IndexFunc(deps[at], func(d Dep) bool { return blocked(d.Index) })
		at = deps[at][next].Index
	}
	return path[slices.Index(path, at):]
}

func nameCycle(err error, subs []config.Subkernel) error {
	var cycle cycleError
	if !errors.As(err, &cycle) {
		return err
	}
	names := make([]string, 0, len(cycle)+1)
	for _, i := range append(cycle, cycle[0]) {
		names = append(names, subs[i].Name)
	}
	return fmt.Errorf("sub-kernels wait for each other: %s: remove one of these dependencies", strings.Join(names, " -> "))
}

// intHeap is a heap of ints, the least on top.
type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
