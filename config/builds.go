package config

import (
	"fmt"
	"os"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// releases are the versions that kernel.org may have as a release, suites the names that Debian's suites may have.
var (
	releases = newPattern(`^[0-9]+\.[0-9]+(\.[0-9]+)?(-rc[0-9]+)?$`)
	suites   = newPattern(`^[a-z][a-z0-9/-]*$`)
)

// evaluateBuild evaluates the build block of a kernel. What is wrong with it makes d bad, too.
func (l *loader) evaluateBuild(k *kernelBlock, b *block, outer *decoder) *Build {
	d := l.nested(nil, b)
	out := &Build{Range: toRange(b.defRange)}
	if v := d.get("source"); v != nil {
		out.Source = d.hostPath(v)
		k.addFile(v, out.Source, (*loader).checkBuildSource)
	}
	out.Version = d.matching("version", releases, "Invalid version", "%q is not a release of kernel.org. Write a whole version, such as \"7.2.1\".")
	out.Debian = d.matching("debian", suites, "Invalid suite", "%q is not the name of a Debian suite. Write one such as \"bookworm\" or \"sid\".")
	out.Set = d.symbols("set")
	out.Fragments = d.fragments(k, "fragments")
	out.Unmodified = d.boolean("unmodified", false)
	if !d.bad && out.Source == "" && out.Version == "" && out.Debian == "" {
		d.bad = true
		l.diags.errorAt(b.defRange, "Nothing to build", "Say what the kernel is built of: set one of source, version and debian.")
	}
	outer.bad = outer.bad || d.bad
	return out
}

// matching returns a string that a pattern matches. The detail has a place for the string.
func (d *decoder) matching(name string, p pattern, summary, detail string) string {
	s, ok := tried(d, func() string { return d.str(name, "") })
	if v := d.get(name); v != nil && ok && !p.MatchString(s) {
		d.error(v, summary, fmt.Sprintf(detail, s))
		return ""
	}
	return s
}

// symbolNames are the names of symbols of a kernel's configuration, symbolValues the values that they can have.
var (
	symbolNames  = newPattern(`^CONFIG_[A-Za-z0-9_]+$`)
	symbolValues = newPattern(`^(y|m|n|-?[0-9]+|0x[0-9a-fA-F]+|"[^"\n]*")$`)
)

// symbols returns a map of symbols of the configuration, those of all files merged.
func (d *decoder) symbols(name string) map[string]string {
	return d.mergedMap(name, `{ CONFIG_BTRFS_FS = "y" }`, d.symbol)
}

// symbol adds one symbol, or takes one of an earlier file out.
func (d *decoder) symbol(v *attrValue, out map[string]string, name string, elem cty.Value) {
	if !symbolNames.MatchString(name) {
		d.error(v, "Invalid symbol", fmt.Sprintf("%q is not a symbol of a kernel's configuration. Write it with its prefix: CONFIG_%s.", name, name))
		return
	}
	if elem.IsNull() {
		delete(out, name)
		return
	}
	if elem.Type() == cty.Bool {
		out[name] = "n"
		if elem.True() {
			out[name] = "y"
		}
		return
	}
	s, err := convert.Convert(elem, cty.String)
	if err != nil || !symbolValues.MatchString(s.AsString()) {
		d.error(v, "Invalid value of a symbol", fmt.Sprintf("%s takes \"y\", \"m\", \"n\", true, false, a whole number, or a text with quotes of its own: \"\\\"text\\\"\".", name))
		return
	}
	out[name] = s.AsString()
}

// fragments returns absolute paths of files of symbols.
func (d *decoder) fragments(k *kernelBlock, name string) []string {
	v := d.get(name)
	if v == nil {
		return nil
	}
	if ty := v.val.Type(); !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
		d.error(v, "Wrong type", fmt.Sprintf("%q takes a list of paths, and this is %s.", name, article(ty.FriendlyName())))
		return nil
	}
	var out []string
	for it := v.val.ElementIterator(); it.Next(); {
		i, elem := it.Element()
		e := v.elem(i)
		e.val = elem
		if path := d.hostPath(e); path != "" {
			out = append(out, path)
			k.addFile(e, path, (*loader).checkFragment)
		}
	}
	return out
}

// checkBuildSource reports a source that is missing or not readable.
func (l *loader) checkBuildSource(v *attrValue, path string) {
	d := decoder{l: l}
	d.checkSource(v, path)
}

// checkFragment reports a fragment that is no file to read.
func (l *loader) checkFragment(v *attrValue, path string) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		v.errorf(l, "Source not usable", fmt.Sprintf("%s is no file. Name a file of lines such as CONFIG_BTRFS_FS=y.", path))
		return
	}
	l.checkBuildSource(v, path)
}
