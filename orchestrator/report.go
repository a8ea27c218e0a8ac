package orchestrator

import "time"

// A Report is the outcome of a run. It holds one entry for each job of the plan, in the plan's order, whatever happened.
type Report struct {
	Project string
	// RunDir is the folder of the run's logs; empty if there is none.
	RunDir   string
	Started  time.Time
	Duration time.Duration
	// Interrupted says that the user ended the run, and TimedOut that its own time was up, before it was done.
	Interrupted, TimedOut bool
	// Networks are all of the plan, in its order.
	Networks   []NetworkReport
	Subkernels []SubkernelReport
}

// A SubkernelReport says how one job went, and whether that is what was expected of it.
type SubkernelReport struct {
	Name string
	// Block and Matrix are the node's.
	Block   string
	Matrix  []MatrixValue
	Service bool
	Expect  Expect
	// Result is the Runtime's, with the orchestrator's judgement: its Outcome and Reason say why a job was ended, skipped or cancelled,
	// and its Steps have an entry for each step of the job, skipped ones included.
	Result
	// Published are the ports of the host that led to it.
	Published []Published
	// OK says that the job met its expectation.
	OK bool
	// Stdout and Stderr are the last lines of what each step printed, by step, for those that failed: at most 64 lines and 16 KiB each.
	Stdout, Stderr []string
}

// OK says whether every job met its expectation.
func (r *Report) OK() bool {
	for i := range r.Subkernels {
		if !r.Subkernels[i].OK {
			return false
		}
	}
	return true
}

// ExitCode returns 0 if every job met its expectation, else 1.
func (r *Report) ExitCode() int {
	if r.OK() {
		return 0
	}
	return 1
}

// StatusOf returns the status of the job with this name, and whether there is one.
func (r *Report) StatusOf(name string) (int, bool) {
	for i := range r.Subkernels {
		if r.Subkernels[i].Name == name {
			return r.Subkernels[i].Status, true
		}
	}
	return 0, false
}

// RunTime is how long the sub-kernel was up: from the first step's start until nothing was left of it, or zero if it never was.
func (r *SubkernelReport) RunTime() time.Duration {
	if r.Up == 0 {
		return 0
	}
	return r.Total - r.Up
}
