package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// envPrefix begins the names of environment variables that set variables.
const envPrefix = "SEKEXE_VAR_"

// A variable is one declaration, before it has a value.
type variable struct {
	name        string
	block       *block
	content     content
	ty          cty.Type // cty.DynamicPseudoType: any
	typed       bool     // there is a type attribute
	defaults    *typeexpr.Defaults
	description string
	sensitive   bool
	def         *hcl.Attribute
	defValue    cty.Value // failed if it is wrong
}

// A given is a value that somebody gave to a variable from outside.
type given struct {
	from string // for Variable.From
	// text is a value of --var or the environment; attr is one of a --var-file.
	text string
	attr *hcl.Attribute
}

// readVariables reads the declarations and gives each variable its value. What it returns checks the rules for the values, which may refer to
// locals too, and so has to be called when these are known.
func (l *loader) readVariables(blocks []*block) (validate func()) {
	var vars []*variable
	byName := map[string]*variable{}
	for _, b := range blocks {
		if v := l.readVariable(b); v != nil {
			vars = append(vars, v)
			byName[v.name] = v
		}
	}
	givens := l.givenValues(byName)
	var missing []*variable
	for _, v := range vars {
		g, ok := givens[v.name]
		switch {
		case ok:
			l.setVariable(v, g)
		case v.def != nil:
			l.define(v, v.defValue, "default")
		default:
			missing = append(missing, v)
			l.variables[v.name] = failed
		}
	}
	l.reportMissing(missing)
	return func() {
		for _, v := range vars {
			l.validate(v, givens[v.name].from)
		}
	}
}

// readVariable reads one declaration; nil if it has no usable name.
func (l *loader) readVariable(b *block) *variable {
	if !validName(b.label()) {
		l.diags.errorAt(b.labelRanges[0], "Invalid name", "The name of a variable consists of letters, digits, _ and -, begins with a letter or _, and has at most 63 characters."+identifierHint(b.label()))
		return nil
	}
	v := &variable{name: b.label(), block: b, content: l.content(b), ty: cty.DynamicPseudoType}
	d := decoder{l: l, schema: variableSchema, attrs: v.content.attrs, constant: true}
	v.description = d.str("description", "")
	v.sensitive = d.boolean("sensitive", false)
	if a := d.last("type"); a != nil {
		ty, defaults, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
		l.diags.add(diags...)
		if !diags.HasErrors() {
			v.ty, v.defaults, v.typed = ty, defaults, true
		}
	}
	v.def = d.last("default")
	if v.def != nil {
		l.readDefault(v)
	}
	return v
}

func (l *loader) readDefault(v *variable) {
	val, ctx := l.evaluateConstant(v.def.Expr, "A default may use functions, but can't refer to anything. Use a local for what depends on other values.")
	v.defValue = failed
	if !val.IsWhollyKnown() {
		return
	}
	if v.sensitive {
		l.diags.secrets.add(val)
	}
	val, err := v.convert(val)
	if err != nil {
		av := attrValue{attr: v.def, ctx: ctx}
		av.errorf(l, "Wrong type", fmt.Sprintf("The default doesn't fit the type of var.%s, %s: %s.", v.name, typeexpr.TypeString(v.ty), err))
		return
	}
	v.defValue = val
}

// convert gives a value the variable's type.
func (v *variable) convert(val cty.Value) (cty.Value, error) {
	if v.defaults != nil && !val.IsNull() {
		val = v.defaults.Apply(val)
	}
	return convert.Convert(val, v.ty)
}

