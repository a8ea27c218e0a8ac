package orchestrator

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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
	// Socket was the one of the host that led to it; empty: there was none.
	Socket string
}

// A Forward leads from a socket of the host to the Docker daemon of a job, for as long as the job runs.
type Forward struct {
	// Socket is its path.
	Socket string
	// File and MTU are of the link to the guest, as in a Link.
	File *os.File
	MTU  int
	// Guest is the address that the guest is to have at its end of the link, with MAC, and Port where it is to listen. Host and HostMAC are
	// those of our end.
	Guest, Host  netip.Prefix
	MAC, HostMAC net.HardwareAddr
	Port         int
	// Ready is called when the guest listens and its daemon can be used: connections wait until then.
	Ready func()
	// Close ends all connections, and removes the socket.
	Close func() error
}

// forward makes the socket of a job's Docker daemon, and adds its link to the job's. If it fails, the links are closed.
func (r *run) forward(job *Job, links []Link) (*Forward, []Link, error) {
	if job.Docker == nil || r.options.Forward == nil {
		return nil, links, nil
	}
	f, err := r.options.Forward(job)
	if err != nil {
		for i := range links {
			links[i].File.Close()
		}
		return nil, nil, fmt.Errorf("docker: %w", err)
	}
	if f == nil {
		return nil, links, nil
	}
	return f, append(links, Link{NIC: NIC{Name: "docker", MAC: f.MAC}, File: f.File, Socket: true, MTU: f.MTU, Forward: f}), nil
}

// end closes the Forward, which may be nil, of a job that has ended.
func (f *Forward) end(res *Result, sink Sink) {
	if f == nil {
		return
	}
	if res.Docker != nil {
		res.Docker.Socket = f.Socket
	}
	if err := f.Close(); err != nil {
		sink.Notice(fmt.Sprintf("docker: %v", err))
	}
}

// dataRootMode are the permissions of the data root, as dockerd makes it.
const dataRootMode = 0o710

// UseDocker gives the job a Docker daemon with this environment, K=V, and the place for the daemon's data, which must not be on the root: overlayfs
// takes no upper layer on an overlayfs, and hostfs none either.
func (j *Job) UseDocker(d *config.Docker, env []string) {
	if !d.OwnData && d.Seed == "" {
		j.Tmpfs = append(j.Tmpfs, Tmpfs{Target: d.DataRoot, Mode: dataRootMode})
	}
	if !d.Autostart {
		return
	}
	j.Docker = &Docker{
		Wait: d.Wait, Args: d.Args, Config: daemonJSON(d), Images: d.Images, Seed: d.Seed, Socket: d.Socket, DataRoot: d.DataRoot,
		Env: env,
	}
}

// addCompose makes a step bring up a compose file, and lets the job be ready when its services are, unless the file says otherwise.
func addCompose(job *Job, sub *config.Subkernel, step *Step) {
	file := sub.Docker.Compose
	step.Compose, step.Argv = file, sub.Docker.ComposeArgs
	if job.Ready == nil && job.Service {
		job.Ready = &Ready{
			Compose: file, Env: step.Env, Dir: step.Dir, User: step.User,
			Interval: time.Second, Timeout: sub.Docker.Wait,
		}
	}
	if foreign := sub.Root.Source != "" || sub.Root.Image != ""; foreign {
		dir := filepath.Dir(file)
		job.Mounts = append(job.Mounts, Mount{Target: dir, Source: dir, Mode: "ro"})
	}
}

// composeText is such a step's command as one would type it.
func composeText(s *Step) []string {
	return append([]string{"docker", "compose", "-f", s.Compose, "up"}, s.Argv...)
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
	if !slices.ContainsFunc(d.Args, namesStorageDriver) && settings["storage-driver"] == nil {
		settings["storage-driver"] = "overlay2" // or dockerd tries others before, and takes vfs if none of them works, which copies every layer
	}
	b, err := json.Marshal(settings)
	if err != nil {
		return d.Config // it was JSON before
	}
	return string(b)
}

// namesStorageDriver says whether an argument of dockerd names one, which must not stand in daemon.json as well.
func namesStorageDriver(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	return name == "--storage-driver" || strings.HasPrefix(arg, "-s")
}

// writeDocker says what a job's Docker daemon is for.
func (p *Plan) writeDocker(b *strings.Builder, d *Docker) {
	if d == nil {
		return
	}
	traits := []string{"data in " + d.DataRoot}
	for _, t := range []struct{ what, value string }{{"seed ", d.Seed}, {"socket ", d.Socket}} {
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
}

func (p *Plan) jsonDocker(d *Docker) *jsonDocker {
	if d == nil {
		return nil
	}
	out := &jsonDocker{
		WaitMS: millis(d.Wait), DataRoot: d.DataRoot, Args: []string{}, Config: json.RawMessage(d.Config), Images: []string{},
		Seed: p.redact(d.Seed), Socket: p.redact(d.Socket),
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
	Socket  string   `json:"socket"` // empty: there was none
}

func newJSONDaemon(r *DockerResult) *jsonDaemon {
	if r == nil {
		return nil
	}
	return &jsonDaemon{Version: r.Version, StartMS: millis(r.Start), LoadMS: millis(r.Load), SeedMS: millis(r.Seeding), Images: append([]string{}, r.Images...), Log: append([]string{}, r.Log...), Socket: r.Socket}
}
