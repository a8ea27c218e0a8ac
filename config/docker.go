package config

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// The defaults of a sub-kernel with Docker.
const (
	// dockerMemory is its memory: dockerd and containerd take some 150 MiB, and the images, on a tmpfs, count too.
	dockerMemory      = units.GiB
	defaultDockerWait = 2 * time.Minute
)

// DockerDataRoot is where dockerd has its data, unless it is told otherwise.
const DockerDataRoot = "/var/lib/docker"

// maxDaemonConfig bounds daemon.json, in bytes.
const maxDaemonConfig = 64 << 10

var dockerSchema = &BlockSchema{
	Name: "docker",
	Doc: "A Docker daemon of the sub-kernel's own. dockerd, containerd and runc must be in its root. Steps run, and others that depend on it start, when its API answers: " +
		"see [docker](docker.md).",
	Attrs: []AttrSchema{
		{Name: "autostart", Type: "bool", Default: "true", Doc: "Start dockerd before the first step. If not, there is only the place for its data."},
		{Name: "wait", Type: "duration", Default: "\"2m\"", Doc: "How long its API may take to answer, and its images to be loaded. When it has passed, the boot has failed."},
		{Name: "args", Type: "list of strings", Doc: "Arguments for dockerd: `[\"--debug\"]`."},
		{Name: "config", Type: "object", Doc: "Settings of dockerd, as in its `daemon.json`: `{ live-restore = true }`. The host's `daemon.json` is not read."},
		{Name: "registry_mirrors", Type: "list of strings", Doc: "Mirrors of Docker Hub: `[\"https://mirror.example\"]`."},
		{Name: "insecure_registries", Type: "list of strings", Doc: "Registries without TLS: `[\"registry.example:5000\"]`."},
		{Name: "images", Type: "list of paths", Doc: "Files of images to load before the first step, as `docker save` writes them, or with OCI layouts; patterns (`*`, `?`, `[a-z]`) too."},
		{Name: "seed", Type: "path", Doc: "A folder of the host that keeps the disk with the loaded images, so that the next start needs not load them."},
		{Name: "socket", Type: "path", Doc: "A socket on the host that leads to dockerd's, for as long as the sub-kernel runs. Only its owner can use it. Each sub-kernel has its own: `\"docker-${each.key}.sock\"`."},
		{Name: "compose", Type: "path", Doc: "A compose file. `docker compose up` is the sub-kernel's last step, in place of a command, and unless it says `service = false`, it is a service, " +
			"which is ready when those of the file are healthy."},
		{Name: "compose_args", Type: "list of strings", Doc: "Arguments for `docker compose up`: `[\"--exit-code-from\", \"tests\"]`."},
	},
}

// buildDocker fills in the docker block of a sub-kernel, whose mounts are known.
func (l *loader) buildDocker(in *instance, s *Subkernel, c content) {
	for _, b := range c.blocks["docker"] {
		d := l.nested(in, b)
		k := &Docker{
			Autostart: d.boolean("autostart", true), Wait: d.duration("wait", defaultDockerWait, time.Second),
			Args: d.plainTexts("args", `a list of strings, such as ["--debug"]`), Mirrors: d.plainTexts("registry_mirrors", `a list of addresses, such as ["https://mirror.example"]`),
			Insecure:    d.plainTexts("insecure_registries", `a list of registries, such as ["registry.example:5000"]`),
			ComposeArgs: d.plainTexts("compose_args", `a list of strings, such as ["--exit-code-from", "tests"]`),
			Images:      d.imageFiles(), DataRoot: DockerDataRoot, Range: toRange(b.defRange),
		}
		for _, p := range []struct {
			name string
			to   *string
		}{{"seed", &k.Seed}, {"socket", &k.Socket}, {"compose", &k.Compose}} {
			if v := d.get(p.name); v != nil {
				*p.to = d.hostPath(v)
			}
		}
		if v := d.get("compose"); v != nil && k.Compose != "" {
			d.checkSource(v, k.Compose)
		}
		if v := d.get("compose_args"); v != nil && d.last("compose") == nil {
			d.error(v, "Arguments of nothing", "\"compose_args\" are for \"compose\", which is not set. Set it, or remove them.")
		}
		d.daemonConfig(k)
		d.checkSocket(k)
		d.needsStart(k)
		d.checkDataRoot(s, k)
		s.Docker = k
	}
}

