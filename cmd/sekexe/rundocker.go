package main

import (
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/orchestrator"
)

// dockerMemory is the memory of run --docker where --memory isn't given: the daemons take some 150 MiB, and images lie in memory.
const dockerMemory = "1G"

// dockerRunFlags are run's flags for a Docker daemon.
type dockerRunFlags struct {
	docker bool
	images []string
	wait   time.Duration
}

// add adds the flags.
func (f *dockerRunFlags) add(fl *pflag.FlagSet) {
	fl.BoolVar(&f.docker, "docker", false, "start a Docker daemon of the sub-kernel's own before the command (memory: 1G, unless -m says otherwise)")
	fl.StringArrayVar(&f.images, "docker-image", nil, "load the images of this file, as docker save writes them, into the Docker daemon; a pattern, too; repeatable")
	fl.DurationVar(&f.wait, "docker-wait", 2*time.Minute, "time until the Docker daemon can be used")
}

// use gives the job its Docker daemon, if the flags ask for one.
func (f *dockerRunFlags) use(job *orchestrator.Job) error {
	if !f.docker {
		if len(f.images) > 0 {
			return misuse("--docker-image %s: there is no Docker daemon to load it: add --docker", f.images[0])
		}
		return nil
	}
	if f.wait < time.Second {
		return misuse("--docker-wait %s: want at least 1s", f.wait)
	}
	d := &config.Docker{Autostart: true, Wait: f.wait, DataRoot: config.DockerDataRoot}
	for _, m := range job.Mounts {
		if m.Target == d.DataRoot {
			return misuse("--volume %s:%s: Docker's data can't lie on the host's files: name a --disk %s=SIZE", m.Source, m.Target, d.DataRoot)
		}
	}
	for _, b := range job.Disks {
		d.OwnData = d.OwnData || b.Target == d.DataRoot
	}
	for _, i := range f.images {
		abs, err := filepath.Abs(i)
		if err != nil {
			return failure(err)
		}
		d.Images = append(d.Images, abs)
	}
	job.UseDocker(d, job.Steps[0].Env)
	return nil
}
