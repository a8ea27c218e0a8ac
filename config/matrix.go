package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// kernelKey is the key of a matrix whose elements are kernels.
const kernelKey = "kernel"

// An axis is one key of a matrix with its elements, of which there is at least one.
type axis []matrixElement

// A matrixElement is one element of one key of a matrix.
type matrixElement struct {
	key  string
	text string // what names and reports call it; unique in its axis
	// value is matrix.KEY, which has its place in the source.
	value *attrValue
}

// expandMatrix makes an instance of each combination of elements, the last key's changing first.
func (l *loader) expandMatrix(ib *instanceBlock, v *attrValue) {
	axes, ok := l.axes(v)
	ib.failed = !ok
	if !ok {
		return
	}
	seen := map[string]bool{}
	for at := make([]int, len(axes)); at != nil && len(ib.instances) <= maxInstances; at = next(at, axes) {
		in := &instance{kind: "matrix", block: ib.block}
		for i, a := range axes {
			in.matrix = append(in.matrix, a[at[i]])
		}
		key := matrixKey(in.matrix)
		in.key = cty.StringVal(key)
		switch {
		case len(key) > maxKey:
			v.errorf(l, "Invalid matrix", fmt.Sprintf("The elements become the instance's name, which has at most %d bytes in brackets. Write shorter elements, or fewer keys.", maxKey))
			ib.failed = true
			return
		case seen[key]:
			v.errorf(l, "Duplicate instance", fmt.Sprintf("Two combinations of elements make the name %s, because elements have a slash. Write them in another way.", instanceName(ib.label, in.key)))
			ib.failed = true
			return
		}
		seen[key] = true
		ib.add(in)
	}
}

// next counts at up, the last digit first. It returns nil after the last combination.
func next(at []int, axes []axis) []int {
	for i := len(at) - 1; i >= 0; i-- {
		if at[i]++; at[i] < len(axes[i]) {
			return at
		}
		at[i] = 0
	}
	return nil
}

// matrixKey returns what stands in brackets in the name of an instance.
func matrixKey(elements []matrixElement) string {
	texts := make([]string, len(elements))
	for i, e := range elements {
		texts[i] = e.text
	}
	return strings.Join(texts, "/")
}

// axes reads a matrix. The axes are sorted by key, but kernel comes last: names read "what is tested / on what", and the instances that only the
// kernel tells apart stand side by side.
func (l *loader) axes(v *attrValue) ([]axis, bool) {
	pairs, ok := l.matrixPairs(v)
	var axes []axis
	for _, p := range pairs {
		a, good := l.axis(p)
		axes = append(axes, a)
		ok = ok && good
	}
	return axes, ok
}

// matrixPairs returns the values of a matrix by key, in the order of axes.
func (l *loader) matrixPairs(v *attrValue) ([]matrixElement, bool) {
	ty := v.val.Type()
	switch {
	case !ty.IsObjectType() && !ty.IsMapType():
		v.errorf(l, "Invalid matrix", fmt.Sprintf("matrix takes a map of lists, such as { db = [\"pg\", \"my\"] }, and this is %s.", article(ty.FriendlyName())))
		return nil, false
	case v.val.LengthInt() == 0:
		v.errorf(l, "Invalid matrix", "matrix has no keys. Write at least one with a list of elements, or remove it.")
		return nil, false
	}
	var pairs, kernels []matrixElement
	ok := true
	for it := v.val.ElementIterator(); it.Next(); {
		key, value := it.Element()
		p := matrixElement{key: key.AsString(), value: v.elem(key)}
		p.value.val = value
		switch {
		case !validName(p.key):
			p.value.errorf(l, "Invalid name", fmt.Sprintf("A key of a matrix, which expressions see as matrix.KEY, consists of letters, digits, _ and -, begins with a letter or _, and has at most 63 characters.%s", identifierHint(p.key)))
			ok = false
		case p.key == kernelKey:
			kernels = append(kernels, p)
		default:
			pairs = append(pairs, p)
		}
	}
	return append(pairs, kernels...), ok
}

// axis reads the elements of one key.
func (l *loader) axis(p matrixElement) (axis, bool) {
	v := p.value
	ty := v.val.Type()
	switch {
	case v.val.IsNull() || !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType():
		v.errorf(l, "Invalid matrix", fmt.Sprintf("matrix.%s takes a list of elements, and this is %s.", p.key, nounOf(v.val)))
		return nil, false
	case v.val.LengthInt() == 0:
		v.errorf(l, "Empty list", fmt.Sprintf("matrix.%s has no elements, so that there would be no instance. Write at least one, or remove the key.", p.key))
		return nil, false
	}
	var a axis
	ok := true
	for it := v.val.ElementIterator(); it.Next(); {
		i, elem := it.Element()
		e := matrixElement{key: p.key, value: v.elem(i)}
		e.value.val = elem
		ok = l.elementText(&e) && ok
		a = append(a, e)
	}
	if !ok {
		return nil, false
	}
	return a, l.tellApart(a)
}

