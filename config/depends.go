package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxDependencies bounds the dependencies of a project: two blocks of all instances that there may be would make a hundred million.
const maxDependencies = 2_000_000

// The conditions of a dependency.
const (
	condCompleted = "completed"
	condReady     = "ready"
	condStarted   = "started"
)

// A dependencyReader reads depends_on of all instances. There may be a million dependencies, of a thousand sub-kernels on a thousand others, so
// that whole blocks are not taken through values of expressions.
type dependencyReader struct {
	l       *loader
	subs    []Subkernel
	index   map[string]int // of subs, by name
	current int
	found   []foundDependency // of the current one
	seen    []int             // by index: 1 + where the current one's dependency on it stands in found; valid if found has it there
}

type foundDependency struct {
	index     int
	condition string
	rng       Range
}

// dependencies fills in DependsOn and reports cycles.
func (l *loader) dependencies(subs []Subkernel) {
	r := &dependencyReader{l: l, subs: subs, index: make(map[string]int, len(subs)), seen: make([]int, len(subs))}
	for i := range subs {
		r.index[subs[i].Name] = i
	}
	total := 0
	for i := range subs {
		r.current, r.found = i, r.found[:0]
		r.read(l.decoderOf(l.subkernels.byName[subs[i].Name]))
		slices.SortFunc(r.found, func(a, b foundDependency) int { return a.index - b.index })
		if total += len(r.found); total > maxDependencies {
			l.diags.errorAt(l.subkernels.byName[subs[i].Name].block.defRange, "Too many dependencies",
				fmt.Sprintf("A project may have %d dependencies. Let many sub-kernels depend on one that depends on the others.", maxDependencies))
			return
		}
		subs[i].DependsOn = slices.Grow(subs[i].DependsOn, len(r.found))
		for _, f := range r.found {
			subs[i].DependsOn = append(subs[i].DependsOn, Dependency{Name: subs[f.index].Name, Condition: f.condition, Range: f.rng})
		}
	}
	l.dependencyCycles(subs, r.index)
}

