package config

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/zclconf/go-cty/cty"
)

const (
	// maxInstances bounds the instances of one type of block: a slip in a number should not fill the memory.
	maxInstances = 10000
	// maxDynamic bounds the blocks that one dynamic block makes.
	maxDynamic = 1000
	// maxKey bounds the bytes of a key of for_each or matrix, which becomes part of a name.
	maxKey = 200
)

// multipliers are the attributes of which one makes several instances of a block.
var multipliers = []string{"for_each", "count", "matrix"}

// An instanceSet holds the blocks of one type that for_each, count and matrix multiply.
type instanceSet struct {
	schema *BlockSchema
	blocks map[string]*instanceBlock // by label
	order  []*instanceBlock
	byName map[string]*instance
	full   bool // there are too many instances, which is reported
	// exports are the attributes that expressions see, with how each is found.
	exports map[string]func(l *loader, in *instance) cty.Value
}

// An instanceBlock is one declaration, and the instances that it makes.
type instanceBlock struct {
	set   *instanceSet
	label string
	// block is the declaration; nil if there are only declarations of single instances.
	block *block
	// explicit are the declarations of single instances, by a label such as `web["a"]`.
	explicit  []explicitInstance
	instances []*instance
	failed    bool // for_each, count or matrix is wrong, which is reported
	cached    cty.Value
	stale     bool // cached has to be made anew
}

type explicitInstance struct {
	key   cty.Value
	block *block
}

// An instance is one instance of a block.
type instance struct {
	owner *instanceBlock
	name  string
	kind  string // one of multipliers; "" for a block with none, or for an explicit instance
	// key and value are each.key, or count.index, and each.value. key is cty.NilVal for a block that is its own only instance.
	key, value cty.Value
	matrix     []matrixElement // one of each key of matrix, in the order of the name
	block      *block
	cached     map[string][]*hcl.Attribute
	exported   map[string]cty.Value
}

func newInstanceSet(schema *BlockSchema, exports map[string]func(*loader, *instance) cty.Value) *instanceSet {
	return &instanceSet{schema: schema, blocks: map[string]*instanceBlock{}, byName: map[string]*instance{}, exports: exports}
}

// read sorts the declarations by label.
func (set *instanceSet) read(l *loader, blocks []*block) {
	for _, b := range blocks {
		label, key, ok := parseInstanceLabel(b.label())
		if !ok {
			l.diags.errorAt(b.labelRanges[0], "Invalid name", fmt.Sprintf("The name of a %s consists of letters, digits, _ and -, begins with a letter or _, and has at most 63 characters.%s",
				set.schema.Name, identifierHint(b.label())))
			continue
		}
		ib := set.blocks[label]
		if ib == nil {
			ib = &instanceBlock{set: set, label: label}
			set.blocks[label] = ib
			set.order = append(set.order, ib)
		}
		if key != cty.NilVal {
			ib.explicit = append(ib.explicit, explicitInstance{key: key, block: b})
		} else {
			ib.block = b
		}
	}
}

// expand makes the instances of a block; at is the place of the reference that needs them.
func (l *loader) expand(ib *instanceBlock, at hcl.Range) bool {
	return l.demand(ib.set.schema.Name+"."+ib.label, at, func() {
		if ib.block != nil {
			l.expandBlock(ib)
		}
		for _, e := range ib.explicit {
			l.addExplicit(ib, e)
		}
		if len(ib.set.byName) > maxInstances {
			ib.failed, ib.instances = true, nil
			if ib.set.full {
				return
			}
			ib.set.full = true
			l.diags.errorAt(ib.defRange(), "Too many instances", fmt.Sprintf("There may be %d instances of %s blocks in all. Check for_each, count and matrix.", maxInstances, ib.set.schema.Name))
		}
	})
}

// defRange returns where the block is declared first.
func (ib *instanceBlock) defRange() hcl.Range {
	if ib.block != nil {
		return ib.block.defRange
	}
	return ib.explicit[0].block.defRange
}

