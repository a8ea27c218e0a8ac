package orchestrator

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// NewPlain returns a renderer that writes what commands print as lines `name | line`, stdout's to stdout and stderr's to stderr, and what
// happens as lines `name: text` to stderr. Lines are whole: one that a guest has not ended waits for its end, or that of the job, and one of
// more than 64 KiB comes in pieces. The names are those of the plan's jobs, in order.
func NewPlain(stdout, stderr io.Writer, names []string, o RenderOptions) Renderer {
	return newPlain(stdout, stderr, names, o, progressText)
}

// NewQuiet is NewPlain without the lines about what happens.
func NewQuiet(stdout, stderr io.Writer, names []string, o RenderOptions) Renderer {
	return newPlain(stdout, stderr, names, o, func(Event) string { return "" })
}

// The sources of a job's lines, besides Stdout and Stderr.
const (
	kernelSource = 0
	sources      = 3
)

type plain struct {
	options RenderOptions
	words   func(Event) string // a line about an event; empty: none
	names   []string           // escaped, as they stand on stderr
	// prefixes are `name | ` by source, for the kernel's log `name ! `.
	prefixes [sources][]string

	// mu guards all below, and makes each write one.
	mu             sync.Mutex
	stdout, stderr stickyWriter
	partial        [][sources]lineBuffer
	batch          []byte
	// before, if set, is called ahead of each write, with whether it is to stderr.
	before func(toStderr bool)
}

func newPlain(stdout, stderr io.Writer, names []string, o RenderOptions, words func(Event) string) *plain {
	p := &plain{
		options: o, words: words, names: make([]string, len(names)),
		stdout: stickyWriter{w: stdout}, stderr: stickyWriter{w: stderr},
		partial: make([][sources]lineBuffer, len(names)),
		before:  func(bool) {},
	}
	for source := range sources {
		p.prefixes[source] = make([]string, len(names))
	}
	for i, name := range padNames(names) {
		p.names[i] = o.paint(o.StderrTerminal, i, escape(names[i]))
		p.prefixes[Stdout][i] = o.paint(o.StdoutTerminal, i, name+" |") + " "
		p.prefixes[Stderr][i] = o.paint(o.StderrTerminal, i, name+" |") + " "
		p.prefixes[kernelSource][i] = o.paint(o.StderrTerminal, i, name+" !") + " "
	}
	return p
}

// paint colours text that goes to a terminal.
func (o RenderOptions) paint(terminal bool, job int, text string) string {
	if !o.Color || !terminal {
		return text
	}
	return colorize(job, text)
}

// Event is part of Observer.
func (p *plain) Event(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case Output:
		p.lines(e.Job, int(e.Stream), func(l *lineBuffer, emit func([]byte)) { l.add(e.Data, emit) })
	case KernelLog:
		if p.options.Kernel {
			p.lines(e.Job, kernelSource, func(l *lineBuffer, emit func([]byte)) { l.add(e.Data, emit) })
		}
	case JobEnded:
		p.flush(e.Job)
		p.say(e)
	default:
		p.say(e)
	}
}

// Close is part of Renderer.
func (p *plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for job := range p.partial {
		p.flush(job)
	}
	return errors.Join(p.stdout.err, p.stderr.err)
}

func (p *plain) flush(job int) {
	for source := range sources {
		p.lines(job, source, (*lineBuffer).flush)
	}
}

// lines writes all lines that feed gets out of a job's buffer in one write.
func (p *plain) lines(job, source int, feed func(l *lineBuffer, emit func(line []byte))) {
	prefix, to, terminal := p.prefixes[source][job], &p.stderr, p.options.StderrTerminal
	if source == int(Stdout) {
		to, terminal = &p.stdout, p.options.StdoutTerminal
	}
	p.batch = p.batch[:0]
	feed(&p.partial[job][source], func(line []byte) {
		p.batch = append(p.batch, prefix...)
		if terminal {
			p.batch = appendForTerminal(p.batch, line)
		} else {
			p.batch = append(p.batch, line...)
		}
		p.batch = append(p.batch, '\n')
	})
	if len(p.batch) > 0 {
		p.before(to == &p.stderr)
		to.write(p.batch)
	}
	if cap(p.batch) > 4*maxLine {
		p.batch = nil // an unusually big one is not kept
	}
}

// say writes a line about what happened.
func (p *plain) say(e Event) {
	text := p.words(e)
	if text == "" {
		return
	}
	name := "sekexe"
	if e.Job >= 0 {
		name = p.names[e.Job]
	}
	p.before(true)
	p.stderr.write([]byte(name + ": " + text + "\n"))
}

// progressText puts an event into words; empty: it is not worth a line.
func progressText(e Event) string {
	switch e.Kind {
	case JobBooting:
		return "booting"
	case JobUp:
		return fmt.Sprintf("up %s in %s", escape(e.Text), formatDuration(e.Elapsed))
	case JobReady:
		return "ready in " + formatDuration(e.Elapsed)
	case StepStarted:
		// The command attribute has a step's name that says nothing.
		if e.StepName != "command" {
			return "step " + escape(e.StepName)
		}
	case StepEnded:
		// Without a text it is the last one, and the job's end tells its failure.
		if r := e.StepResult; e.Text != "" {
			return escape(fmt.Sprintf("step %s %s; %s", e.StepName, describe(r.Outcome, r.Status, r.Signal), e.Text))
		}
	case Notice:
		return escape(e.Text)
	case Addressed:
		return escape("has " + e.Text)
	case PortPublished:
		return escape("published " + e.Text)
	case DockerSeeding:
		return escape("preparing the seed of docker in " + e.Text)
	case DockerReady:
		return escapeGuest("docker " + e.Text + " answers")
	case Leased:
		return escape("lease on " + e.Text)
	case JobStopping:
		return "stopping: " + escape(e.Text)
	case JobEnded:
		return endedText(e.Report)
	}
	return ""
}

// endedText says how a job ended: "exited 0 in 1.2s", or what went wrong.
func endedText(r *SubkernelReport) string {
	text := string(r.Outcome)
	if r.Outcome == Exited || r.Outcome == Signalled {
		text = fmt.Sprintf("%s %d", r.Outcome, r.Status)
	}
	if !r.Started.IsZero() {
		text += " in " + formatDuration(r.Total)
	}
	if !r.OK {
		text = joinReason(text, escape(r.Reason))
	}
	return text
}
