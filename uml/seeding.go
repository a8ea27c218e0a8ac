package uml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml/ext4"
	"github.com/sekexe/sekexe/uml/seed"
)

// The size of a seed's disk, which is sparse: it holds the images, and what is written while it is used.
const (
	leastSeed    = 16 << 30
	seedPerImage = 10 // bytes of the disk for each of the images' files, which may be compressed
)

// seedMode are the permissions of a data root, as dockerd makes it.
const seedMode = 0o710

// A seeder gets the seed of a job's Docker daemon.
type seeder struct {
	rt   *Runtime
	job  *orchestrator.Job
	sink orchestrator.Sink
	stop <-chan struct{}

	announced bool
	took      time.Duration
	failed    *orchestrator.Result // of the sub-kernel that was to prepare it
}

// errNotPrepared says that seeder.failed has the reason.
var errNotPrepared = errors.New("it was not prepared")

// get returns the seed, which is prepared if it isn't there.
func (p *seeder) get(ctx context.Context) (*seed.Seed, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.stop:
			cancel()
		case <-waiting.Done():
		}
	}()
	start := time.Now()
	s, err := seed.Folder(p.job.Docker.Seed).Make(waiting, seedKey(p.job), p.announce, func(disk *os.File) (seed.Note, error) {
		p.announce()
		return p.prepare(ctx, disk)
	})
	if p.announced {
		p.took = time.Since(start)
	}
	return s, err
}

// announce tells, once, that it takes a while.
func (p *seeder) announce() {
	if !p.announced {
		p.announced = true
		p.sink.Seeding()
	}
}

// prepare boots a sub-kernel in which a Docker daemon loads the images onto a disk.
func (p *seeder) prepare(ctx context.Context, file *os.File) (seed.Note, error) {
	job := preparation(p.job)
	d := &job.Disks[0]
	if err := fill(file, d); err != nil {
		return seed.Note{}, fmt.Errorf("make its disk: %w", err)
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return seed.Note{}, fmt.Errorf("make its disk: %w", err)
	}
	s := newSession(p.rt, job, nil, quietSink{p.sink})
	s.given, s.preparing = &disk{Disk: d, file: os.NewFile(uintptr(fd), file.Name())}, true
	res := s.runInTurn(ctx, p.stop)
	if res.Outcome == orchestrator.Stopped && s.docker.gaveUp {
		res.Outcome, res.Reason = orchestrator.BootFailed, "docker: it did not stop"
	}
	if res.Outcome != orchestrator.Stopped {
		p.failed = &res
		return seed.Note{}, errNotPrepared
	}
	return seed.Note{Size: d.Size, Images: res.Docker.Images, Docker: res.Docker.Version, Made: time.Now()}, nil
}

// preparation is the job that prepares the seed of another: the same root and kernel, and nothing but the Docker daemon in it.
func preparation(job *orchestrator.Job) *orchestrator.Job {
	d := *job.Docker
	d.Seed, d.Socket = "", ""
	prep := &orchestrator.Job{
		Name: job.Name, ID: job.ID + "/seed", Hostname: job.Hostname, Kernel: job.Kernel, Memory: job.Memory, CPUs: job.CPUs, Isolation: job.Isolation,
		Root: job.Root, Cgroups: job.Cgroups, Mounts: slices.Clone(job.Mounts), Tmpfs: job.Tmpfs, Confine: job.Confine, Docker: &d,
		Disks:   []orchestrator.Disk{{Target: d.DataRoot, Size: seedSize(&d), Mode: seedMode}},
		Timeout: job.Timeout, BootTimeout: job.BootTimeout, StopTimeout: max(job.StopTimeout, d.Wait),
	}
	for i := range prep.Mounts {
		if prep.Mounts[i].Mode == "rw" {
			prep.Mounts[i].Mode = "ro"
		}
	}
	return withArchives(prep)
}

// seedSize is the size of a seed's disk.
func seedSize(d *orchestrator.Docker) int64 {
	var images int64
	for _, a := range d.Archives {
		if st, err := os.Stat(a.File); err == nil {
			images += st.Size()
		}
	}
	const unit = 1 << 30
	return min(max(leastSeed, (images*seedPerImage+unit-1)/unit*unit), ext4.MaxSize)
}

// result is how the job ended if its seed could not be had.
func (p *seeder) result(err error) orchestrator.Result {
	what := "docker: prepare the seed " + p.job.Docker.Seed + ": "
	if errors.Is(err, context.Canceled) {
		return cancelled("it was stopped while the seed of its Docker daemon was prepared")
	}
	if p.failed == nil {
		return orchestrator.Result{
			Outcome: orchestrator.BootFailed, Status: orchestrator.StatusFailed, Reason: what + err.Error(),
			Hint: "name a folder in seed that you may write to, on a file system with room for the images; it may be emptied at any time",
		}
	}
	res := *p.failed
	if res.Outcome != orchestrator.Cancelled {
		res.Outcome, res.Status, res.Reason = orchestrator.BootFailed, orchestrator.StatusFailed, what+strings.TrimPrefix(res.Reason, "docker: ")
	}
	return res
}

// useSeed gives a session the seed that its job wants. If that can't be, the result is how the job ended.
func (s *session) useSeed(ctx context.Context, stop <-chan struct{}) (end func(), failed *orchestrator.Result) {
	p := &seeder{rt: s.rt, job: s.job, sink: s.sink, stop: stop}
	sd, err := p.get(ctx)
	if err != nil {
		res := p.result(err)
		return nil, &res
	}
	job, d := *s.job, *s.job.Docker
	d.Archives = nil
	job.Docker = &d
	job.Disks = append(slices.Clone(job.Disks), orchestrator.Disk{Target: d.DataRoot, Size: sd.Note.Size, Mode: seedMode})
	s.job, s.seeding = &job, p.took
	s.given = &disk{Disk: &job.Disks[len(job.Disks)-1], below: sd}
	return func() { sd.Close() }, nil
}

// A quietSink passes on of a sub-kernel that prepares a seed what is no news of the job's own.
type quietSink struct{ orchestrator.Sink }

func (quietSink) Booting()               {}
func (quietSink) Booted(string)          {}
func (quietSink) Up()                    {}
func (quietSink) Docker(string)          {}
func (quietSink) Span(orchestrator.Span) {}
