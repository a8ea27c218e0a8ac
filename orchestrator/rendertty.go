package orchestrator

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// NewTTY is NewPlain for a stderr that is a terminal: below the lines it keeps a status of at most two lines, which it draws when it
// changes, at most ten times a second, and only while something runs. Of what happens it says what went wrong in lines, and leaves the rest to the status.
func NewTTY(stdout, stderr io.Writer, names []string, o RenderOptions) Renderer {
	o.StderrTerminal = true
	t := &tty{plain: newPlain(stdout, stderr, names, o, troubleText), jobs: make([]ttyJob, len(names)), started: time.Now()}
	t.plain.before = func(toStderr bool) {
		if toStderr || o.StdoutTerminal { // then both are taken to be the same terminal
			t.clear()
		}
	}
	return t
}

// redrawEvery is the time between two drawings of the status. It is also how long a run takes before it has one.
const redrawEvery = 100 * time.Millisecond

// A tty is guarded by the mutex of its plain.
type tty struct {
	*plain
	jobs    []ttyJob
	started time.Time
	active  int // jobs that have started and not ended
	// drawn are the lines that stand on the terminal, the cursor at the end of the last.
	drawn []string
	stop  chan struct{} // ends the ticker; nil: it does not run
	group sync.WaitGroup
}

// A ttyJob is what the status says of a job.
type ttyJob struct {
	state string // one of ttyStates
	step  string
	since time.Time
}

// The states that the status counts; the zero state is waiting.
const (
	ttySeeding = "seeding"
	ttyBooting = "booting"
	ttyRunning = "running"
	ttyReady   = "ready"
	ttyDone    = "done"
	ttyFailed  = "failed"
	ttySkipped = "skipped" // or cancelled
)

var ttyStates = []struct{ state, word string }{
	{"", "waiting"}, {ttySeeding, "seeding"}, {ttyBooting, "booting"}, {ttyRunning, "running"}, {ttyReady, "ready"}, {ttyDone, "done"}, {ttyFailed, "failed"}, {ttySkipped, "skipped"},
}

// Event is part of Observer.
func (t *tty) Event(e Event) {
	t.mu.Lock()
	if e.Job >= 0 {
		t.track(e)
	}
	t.mu.Unlock()
	t.plain.Event(e)
}

// troubleText is progressText without what the status shows.
func troubleText(e Event) string {
	switch {
	case e.Kind == StepEnded, e.Kind == Notice, e.Kind == JobEnded && !e.Report.OK:
		return progressText(e)
	default:
		return ""
	}
}

// track follows the state of a job.
func (t *tty) track(e Event) {
	job := &t.jobs[e.Job]
	switch e.Kind {
	case DockerSeeding, JobBooting:
		if job.state == "" {
			t.active++
			t.tick()
		}
		job.state, job.since = ttyBooting, e.Time
		if e.Kind == DockerSeeding {
			job.state = ttySeeding
		}
	case JobUp:
		job.state, job.since = ttyRunning, e.Time
	case JobReady:
		job.state = ttyReady
	case StepStarted:
		job.step, job.since = e.StepName, e.Time
	case JobEnded:
		if job.state != "" {
			t.active--
		}
		job.state = ttyDone
		switch {
		case e.Report.OK:
		case e.Report.Outcome == Skipped || e.Report.Outcome == Cancelled:
			job.state = ttySkipped
		default:
			job.state = ttyFailed
		}
		if t.active == 0 {
			t.untick()
		}
	}
}

// tick starts the ticker, which Close waits for.
func (t *tty) tick() {
	if t.stop != nil {
		return
	}
	stop := make(chan struct{})
	t.stop = stop
	t.group.Go(func() {
		ticker := time.NewTicker(redrawEvery)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-ticker.C:
				t.redraw(stop, now)
			}
		}
	})
}

func (t *tty) untick() {
	if t.stop != nil {
		close(t.stop)
		t.stop = nil
	}
	t.clear()
}

// redraw draws the status, unless the ticker has been stopped in the meantime.
func (t *tty) redraw(stop chan struct{}, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != stop {
		return
	}
	status := t.status(now, t.width())
	if slices.Equal(status, t.drawn) {
		return
	}
	// One write, so that nothing flickers.
	t.stderr.write([]byte(t.erase() + strings.Join(status, "\n")))
	t.drawn = status
}

// Close is part of Renderer.
func (t *tty) Close() error {
	t.mu.Lock()
	t.untick()
	t.mu.Unlock()
	t.group.Wait()
	return t.plain.Close()
}

func (t *tty) width() int {
	if t.options.Width != nil {
		if w := t.options.Width(); w > 0 {
			return w
		}
	}
	return 80
}

func (t *tty) clear() { t.stderr.write([]byte(t.erase())) }

// erase returns what removes the status and leaves the cursor where that began. A terminal that has become narrower has wrapped its lines.
func (t *tty) erase() string {
	if len(t.drawn) == 0 {
		return ""
	}
	width, rows := t.width(), 0
	for _, line := range t.drawn {
		rows += max(1, (ansi.StringWidth(line)+width-1)/width)
	}
	t.drawn = nil
	return "\r\x1b[K" + strings.Repeat("\x1b[A\x1b[K", rows-1)
}

// status returns the lines of the status: the counts, and what runs. One column stays free, since a cursor behind the last is not the same
// on all terminals.
func (t *tty) status(now time.Time, width int) []string {
	count := make(map[string]int)
	var names []string
	for i := range t.jobs {
		job := &t.jobs[i]
		count[job.state]++
		switch job.state {
		case ttyBooting, ttyRunning:
			names = append(names, t.doing(i, job, now))
		}
	}
	counts := make([]string, 0, len(ttyStates))
	for _, s := range ttyStates {
		if n := count[s.state]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, s.word))
		}
	}
	elapsed := now.Sub(t.started).Truncate(time.Second).String()
	lines := []string{elapsed + "  " + strings.Join(counts, ", ")}
	if len(names) > 0 {
		lines = append(lines, strings.Join(names, "  "))
	}
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], max(width-1, 1), "…")
		if strings.Contains(lines[i], "\x1b") {
			lines[i] += sgrReset
		}
	}
	return lines
}

// doing says what a job does: `name: step 12s`.
func (t *tty) doing(i int, job *ttyJob, now time.Time) string {
	what := job.state
	if job.state == ttyRunning && job.step != "" {
		what = escape(job.step)
	}
	return fmt.Sprintf("%s: %s %s", t.names[i], what, max(0, now.Sub(job.since)).Truncate(time.Second))
}