func (l *loader) expandBlock(ib *instanceBlock) {
	attrs := l.attributes(ib.block)
	d := decoder{l: l, schema: ib.set.schema, attrs: attrs}
	i := slices.IndexFunc(multipliers, func(name string) bool { return len(attrs[name]) > 0 })
	if i < 0 {
		ib.add(&instance{block: ib.block})
		return
	}
	name := multipliers[i]
	a := d.last(name)
	v, ok := tried(&d, func() *attrValue { return d.get(name) })
	switch {
	case v == nil && ok:
		l.diags.errorAt(a.Expr.Range(), "Missing value", fmt.Sprintf("%s is null. Give it a value, or remove it: null makes neither one instance nor none.", name))
		ib.failed = true
	case v == nil:
		ib.failed = true
	case name == "for_each":
		l.expandForEach(ib, v)
	case name == "matrix":
		l.expandMatrix(ib, v)
	default:
		n := d.wholeNumber("count", 0, 0, maxInstances)
		ib.failed = d.bad
		for i := 0; i < n && !d.bad; i++ {
			ib.add(&instance{kind: "count", key: cty.NumberIntVal(int64(i)), block: ib.block})
		}
	}
}

func (l *loader) expandForEach(ib *instanceBlock, v *attrValue) {
	ty := v.val.Type()
	isSet := ty.IsSetType() && (ty.ElementType() == cty.String || v.val.LengthInt() == 0)
	if !isSet && !ty.IsMapType() && !ty.IsObjectType() {
		hint := ""
		if ty.IsTupleType() || ty.IsListType() {
			hint = " Make a set of the list with toset(...)."
		}
		v.errorf(l, "Invalid for_each", fmt.Sprintf("for_each takes a map or a set of strings, and this is %s.%s", article(ty.FriendlyName()), hint))
		ib.failed = true
		return
	}
	for it := v.val.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if isSet {
			key = value
		}
		if key.IsNull() || len(key.AsString()) > maxKey {
			v.errorf(l, "Invalid for_each", fmt.Sprintf("A key becomes part of the instance's name: it can't be null and has at most %d bytes.", maxKey))
			ib.failed = true
			return
		}
		if len(ib.instances) > maxInstances {
			return
		}
		ib.add(&instance{kind: "for_each", key: key, value: value, block: ib.block})
	}
}

func (ib *instanceBlock) add(in *instance) {
	in.owner = ib
	in.name = instanceName(ib.label, in.key)
	ib.stale = true
	ib.instances = append(ib.instances, in)
	ib.set.byName[in.name] = in
}

// addExplicit adds a declaration of a single instance, or merges it over the instance that for_each, count or matrix made.
// Of one that stands alone, matrix says which element of each key it is.
func (l *loader) addExplicit(ib *instanceBlock, e explicitInstance) {
	for _, a := range multipliers {
		if attrs := l.attributes(e.block)[a]; len(attrs) > 0 && (a != "matrix" || ib.block != nil) {
			l.diags.errorAt(attrs[0].NameRange, "Attribute not allowed here", fmt.Sprintf("A block labelled with an instance's name is that one instance. Remove %s, or the key from the label.", a))
		}
	}
	if ib.block == nil {
		in := &instance{key: e.key, block: e.block}
		l.readElements(in, ib.set.schema)
		ib.add(in)
		return
	}
	if ib.failed {
		return
	}
	in := ib.set.byName[instanceName(ib.label, e.key)]
	if in == nil {
		var names []string
		for _, in := range ib.instances {
			names = append(names, in.name)
		}
		l.diags.errorAt(e.block.labelRanges[0], "Unknown instance", fmt.Sprintf("%s %q has no such instance. It has %s.", ib.set.schema.Name, ib.label, listed(shortened(names))))
		return
	}
	merged := *in.block
	merged.bodies = append(slices.Clone(merged.bodies), e.block.bodies...)
	in.block = &merged
}

