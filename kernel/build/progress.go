package build

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Progress is how far a build is.
type Progress struct {
	Phase string
	// Done and Total count what is compiled; Total is an estimate, and 0 outside of the phase "compiling".
	Done, Total int
	Elapsed     time.Duration
	// Left is an estimate; 0: unknown.
	Left time.Duration
}

// guessedTotal is the number of steps of a build of ours where none has been counted yet.
const guessedTotal = 2041

// reportEvery is the least time between two reports of the compilation.
const reportEvery = 250 * time.Millisecond

// A counter counts the lines of make, each of which is a step, on their way into the log.
type counter struct {
	log     io.Writer
	file    string // where the number of steps of earlier builds is kept
	report  func(Progress)
	started time.Time
	last    time.Time
	n       int
	total   int
}

func newCounter(log io.Writer, cache, key string, report func(Progress)) *counter {
	// One number for each flavour: the third part from the end.
	flavour := "default"
	if w := strings.Split(key, "-"); len(w) > 2 {
		flavour = strings.Join(w[1:len(w)-1], "-")
	}
	c := &counter{log: log, file: filepath.Join(cache, "build", "steps-"+flavour), report: report, started: time.Now(), total: guessedTotal}
	if t, err := os.ReadFile(c.file); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(t))); err == nil && n > 0 && n < 1e6 {
			c.total = n
		}
	}
	return c
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.n += bytes.Count(p, []byte{'\n'})
	if now := time.Now(); now.Sub(c.last) >= reportEvery {
		c.last = now
		c.report(c.progress())
	}
	return c.log.Write(p)
}

func (c *counter) progress() Progress {
	p := Progress{Phase: "compiling", Done: c.n, Total: max(c.total, c.n), Elapsed: time.Since(c.started)}
	if c.n > 50 { // before that the rate says nothing
		p.Left = time.Duration(float64(p.Elapsed) / float64(p.Done) * float64(p.Total-p.Done))
	}
	return p
}

// finish remembers how many steps there were, if this was a whole build.
func (c *counter) finish() {
	if c.n > guessedTotal/3 {
		_ = os.WriteFile(c.file, []byte(strconv.Itoa(c.n)+"\n"), 0o600) // the next estimate is a guess then
	}
}

func (b *builder) report(p Progress) {
	if b.o.Progress != nil {
		if p.Elapsed == 0 {
			p.Elapsed = time.Since(b.started)
		}
		b.o.Progress(p)
	}
}
