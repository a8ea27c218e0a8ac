package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// A value that is not known is one whose error has been reported already: nothing else makes unknown values here. So whatever is computed from
// one is unknown too, and no second error is reported for it.
var failed = cty.DynamicVal

// evaluate evaluates an expression. in is the instance whose each or count it may use; nil for none. The result is failed if an error was
// reported. The context serves diagnostics.
func (l *loader) evaluate(expr hcl.Expression, in *instance, want demandKind) (cty.Value, *hcl.EvalContext) {
	ctx, ok := l.scope(expr.Variables(), l.dirOf(expr.Range()), in, want)
	if !ok {
		return failed, ctx
	}
	v, diags := expr.Value(ctx)
	l.diags.add(diags...)
	if diags.HasErrors() || !v.IsWhollyKnown() {
		return failed, ctx
	}
	return v, ctx
}

// evaluateConstant evaluates an expression that may use functions, but refers to nothing.
func (l *loader) evaluateConstant(expr hcl.Expression, why string) (cty.Value, *hcl.EvalContext) {
	ctx := &hcl.EvalContext{Functions: l.functions(l.dirOf(expr.Range()))}
	refs := expr.Variables()
	for _, t := range refs {
		l.diags.errorAt(t.SourceRange(), "Reference not allowed here", why)
	}
	if len(refs) > 0 {
		return failed, ctx
	}
	v, diags := expr.Value(ctx)
	l.diags.add(diags...)
	if diags.HasErrors() {
		return failed, ctx
	}
	return v, ctx
}

// dirOf returns the folder of the file that a range is in.
func (l *loader) dirOf(r hcl.Range) string {
	if dir, ok := l.dirs[r.Filename]; ok {
		return dir
	}
	return l.opts.Dir
}

// A demandKind says how much of a sub-kernel is needed where an expression refers to the whole of it.
type demandKind int

const (
	wholeValue demandKind = iota // all that expressions can see
	nameOnly                     // its name: for depends_on, which would make false cycles otherwise
)

// A scope gathers what an expression refers to.
type scope struct {
	l     *loader
	in    *instance
	want  demandKind
	roots map[string]map[string]cty.Value // root -> name -> value
	ok    bool
}

// scope makes the context for expressions with the given references, evaluating what they refer to. It reports false if one of them is wrong,
// which is reported.
func (l *loader) scope(refs []hcl.Traversal, dir string, in *instance, want demandKind) (*hcl.EvalContext, bool) {
	s := &scope{l: l, in: in, want: want, roots: map[string]map[string]cty.Value{}, ok: true}
	for _, ref := range refs {
		s.add(ref)
	}
	vars := make(map[string]cty.Value, len(s.roots))
	for root, values := range s.roots {
		vars[root] = cty.ObjectVal(values)
	}
	return &hcl.EvalContext{Variables: vars, Functions: l.functions(dir)}, s.ok
}

func (s *scope) set(root, name string, v cty.Value) {
	if s.roots[root] == nil {
		s.roots[root] = map[string]cty.Value{}
	}
	s.roots[root][name] = v
}

func (s *scope) fail(rng hcl.Range, summary, detail string) {
	s.l.diags.errorAt(rng, summary, detail)
	s.ok = false
}

// roots are the names that a reference may begin with, with an example of each for messages.
var roots = map[string]string{
	"var": "var.NAME", "local": "local.NAME", "path": "path.root or path.cwd", "each": "each.key or each.value",
	"count": "count.index", "matrix": "matrix.KEY", "kernel": "kernel.NAME", "network": "network.NAME", "subkernel": "subkernel.NAME",
}

// add checks one reference and evaluates what it names.
func (s *scope) add(ref hcl.Traversal) {
	root, rng := ref.RootName(), ref.SourceRange()
	if roots[root] == "" {
		s.unknownRoot(ref)
		return
	}
	name, ok := stepName(ref, 1)
	if !ok {
		s.fail(rng, "Incomplete reference", fmt.Sprintf("%q alone is not a value. Write %s.", root, roots[root]))
		return
	}
	switch root {
	case "var":
		s.addVariable(name, rng)
	case "local":
		s.addLocal(name, rng)
	case "path":
		s.addPath(name, rng)
	case "each", "count":
		s.addInstanceKey(root, name, rng)
	case "matrix":
		s.addMatrixElement(name, rng)
	case "kernel":
		s.addKernel(name, rng)
	case "network":
		s.addNetwork(name, ref)
	case "subkernel":
		s.addInstances(s.l.subkernels, name, ref)
	}
}

