package orchestrator

import (
	"fmt"
	"slices"
	"strings"
)

// Confine says what the host keeps from a sub-kernel, whatever the guest does.
type Confine struct {
	// Read are the only files and folders of the host's that can be read; none: all. Those of mounts always can.
	Read []string
	// Hide can't be read, besides what UsuallyHidden names; Show can, in spite of that.
	Hide, Show []string
	// Root lets the kernel run as root if sekexe does.
	Root bool
	// Required makes it an error if the host can't enforce all of that.
	Required bool
}

// UsuallyHidden are the files and folders of the host's that no sub-kernel can read unless it is said. A leading "~/" is the home of the
// user who runs sekexe; if that is root, of every user.
var UsuallyHidden = []string{
	"~/.ssh", "~/.aws", "~/.azure", "~/.gnupg", "~/.docker", "~/.kube", "~/.netrc", "~/.git-credentials", "~/.pgpass", "~/.vault-token",
	"~/.config/gh", "~/.config/gcloud", "~/.config/containers/auth.json", "~/.local/share/keyrings", "~/.password-store",
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key",
	"/etc/ssh/ssh_host_ed25519_key", "/run/secrets",
}

// writeConfine says what of the host's a job may touch.
func (p *Plan) writeConfine(b *strings.Builder, job *Job) {
	c := &job.Confine
	reads := "all of this machine's files but the hidden ones"
	if len(c.Read) > 0 {
		reads = p.list(slices.Concat(c.Read, job.sources("ro", "overlay")))
	}
	writes := "nothing of this machine's"
	if rw := job.sources("rw"); len(rw) > 0 {
		writes = p.list(rw)
	}
	fmt.Fprintf(b, "    may read: %s\n    may write: %s\n", reads, writes)
	for _, l := range []struct {
		what  string
		paths []string
	}{{"hides, too", c.Hide}, {"shows", c.Show}} {
		if len(l.paths) > 0 {
			fmt.Fprintf(b, "    %s: %s\n", l.what, p.list(l.paths))
		}
	}
	if c.Root {
		b.WriteString("    the kernel is root if sekexe is\n")
	}
	if c.Required {
		b.WriteString("    does not boot where this machine can't enforce that\n")
	}
}

// sources are those of the mounts of the given modes.
func (j *Job) sources(modes ...string) []string {
	list := []string{}
	for _, m := range j.Mounts {
		if slices.Contains(modes, m.Mode) {
			list = append(list, m.Source)
		}
	}
	return list
}

func (p *Plan) list(paths []string) string {
	shown := make([]string, len(paths))
	for i, path := range paths {
		shown[i] = p.show(path)
	}
	return strings.Join(shown, ", ")
}

// writeHidden says what is hidden from all.
func (p *Plan) writeHidden(b *strings.Builder) {
	if len(p.Nodes) == 0 {
		return
	}
	b.WriteString("\nhidden from all that don't show it\n")
	var users, others []string
	for _, h := range UsuallyHidden {
		if strings.HasPrefix(h, "~") {
			users = append(users, h)
		} else {
			others = append(others, h)
		}
	}
	fmt.Fprintf(b, "  %s\n  %s\n", strings.Join(users, ", "), strings.Join(others, ", "))
	b.WriteString("  sekexe's own files, /proc, /sys and /dev\n")
}

type jsonConfine struct {
	Read     []string `json:"read"` // null: everything
	Write    []string `json:"write"`
	Hide     []string `json:"hide"` // with what is hidden from all
	Show     []string `json:"show"`
	Root     bool     `json:"root"`
	Required bool     `json:"required"`
}

func (p *Plan) jsonConfine(job *Job) jsonConfine {
	c := &job.Confine
	redacted := func(paths []string) []string {
		out := []string{}
		for _, path := range paths {
			out = append(out, p.redact(path))
		}
		return out
	}
	out := jsonConfine{
		Write: redacted(job.sources("rw")), Hide: slices.Concat(UsuallyHidden, redacted(c.Hide)), Show: redacted(c.Show), Root: c.Root, Required: c.Required,
	}
	if len(c.Read) > 0 {
		out.Read = redacted(slices.Concat(c.Read, job.sources("ro", "overlay")))
	}
	return out
}
