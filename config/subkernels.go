package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// The defaults of a sub-kernel, and the least memory that a kernel boots with.
const (
	defaultMemory        = 256 * units.MiB
	minMemory            = 32 * units.MiB
	defaultBootTimeout   = 60 * time.Second
	defaultStopTimeout   = 10 * time.Second
	defaultReadyInterval = 200 * time.Millisecond
	defaultReadyTimeout  = 60 * time.Second
	maxCPUs              = 1024
)

// commandStep is the name of the step that the command attribute makes.
const commandStep = "command"

// subkernelExports are the attributes of a sub-kernel that other expressions see.
var subkernelExports = map[string]func(*loader, *instance) cty.Value{
	"name": func(_ *loader, in *instance) cty.Value { return cty.StringVal(in.name) },
	"hostname": export(func(d *decoder) cty.Value {
		return cty.StringVal(d.hostname())
	}),
	"memory": export(func(d *decoder) cty.Value {
		return cty.StringVal(formatSize(d.memory()))
	}),
	"cpus": export(func(d *decoder) cty.Value {
		return cty.NumberIntVal(int64(d.cpus()))
	}),
	"workdir": export(func(d *decoder) cty.Value {
		return cty.StringVal(d.guestPath("workdir"))
	}),
	"user": export(func(d *decoder) cty.Value {
		return cty.StringVal(d.user("user"))
	}),
	"address": subkernelAddress,
}

// export makes an export of a decoded attribute.
func export(f func(*decoder) cty.Value) func(*loader, *instance) cty.Value {
	return func(l *loader, in *instance) cty.Value {
		d := l.decoderOf(in)
		if v := f(d); !d.bad {
			return v
		}
		return failed
	}
}

// decoderOf returns a decoder of the attributes of an instance.
func (l *loader) decoderOf(in *instance) *decoder {
	return &decoder{l: l, schema: in.owner.set.schema, attrs: in.attrs(l), in: in}
}

// buildSubkernels evaluates all sub-kernels.
func (l *loader) buildSubkernels() []Subkernel {
	var out []Subkernel
	set := l.subkernels
	for _, ib := range set.order {
		if !l.expand(ib, ib.defRange()) || ib.failed {
			l.checkUnexpanded(ib)
			continue
		}
		for _, in := range ib.instances {
			out = append(out, l.buildSubkernel(in))
		}
	}
	return out
}

// checkUnexpanded reports what doesn't belong into a block whose instances can't be made, so that one error doesn't hide others.
func (l *loader) checkUnexpanded(ib *instanceBlock) {
	if ib.block == nil {
		return
	}
	b := *ib.block
	b.bodies = nil
	for _, body := range ib.block.bodies {
		b.bodies = append(b.bodies, withoutDynamic{body})
	}
	l.content(&b)
}

func (l *loader) buildSubkernel(in *instance) Subkernel {
	c := l.instanceContent(in)
	d := l.decoderOf(in)
	s := Subkernel{
		Name:        in.name,
		Block:       in.owner.label,
		Matrix:      in.matrixValues(),
		Kernel:      l.kernelOf(d),
		Memory:      d.memory(),
		CPUs:        d.cpus(),
		Hostname:    d.hostname(),
		Env:         d.stringMap("env"),
		Workdir:     d.guestPath("workdir"),
		User:        d.user("user"),
		Root:        Root{Mode: "overlay"},
		Cgroups:     d.oneOf("cgroups", "v2", "v2", "v1"),
		Timeout:     d.duration("timeout", 0, 0),
		BootTimeout: d.duration("boot_timeout", defaultBootTimeout, time.Second),
		StopTimeout: d.duration("stop_timeout", defaultStopTimeout, 0),
		Range:       toRange(in.block.defRange),
	}
	s.Isolation = d.isolation(s.CPUs)
	for _, b := range c.blocks["root"] {
		s.Root = l.buildRoot(in, b)
	}
	l.buildMounts(in, &s, c)
	s.CopyOut = d.copyOut()
	l.buildConfine(in, &s, c)
	l.buildDocker(in, &s, c)
	l.buildNICs(in, &s, c)
	commandGood := l.buildSteps(in, &s, c, d)
	l.buildService(in, &s, c, d, commandGood)
	return s
}

// nested returns a decoder of a nested block.
func (l *loader) nested(in *instance, b *block) *decoder {
	return &decoder{l: l, schema: b.schema, attrs: l.content(b).attrs, in: in}
}

func (d *decoder) memory() int64 {
	usual := int64(defaultMemory)
	if d.last("memory") == nil && len(d.l.instanceContent(d.in).blocks["docker"]) > 0 {
		usual = dockerMemory
	}
	n, ok := tried(d, func() int64 { return d.size("memory", usual) })
	v := d.get("memory")
	if v == nil || !ok {
		return n
	}
	total := d.l.opts.MemoryTotal
	switch {
	case n < minMemory:
		d.error(v, "Too little memory", fmt.Sprintf("A kernel needs at least %s to boot. Give it more.", formatSize(minMemory)))
	case total > 0 && n > total:
		d.error(v, "Memory beyond the machine's", fmt.Sprintf("This machine has %s. Give the sub-kernel less.", units.BytesSize(float64(total))))
	}
	return n
}