// givenValues gathers the values from outside, of declared variables: those of the environment, of files, and of --var, each of which
// replaces what comes before.
func (l *loader) givenValues(declared map[string]*variable) map[string]given {
	out := map[string]given{}
	for name := range declared {
		if text, ok := l.env[envPrefix+name]; ok {
			out[name] = given{from: envPrefix + name, text: text}
		}
	}
	names := slices.Sorted(maps.Keys(declared))
	for _, file := range l.opts.VarFiles {
		for name, a := range l.readVarFile(file) {
			if declared[name] == nil {
				l.diags.warnAt(a.NameRange, "Unknown variable", fmt.Sprintf("No file declares a variable %q, so that this value is not used. Declare it, or remove it here.%s", name, suggestion(name, names)))
				continue
			}
			out[name] = given{from: "--var-file", attr: a}
		}
	}
	for _, kv := range l.opts.Vars {
		name, text, ok := cut(kv)
		switch {
		case !ok || name == "":
			l.diags.errorNowhere("Invalid --var", fmt.Sprintf("%q is not of the form NAME=VALUE.", kv))
		case declared[name] == nil:
			l.diags.errorNowhere("Unknown variable", fmt.Sprintf("--var sets %q, and no file declares such a variable.%s", name, suggestion(name, names)))
		default:
			out[name] = given{from: "--var", text: text}
		}
	}
	return out
}

// cut takes NAME=VALUE apart.
func cut(kv string) (name, value string, ok bool) { return strings.Cut(kv, "=") }

// readVarFile reads a file of attributes, in HCL or JSON.
func (l *loader) readVarFile(name string) hcl.Attributes {
	s := &source{name: name, path: l.absolute(name)}
	if name == "-" {
		s.name, s.path = stdinName, "-"
	}
	if !l.parse(s) {
		return nil
	}
	attrs, diags := s.body.JustAttributes()
	l.diags.add(diags...)
	return attrs
}

// setVariable gives a variable a value from outside.
func (l *loader) setVariable(v *variable, g given) {
	l.variables[v.name] = failed
	val, ok := l.givenValue(v, g)
	if !ok {
		return
	}
	if v.sensitive {
		l.diags.secrets.add(val)
	}
	val, err := v.convert(val)
	if err != nil {
		detail := fmt.Sprintf("The value from %s doesn't fit the type of var.%s, %s: %s.", g.from, v.name, typeexpr.TypeString(v.ty), err)
		if g.attr != nil {
			l.diags.errorAt(g.attr.Expr.Range(), "Wrong type", detail)
		} else {
			l.diags.errorAt(v.block.defRange, "Wrong type", detail)
		}
		return
	}
	l.define(v, val, g.from)
}

// givenValue reads a value from outside: the text itself for a string, else JSON, else an HCL literal.
func (l *loader) givenValue(v *variable, g given) (cty.Value, bool) {
	if g.attr != nil {
		val, _ := l.evaluateConstant(g.attr.Expr, "A file of variables holds plain values.")
		return val, val.IsWhollyKnown()
	}
	if v.sensitive {
		l.diags.secrets.addText(g.text)
	}
	if v.takesText() {
		return cty.StringVal(g.text), true
	}
	if len(g.text) > maxFile {
		l.diags.errorAt(v.block.defRange, "Value too large", fmt.Sprintf("The value from %s of var.%s has more than %d bytes. Put the data into a file that the sub-kernel mounts.", g.from, v.name, maxFile))
		return failed, false
	}
	if val, ok := jsonValue(g.text); ok {
		return val, true
	}
	name := fmt.Sprintf("<value of var.%s from %s>", v.name, g.from)
	src := []byte(g.text)
	diags := checkExpressionNesting(name, src)
	var expr hcl.Expression
	if !diags.HasErrors() {
		expr, diags = hclsyntax.ParseExpression(src, name, hcl.InitialPos)
	}
	val := failed
	if !diags.HasErrors() {
		val, diags = expr.Value(nil)
	}
	if diags.HasErrors() {
		l.badLiteral(v, g, name, diags)
		return failed, false
	}
	return val, true
}

// takesText reports whether a value from outside is the string itself. Without a type, the type of the default decides.
func (v *variable) takesText() bool {
	if v.typed {
		return v.ty == cty.String
	}
	return v.def == nil || !v.defValue.IsKnown() || v.defValue.IsNull() || v.defValue.Type() == cty.String
}

// badLiteral reports a value from outside that is no literal.
func (l *loader) badLiteral(v *variable, g given, name string, diags hcl.Diagnostics) {
	why := diags[0].Detail
	if v.sensitive {
		why = "It is not shown, because the variable is sensitive."
	} else {
		l.diags.addFile(name, &hcl.File{Bytes: []byte(g.text)})
	}
	d := &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: "Invalid value",
		Detail: fmt.Sprintf("The value from %s of var.%s must be a literal of its type, %s, in HCL or JSON: %s", g.from, v.name, typeexpr.TypeString(v.ty), why),
	}
	if d.Subject = diags[0].Subject; v.sensitive || d.Subject == nil {
		d.Subject = v.block.defRange.Ptr()
	}
	l.diags.add(d)
}