// elementText fills in the text of an element; for the path of a kernel, the path as it is written.
func (l *loader) elementText(e *matrixElement) bool {
	v := e.value
	k := l.kernelBlockOf(v.val)
	switch {
	case e.key != kernelKey && k != nil:
		v.errorf(l, "Invalid matrix", fmt.Sprintf("Kernels are elements of the key kernel: write kernel = [kernel.%s] instead of matrix.%s.", k.kernel.Name, e.key))
		return false
	case k != nil:
		e.text = k.kernel.Name
		return true
	case e.key == kernelKey && (v.val.IsNull() || v.val.Type() != cty.String):
		v.errorf(l, "Invalid matrix", fmt.Sprintf("An element of matrix.%s is a kernel, as kernel.NAME, or the path of an executable, and this is %s.", e.key, nounOf(v.val)))
		return false
	case v.val.IsNull() || !v.val.Type().IsPrimitiveType():
		v.errorf(l, "Invalid matrix", fmt.Sprintf("An element of matrix.%s is a string, a number or a bool, and this is %s.", e.key, nounOf(v.val)))
		return false
	}
	text, err := convert.Convert(v.val, cty.String)
	if err != nil {
		v.errorf(l, "Invalid matrix", fmt.Sprintf("An element of matrix.%s can't be written as text: %s. Take another one.", e.key, err))
		return false
	}
	e.text = text.AsString()
	return true
}

// nounOf says what a value is, for a message.
func nounOf(v cty.Value) string {
	if v.IsNull() {
		return "null"
	}
	return article(v.Type().FriendlyName())
}

// tellApart shortens the paths of kernels and reports what stands twice.
func (l *loader) tellApart(a axis) bool {
	taken := map[string]bool{}
	var paths []string
	for _, e := range a {
		if e.key != kernelKey || e.value.val.Type() != cty.String {
			taken[e.text] = true
		} else {
			paths = append(paths, filepath.Clean(e.text))
		}
	}
	short := shortPaths(paths, taken)
	clear(taken)
	ok := true
	for i := range a {
		e := &a[i]
		if e.key == kernelKey && e.value.val.Type() == cty.String {
			e.text, short = short[0], short[1:]
		}
		if taken[e.text] {
			e.value.errorf(l, "Duplicate element", fmt.Sprintf("matrix.%s has %q twice. Remove one.", e.key, e.text))
			ok = false
		}
		taken[e.text] = true
	}
	return ok
}

// shortPaths returns as many of the last parts of each path as tell it apart from the other paths, and from what is taken.
func shortPaths(paths []string, taken map[string]bool) []string {
	out := make([]string, len(paths))
	for n, left := 1, len(paths); left > 0; n++ {
		count := map[string]int{}
		for _, p := range paths {
			count[lastParts(p, n)]++
		}
		for i, p := range paths {
			if s := lastParts(p, n); out[i] == "" && (s == p || count[s] == 1 && !taken[s]) {
				if taken[s] {
					s = "./" + s // a file that has the name of a kernel block
				}
				out[i] = s
				left--
			}
		}
	}
	return out
}

// lastParts returns the last n parts of a clean path, or all of it if it has not more. A path longer than a name may be is not worth cutting.
func lastParts(path string, n int) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] != '/' {
			continue
		}
		if n--; n == 0 && i < len(path)-1 {
			return path[i+1:]
		}
		if len(path)-i > maxKey {
			break
		}
	}
	return path
}

// readElements reads the matrix of the only declaration of an instance: one element of each key, as text, as WriteHCL writes it.
func (l *loader) readElements(in *instance, schema *BlockSchema) {
	d := decoder{l: l, schema: schema, attrs: l.attributes(in.block)}
	v := d.get("matrix")
	if v == nil {
		return
	}
	pairs, ok := l.matrixPairs(v)
	for i := range pairs {
		e := &pairs[i]
		if ty := e.value.val.Type(); !e.value.val.IsNull() && (ty.IsTupleType() || ty.IsListType() || ty.IsSetType()) {
			e.value.errorf(l, "Invalid matrix", fmt.Sprintf("A block labelled with an instance's name is that one instance. Write the one element of matrix.%s, without brackets, or remove the key from the label.", e.key))
			return
		}
		text, err := convert.Convert(e.value.val, cty.String)
		if err != nil || text.IsNull() {
			e.value.errorf(l, "Invalid matrix", fmt.Sprintf("An element of matrix.%s is a string, a number or a bool, and this is %s.", e.key, nounOf(e.value.val)))
			return
		}
		e.text = text.AsString()
	}
	if key := matrixKey(pairs); ok && key != keyText(in.key) {
		v.errorf(l, "Invalid matrix", fmt.Sprintf("These elements make the name with %q in brackets, and the block's label has %q. Correct one of them.", key, keyText(in.key)))
		return
	}
	in.kind, in.matrix = "matrix", pairs
}

// matrixKernel returns the kernel that the matrix gives the instance, or nil. An instance that is declared by itself has only its name there.
func (in *instance) matrixKernel() *attrValue {
	i := slices.IndexFunc(in.matrix, func(e matrixElement) bool { return e.key == kernelKey })
	if i < 0 || in.owner.block == nil {
		return nil
	}
	v := *in.matrix[i].value
	attr := *v.attr
	attr.Name = kernelKey // for messages
	v.attr = &attr
	return &v
}

// matrixValues returns the elements of the instance as they are made known.
func (in *instance) matrixValues() []MatrixValue {
	var out []MatrixValue
	for _, e := range in.matrix {
		out = append(out, MatrixValue{Key: e.key, Value: e.text})
	}
	return out
}

// addMatrixElement makes known the element of this instance.
func (s *scope) addMatrixElement(key string, rng hcl.Range) {
	if s.in == nil || s.in.kind != "matrix" {
		s.fail(rng, "Reference not allowed here", fmt.Sprintf("matrix.%s exists only inside of a block with matrix, and not in matrix itself.", key))
		return
	}
	var keys []string
	for _, e := range s.in.matrix {
		if e.key == key {
			s.set("matrix", key, e.value.val)
			return
		}
		keys = append(keys, e.key)
	}
	s.fail(rng, "Unknown name", fmt.Sprintf("The matrix of this block has no key %q. It has %s.%s", key, listed(keys), suggestion(key, keys)))
}
