package orchestrator

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sekexe/sekexe/config"
)

// A Docker is the Docker daemon of a job, which is started when root and mounts are made and stopped after the last step.
type Docker struct {
	// Wait bounds the time from its start until it can be used.
	Wait time.Duration
	Args []string // for dockerd
	// Config is its daemon.json.
	Config string
	// Images are absolute paths of files on the host, and patterns of path.Match, to be loaded. If there are any, UseArchives must have been called
	// before the job runs.
	Images   []string
	Archives []Archive
	// Seed is a folder on the host with disks that hold the images; empty: they are loaded at each start.
	Seed string
	// Socket is the absolute path of a socket on the host that leads to the daemon's; empty: there is none.
	Socket string
	// Compose is the absolute path of a compose file on the host; empty: there is none.
	Compose string
	// Env is the daemon's environment, K=V.
	Env []string
	// DataRoot is the folder in the guest with the daemon's data, on a file system that can hold it.
	DataRoot string
}

// An Archive is a file on the host with images for a Docker daemon.
type Archive struct {
	// Source is the file that the user knows, and File the one that is loaded: the same, or what was made of it.
	Source, File string
	// Contents is a digest that stands for the images and their names.
	Contents string
}

// UseArchives says what the job's patterns of images stand for.
func (j *Job) UseArchives(list []Archive) {
	d := *j.Docker
	d.Archives = list
	j.Docker = &d
}

// A DockerResult is what came of a Docker daemon.
type DockerResult struct {
	Version string        // of dockerd; empty: it never answered
	Start   time.Duration // from its start until its API answered
	Load    time.Duration // from there until the images were loaded; 0: there were none to load
	Images  []string      // names of those that were loaded, or are in the seed
	// Seeding is what the preparation of the seed took; 0: it was there, or none is wanted.
	Seeding time.Duration
	// Log is the end of its log, by lines, where it failed.
	Log []string
}

// dataRootMode are the permissions of the data root, as dockerd makes it.
const dataRootMode = 0o710

// addDocker gives a job its Docker daemon, and the place for the daemon's data, which must not be on the root: overlayfs takes no upper
// layer on an overlayfs, and hostfs none either.
func addDocker(job *Job, sub *config.Subkernel) {
	d := sub.Docker
	if d == nil {
		return
	}
	if !d.OwnData && d.Seed == "" {
		job.Tmpfs = append(job.Tmpfs, Tmpfs{Target: d.DataRoot, Mode: dataRootMode})
	}
	if !d.Autostart {
		return
	}
	job.Docker = &Docker{
		Wait: d.Wait, Args: d.Args, Config: daemonJSON(d), Images: d.Images, Seed: d.Seed, Socket: d.Socket, Compose: d.Compose, DataRoot: d.DataRoot,
		Env: environ(envBelow(sub), sub.Env),
	}
}

// daemonJSON is the daemon.json of a Docker daemon: what the file says, with the registries.
func daemonJSON(d *config.Docker) string {
	settings := map[string]any{}
	if d.Config != "" {
		if err := json.Unmarshal([]byte(d.Config), &settings); err != nil {
			return d.Config // dockerd says what is wrong with it
		}
	}
	for key, list := range map[string][]string{"registry-mirrors": d.Mirrors, "insecure-registries": d.Insecure} {
		all, _ := settings[key].([]any)
		for _, s := range list {
			all = append(all, s)
		}
		if len(all) > 0 {
			settings[key] = all
		}
	}
	b, err := json.Marshal(settings)
	if err != nil {
		return d.Config // it was JSON before
	}
	return string(b)
}

// writeDocker says what a job's Docker daemon is for.
func (p *Plan) writeDocker(b *strings.Builder, d *Docker) {
	if d == nil {
		return
	}
	traits := []string{"data in " + d.DataRoot}
	for _, t := range []struct{ what, value string }{{"seed ", d.Seed}, {"socket ", d.Socket}, {"compose ", d.Compose}} {
		if t.value != "" {
			traits = append(traits, t.what+p.redact(t.value))
		}
	}
	for _, i := range d.Images {
		traits = append(traits, "images "+p.redact(i))
	}
	for _, a := range d.Args {
		traits = append(traits, p.redact(a))
	}
	fmt.Fprintf(b, "    docker: %s (at most %s)\n", escape(strings.Join(traits, ", ")), d.Wait)
}

type jsonDocker struct {
	WaitMS   millis          `json:"wait_ms"`
	DataRoot string          `json:"data_root"`
	Args     []string        `json:"args"`
	Config   json.RawMessage `json:"config"`
	Images   []string        `json:"images"`
	Seed     string          `json:"seed"`
	Socket   string          `json:"socket"`
	Compose  string          `json:"compose"`
}

func (p *Plan) jsonDocker(d *Docker) *jsonDocker {
	if d == nil {
		return nil
	}
	out := &jsonDocker{
		WaitMS: millis(d.Wait), DataRoot: d.DataRoot, Args: []string{}, Config: json.RawMessage(d.Config), Images: []string{},
		Seed: p.redact(d.Seed), Socket: p.redact(d.Socket), Compose: p.redact(d.Compose),
	}
	for _, a := range d.Args {
		out.Args = append(out.Args, p.redact(a))
	}
	for _, i := range d.Images {
		out.Images = append(out.Images, p.redact(i))
	}
	return out
}

// jsonDaemon is a DockerResult.
type jsonDaemon struct {
	Version string   `json:"version"`
	StartMS millis   `json:"start_ms"`
	LoadMS  millis   `json:"load_ms"`
	SeedMS  millis   `json:"seed_ms"`
	Images  []string `json:"images"`
	Log     []string `json:"log"`
}

func newJSONDaemon(r *DockerResult) *jsonDaemon {
	if r == nil {
		return nil
	}
	return &jsonDaemon{Version: r.Version, StartMS: millis(r.Start), LoadMS: millis(r.Load), SeedMS: millis(r.Seeding), Images: append([]string{}, r.Images...), Log: append([]string{}, r.Log...)}
}
