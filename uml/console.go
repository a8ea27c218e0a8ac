package uml

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sekexe/sekexe/orchestrator"
)

// tailLines is how many lines of a kernel's log a result shows, and tailWidth how much of each, in bytes.
const (
	tailLines = 40
	tailWidth = 400
)

// A console reads a kernel's log, keeps its end, and passes it on. Nothing in it decides how a job ended: a guest can print anything.
type console struct {
	r    *os.File
	logs *logs
	sink orchestrator.Sink
	done chan struct{} // closed when run returns

	// What follows is run's until it has returned.
	line    []byte // that has no end yet, as much of it as is kept
	lines   []string
	panic   string
	learn   bool // lpj is wanted
	learned uint64
}

func newConsole(r *os.File, l *logs, sink orchestrator.Sink, learn bool) *console {
	return &console{r: r, logs: l, sink: sink, learn: learn, done: make(chan struct{})}
}

// run reads until no process of the sub-kernel holds the pipe any more.
func (c *console) run() {
	defer close(c.done)
	defer c.r.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := c.r.Read(buf)
		if n > 0 {
			c.logs.kernel(buf[:n])
			c.keep(buf[:n])
			c.sink.Kernel(buf[:n])
		}
		if err != nil {
			c.endLine()
			return
		}
	}
}

// keep adds bytes to the tail.
func (c *console) keep(p []byte) {
	for len(p) > 0 {
		l, rest, ok := bytes.Cut(p, []byte{'\n'})
		c.line = append(c.line, l[:min(len(l), tailWidth-len(c.line))]...)
		if ok {
			c.endLine()
		}
		p = rest
	}
}

// lpjPattern is in the line of init/calibrate.c.
var lpjPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`BogoMIPS \(lpj=(\d+)\)`) })

// withoutLevel takes off the level before a line that the kernel prints with it, as it does after some panics.
func withoutLevel(line []byte) []byte {
	if len(line) >= 3 && line[0] == '<' && '0' <= line[1] && line[1] <= '7' && line[2] == '>' {
		return line[3:]
	}
	return line
}

func (c *console) endLine() {
	l := clean(string(withoutLevel(c.line)))
	c.line = c.line[:0]
	if l == "" {
		return
	}
	if len(c.lines) == tailLines {
		c.lines = append(c.lines[:0], c.lines[1:]...)
	}
	c.lines = append(c.lines, l)
	if c.panic == "" && strings.Contains(l, "Kernel panic - not syncing") {
		c.panic = l
	}
	if c.learn && c.learned == 0 {
		if m := lpjPattern().FindStringSubmatch(l); m != nil {
			c.learned, _ = strconv.ParseUint(m[1], 10, 64) // 0, unknown, if it has too many digits
		}
	}
}

// The following are for after run's end.

func (c *console) tail() []string    { return c.lines }
func (c *console) panicLine() string { return c.panic }
func (c *console) lpj() uint64       { return c.learned }

// says says whether a line of the tail has a word in it.
func (c *console) says(word string) bool {
	return slices.ContainsFunc(c.lines, func(l string) bool { return strings.Contains(l, word) })
}
