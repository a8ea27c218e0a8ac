package uml

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// agentID is that of the command that keeps the Docker daemon. It is none of a probe's, which count up from below.
const agentID wire.ID = 1<<31 - 1

// agentName is what the agent is called in the guest.
const agentName = "sekexe-docker"

// The bounds of what is kept of dockerd's log, and of what the guest may say of images.
const (
	dockerLogBytes = 64 << 10
	dockerLogLines = 40
	maxImageNames  = 1000
)

const dockerHint = "the end of dockerd's log, below, may say why; all of it is in docker.log in the folder of the sub-kernel's logs. A slow machine may need a longer wait in the docker block"

// A daemon is the Docker daemon of a session. Its methods belong to the loop, but for output; all do nothing for a nil one.
type daemon struct {
	s       *session
	program string // the host's path of the agent
	started time.Time
	running bool // the agent
	failed  bool // the boot, because of it
	gaveUp  bool // it did not stop
	reports chan wire.DockerReport

	mu   sync.Mutex // guards what output uses
	line []byte     // of the agent's words, without its end yet
	log  []byte     // the end of dockerd's
}

// newDaemon returns nil if the job has none.
func newDaemon(s *session) *daemon {
	if s.job.Docker == nil {
		return nil
	}
	s.res.Docker = &orchestrator.DockerResult{Seeding: s.seeding}
	return &daemon{s: s, reports: make(chan wire.DockerReport, 16)}
}

// prepare lays the agent down.
func (d *daemon) prepare() (err error) {
	if d == nil {
		return nil
	}
	d.program, err = d.s.rt.o.Docker(d.s.rt.scratch.base)
	return err
}

// said is the channel of what the agent reports.
func (d *daemon) said() <-chan wire.DockerReport {
	if d == nil {
		return nil
	}
	return d.reports
}

// runs says whether the agent, and so dockerd, has been started and has not ended.
func (d *daemon) runs() bool { return d != nil && d.running }

// output takes what the agent prints: its words, and dockerd's log.
func (d *daemon) output(stream orchestrator.Stream, p []byte) error {
	if stream == orchestrator.Stderr {
		d.keep(p)
		d.s.logs.write("docker.log", p)
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(p) > 0 {
		l, rest, ok := bytes.Cut(p, []byte{'\n'})
		if len(d.line)+len(l) > wire.MaxDockerReport {
			return fmt.Errorf("guest: %w: a word about Docker of more than %d bytes", wire.ErrProtocol, wire.MaxDockerReport)
		}
		d.line = append(d.line, l...)
		if !ok {
			return nil
		}
		var r wire.DockerReport
		if err := json.Unmarshal(d.line, &r); err != nil {
			return fmt.Errorf("guest: %w: a word about Docker: %w", wire.ErrProtocol, err)
		}
		d.line = d.line[:0]
		select {
		case d.reports <- r:
		case <-d.s.proc.done: // nobody listens any more
		}
		p = rest
	}
	return nil
}

// keep keeps the end of dockerd's log.
func (d *daemon) keep(p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, p[max(0, len(p)-dockerLogBytes):]...)
	if len(d.log) > 2*dockerLogBytes {
		d.log = append(d.log[:0], d.log[len(d.log)-dockerLogBytes:]...)
	}
}

// explain puts the end of dockerd's log into the result, if that is where the job has failed.
func (d *daemon) explain() bool {
	if d == nil || !d.failed {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(d.log), []byte{'\n'})
	for _, l := range lines[max(0, len(lines)-dockerLogLines):] {
		if len(l) > 0 {
			d.s.res.Docker.Log = append(d.s.res.Docker.Log, clean(string(l)))
		}
	}
	return true
}

// failDocker ends the boot because of Docker.
func (s *session) failDocker(reason, hint string) {
	s.docker.failed = true
	s.endNow(ending{outcome: orchestrator.BootFailed, job: true, reason: "docker: " + reason, hint: cmp.Or(hint, dockerHint)})
}

// overdue says what did not happen in time.
func (d *daemon) overdue() string {
	wait := d.s.job.Docker.Wait
	if d.s.res.Docker.Version == "" {
		return fmt.Sprintf("its API did not answer within %v", wait)
	}
	return fmt.Sprintf("its images were not loaded within %v", wait)
}

