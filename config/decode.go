package config

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// A decoder turns the attributes of one block into plain values. It reports what is wrong with them and goes on with the default.
type decoder struct {
	l      *loader
	schema *BlockSchema
	attrs  map[string][]*hcl.Attribute
	in     *instance
	// constant means that the expressions may use functions, but refer to nothing.
	constant bool
	bad      bool // something was wrong
}

// An attrValue is an attribute with its value, which is known, not null and without marks.
type attrValue struct {
	attr *hcl.Attribute
	val  cty.Value
	ctx  *hcl.EvalContext
}

// errorf reports an error in the value of the attribute, with the values that are in scope.
func (v *attrValue) errorf(l *loader, summary, detail string) {
	l.diags.add(&hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: summary, Detail: detail,
		Subject: v.attr.Expr.Range().Ptr(), Context: v.attr.Range.Ptr(), Expression: v.attr.Expr, EvalContext: v.ctx,
	})
}

// elem returns v for messages about one of its elements: with the range of the element, where the source shows it.
func (v *attrValue) elem(key cty.Value) *attrValue {
	c := *v
	a := *v.attr
	c.attr = &a
	if pairs, diags := hcl.ExprMap(a.Expr); !diags.HasErrors() {
		for _, p := range pairs {
			// A number as a key is written without quotes.
			if k, _ := p.Key.Value(nil); k.RawEquals(key) || k.IsKnown() && !k.IsNull() && k.Type() == cty.Number && keyText(k) == keyText(key) {
				a.Expr = p.Value
			}
		}
	} else if items, diags := hcl.ExprList(a.Expr); !diags.HasErrors() && key.Type() == cty.Number {
		if i, ok := isWhole(key.AsBigFloat()); ok && i < len(items) {
			a.Expr = items[i]
		}
	}
	return &c
}

// error reports an error in the value of v.
func (d *decoder) error(v *attrValue, summary, detail string) {
	d.bad = true
	v.errorf(d.l, summary, detail)
}

// tried calls f, which decodes with d, and reports whether it found nothing wrong.
func tried[T any](d *decoder, f func() T) (T, bool) {
	before := d.bad
	d.bad = false
	v := f()
	ok := !d.bad
	d.bad = d.bad || before
	return v, ok
}

// last returns the attribute of the last file that has it, or nil.
func (d *decoder) last(name string) *hcl.Attribute {
	if attrs := d.attrs[name]; len(attrs) > 0 {
		return attrs[len(attrs)-1]
	}
	return nil
}

// get evaluates an attribute. It returns nil if it is not set, null, or wrong, which is reported.
func (d *decoder) get(name string) *attrValue {
	a := d.last(name)
	if a == nil {
		return nil
	}
	return d.evaluate(a, wholeValue)
}

func (d *decoder) evaluate(a *hcl.Attribute, want demandKind) *attrValue {
	v := &attrValue{attr: a}
	if d.constant {
		v.val, v.ctx = d.l.evaluateConstant(a.Expr, fmt.Sprintf("%q may use functions, but can't refer to anything.", a.Name))
	} else {
		v.val, v.ctx = d.l.evaluate(a.Expr, d.in, want)
	}
	if !v.val.IsWhollyKnown() {
		d.bad = true
		return nil
	}
	if isSensitive(v.val) {
		if s := d.schema.attr(a.Name); s == nil || !s.Sensitive {
			d.error(v, "Sensitive value", fmt.Sprintf("%q is shown in plans and reports, so that it can't be computed from a sensitive variable. Take sensitive off the variable, or use another one here.", a.Name))
			return nil
		}
		d.l.diags.secrets.addMarked(v.val)
		v.val, _ = v.val.UnmarkDeep()
	}
	if v.val.IsNull() {
		return nil
	}
	return v
}

// convert gives v the type ty, or reports that it can't. example completes "NAME takes ...".
func (d *decoder) convert(v *attrValue, ty cty.Type, example string) bool {
	got := v.val.Type().FriendlyName()
	out, err := convert.Convert(v.val, ty)
	if err != nil || out.IsNull() {
		d.error(v, "Wrong type", fmt.Sprintf("%q takes %s, and this is %s.", v.attr.Name, example, article(got)))
		return false
	}
	v.val = out
	return true
}

// str returns a string.
func (d *decoder) str(name, def string) string {
	v := d.get(name)
	if v == nil || !d.text(v, "a string") {
		return def
	}
	return v.val.AsString()
}

// text converts v to a string without NUL, which nothing on Linux can be given.
func (d *decoder) text(v *attrValue, example string) bool {
	if !d.convert(v, cty.String, example) {
		return false
	}
	if strings.ContainsRune(v.val.AsString(), 0) {
		d.error(v, "Invalid character", fmt.Sprintf("%q can't hold a NUL character. Remove it.", v.attr.Name))
		return false
	}
	return true
}

// boolean returns a bool.
func (d *decoder) boolean(name string, def bool) bool {
	v := d.get(name)
	if v == nil || !d.convert(v, cty.Bool, "true or false") {
		return def
	}
	return v.val.True()
}

