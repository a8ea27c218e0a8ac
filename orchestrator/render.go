package orchestrator

import (
	"bytes"
	"io"

	"github.com/charmbracelet/x/ansi"
)

// A Renderer shows a run while it goes on.
//
// A writer that fails, such as a pipe whose reader has gone, does not end or delay the run: the first error is remembered, nothing more is
// written there, and Close returns it. (A Go program is killed by SIGPIPE when it writes to a broken stdout or stderr, unless it ignores
// the signal: a command that wants its report does.)
type Renderer interface {
	Observer
	// Close shows what is left of unfinished lines, removes what is not meant to stay, and returns the first error of a writer.
	Close() error
}

// RenderOptions say where a renderer writes to.
type RenderOptions struct {
	// Color colours the names where they go to a terminal.
	Color bool
	// StdoutTerminal and StderrTerminal say that lines end up on a terminal: of a guest's control sequences only colours are passed on then.
	// Otherwise each line goes through as it is.
	StdoutTerminal, StderrTerminal bool
	// Kernel shows the kernels' logs too, on stderr.
	Kernel bool
	// Width returns the terminal's width in columns, for NewTTY; nil or 0: 80.
	Width func() int
}

// maxLine is the length at which a line is cut into pieces, so that a guest can't make the host keep more.
const maxLine = 64 << 10

// A lineBuffer cuts a stream into lines.
type lineBuffer struct{ rest []byte }

// add calls emit for each line that p ends, without its end (\n or \r\n), and keeps the rest. A line longer than maxLine comes in pieces.
func (l *lineBuffer) add(p []byte, emit func(line []byte)) {
	for {
		nl := bytes.IndexByte(p, '\n')
		if nl < 0 {
			break
		}
		line := p[:nl]
		if len(l.rest) > 0 {
			line = append(l.rest, line...)
			l.rest = l.rest[:0]
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		for len(line) > maxLine {
			emit(line[:maxLine])
			line = line[maxLine:]
		}
		emit(line)
		p = p[nl+1:]
	}
	l.rest = append(l.rest, p...)
	cut := l.rest
	for len(cut) > maxLine {
		emit(cut[:maxLine])
		cut = cut[maxLine:]
	}
	l.rest = l.rest[:copy(l.rest, cut)]
}

// flush emits what is left.
func (l *lineBuffer) flush(emit func(line []byte)) {
	if len(l.rest) > 0 {
		emit(bytes.TrimSuffix(l.rest, []byte("\r")))
	}
	l.rest = nil
}

// A stickyWriter writes until the first error, and remembers that.
type stickyWriter struct {
	w   io.Writer
	err error
}

func (s *stickyWriter) write(p []byte) {
	if s.err == nil && len(p) > 0 {
		_, s.err = s.w.Write(p)
	}
}

// nameColors are the colours of names, in their order; then the same in bold.
var nameColors = []string{"36", "33", "32", "35", "34", "1;36", "1;33", "1;32", "1;35", "1;34"}

// colorize puts text into the colour of a job.
func colorize(job int, text string) string {
	return "\x1b[" + nameColors[job%len(nameColors)] + "m" + text + sgrReset
}

// padNames returns the names, escaped, and padded with spaces to the widest.
func padNames(names []string) []string {
	padded := make([]string, len(names))
	widest := 0
	for i, name := range names {
		padded[i] = escape(name)
		widest = max(widest, ansi.StringWidth(padded[i]))
	}
	for i := range padded {
		padded[i] = pad(padded[i], widest)
	}
	return padded
}

// pad adds spaces to text up to width columns.
func pad(text string, width int) string {
	n := width - ansi.StringWidth(text)
	if n <= 0 {
		return text
	}
	return text + string(bytes.Repeat([]byte{' '}, n))
}