// startDocker sends the agent on its way, behind the Spec.
func (s *session) startDocker() {
	j := s.job.Docker
	spec, err := json.Marshal(&wire.DockerSpec{
		Config: j.Config, DataRoot: j.DataRoot, Args: j.Args, Images: s.docker.images(), Modules: s.info.Modules != "",
		StopSeconds: int(s.dockerStop().Seconds()) / 2, Forward: s.wireForward(),
	})
	if err != nil {
		panic(err) // strings alone
	}
	s.docker.running = true
	s.send(wire.KindExec, &wire.Exec{ID: agentID, Argv: []string{agentName, wire.AgentKeep, string(spec)}, Env: j.Env, Dir: "/", Umask: 0o22, Agent: true})
}

// forward returns the way from the host's socket to the daemon, with the number of its NIC; nil: there is none.
func (s *session) forward() (*orchestrator.Forward, int) {
	for i := range s.links {
		if f := s.links[i].Forward; f != nil {
			return f, i
		}
	}
	return nil, 0
}

// wireForward is what the agent is told of it. The init hears nothing: it is none of the sub-kernel's NICs.
func (s *session) wireForward() *wire.DockerForward {
	f, i := s.forward()
	if f == nil {
		return nil
	}
	return &wire.DockerForward{Device: "vec" + strconv.Itoa(i), Address: f.Guest.String(), Port: f.Port, Host: f.Host.Addr().String(), HostMAC: f.HostMAC.String(), MTU: f.MTU}
}

// dockerSaid hears a word of the agent's.
func (s *session) dockerSaid(r wire.DockerReport) {
	res := s.res.Docker
	switch {
	case r.Kind == wire.DockerNotice:
		s.sink.Notice("docker: " + clean(r.Text))
	case r.Kind == wire.DockerAnswers && s.phase == starting && res.Version == "":
		res.Version, res.Start = cmp.Or(clean(r.Version), "unknown"), time.Since(s.docker.started)
		s.mark = s.span("dockerd starts", s.mark)
		s.sink.Docker(res.Version)
	case r.Kind == wire.DockerReady && s.phase == starting && res.Version != "":
		if len(s.job.Docker.Archives) > 0 {
			res.Load = time.Since(s.docker.started) - res.Start
		}
		if s.given != nil && s.given.below != nil {
			res.Images = s.given.below.Note.Images
		}
		for _, name := range r.Images[:min(len(r.Images), maxImageNames)] {
			res.Images = append(res.Images, clean(name))
		}
		s.mark = s.span("images are loaded", s.mark)
		if s.preparing {
			s.phase = up
			s.powerOff()
			return
		}
		if f, _ := s.forward(); f != nil {
			f.Ready()
		}
		if len(s.job.Steps) > 0 {
			s.exec(0)
		}
		s.begin()
	case r.Kind == wire.DockerFailed && s.phase == starting:
		s.failDocker(clean(r.Text), clean(r.Hint))
	case r.Kind == wire.DockerFailed && s.phase == up:
		s.dockerDied(clean(r.Text))
	}
}

// dockerDied ends what is nothing without its Docker daemon: a service that has no steps. Others go on, and their commands see it.
func (s *session) dockerDied(how string) {
	s.sink.Notice("docker: " + how)
	if len(s.job.Steps) == 0 {
		s.end(ending{outcome: orchestrator.Exited, reason: "docker: " + how, job: true})
	}
}

// dockerExited hears that the agent has ended.
func (s *session) dockerExited(e *wire.Exited) {
	s.docker.running = false
	// What it said before stands in the channel: the words come by the same reader as this.
	for len(s.docker.reports) > 0 {
		s.dockerSaid(<-s.docker.reports)
	}
	switch s.phase {
	case greeted, starting:
		if s.ending == nil {
			reason := fmt.Sprintf("the program that keeps it has ended with status %d", e.Status)
			if e.Error != "" {
				reason = "start the program that keeps it: " + clean(e.Error)
			}
			s.failDocker(reason, "")
		}
	case off:
		s.mark = s.span("dockerd stops", s.mark)
		s.poweringOff()
	}
}

// stopDocker asks dockerd to end, and with it its containers. What follows comes with its end, or when that takes too long.
func (s *session) stopDocker() {
	s.send(wire.KindSignal, &wire.Signal{ID: agentID, Number: 15})
	s.deadline.Reset(s.dockerStop())
}

// dockerStop is how long dockerd may take to stop. Its containers have half of that.
func (s *session) dockerStop() time.Duration { return max(powerOffTimeout, s.job.StopTimeout) }

// giveUp says that dockerd does not stop.
func (d *daemon) giveUp() {
	d.running, d.gaveUp = false, true
	d.s.sink.Notice(fmt.Sprintf("docker: it did not stop within %v", d.s.dockerStop()))
}