// wholeNumber returns a whole number from low to high.
func (d *decoder) wholeNumber(name string, def, low, high int) int {
	v := d.get(name)
	if v == nil {
		return def
	}
	n, ok := d.number(v, v.val, low, high)
	if !ok {
		return def
	}
	return n
}

// number converts elem, which is the value of v or an element of it.
func (d *decoder) number(v *attrValue, elem cty.Value, low, high int) (int, bool) {
	detail := fmt.Sprintf("%q takes a whole number from %d to %d.", v.attr.Name, low, high)
	elem, err := convert.Convert(elem, cty.Number)
	if err != nil || elem.IsNull() {
		d.error(v, "Wrong type", detail)
		return 0, false
	}
	n, whole := isWhole(elem.AsBigFloat())
	if !whole || n < low || n > high {
		d.error(v, "Number out of range", detail)
		return 0, false
	}
	return n, true
}

// oneOf returns one of the words.
func (d *decoder) oneOf(name, def string, words ...string) string {
	v := d.get(name)
	if v == nil || !d.text(v, "one of "+quoted(words)) {
		return def
	}
	s := v.val.AsString()
	if !slices.Contains(words, s) {
		d.error(v, "Unknown value", fmt.Sprintf("%q takes one of %s.%s", name, quoted(words), suggestion(s, words)))
		return def
	}
	return s
}

// quoted joins words for a message.
func quoted(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = fmt.Sprintf("%q", w)
	}
	return listed(out)
}

// sizes are the texts that are sizes; units reads them.
var sizes = newPattern(`^(?i)[0-9]{1,15}(\.[0-9]{1,9})? ?([kmgt](i?b)?|b)$`)

// maxSize bounds sizes: 1 PiB.
const maxSize = 1 << 50

// size returns a size in bytes.
func (d *decoder) size(name string, def int64) int64 {
	v := d.get(name)
	if v == nil {
		return def
	}
	if v.val.Type() == cty.Number {
		n := v.val.AsBigFloat().Text('f', -1)
		d.error(v, "Missing unit", fmt.Sprintf("A size needs a unit: write \"%sM\" for mebibytes or \"%sG\" for gibibytes.", n, n))
		return def
	}
	if !d.text(v, `a size such as "256M" or "1G"`) {
		return def
	}
	s := strings.TrimSpace(v.val.AsString())
	if digits.MatchString(s) {
		d.error(v, "Missing unit", fmt.Sprintf("A size needs a unit: write \"%sM\" for mebibytes or \"%sG\" for gibibytes.", s, s))
		return def
	}
	n, err := units.RAMInBytes(s)
	if !sizes.MatchString(s) || err != nil || n < 0 || n > maxSize {
		d.error(v, "Invalid size", fmt.Sprintf("%q is not a size. Write a number and a unit of K, M, G or T, such as \"256M\" or \"1G\".", s))
		return def
	}
	return n
}

var digits = newPattern(`^[0-9]+(\.[0-9]+)?$`)

// duration returns a duration of at least low.
func (d *decoder) duration(name string, def, low time.Duration) time.Duration {
	v := d.get(name)
	if v == nil {
		return def
	}
	if v.val.Type() == cty.Number {
		d.error(v, "Missing unit", fmt.Sprintf("A duration needs a unit: write \"%ss\" for seconds or \"%sm\" for minutes.", v.val.AsBigFloat().Text('f', -1), v.val.AsBigFloat().Text('f', -1)))
		return def
	}
	if !d.text(v, `a duration such as "90s" or "1h30m"`) {
		return def
	}
	s := v.val.AsString()
	t, err := time.ParseDuration(s)
	switch {
	case err != nil && digits.MatchString(s):
		d.error(v, "Missing unit", fmt.Sprintf("A duration needs a unit: write \"%ss\" for seconds or \"%sm\" for minutes.", s, s))
	case err != nil:
		d.error(v, "Invalid duration", fmt.Sprintf("%q is not a duration. Write numbers with the units h, m, s and ms, such as \"90s\" or \"1h30m\". A day is \"24h\".", s))
	case t < low:
		d.error(v, "Duration too short", fmt.Sprintf("%q takes a duration of at least %s.", name, low))
	default:
		return t
	}
	return def
}

// stringMap returns the environment that is the attribute, those of all files merged.
func (d *decoder) stringMap(name string) map[string]string {
	return d.mergedMap(name, `{ NAME = "value" }`, d.mapElement)
}