// shortened cuts a list of names for a message.
func shortened(names []string) []string {
	if len(names) == 0 {
		return []string{"none"}
	}
	if len(names) > 5 {
		return append(slices.Clone(names[:4]), fmt.Sprintf("%d more", len(names)-4))
	}
	return names
}

// attrs returns the attributes of the instance.
func (in *instance) attrs(l *loader) map[string][]*hcl.Attribute {
	if in.cached == nil {
		in.cached = l.attributes(in.block)
	}
	return in.cached
}

// instanceContent reads all that stands in the instance's block, with its dynamic blocks expanded.
func (l *loader) instanceContent(in *instance) content {
	b := *in.block
	b.bodies = nil
	for _, body := range in.block.bodies {
		refs := expandVariables(dynblock.WalkExpandVariables(body), in.owner.set.schema)
		ctx, ok := l.scope(refs, l.dirOf(body.MissingItemRange()), in, wholeValue)
		if !ok || !cty.ObjectVal(ctx.Variables).IsWhollyKnown() {
			b.bodies = append(b.bodies, withoutDynamic{body})
			continue
		}
		b.bodies = append(b.bodies, dynblock.Expand(body, ctx, dynblock.OptCheckForEach(checkDynamic)))
	}
	return l.content(&b)
}

// expandVariables returns what the for_each and labels of dynamic blocks refer to, at every depth.
func expandVariables(n dynblock.WalkVariablesNode, schema *BlockSchema) []hcl.Traversal {
	refs, children := n.Visit(schema.hcl())
	for _, c := range children {
		if s := schema.block(c.BlockTypeName); s != nil {
			refs = append(refs, expandVariables(c.Node, s)...)
		}
	}
	return refs
}

// checkDynamic bounds the number of blocks that a dynamic block makes.
func checkDynamic(v cty.Value, expr hcl.Expression, ctx *hcl.EvalContext) hcl.Diagnostics {
	u, _ := v.Unmark()
	if !u.IsKnown() || u.IsNull() || !u.CanIterateElements() || u.LengthInt() <= maxDynamic {
		return nil
	}
	return hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: "Too many blocks", Detail: fmt.Sprintf("A dynamic block may make %d blocks.", maxDynamic),
		Subject: expr.Range().Ptr(), Expression: expr, EvalContext: ctx,
	}}
}

// withoutDynamic is a body whose dynamic blocks can't be expanded, because of errors that are reported: it leaves them out.
type withoutDynamic struct{ hcl.Body }

func (b withoutDynamic) Content(schema *hcl.BodySchema) (*hcl.BodyContent, hcl.Diagnostics) {
	with := *schema
	with.Blocks = append(slices.Clone(schema.Blocks), hcl.BlockHeaderSchema{Type: "dynamic", LabelNames: []string{"type"}})
	c, diags := b.Body.Content(&with)
	c.Blocks = slices.DeleteFunc(c.Blocks, func(b *hcl.Block) bool { return b.Type == "dynamic" })
	return c, diags
}

// addInstances makes known what an expression refers to in the blocks of one type.
func (s *scope) addInstances(set *instanceSet, name string, ref hcl.Traversal) {
	rng, typeName := ref.SourceRange(), set.schema.Name
	ib := set.blocks[name]
	if ib == nil {
		s.fail(rng, "Unknown "+typeName, fmt.Sprintf("There is no %s %q.%s", typeName, name, suggestion(name, slices.Sorted(maps.Keys(set.blocks)))))
		return
	}
	if !s.l.expand(ib, rng) || ib.failed {
		s.ok = false
		return
	}
	attr, ok := s.referredAttr(ib, ref)
	if !ok {
		return
	}
	names := []string{attr}
	if attr == "" && s.want == wholeValue {
		names = slices.Sorted(maps.Keys(set.exports))
	}
	for _, n := range names {
		if n == "" || n == "name" {
			continue
		}
		if !s.l.export(ib, n, rng) {
			s.ok = false
		}
	}
	s.set(typeName, name, ib.value())
}