func (d *decoder) cpus() int {
	n, ok := tried(d, func() int { return d.wholeNumber("cpus", 1, 1, maxCPUs) })
	if v := d.get("cpus"); v != nil && ok && d.l.opts.CPUs > 0 && n > d.l.opts.CPUs {
		d.error(v, "CPUs beyond the machine's", fmt.Sprintf("This machine has %d. Give the sub-kernel fewer.", d.l.opts.CPUs))
	}
	return n
}

// isolation is strict where it can be.
func (d *decoder) isolation(cpus int) string {
	usual := "strict"
	if cpus > 1 {
		usual = "fast"
	}
	i := d.oneOf("isolation", usual, "strict", "fast")
	switch v := d.get("isolation"); {
	case cpus <= 1:
	case v == nil:
		d.l.diags.warnAt(d.get("cpus").attr.Expr.Range(), "Fast isolation", `With several CPUs, a process of the guest can get at all of the guest's memory, so that its users are not safe from each other. `+
			`The host is as safe as ever. Say isolation = "fast" if that will do.`)
	case i == "strict":
		d.error(v, "Strict isolation with several CPUs", `User Mode Linux has several CPUs with isolation = "fast" only, where a process of the guest can get at all of the guest's memory. `+
			`Say so, or use one CPU.`)
	}
	return i
}

// hostnames are the labels of RFC 1123.
var hostnames = newPattern(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

func (d *decoder) hostname() string {
	v := d.get("hostname")
	if v == nil {
		return hostLabel(d.in.name)
	}
	name, ok := tried(d, func() string { return d.str("hostname", "") })
	if ok && !hostnames.MatchString(name) {
		d.error(v, "Invalid host name", fmt.Sprintf("%q is not a host name: letters, digits and hyphens, at most 63, a letter or digit first and last. %q would do.", name, hostLabel(name)))
	}
	return name
}

// hostLabel makes a host name of a name: web["a"] becomes web-a.
func hostLabel(name string) string {
	var b strings.Builder
	for _, c := range []byte(strings.ToLower(name)) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteByte(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	s := b.String()
	s = strings.TrimRight(s[:min(len(s), 63)], "-")
	if s == "" {
		return "subkernel"
	}
	return s
}

// users are NAME, UID, or either with :GROUP, as useradd takes names.
var users = newPattern(`^([A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10})(:([A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10}))?$`)

func (d *decoder) user(name string) string {
	v := d.get(name)
	if v == nil || !d.text(v, "a user, as a string") {
		return ""
	}
	s := v.val.AsString()
	if !users.MatchString(s) {
		d.error(v, "Invalid user", fmt.Sprintf("%q is not a user. Write a name or a number, or either with a group: \"www-data\", \"1000\", \"1000:1000\".", s))
		return ""
	}
	return s
}

func (l *loader) buildMounts(in *instance, s *Subkernel, c content) {
	targets := map[string]hcl.Range{}
	for _, b := range c.blocks["mount"] {
		d := l.nested(in, b)
		d.require(b, "source")
		m := Mount{Target: d.target(b, targets), Mode: d.oneOf("mode", "ro", "ro", "rw", "overlay"), Range: toRange(b.defRange)}
		if v := d.get("source"); v != nil {
			if m.Source = d.hostPath(v); m.Source != "" {
				d.checkSource(v, m.Source)
			}
		}
		s.Mounts = append(s.Mounts, m)
	}
	for _, b := range c.blocks["tmpfs"] {
		d := l.nested(in, b)
		s.Tmpfs = append(s.Tmpfs, Tmpfs{Target: d.target(b, targets), Size: d.tmpfsSize(), Mode: d.permissions("mode", 0o1777), Range: toRange(b.defRange)})
	}
	l.buildDisks(in, s, c, targets)
}

// checkSource reports the source of a mount that is missing or not readable.
func (d *decoder) checkSource(v *attrValue, path string) {
	err := readable(path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrPermission):
		d.error(v, "Source not usable", fmt.Sprintf("%s: %s. Let yourself read it (chmod), or name something else.", path, err))
	default:
		d.error(v, "Source not usable", fmt.Sprintf("%s: %s. Make it, or name something that exists.", path, err))
	}
}

func (d *decoder) tmpfsSize() int64 {
	n, ok := tried(d, func() int64 { return d.size("size", 0) })
	if v := d.get("size"); v != nil && ok && n < units.KiB*4 {
		d.error(v, "Invalid size", "A tmpfs holds at least 4K.")
	}
	return n
}

// octal are the texts that are permissions.
var octal = newPattern(`^0?[0-7]{3,4}$`)

// permissions returns permission bits that are written in octal.
func (d *decoder) permissions(name string, def uint32) uint32 {
	v := d.get(name)
	if v == nil {
		return def
	}
	const detail = "Write the permissions in octal and in quotes, such as \"1777\" or \"755\"."
	if v.val.Type() != cty.String {
		d.error(v, "Invalid permissions", detail)
		return def
	}
	s := v.val.AsString()
	if !octal.MatchString(s) {
		d.error(v, "Invalid permissions", detail)
		return def
	}
	var mode uint32
	for _, c := range []byte(s) {
		mode = mode<<3 | uint32(c-'0')
	}
	return mode
}