// jsonValue decodes JSON.
func jsonValue(text string) (cty.Value, bool) {
	src := []byte(text)
	if !json.Valid(src) || checkJSONNesting("", src).HasErrors() {
		return cty.NilVal, false
	}
	ty, err := ctyjson.ImpliedType(src)
	if err != nil {
		return cty.NilVal, false
	}
	val, err := ctyjson.Unmarshal(src, ty)
	return val, err == nil
}

// define makes a variable known with its value.
func (l *loader) define(v *variable, val cty.Value, from string) {
	l.variables[v.name] = failed
	if !val.IsWhollyKnown() {
		return
	}
	if textSize(val) > maxValue {
		l.diags.errorAt(v.block.defRange, "Value too large", fmt.Sprintf("A variable may hold %d bytes of text. Put the data into a file that the sub-kernel mounts.", maxValue))
		return
	}
	out := Variable{Name: v.name, Description: v.description, Sensitive: v.sensitive, From: from, Range: toRange(v.block.defRange)}
	// A known value without marks and capsules always has a JSON form.
	if text, err := ctyjson.Marshal(val, val.Type()); err == nil {
		out.Value = string(text)
	}
	l.varOrder = append(l.varOrder, out)
	if v.sensitive {
		l.diags.secrets.add(val)
		val = val.Mark(sensitiveMark{})
	}
	l.variables[v.name] = val
}

// reportMissing reports all variables that have no value together, so that they can be given at once.
func (l *loader) reportMissing(missing []*variable) {
	if len(missing) == 0 {
		return
	}
	var lines strings.Builder
	for _, v := range missing {
		fmt.Fprintf(&lines, "\n  %s", v.name)
		if v.ty != cty.DynamicPseudoType {
			fmt.Fprintf(&lines, " (%s)", typeexpr.TypeString(v.ty))
		}
		if v.description != "" {
			fmt.Fprintf(&lines, ": %s", v.description)
		}
	}
	l.diags.errorAt(missing[0].block.defRange, "Variable without a value",
		fmt.Sprintf("These variables have no default and need a value: --var NAME=VALUE, a --var-file, or %sNAME in the environment.%s", envPrefix, lines.String()))
}

// validate checks the rules of one variable. from is empty for a default.
func (l *loader) validate(v *variable, from string) {
	for _, b := range v.content.blocks["validation"] {
		c := l.content(b)
		d := decoder{l: l, schema: b.schema, attrs: c.attrs}
		d.require(b, "condition", "error_message")
		cond, message := d.last("condition"), d.last("error_message")
		if cond == nil || message == nil {
			continue
		}
		l.checkRule(v, from, cond, message)
	}
}

func (l *loader) checkRule(v *variable, from string, cond, message *hcl.Attribute) {
	val, ctx := l.evaluate(cond.Expr, nil, wholeValue)
	if !val.IsWhollyKnown() {
		return
	}
	val, _ = val.UnmarkDeep()
	av := &attrValue{attr: cond, ctx: ctx}
	val, err := convert.Convert(val, cty.Bool)
	if err != nil || val.IsNull() {
		av.errorf(l, "Invalid condition", "The condition of a validation must be true or false. Compare the variable with something.")
		return
	}
	if val.True() {
		return
	}
	text := fmt.Sprintf("The value of var.%s is not allowed.", v.name)
	msg, _ := l.evaluate(message.Expr, nil, wholeValue)
	if msg.IsWhollyKnown() && !isSensitive(msg) {
		if s, err := convert.Convert(msg, cty.String); err == nil && !s.IsNull() {
			text = s.AsString()
		}
	}
	if from == "" {
		from = "its default"
	}
	av.errorf(l, "Invalid value of a variable", fmt.Sprintf("%s\nThe value of var.%s comes from %s.", text, v.name, from))
}