// read reads depends_on. Maps of several files are merged, and a list replaces what earlier files have.
func (r *dependencyReader) read(d *decoder) {
	attrs := d.attrs["depends_on"]
	merged := map[string]*mapDependency{}
	for i, a := range attrs {
		if items, diags := hcl.ExprList(a.Expr); !diags.HasErrors() {
			clear(merged)
			if i == len(attrs)-1 {
				r.items(d, a, items)
			}
			continue
		}
		if pairs, diags := hcl.ExprMap(a.Expr); !diags.HasErrors() {
			r.pairs(d, a, pairs, merged)
			continue
		}
		v := d.evaluate(a, nameOnly)
		if v == nil {
			continue
		}
		if ty := v.val.Type(); (ty.IsObjectType() || ty.IsMapType()) && r.holdsConditions(v.val) {
			r.mergeMap(merged, v)
			continue
		}
		clear(merged)
		if i == len(attrs)-1 {
			r.list(d, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		r.mapElement(name, merged[name])
	}
}

// items adds the elements of a list that stands in the source, each evaluated by itself, so that one that is wrong doesn't hide the others.
func (r *dependencyReader) items(d *decoder, a *hcl.Attribute, items []hcl.Expression) {
	for _, item := range items {
		elem := *a
		elem.Expr = item
		if ib := r.wholeBlock(item); ib != nil {
			v := &attrValue{attr: &elem}
			for _, in := range ib.instances {
				r.add(v, in.name, "")
			}
			continue
		}
		if v := d.evaluate(&elem, nameOnly); v != nil {
			r.reference(d, v, v.val)
		}
	}
}

// wholeBlock returns the block that an expression refers to as a whole, if it is nothing but such a reference, and right.
func (r *dependencyReader) wholeBlock(expr hcl.Expression) *instanceBlock {
	ref, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() || len(ref) != 2 || ref.RootName() != subkernelSchema.Name {
		return nil
	}
	name, _ := stepName(ref, 1)
	if ib := r.l.subkernels.blocks[name]; ib != nil && !ib.failed {
		return ib
	}
	return nil
}

// pairs merges a map that stands in the source, as items does for a list.
func (r *dependencyReader) pairs(d *decoder, a *hcl.Attribute, pairs []hcl.KeyValuePair, merged map[string]*mapDependency) {
	for _, p := range pairs {
		elem := *a
		elem.Expr = p.Key
		key := d.evaluate(&elem, nameOnly)
		if key == nil || !d.text(key, "the names of sub-kernels as keys") {
			continue
		}
		name := key.val.AsString()
		value := *a
		value.Expr = p.Value
		if v := d.evaluate(&value, nameOnly); v != nil {
			merged[name] = &mapDependency{v: v, condition: v.val}
		} else {
			delete(merged, name) // null, or wrong
		}
	}
}

// holdsConditions reports whether a map is one of conditions, and not the value of a sub-kernel, or of a block of several.
func (r *dependencyReader) holdsConditions(v cty.Value) bool {
	if isInstanceValue(v, r.index) {
		return false
	}
	for it := v.ElementIterator(); it.Next(); {
		if _, elem := it.Element(); isInstanceValue(elem, r.index) {
			return false
		}
	}
	return true
}

type mapDependency struct {
	v         *attrValue
	condition cty.Value
}

func (r *dependencyReader) mergeMap(merged map[string]*mapDependency, v *attrValue) {
	for it := v.val.ElementIterator(); it.Next(); {
		key, elem := it.Element()
		if elem.IsNull() {
			delete(merged, key.AsString())
			continue
		}
		merged[key.AsString()] = &mapDependency{v: v, condition: elem}
	}
}

// mapElement adds the dependency of one key of a map: the label of a block, or the name of an instance.
func (r *dependencyReader) mapElement(name string, m *mapDependency) {
	var instances []string
	if ib := r.l.subkernels.blocks[name]; ib != nil {
		instances = ib.names()
		if ib.failed {
			return
		}
	} else if _, ok := r.index[name]; ok {
		instances = []string{name}
	} else {
		r.fail(m.v, "Unknown subkernel", fmt.Sprintf("There is no subkernel %q.%s", name, suggestion(name, slices.Sorted(maps.Keys(r.l.subkernels.blocks)))))
		return
	}
	words := []string{condCompleted, condReady, condStarted}
	if m.condition.Type() != cty.String || !slices.Contains(words, m.condition.AsString()) {
		given := ""
		if m.condition.Type() == cty.String {
			given = suggestion(m.condition.AsString(), words)
		}
		r.fail(m.v, "Unknown condition", fmt.Sprintf("A dependency waits until the other is one of %s.%s", quoted(words), given))
		return
	}
	for _, n := range instances {
		r.add(m.v, n, m.condition.AsString())
	}
}

// list adds the dependencies of a list, or of a single reference.
func (r *dependencyReader) list(d *decoder, v *attrValue) {
	ty := v.val.Type()
	if !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
		r.reference(d, v, v.val)
		return
	}
	for it := v.val.ElementIterator(); it.Next(); {
		_, elem := it.Element()
		r.reference(d, v, elem)
	}
}

// isInstanceValue reports whether v is the value of one instance as expressions see it.
func isInstanceValue(v cty.Value, index map[string]int) bool {
	ty := v.Type()
	if !ty.IsObjectType() || !ty.HasAttribute("name") || ty.AttributeType("name") != cty.String || v.IsNull() {
		return false
	}
	name := v.GetAttr("name")
	if name.IsNull() {
		return false
	}
	_, ok := index[name.AsString()]
	return ok
}

// reference adds what one element of a list refers to: an instance, or all instances of a block.
func (r *dependencyReader) reference(d *decoder, v *attrValue, val cty.Value) {
	switch {
	case val.IsNull():
	case isInstanceValue(val, r.index):
		r.add(v, val.GetAttr("name").AsString(), "")
	case val.Type() == cty.String:
		r.text(d, v, val.AsString())
	case val.CanIterateElements():
		for it := val.ElementIterator(); it.Next(); {
			_, elem := it.Element()
			if !isInstanceValue(elem, r.index) {
				r.fail(v, "Invalid dependency", "Write references: depends_on = [subkernel.NAME].")
				return
			}
			r.add(v, elem.GetAttr("name").AsString(), "")
		}
	default:
		r.fail(v, "Invalid dependency", "Write references: depends_on = [subkernel.NAME].")
	}
}

// text resolves a reference in a string, which is how JSON writes one.
func (r *dependencyReader) text(d *decoder, v *attrValue, text string) {
	name := strings.TrimPrefix(text, "subkernel.")
	expr, diags := hclsyntax.ParseExpression([]byte("subkernel."+name), v.attr.Expr.Range().Filename, v.attr.Expr.Range().Start)
	if diags.HasErrors() || !isJSONName(v.attr.Expr.Range().Filename) && v.attr.Expr.Range().Filename != stdinName {
		hint := ""
		if r.l.subkernels.blocks[name] != nil {
			hint = fmt.Sprintf(" Write subkernel.%s.", name)
		}
		r.fail(v, "Dependency in quotes", "A dependency is a reference, without quotes: depends_on = [subkernel.NAME]."+hint)
		return
	}
	val, _ := r.l.evaluate(expr, d.in, nameOnly)
	if val.IsWhollyKnown() && val.Type() != cty.String {
		r.reference(d, v, val)
	}
}

func (r *dependencyReader) fail(v *attrValue, summary, detail string) { v.errorf(r.l, summary, detail) }

// add adds one dependency of the current sub-kernel, after a check of its condition. An empty condition is the default one.
func (r *dependencyReader) add(v *attrValue, name, condition string) {
	i, ok := r.index[name]
	if !ok {
		return // it has no instance because of an error that is reported
	}
	to := &r.subs[i]
	switch {
	case condition == "" && to.Service:
		condition = condReady
	case condition == "":
		condition = condCompleted
	case condition == condCompleted && to.Service:
		r.fail(v, "Condition that is never met", fmt.Sprintf("%s is a service: it runs until the others have ended, and so never completes. Wait until it is \"ready\" or \"started\".", name))
		return
	case condition == condReady && !to.Service:
		r.fail(v, "Condition that is never met", fmt.Sprintf("%s is no service, and so never says that it is ready. Wait until it is \"completed\" or \"started\".", name))
		return
	}
	if n := r.seen[i] - 1; n >= 0 && n < len(r.found) && r.found[n].index == i {
		if r.found[n].condition != condition {
			r.fail(v, "Duplicate dependency", fmt.Sprintf("%s stands here twice, with different conditions. Remove one.", name))
		}
		return
	}
	r.found = append(r.found, foundDependency{index: i, condition: condition, rng: toRange(v.attr.Expr.Range())})
	r.seen[i] = len(r.found)
}

// dependencyCycles reports each cycle once, with its path.
func (l *loader) dependencyCycles(subs []Subkernel, index map[string]int) {
	state := make([]visit, len(subs))
	var path []int
	var walk func(i int)
	walk = func(i int) {
		state[i] = visiting
		path = append(path, i)
		for _, dep := range subs[i].DependsOn {
			switch j := index[dep.Name]; state[j] {
			case unvisited:
				walk(j)
			case visiting:
				l.reportCycle(subs, path[slices.Index(path, j):], j)
			}
		}
		path = path[:len(path)-1]
		state[i] = visited
	}
	for i := range subs {
		if state[i] == unvisited {
			walk(i)
		}
	}
}

func (l *loader) reportCycle(subs []Subkernel, cycle []int, to int) {
	var names []string
	for _, i := range cycle {
		names = append(names, subs[i].Name)
	}
	last := cycle[len(cycle)-1]
	l.diags.errorAt(l.dependencyRange(&subs[last], subs[to].Name), "Dependency cycle",
		fmt.Sprintf("None of these could start first: %s -> %s. Take one of the dependencies out.", strings.Join(names, " -> "), subs[to].Name))
}

// dependencyRange returns where a sub-kernel names another in depends_on: the element, or all of it if that doesn't stand there by itself.
func (l *loader) dependencyRange(s *Subkernel, name string) hcl.Range {
	attrs := l.subkernels.byName[s.Name].attrs(l)["depends_on"]
	i := slices.IndexFunc(s.DependsOn, func(d Dependency) bool { return d.Name == name })
	want := s.DependsOn[i].Range
	for _, a := range attrs {
		items, _ := hcl.ExprList(a.Expr)
		pairs, _ := hcl.ExprMap(a.Expr)
		for _, p := range pairs {
			items = append(items, p.Value)
		}
		for _, item := range items {
			if toRange(item.Range()) == want {
				return item.Range()
			}
		}
	}
	return attrs[len(attrs)-1].Expr.Range()
}

// checkHostnames warns of sub-kernels with the same host name.
func (l *loader) checkHostnames(subs []Subkernel) {
	first := map[string]string{}
	for i := range subs {
		s := &subs[i]
		key := strings.ToLower(s.Hostname)
		if other, ok := first[key]; ok {
			rng := l.subkernels.byName[s.Name].block.defRange
			l.diags.warnAt(rng, "Same host name", fmt.Sprintf("%s and %s both have the host name %q, and can't be told apart by it. Set hostname in one of them.", other, s.Name, s.Hostname))
			continue
		}
		first[key] = s.Name
	}
}