// mergedMap returns the map of the attribute, those of all files merged: add adds an element, or takes one of an earlier file out. The
// example is for whoever wrote something else than a map.
func (d *decoder) mergedMap(name, example string, add func(v *attrValue, out map[string]string, key string, elem cty.Value)) map[string]string {
	out := map[string]string{}
	for _, a := range d.attrs[name] {
		v := d.evaluate(a, wholeValue)
		if v == nil {
			continue
		}
		if ty := v.val.Type(); !ty.IsObjectType() && !ty.IsMapType() {
			d.error(v, "Wrong type", fmt.Sprintf("%q takes a map, such as %s, and this is %s.", name, example, article(ty.FriendlyName())))
			continue
		}
		for it := v.val.ElementIterator(); it.Next(); {
			key, elem := it.Element()
			add(v.elem(key), out, key.AsString(), elem)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// mapElement adds one element of an environment.
func (d *decoder) mapElement(v *attrValue, out map[string]string, key string, elem cty.Value) {
	if key == "" || strings.ContainsAny(key, "=\x00") {
		d.error(v, "Invalid name of an environment variable", fmt.Sprintf("%q can't name an environment variable: it must not be empty or hold = or NUL.", key))
		return
	}
	if elem.IsNull() {
		delete(out, key)
		return
	}
	s, err := convert.Convert(elem, cty.String)
	if err != nil {
		d.error(v, "Wrong type", fmt.Sprintf("The value of %q must be a string, a number or a bool, and is %s. Use jsonencode or join to make a string of it.", key, article(elem.Type().FriendlyName())))
		return
	}
	if strings.ContainsRune(s.AsString(), 0) {
		d.error(v, "Invalid character", fmt.Sprintf("The value of %q can't hold a NUL character. Remove it.", key))
		return
	}
	out[key] = s.AsString()
}

// command returns a command: a line for the shell, or an argv. Both are empty if it is not set.
func (d *decoder) command(name string) (shell string, argv []string) {
	v := d.get(name)
	if v == nil {
		return "", nil
	}
	ty := v.val.Type()
	if !ty.IsTupleType() && !ty.IsListType() {
		if !d.text(v, `a string for the shell, or a list of strings: a program and its arguments`) {
			return "", nil
		}
		if strings.TrimSpace(v.val.AsString()) == "" {
			d.error(v, "Empty command", "Write a command, or remove the attribute.")
			return "", nil
		}
		return v.val.AsString(), nil
	}
	for it := v.val.ElementIterator(); it.Next(); {
		i, elem := it.Element()
		s, err := convert.Convert(elem, cty.String)
		if err != nil || s.IsNull() || strings.ContainsRune(s.AsString(), 0) {
			d.error(v.elem(i), "Wrong type", "Every element of a command must be a string, without NUL characters.")
			return "", nil
		}
		argv = append(argv, s.AsString())
	}
	if len(argv) == 0 || argv[0] == "" {
		d.error(v, "Empty command", "The first element is the program to run. Name one.")
		return "", nil
	}
	return "", argv
}

// statuses returns exit statuses, or def if the attribute is not set.
func (d *decoder) statuses(name string, def []int) []int {
	v := d.get(name)
	if v == nil {
		return def
	}
	if ty := v.val.Type(); !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
		if n, ok := d.number(v, v.val, 0, 255); ok {
			return []int{n}
		}
		return def
	}
	var out []int
	for it := v.val.ElementIterator(); it.Next(); {
		i, elem := it.Element()
		n, ok := d.number(v.elem(i), elem, 0, 255)
		if ok && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		d.error(v, "Empty list", fmt.Sprintf("%q needs at least one exit status: with none, nothing could succeed.", name))
		return def
	}
	return out
}

// guestPath returns an absolute path in the guest, or "" if it is not set.
func (d *decoder) guestPath(name string) string {
	v := d.get(name)
	if v == nil || !d.text(v, "a path") {
		return ""
	}
	p := v.val.AsString()
	if !path.IsAbs(p) {
		d.error(v, "Path not absolute", fmt.Sprintf("%q is a path in the guest and begins with /.", name))
		return ""
	}
	return path.Clean(p)
}

// hostPath returns an absolute path on the host, or "" if it is not set. A relative one starts from the folder of the file that it stands in.
func (d *decoder) hostPath(v *attrValue) string {
	if !d.text(v, "a path") {
		return ""
	}
	p := v.val.AsString()
	if p == "" {
		d.error(v, "Empty path", fmt.Sprintf("Name a file or folder in %q.", v.attr.Name))
		return ""
	}
	if p == "~" || strings.HasPrefix(p, "~/") {
		home := d.l.env["HOME"]
		if !filepath.IsAbs(home) {
			d.error(v, "No home folder", "The environment variable HOME is not set to an absolute path, which ~ stands for. Set it, or write the path out.")
			return ""
		}
		p = filepath.Join(home, p[1:])
	}
	if !filepath.IsAbs(p) {
		p = filepath.Join(d.l.dirOf(v.attr.Expr.Range()), p)
	}
	return filepath.Clean(p)
}

// require reports attributes of b that are not set.
func (d *decoder) require(b *block, names ...string) {
	for _, name := range names {
		if d.last(name) == nil {
			d.bad = true
			d.l.diags.errorAt(b.defRange, "Missing attribute", fmt.Sprintf("A %s block needs %q. Add it: %s", b.schema.Name, name, d.schema.attr(name).Doc))
		}
	}
}