// referredAttr returns the attribute that a reference ends in, or "" if it means the whole instance, or block.
func (s *scope) referredAttr(ib *instanceBlock, ref hcl.Traversal) (string, bool) {
	i := 2
	if !ib.single() {
		key, named := stepName(ref, 2)
		if _, isAttr := traverseAttr(ref, 2); isAttr && named && !ib.hasKey(key) {
			s.fail(ref.SourceRange(), "Missing key", fmt.Sprintf("%s %q has several instances. Write one of them, such as %s.%s, or use a for expression over all of them.",
				ib.set.schema.Name, ib.label, ib.set.schema.Name, listed(shortened(ib.names())[:1])))
			return "", false
		}
		i = 3
	}
	attr, ok := stepName(ref, i)
	if !ok {
		return "", true
	}
	if ib.set.exports[attr] == nil {
		known := slices.Sorted(maps.Keys(ib.set.exports))
		s.fail(ref.SourceRange(), "Unknown attribute", fmt.Sprintf("Of a %s, other expressions see %s, but not %q.%s", ib.set.schema.Name, listed(known), attr, suggestion(attr, known)))
		return "", false
	}
	return attr, true
}

func traverseAttr(ref hcl.Traversal, i int) (string, bool) {
	if i >= len(ref) {
		return "", false
	}
	a, ok := ref[i].(hcl.TraverseAttr)
	return a.Name, ok
}

// single reports whether the block is its own only instance.
func (ib *instanceBlock) single() bool {
	return len(ib.instances) == 1 && ib.instances[0].key == cty.NilVal
}

func (ib *instanceBlock) hasKey(key string) bool {
	return slices.ContainsFunc(ib.instances, func(in *instance) bool { return keyText(in.key) == key })
}

func (ib *instanceBlock) names() []string {
	var names []string
	for _, in := range ib.instances {
		names = append(names, in.name)
	}
	return names
}

// export evaluates one attribute of all instances of a block. It reports false for a cycle, which is reported.
func (l *loader) export(ib *instanceBlock, attr string, at hcl.Range) bool {
	return l.demand(fmt.Sprintf("%s.%s.%s", ib.set.schema.Name, ib.label, attr), at, func() {
		for _, in := range ib.instances {
			if in.exported == nil {
				in.exported = map[string]cty.Value{}
			}
			in.exported[attr] = ib.set.exports[attr](l, in)
			ib.stale = true
		}
	})
}

// value returns the block as expressions see it, with the attributes that have been evaluated so far.
func (ib *instanceBlock) value() cty.Value {
	if ib.stale || len(ib.instances) == 0 {
		ib.cached, ib.stale = ib.makeValue(), false
	}
	return ib.cached
}

func (ib *instanceBlock) makeValue() cty.Value {
	values := make(map[string]cty.Value, len(ib.instances))
	var list []cty.Value
	for _, in := range ib.instances {
		attrs := maps.Clone(in.exported)
		if attrs == nil {
			attrs = map[string]cty.Value{}
		}
		attrs["name"] = cty.StringVal(in.name)
		v := cty.ObjectVal(attrs)
		if in.key == cty.NilVal {
			return v
		}
		values[keyText(in.key)] = v
		list = append(list, v)
	}
	if len(ib.instances) > 0 && ib.instances[0].kind == "count" {
		return cty.TupleVal(list)
	}
	return cty.ObjectVal(values)
}

// article puts "a" or "an" before a noun.
func article(noun string) string {
	if noun != "" && strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// isWhole reports whether f is a whole number that fits an int.
func isWhole(f *big.Float) (int, bool) {
	n, acc := f.Int64()
	return int(n), acc == big.Exact
}
