package uml

import (
	"bytes"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// probeID is the first ID of a probe; those below it are steps.
const probeID wire.ID = 1 << 30

// maxLogLine is how much of a line of output, in bytes, is held against a regular expression.
const maxLogLine = 64 << 10

// readiness finds out when a service is ready. Its methods belong to the loop, but for output.
type readiness struct {
	r     *orchestrator.Ready
	timer *time.Timer   // to the next attempt
	limit *time.Timer   // of all attempts
	seen  chan struct{} // the log has the line
	id    wire.ID       // of the attempt under way; 0: none
	last  wire.ID
	watch bool // between begin and stop

	mu    sync.Mutex // guards what output uses
	re    *regexp.Regexp
	lines map[orchestrator.Stream][]byte // that have no end yet
}

// init prepares for a job. It is called before the guest can print anything.
func (r *readiness) init(j *orchestrator.Job) {
	r.seen = make(chan struct{}, 1)
	r.last = probeID
	r.r = j.Ready
	if j.Ready == nil || j.Ready.Log == "" {
		return
	}
	re, err := regexp.Compile(j.Ready.Log)
	if err != nil { // the configuration has compiled it before
		re = regexp.MustCompile(regexp.QuoteMeta(j.Ready.Log))
	}
	r.mu.Lock()
	r.re, r.lines = re, map[orchestrator.Stream][]byte{}
	r.mu.Unlock()
}

// begin starts the attempts, and returns true if none are needed.
func (r *readiness) begin() bool {
	if r.r == nil {
		return true
	}
	r.watch = true
	r.limit = time.NewTimer(r.r.Timeout)
	if r.r.Log == "" {
		r.timer = time.NewTimer(0)
	}
	return false
}

// stop ends the attempts.
func (r *readiness) stop() {
	r.watch = false
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.limit != nil {
		r.limit.Stop()
	}
}

func (r *readiness) tick() <-chan time.Time {
	if r.timer == nil || !r.watch {
		return nil
	}
	return r.timer.C
}

func (r *readiness) expired() <-chan time.Time {
	if r.limit == nil || !r.watch {
		return nil
	}
	return r.limit.C
}

// overdue says what did not happen.
func (r *readiness) overdue() string {
	switch {
	case r.r.Compose != "":
		return fmt.Sprintf("it was not ready within %v: the services of %s are not healthy", r.r.Timeout, r.r.Compose)
	case r.r.Log != "":
		return fmt.Sprintf("it was not ready within %v: no line of its output matches %q", r.r.Timeout, r.r.Log)
	case r.r.Port != 0:
		return fmt.Sprintf("it was not ready within %v: nothing listens on its port %d", r.r.Timeout, r.r.Port)
	}
	return fmt.Sprintf("it was not ready within %v: the command that tells never ended with 0", r.r.Timeout)
}

// output looks for the line in what a step prints.
func (r *readiness) output(stream orchestrator.Stream, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.re == nil {
		return
	}
	for len(p) > 0 {
		l, rest, ok := bytes.Cut(p, []byte{'\n'})
		line := r.lines[stream]
		line = append(line, l[:min(len(l), maxLogLine-len(line))]...)
		if ok {
			if r.re.Match(bytes.TrimSuffix(line, []byte{'\r'})) {
				r.re = nil // one is enough
				r.seen <- struct{}{}
				return
			}
			line = line[:0]
		}
		r.lines[stream] = line
		p = rest
	}
}

// probe makes an attempt.
func (s *session) probe() {
	r := &s.ready
	r.last++
	r.id = r.last
	if r.r.Port != 0 {
		s.send(wire.KindProbe, &wire.Probe{ID: r.id, Port: r.r.Port})
		return
	}
	e := wire.Exec{ID: r.id, Argv: r.r.Argv, Env: r.r.Env, Dir: r.r.Dir, User: r.r.User, Umask: 0o22, Quiet: true}
	if r.r.Compose != "" {
		e.Agent, e.Argv = true, []string{agentName, wire.AgentComposeReady, r.r.Compose}
	}
	s.send(wire.KindExec, &e)
}

// probed hears how an attempt went.
func (s *session) probed(id wire.ID, ok bool) {
	r := &s.ready
	if !r.watch || id != r.id {
		return
	}
	r.id = 0
	if ok {
		s.isReady()
		return
	}
	r.timer.Reset(r.r.Interval)
}