// stepName returns the name of step i of a reference: .name or ["name"].
func stepName(ref hcl.Traversal, i int) (string, bool) {
	if i >= len(ref) {
		return "", false
	}
	switch step := ref[i].(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String && step.Key.IsKnown() && !step.Key.IsNull() {
			return step.Key.AsString(), true
		}
	}
	return "", false
}

func (s *scope) unknownRoot(ref hcl.Traversal) {
	root, rng := ref.RootName(), ref.SourceRange()
	if isLater("file", root) {
		s.l.refuseLater(rng, fmt.Sprintf("references to a %s", root))
		s.ok = false
		return
	}
	hint := fmt.Sprintf("A reference begins with %s.", listed(slices.Sorted(maps.Keys(roots))))
	l := s.l
	var known []string
	if _, ok := l.variables[root]; ok {
		known = append(known, "var."+root)
	}
	if l.locals[root] != nil {
		known = append(known, "local."+root)
	}
	if l.kernels[root] != nil {
		known = append(known, "kernel."+root)
	}
	if l.networks.blocks[root] != nil {
		known = append(known, "network."+root)
	}
	if l.subkernels.blocks[root] != nil {
		known = append(known, "subkernel."+root)
	}
	switch near := nearest(root, slices.Collect(maps.Keys(roots))); {
	case len(known) > 0:
		hint += " Did you mean " + listed(known) + "?"
	case near != "":
		hint += fmt.Sprintf(" Did you mean %q?", near)
	default:
		hint += " Text stands in quotes."
	}
	s.fail(rng, "Unknown name", fmt.Sprintf("There is nothing named %q. %s", root, hint))
}

func (s *scope) addVariable(name string, rng hcl.Range) {
	v, ok := s.l.variables[name]
	if !ok {
		s.fail(rng, "Unknown variable", fmt.Sprintf("There is no variable %q. Declare it with a block: variable %q {}.%s", name, name, suggestion(name, slices.Sorted(maps.Keys(s.l.variables)))))
		return
	}
	s.set("var", name, v)
}

func (s *scope) addLocal(name string, rng hcl.Range) {
	if s.l.locals[name] == nil {
		s.fail(rng, "Unknown local", fmt.Sprintf("There is no local %q. Declare it in a locals block.%s", name, suggestion(name, slices.Sorted(maps.Keys(s.l.locals)))))
		return
	}
	s.set("local", name, s.l.local(name, rng))
}

func (s *scope) addPath(name string, rng hcl.Range) {
	switch name {
	case "root":
		s.set("path", name, cty.StringVal(s.l.rootDir))
	case "cwd":
		s.set("path", name, cty.StringVal(s.l.opts.Dir))
	default:
		s.fail(rng, "Unknown path", fmt.Sprintf("There is path.root, the folder of the first file, and path.cwd, the current folder, but no path.%s.%s", name, suggestion(name, []string{"root", "cwd"})))
	}
}

func (s *scope) addInstanceKey(root, name string, rng hcl.Range) {
	need, names := "for_each", []string{"key", "value"}
	if root == "count" {
		need, names = "count", []string{"index"}
	}
	if !slices.Contains(names, name) {
		s.fail(rng, "Unknown name", fmt.Sprintf("Write %s.%s", roots[root], suggestion(name, names)))
		return
	}
	if s.in == nil || s.in.kind != need {
		s.fail(rng, "Reference not allowed here", fmt.Sprintf("%s.%s exists only inside of a block with %s, and not in %s itself.", root, name, need, need))
		return
	}
	switch name {
	case "value":
		s.set(root, name, s.in.value)
	default:
		s.set(root, name, s.in.key)
	}
}

func (s *scope) addKernel(name string, rng hcl.Range) {
	if s.l.kernels[name] == nil {
		s.fail(rng, "Unknown kernel", fmt.Sprintf("There is no kernel %q. Declare it with a block: kernel %q {}.%s", name, name, suggestion(name, slices.Sorted(maps.Keys(s.l.kernels)))))
		return
	}
	s.set("kernel", name, s.l.kernelValue(name, rng))
}
