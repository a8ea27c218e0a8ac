package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxValue bounds the bytes of text in one local or variable: locals that double each other reach any size within a page of source.
const maxValue = 16 << 20

// readLocals gathers the locals. One of a later file replaces one of an earlier.
func (l *loader) readLocals(blocks []*block) {
	for _, b := range blocks {
		for name, attrs := range l.content(b).attrs {
			a := attrs[len(attrs)-1]
			if !hclsyntax.ValidIdentifier(name) {
				l.diags.errorAt(a.NameRange, "Invalid name", "The name of a local consists of letters, digits, _ and -, and begins with a letter or _.")
				continue
			}
			if old := l.locals[name]; old != nil && old.Range.Filename == a.Range.Filename {
				l.diags.errorAt(a.NameRange, "Duplicate local", fmt.Sprintf("local.%s stands at %s already. Give this one another name.", name, place(old.Range)))
				continue
			}
			l.locals[name] = a
		}
	}
}

// evaluateLocals evaluates all locals, those too that nothing refers to: their errors are to be reported.
func (l *loader) evaluateLocals() {
	for _, name := range slices.Sorted(maps.Keys(l.locals)) {
		l.local(name, l.locals[name].NameRange)
	}
}

// local returns the value of a local that exists; at is the place of the reference.
func (l *loader) local(name string, at hcl.Range) cty.Value {
	ok := l.demand("local."+name, at, func() {
		a := l.locals[name]
		v, _ := l.evaluate(a.Expr, nil, wholeValue)
		if textSize(v) > maxValue {
			l.diags.errorAt(a.Expr.Range(), "Value too large", fmt.Sprintf("A local may hold %d bytes of text. Put the data into a file that the sub-kernel mounts.", maxValue))
			v = failed
		}
		l.localValues[name] = v
	})
	if !ok {
		return failed
	}
	return l.localValues[name]
}

// textSize returns a measure of the size of v in bytes.
func textSize(v cty.Value) int {
	v, _ = v.UnmarkDeep()
	size := 0
	// The walk has no errors of its own.
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		size += 8
		if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
			size += len(v.AsString())
		}
		return size <= maxValue, nil
	})
	return size
}
