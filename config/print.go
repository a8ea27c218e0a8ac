package config

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// WriteHCL writes the project as a file with everything resolved: no expressions, no defaults left out that matter, each instance a block of its
// own. The file can be loaded again and gives the same project, but for ranges and where variables come from. Values of sensitive variables
// are redacted.
func (p *Project) WriteHCL(w io.Writer) error {
	f := hclwrite.NewEmptyFile()
	body := f.Body()
	body.SetAttributeValue("project", cty.StringVal(p.Name))
	for i := range p.Variables {
		if err := p.writeVariable(body, &p.Variables[i]); err != nil {
			return err
		}
	}
	for i := range p.Kernels {
		k := &p.Kernels[i]
		b := newBlock(body, "kernel", k.Name)
		b.str("path", k.Path)
		b.str("version", k.Version)
		b.str("flavour", k.Flavour)
		b.str("modules", k.Modules)
		b.build(k.Build)
	}
	for i := range p.Networks {
		writeNetwork(body, &p.Networks[i])
	}
	for i := range p.Subkernels {
		p.writeSubkernel(body, &p.Subkernels[i])
	}
	if _, err := w.Write(hclwrite.Format(f.Bytes())); err != nil {
		return fmt.Errorf("project: write: %w", err)
	}
	return nil
}

// build writes a build block, if there is one.
func (b blockWriter) build(k *Build) {
	if k == nil {
		return
	}
	n := b.nested("build")
	n.str("source", k.Source)
	n.str("version", k.Version)
	n.str("debian", k.Debian)
	n.stringMap("set", k.Set, nil)
	n.strings("fragments", k.Fragments)
	n.flag("unmodified", k.Unmodified)
}

func (p *Project) writeVariable(body *hclwrite.Body, v *Variable) error {
	value, ok := jsonValue(v.Value)
	if !ok {
		return fmt.Errorf("variable %s: value is not JSON: %s", v.Name, p.Redact(v.Value))
	}
	if v.Sensitive {
		value = cty.StringVal(redactedText)
	}
	b := newBlock(body, "variable", v.Name)
	b.str("description", v.Description)
	b.flag("sensitive", v.Sensitive)
	b.body.SetAttributeValue("default", value)
	return nil
}

func (p *Project) writeSubkernel(body *hclwrite.Body, s *Subkernel) {
	b := newBlock(body, "subkernel", s.Name)
	b.stringMap("matrix", s.matrixMap(), nil)
	if s.Kernel.Name != "" {
		b.body.SetAttributeTraversal("kernel", hcl.Traversal{hcl.TraverseRoot{Name: "kernel"}, hcl.TraverseAttr{Name: s.Kernel.Name}})
	} else {
		b.str("kernel", s.Kernel.Path)
	}
	b.str("memory", formatSize(s.Memory))
	b.number("cpus", s.CPUs)
	b.str("isolation", s.Isolation)
	b.str("hostname", s.Hostname)
	if len(s.NICs) == 0 {
		b.str("network", networkNone)
	}
	b.strings("publish", texts(s.Publish))
	b.stringMap("env", s.Env, p.Redact)
	b.str("workdir", s.Workdir)
	b.str("user", s.User)
	b.str("cgroups", s.Cgroups)
	b.duration("timeout", s.Timeout)
	b.body.SetAttributeValue("boot_timeout", cty.StringVal(formatDuration(s.BootTimeout)))
	b.body.SetAttributeValue("stop_timeout", cty.StringVal(formatDuration(s.StopTimeout)))
	if len(s.DependsOn) > 0 {
		deps := map[string]string{}
		for _, d := range s.DependsOn {
			deps[d.Name] = d.Condition
		}
		b.stringMap("depends_on", deps, nil)
	}
	b.flag("service", s.Service)
	steps := s.Steps
	if n := len(steps); n > 0 && steps[n-1].isCommand() {
		b.command("command", steps[n-1].Shell, steps[n-1].Argv, p.Redact)
		b.statuses("expect_exit", s.Expect.Exit)
		steps = steps[:n-1]
	}
	composes := len(s.Steps) > 0 && s.Steps[len(s.Steps)-1].Compose
	if (s.Root.Image != "" && len(s.Steps) == 0 || composes) && !s.Service {
		b.body.SetAttributeValue("service", cty.False)
		b.statuses("expect_exit", s.Expect.Exit)
	}
	if s.Expect.Outcome != "exited" {
		b.str("expect_outcome", s.Expect.Outcome)
	}
	b.copyOut(s.CopyOut)
	b.root(&s.Root)
	p.writeNested(b, s, steps)
}

// root writes a root block.
func (b blockWriter) root(r *Root) {
	n := b.nested("root")
	n.str("mode", r.Mode)
	n.str("source", r.Source)
	n.str("image", r.Image)
	n.str("pull", r.Pull)
	n.str("persist", r.Persist)
	if r.Size > 0 {
		n.str("size", formatSize(r.Size))
	}
}

// matrixMap returns the elements of Matrix by key.
func (s *Subkernel) matrixMap() map[string]string {
	m := make(map[string]string, len(s.Matrix))
	for _, v := range s.Matrix {
		m[v.Key] = v.Value
	}
	return m
}

