package config

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Options say what to load, and what of the system a configuration may see.
type Options struct {
	// Files are the paths of the files, merged in this order; "-" is standard input. If there are none, sekexe.hcl or sekexe.hcl.json is
	// looked for in Dir and its parents.
	Files []string
	// Dir is the user's current folder, absolute.
	Dir   string
	Stdin io.Reader
	// Vars are the NAME=VALUE of --var, in order; the last one of a name counts.
	Vars []string
	// VarFiles are the paths of --var-file, in order.
	VarFiles []string
	// Environ is the environment as os.Environ returns it: for SEKEXE_VAR_NAME, env() and ~.
	Environ []string
	// MemoryTotal is the memory of the machine in bytes. Zero: unknown, and nothing is checked against it.
	MemoryTotal int64
	// CPUs is the number of CPUs of the machine. Zero: unknown.
	CPUs int
	// HostRoutes returns the prefixes that the machine knows a way to, but for default routes; nil: nothing is checked against them. It is
	// called if a network names a subnet.
	HostRoutes func() []netip.Prefix
}

// A loader carries one Load.
type loader struct {
	opts  Options
	diags *Diagnostics
	env   map[string]string
	dirs  map[string]string                       // the folder of a file, by its name in ranges
	funcs map[string]map[string]function.Function // the functions, by the folder that paths start from

	rootDir string // of the first file
	files   *block // the top level, merged

	variables   map[string]cty.Value
	varOrder    []Variable
	locals      map[string]*hcl.Attribute
	localValues map[string]cty.Value
	kernels     map[string]*kernelBlock
	kernelOrder []*kernelBlock
	networks    *networkSet
	subkernels  *instanceSet
	sockets     map[string]*instance // whose socket of Docker's it is, by its path
	layers      []rootLayer
	graph       graph
}

// Load reads the files and returns the project that they declare, or nil if there is an error. The diagnostics are never nil; beside a project
// they hold warnings only.
func Load(o Options) (*Project, *Diagnostics) {
	l := &loader{
		opts:        o,
		diags:       newDiagnostics(),
		env:         environment(o.Environ),
		dirs:        map[string]string{},
		sockets:     map[string]*instance{},
		funcs:       map[string]map[string]function.Function{},
		variables:   map[string]cty.Value{},
		locals:      map[string]*hcl.Attribute{},
		localValues: map[string]cty.Value{},
		kernels:     map[string]*kernelBlock{},
		networks:    newNetworkSet(),
		subkernels:  newInstanceSet(subkernelSchema, subkernelExports),
	}
	p := l.load()
	if l.diags.HasErrors() {
		return nil, l.diags
	}
	return p, l.diags
}

func (l *loader) load() *Project {
	sources := l.sources()
	if len(sources) == 0 {
		return nil
	}
	l.rootDir = sources[0].dir
	p := &Project{Dir: l.rootDir, secrets: l.diags.secrets}
	l.files = &block{schema: fileSchema}
	for _, s := range sources {
		p.Files = append(p.Files, s.path)
		l.files.bodies = append(l.files.bodies, s.body)
	}
	top := l.content(l.files)
	p.Name = l.projectName(top)
	validate := l.readVariables(top.blocks["variable"])
	l.readLocals(top.blocks["locals"])
	l.readKernels(top.blocks["kernel"])
	l.readNetworks(top.blocks["network"])
	l.subkernels.read(l, top.blocks["subkernel"])

	validate()
	p.Variables = l.varOrder
	l.evaluateLocals()
	p.Kernels = l.buildKernels()
	l.buildNetworks()
	p.Subkernels = l.buildSubkernels()
	l.dependencies(p.Subkernels)
	l.checkLayers(p.Subkernels)
	l.checkHostnames(p.Subkernels)
	l.checkAliases(p.Subkernels)
	p.Networks = l.finishNetworks()
	return p
}

// projectNames are the names that a project may have: fit for reports and for the name of a folder.
var projectNames = newPattern(`^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$`)

// projectName evaluates the project attribute, which may use functions only.
func (l *loader) projectName(top content) string {
	name := filepath.Base(l.rootDir)
	d := decoder{l: l, schema: fileSchema, attrs: top.attrs, constant: true}
	if v := d.get("project"); v != nil {
		name = d.str("project", "")
		if !d.bad && !projectNames.MatchString(name) {
			v.errorf(l, "Invalid project name", "Write a name of letters, digits, spaces and any of _ . - that begins with a letter or digit and has at most 64 characters.")
		}
	}
	return name
}

// environment turns K=V into a map; the last one of a name counts.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		if k, v, ok := cut(kv); ok {
			env[k] = v
		}
	}
	return env
}

// toRange makes a Range of the contract of HCL's.
func toRange(r hcl.Range) Range {
	return Range{File: r.Filename, Line: r.Start.Line, Column: r.Start.Column}
}

// listed joins names for a message: `a, b and c`.
func listed(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}
	out := names[0]
	for _, n := range names[1 : len(names)-1] {
		out += ", " + n
	}
	return fmt.Sprintf("%s and %s", out, names[len(names)-1])
}