// composeStep is the name of the step that brings up a compose file.
const composeStep = "compose"

// addCompose makes the compose file of a sub-kernel its last step.
func (l *loader) addCompose(s *Subkernel, d *decoder) {
	if v := d.get("command"); v != nil {
		d.error(v, "Command and compose", "The last step of a sub-kernel with \"compose\" is docker compose up. Make the command a step, which runs before, or let another sub-kernel run it.")
	}
	if slices.ContainsFunc(s.Steps, func(st Step) bool { return st.Name == composeStep }) {
		l.diags.errorAt(d.in.block.defRange, "Duplicate step", fmt.Sprintf("The compose file is the last step, named %q, and a step block has that name. Rename that one.", composeStep))
	}
	s.Steps = append(s.Steps, Step{Name: composeStep, Compose: true, ExpectExit: []int{0}, Range: s.Docker.Range})
}

// plainTexts returns a list of strings.
func (d *decoder) plainTexts(name, example string) []string {
	list, _ := d.texts(name, example)
	var out []string
	for _, v := range list {
		out = append(out, v.val.AsString())
	}
	return out
}

// imageFiles returns the patterns of images, as absolute paths.
func (d *decoder) imageFiles() []string {
	list, _ := d.texts("images", `a list of paths, such as ["images/*.tar"]`)
	var out []string
	for _, v := range list {
		p := d.hostPath(v)
		if p == "" {
			continue
		}
		if _, err := path.Match(p, ""); err != nil {
			d.error(v, "Invalid pattern", fmt.Sprintf("%q has a [ without a ], or an end that is escaped. Write \\\\[ for the character itself.", p))
			continue
		}
		out = append(out, p)
	}
	return out
}

// daemonConfig reads config, and from it the data root.
func (d *decoder) daemonConfig(k *Docker) {
	v := d.get("config")
	if v == nil {
		return
	}
	ty := v.val.Type()
	if !ty.IsObjectType() && !ty.IsMapType() {
		d.error(v, "Wrong type", fmt.Sprintf("\"config\" takes an object, such as { live-restore = true }, and this is %s.", article(ty.FriendlyName())))
		return
	}
	b, err := ctyjson.Marshal(v.val, ty)
	if err != nil || len(b) > maxDaemonConfig {
		d.error(v, "Invalid settings", fmt.Sprintf("\"config\" must be what JSON can say, in at most %d KiB.", maxDaemonConfig>>10))
		return
	}
	k.Config = string(b)
	for it := v.val.ElementIterator(); it.Next(); {
		key, elem := it.Element()
		switch key.AsString() {
		case "hosts":
			d.error(v.elem(key), "Address of the API", "dockerd listens on /run/docker.sock, which \"socket\" brings to the host. To listen on a port as well, use args: [\"--host=tcp://0.0.0.0:2375\"].")
		case "data-root":
			if elem.Type() != cty.String || elem.IsNull() || !path.IsAbs(elem.AsString()) {
				d.error(v.elem(key), "Path not absolute", "\"data-root\" is a path in the guest and begins with /.")
				continue
			}
			k.DataRoot = path.Clean(elem.AsString())
		}
	}
}

// needsStart reports what is of no use without dockerd.
func (d *decoder) needsStart(k *Docker) {
	if k.Autostart {
		return
	}
	for _, name := range []string{"args", "images", "seed", "socket", "compose"} {
		if v := d.get(name); v != nil {
			d.error(v, "Docker not started", fmt.Sprintf("%q needs a dockerd that sekexe has started. Leave autostart away.", name))
		}
	}
}