func (p *Project) writeNested(b blockWriter, s *Subkernel, steps []Step) {
	for _, m := range s.Mounts {
		mb := b.nested("mount", m.Target)
		mb.str("source", p.Redact(m.Source))
		mb.str("mode", m.Mode)
	}
	for _, t := range s.Tmpfs {
		tb := b.nested("tmpfs", t.Target)
		if t.Size > 0 {
			tb.str("size", formatSize(t.Size))
		}
		tb.str("mode", fmt.Sprintf("%04o", t.Mode))
	}
	for _, d := range s.Disks {
		db := b.nested("disk", d.Target)
		db.str("size", formatSize(d.Size))
		db.str("file", d.File)
		db.str("fs", d.FS)
		db.str("mode", fmt.Sprintf("%04o", d.Mode))
	}
	b.nics(s)
	if c := &s.Confine; !c.usual() {
		cb := b.nested("confine")
		cb.strings("read", c.Read)
		cb.strings("hide", c.Hide)
		cb.strings("show", c.Show)
		cb.flag("root", c.Root)
		cb.flag("required", c.Required)
	}
	b.docker(s.Docker)
	for _, st := range steps {
		if st.Compose {
			continue
		}
		sb := b.nested("step", st.Name)
		sb.command("command", st.Shell, st.Argv, p.Redact)
		sb.stringMap("env", st.Env, p.Redact)
		sb.str("workdir", st.Workdir)
		sb.str("user", st.User)
		sb.duration("timeout", st.Timeout)
		sb.flag("continue_on_error", st.ContinueOnError)
		sb.statuses("expect_exit", st.ExpectExit)
	}
	if r := s.Ready; r != nil {
		rb := b.nested("ready")
		rb.command("command", r.Shell, r.Argv, p.Redact)
		if r.Port > 0 {
			rb.number("port", r.Port)
		}
		rb.str("log", r.Log)
		rb.str("interval", formatDuration(r.Interval))
		rb.str("timeout", formatDuration(r.Timeout))
	}
}

// usual reports whether a file need not say it.
func (c *Confine) usual() bool {
	return len(c.Read) == 0 && len(c.Hide) == 0 && len(c.Show) == 0 && !c.Root && !c.Required
}

// isCommand reports whether the step is what the command attribute makes.
func (st Step) isCommand() bool {
	return st.Name == commandStep && len(st.Env) == 0 && st.Workdir == "" && st.User == "" && st.Timeout == 0 && !st.ContinueOnError
}

// A blockWriter writes the attributes of a block, but not those that are empty.
type blockWriter struct{ body *hclwrite.Body }

func newBlock(body *hclwrite.Body, name string, labels ...string) blockWriter {
	body.AppendNewline()
	return blockWriter{body.AppendNewBlock(name, labels).Body()}
}

func (b blockWriter) nested(name string, labels ...string) blockWriter {
	return newBlock(b.body, name, labels...)
}

func (b blockWriter) str(name, value string) {
	if value != "" {
		b.body.SetAttributeValue(name, cty.StringVal(value))
	}
}

func (b blockWriter) number(name string, n int) {
	b.body.SetAttributeValue(name, cty.NumberIntVal(int64(n)))
}

func (b blockWriter) flag(name string, value bool) {
	if value {
		b.body.SetAttributeValue(name, cty.True)
	}
}

func (b blockWriter) duration(name string, d time.Duration) {
	if d > 0 {
		b.str(name, formatDuration(d))
	}
}

func (b blockWriter) statuses(name string, exit []int) {
	switch {
	case slices.Equal(exit, []int{0}):
	case len(exit) == 1:
		b.number(name, exit[0])
	default:
		var vals []cty.Value
		for _, n := range exit {
			vals = append(vals, cty.NumberIntVal(int64(n)))
		}
		b.body.SetAttributeValue(name, cty.TupleVal(vals))
	}
}

func (b blockWriter) command(name, shell string, argv []string, redact func(string) string) {
	if shell != "" {
		b.str(name, redact(shell))
		return
	}
	var redacted []string
	for _, arg := range argv {
		redacted = append(redacted, redact(arg))
	}
	b.strings(name, redacted)
}

// strings writes a list.
func (b blockWriter) strings(name string, list []string) {
	if len(list) == 0 {
		return
	}
	var vals []cty.Value
	for _, s := range list {
		vals = append(vals, cty.StringVal(s))
	}
	b.body.SetAttributeValue(name, cty.TupleVal(vals))
}

// stringMap writes a map with a line for each key.
func (b blockWriter) stringMap(name string, m map[string]string, redact func(string) string) {
	if len(m) == 0 {
		return
	}
	var attrs []hclwrite.ObjectAttrTokens
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v := m[k]
		if redact != nil {
			v = redact(v)
		}
		key := hclwrite.TokensForValue(cty.StringVal(k))
		if hclsyntax.ValidIdentifier(k) {
			key = hclwrite.TokensForIdentifier(k)
		}
		attrs = append(attrs, hclwrite.ObjectAttrTokens{Name: key, Value: hclwrite.TokensForValue(cty.StringVal(v))})
	}
	b.body.SetAttributeRaw(name, hclwrite.TokensForObject(attrs))
}

// formatDuration writes a duration as the language takes it: 1m, not 1m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// redactedValue returns the JSON of a variable's value, or of the text that stands for it.
func (v *Variable) redactedValue() []byte {
	if !v.Sensitive {
		return []byte(v.Value)
	}
	// A string always has a JSON form.
	b, _ := ctyjson.Marshal(cty.StringVal(redactedText), cty.String)
	return b
}
