package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// A kernelBlock is one kernel block.
type kernelBlock struct {
	block  *block
	kernel Kernel
	// files are the paths that it names, which must exist where it is booted.
	files []kernelFile
	bad   bool
}

// A kernelFile is a path in a kernel block, and where it stands.
type kernelFile struct {
	at    *attrValue
	path  string
	check func(l *loader, v *attrValue, path string)
}

// readKernels gathers the kernel blocks.
func (l *loader) readKernels(blocks []*block) {
	for _, b := range blocks {
		if !validName(b.label()) {
			l.diags.errorAt(b.labelRanges[0], "Invalid name", "The name of a kernel consists of letters, digits, _ and -, begins with a letter or _, and has at most 63 characters."+identifierHint(b.label()))
			continue
		}
		k := &kernelBlock{block: b}
		l.kernels[b.label()] = k
		l.kernelOrder = append(l.kernelOrder, k)
	}
}

// buildKernels evaluates all kernel blocks.
func (l *loader) buildKernels() []Kernel {
	var out []Kernel
	for _, k := range l.kernelOrder {
		l.kernelValue(k.block.label(), k.block.defRange)
		out = append(out, k.kernel)
	}
	return out
}

// kernelValue returns a kernel that exists as expressions see it. at is the place of the reference.
func (l *loader) kernelValue(name string, at hcl.Range) cty.Value {
	k := l.kernels[name]
	if !l.demand("kernel."+name, at, func() { l.evaluateKernel(k) }) || k.bad {
		return failed
	}
	return cty.ObjectVal(map[string]cty.Value{
		"name":    cty.StringVal(k.kernel.Name),
		"path":    cty.StringVal(k.kernel.Path),
		"version": cty.StringVal(k.kernel.Version),
		"flavour": cty.StringVal(k.kernel.Flavour),
		"modules": cty.StringVal(k.kernel.Modules),
	})
}

// kernelVersions are the texts that begin a kernel's version.
var kernelVersions = newPattern(`^[0-9]+(\.[0-9]+){0,3}[0-9A-Za-z.+_~-]*$`)

// flavours are those that kernels can be built of, defaultFlavour the one where none is named.
var flavours = []string{defaultFlavour, "smp", "debug", "time-travel"}

const defaultFlavour = "default"

func (l *loader) evaluateKernel(k *kernelBlock) {
	c := l.content(k.block)
	d := decoder{l: l, schema: kernelSchema, attrs: c.attrs}
	k.kernel = Kernel{Name: k.block.label(), Range: toRange(k.block.defRange)}
	if v := d.get("path"); v != nil {
		k.kernel.Path = d.hostPath(v)
		k.addFile(v, k.kernel.Path, (*loader).checkExecutable)
	}
	if v := d.get("version"); v != nil {
		var ok bool
		k.kernel.Version, ok = tried(&d, func() string { return d.str("version", "") })
		if ok && !kernelVersions.MatchString(k.kernel.Version) {
			d.error(v, "Invalid version", fmt.Sprintf("%q is not a kernel version. Write one, or its beginning, such as \"7\" or \"6.12.1\".", k.kernel.Version))
		}
	}
	k.kernel.Flavour = d.oneOf("flavour", "", flavours...)
	if v := d.get("modules"); v != nil {
		k.kernel.Modules = d.hostPath(v)
	}
	for _, b := range c.blocks["build"] {
		if k.kernel.Flavour == "" {
			k.kernel.Flavour = defaultFlavour
		}
		k.kernel.Build = l.evaluateBuild(k, b, &d)
	}
	k.bad = d.bad
}

// addFile notes a path that must exist where the kernel is booted.
func (k *kernelBlock) addFile(v *attrValue, path string, check func(*loader, *attrValue, string)) {
	if path != "" {
		k.files = append(k.files, kernelFile{v, path, check})
	}
}

// kernelOf returns the kernel that a sub-kernel names.
func (l *loader) kernelOf(d *decoder) Kernel {
	v := d.get("kernel")
	if v == nil {
		v = d.in.matrixKernel()
	}
	if v == nil {
		return Kernel{}
	}
	if k := l.kernelBlockOf(v.val); k != nil {
		l.checkKernel(k)
		return k.kernel
	}
	if !d.text(v, "a kernel, as kernel.NAME, or the path of an executable") {
		return Kernel{}
	}
	text := v.val.AsString()
	path := d.hostPath(v)
	if l.kernels[text] != nil && !exists(path) {
		d.error(v, "Kernel in quotes", fmt.Sprintf("A string is the path of an executable. Write kernel.%s, without quotes, for the kernel block of this name.", text))
		return Kernel{}
	}
	if path != "" {
		l.checkExecutable(v, path)
	}
	return Kernel{Path: path, Range: toRange(v.attr.Range)}
}

// kernelBlockOf returns the block of a kernel that is given as expressions see it, or nil if the value is none.
func (l *loader) kernelBlockOf(v cty.Value) *kernelBlock {
	ty := v.Type()
	if v.IsNull() || !ty.IsObjectType() || !ty.HasAttribute("name") || ty.AttributeType("name") != cty.String || !ty.HasAttribute("modules") {
		return nil
	}
	if name := v.GetAttr("name"); !name.IsNull() {
		return l.kernels[name.AsString()]
	}
	return nil
}

// checkKernel checks the files of a kernel that is used. One that nobody boots may be missing on this machine.
func (l *loader) checkKernel(k *kernelBlock) {
	for _, f := range k.files {
		f.check(l, f.at, f.path)
	}
}

// checkExecutable reports a path that can't be a kernel.
func (l *loader) checkExecutable(v *attrValue, path string) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		v.errorf(l, "Kernel not found", fmt.Sprintf("%s. Install a User Mode Linux kernel (on Debian and Ubuntu the package user-mode-linux) or build one with `sekexe kernel build`, and name its executable.", statError(path, err)))
	case !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0:
		v.errorf(l, "Kernel not executable", fmt.Sprintf("%s is not an executable file. Name the executable of a User Mode Linux kernel.", path))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// statError says why a path can't be used.
func statError(path string, err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return fmt.Sprintf("%s: %s", filepath.Clean(path), pathErr.Err)
	}
	return fmt.Sprintf("%s: %s", path, err)
}
