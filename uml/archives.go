package uml

import (
	"fmt"
	"slices"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// archiveTarget is where the guest finds file number i with images for its Docker daemon, whatever its root is.
func archiveTarget(i int) string { return fmt.Sprintf("/run/sekexe/docker/images/%d.tar", i) }

// withArchives returns a job that has the files with images for its Docker daemon mounted; the same job, if there are none.
func withArchives(job *orchestrator.Job) *orchestrator.Job {
	if job.Docker == nil || len(job.Docker.Archives) == 0 {
		return job
	}
	j := *job
	j.Mounts = slices.Clone(j.Mounts)
	for i, a := range j.Docker.Archives {
		j.Mounts = append(j.Mounts, orchestrator.Mount{Target: archiveTarget(i), Source: a.File, Mode: "ro"})
	}
	return &j
}

// images are the files to load, as the guest has them.
func (d *daemon) images() []wire.DockerImage {
	var list []wire.DockerImage
	for i, a := range d.s.job.Docker.Archives {
		list = append(list, wire.DockerImage{File: archiveTarget(i), Name: a.Source})
	}
	return list
}