// checkDataRoot reports a data root that dockerd couldn't use: hostfs has neither owners nor what overlayfs needs of its upper layer.
func (d *decoder) checkDataRoot(s *Subkernel, k *Docker) {
	within := func(target string) bool {
		return k.DataRoot == target || strings.HasPrefix(k.DataRoot, strings.TrimSuffix(target, "/")+"/")
	}
	best, mount := "", false
	look := func(target string, isMount bool) {
		if within(target) && len(target) >= len(best) {
			best, mount = target, isMount
		}
	}
	for _, m := range s.Mounts {
		look(m.Target, true)
	}
	for _, t := range s.Tmpfs {
		look(t.Target, false)
	}
	for _, b := range s.Disks {
		look(b.Target, false)
	}
	k.OwnData = best != "" && !mount
	if best == k.DataRoot && mount {
		d.bad = true
		d.l.diags.errorAt(d.in.block.defRange, "Docker's data on the host's files", fmt.Sprintf("dockerd can't keep its data in a mount: %s needs a file system of the guest's own. Declare a disk %q, or a tmpfs, or remove the mount.",
			best, best))
	}
	if k.Seed == "" {
		return
	}
	if slices.ContainsFunc(s.Disks, func(b Disk) bool { return b.Target == k.DataRoot }) || slices.ContainsFunc(s.Tmpfs, func(t Tmpfs) bool { return t.Target == k.DataRoot }) {
		d.error(d.get("seed"), "Seed and disk", fmt.Sprintf("With a seed, %s is a disk of the seed's. Remove the disk or tmpfs block, or the seed.", k.DataRoot))
	}
}

// daemonSettings returns daemon.json as an object; nil: there is nothing in it.
func (k *Docker) daemonSettings() map[string]any {
	if k.Config == "" {
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(k.Config), &m); err != nil {
		return nil // it was made by Marshal
	}
	return m
}

// docker writes the block.
func (b blockWriter) docker(k *Docker) {
	if k == nil {
		return
	}
	n := b.nested("docker")
	n.body.SetAttributeValue("autostart", cty.BoolVal(k.Autostart))
	n.str("wait", formatDuration(k.Wait))
	n.strings("args", k.Args)
	if k.Config != "" {
		var v ctyjson.SimpleJSONValue
		if err := json.Unmarshal([]byte(k.Config), &v); err == nil {
			n.body.SetAttributeValue("config", v.Value)
		}
	}
	n.strings("registry_mirrors", k.Mirrors)
	n.strings("insecure_registries", k.Insecure)
	n.strings("images", k.Images)
	n.str("seed", k.Seed)
	n.str("socket", k.Socket)
	n.str("compose", k.Compose)
	n.strings("compose_args", k.ComposeArgs)
}

type jsonDocker struct {
	Autostart   bool           `json:"autostart"`
	Wait        float64        `json:"wait_seconds"`
	DataRoot    string         `json:"data_root"`
	Args        []string       `json:"args"`
	Config      map[string]any `json:"config"`
	Mirrors     []string       `json:"registry_mirrors"`
	Insecure    []string       `json:"insecure_registries"`
	Images      []string       `json:"images"`
	Seed        string         `json:"seed,omitempty"`
	Socket      string         `json:"socket,omitempty"`
	Compose     string         `json:"compose,omitempty"`
	ComposeArgs []string       `json:"compose_args"`
}

// dockerJSON returns nil for no block.
func dockerJSON(k *Docker) *jsonDocker {
	if k == nil {
		return nil
	}
	list := func(l []string) []string { return append([]string{}, l...) }
	out := &jsonDocker{
		Autostart: k.Autostart, Wait: seconds(k.Wait), DataRoot: k.DataRoot, Args: list(k.Args), Config: k.daemonSettings(), Mirrors: list(k.Mirrors), Insecure: list(k.Insecure),
		Images: list(k.Images), Seed: k.Seed, Socket: k.Socket, Compose: k.Compose, ComposeArgs: list(k.ComposeArgs),
	}
	if out.Config == nil {
		out.Config = map[string]any{}
	}
	return out
}
