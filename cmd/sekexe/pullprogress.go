package main

import (
	"fmt"
	"os"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/term"

	"github.com/sekexe/sekexe/image"
)

// A pullProgress shows on standard error how far the making of an image is, if it takes long: a line that changes on a terminal, one for each
// phase and each quarter of a download otherwise.
type pullProgress struct {
	quiet, tty  bool
	name        string
	start       time.Time
	last        string
	said, drawn bool
}

// pullPatience is how long the making of an image takes before anything is said of it.
const pullPatience = time.Second

func newPullProgress(quiet bool, name string) *pullProgress {
	return &pullProgress{quiet: quiet, name: name, start: time.Now(), tty: term.IsTerminal(int(os.Stderr.Fd()))}
}

func (p *pullProgress) show(r image.Reply) {
	if p.quiet || time.Since(p.start) < pullPatience {
		return
	}
	text, step := r.Phase, r.Phase
	if r.Total > 0 {
		text = fmt.Sprintf("%s: %s of %s", r.Phase, units.BytesSize(float64(r.Done)), units.BytesSize(float64(r.Total)))
		step = fmt.Sprintf("%s %d", r.Phase, 4*r.Done/r.Total)
	}
	switch {
	case p.tty:
		fmt.Fprintf(os.Stderr, "\r\x1b[Kimage %s: %s", p.name, text)
		p.drawn = true
	case step != p.last:
		fmt.Fprintf(os.Stderr, "image %s: %s\n", p.name, text)
	}
	p.last, p.said = step, true
}

// end takes the line away, and says that all is well if anything was said.
func (p *pullProgress) end(ok bool) {
	if p.drawn {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	if p.said && ok {
		fmt.Fprintf(os.Stderr, "image %s: is here, after %v\n", p.name, time.Since(p.start).Round(100*time.Millisecond))
	}
}
