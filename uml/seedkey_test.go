package uml

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sekexe/sekexe/orchestrator"
)

// TestSeedKey holds what makes another seed, and what doesn't.
func TestSeedKey(t *testing.T) {
	root := t.TempDir()
	dockerd := filepath.Join(root, "usr/bin/dockerd")
	if err := os.MkdirAll(filepath.Dir(dockerd), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dockerd, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	job := func() *orchestrator.Job {
		return &orchestrator.Job{Name: "a", Root: orchestrator.Root{Source: root}, Docker: &orchestrator.Docker{
			Config: `{"debug": true, "storage-driver": "overlay2"}`, DataRoot: "/var/lib/docker", Env: []string{"PATH=/bin:/usr/bin"},
			Archives: []orchestrator.Archive{{Source: "/a", File: "/a", Contents: "sha256:1"}, {Source: "/b", File: "/b", Contents: "sha256:2"}},
		}}
	}
	key := seedKey(job())
	for _, test := range []struct {
		name   string
		change func(*orchestrator.Job)
		same   bool
	}{
		{"the name", func(j *orchestrator.Job) { j.Name = "b" }, true},
		{"the files' names and order", func(j *orchestrator.Job) {
			a := j.Docker.Archives
			a[0], a[1] = a[1], a[0]
			a[0].Source, a[0].File = "/x", "/x"
		}, true},
		{"a setting of logging", func(j *orchestrator.Job) { j.Docker.Config = `{"storage-driver": "overlay2", "log-level": "warn"}` }, true},
		{"the storage driver", func(j *orchestrator.Job) { j.Docker.Config = `{"storage-driver": "vfs"}` }, false},
		{"an argument", func(j *orchestrator.Job) { j.Docker.Args = []string{"--storage-driver=vfs"} }, false},
		{"an image", func(j *orchestrator.Job) { j.Docker.Archives[0].Contents = "sha256:3" }, false},
		{"an image less", func(j *orchestrator.Job) { j.Docker.Archives = j.Docker.Archives[:1] }, false},
		{"the data root", func(j *orchestrator.Job) { j.Docker.DataRoot = "/data" }, false},
		{"another dockerd in a mount", func(j *orchestrator.Job) {
			j.Mounts = []orchestrator.Mount{{Target: "/usr/bin", Source: t.TempDir(), Mode: "ro"}}
		}, false},
		{"an image for the root", func(j *orchestrator.Job) {
			j.Root = orchestrator.Root{Image: "docker:dind", Source: "/x/0123/root.ext4", FileSystem: "ext4"}
		}, false},
	} {
		j := job()
		test.change(j)
		if same := seedKey(j) == key; same != test.same {
			t.Errorf("%s: the same seed: %v, want %v", test.name, same, test.same)
		}
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(dockerd, later, later); err != nil {
		t.Fatal(err)
	}
	if seedKey(job()) == key {
		t.Error("another dockerd has the same seed")
	}
}
