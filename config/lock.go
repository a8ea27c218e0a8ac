package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// LockFile is the name of the lock beside the first file of a project.
const LockFile = ".sekexe.lock.hcl"

// lockFormat is the format of locks. Another one is refused.
const lockFormat = 1

// A Lock says exactly which kernels the kernel blocks of a project are, and which images its roots.
type Lock struct {
	// Kernels are sorted by name, each of which stands once, and so are Images.
	Kernels []LockedKernel
	Images  []LockedImage
}

// A LockedKernel is one kernel. Either SHA256 is set, or all of the fields below it.
type LockedKernel struct {
	// Name is the label of the kernel block.
	Name string
	// Version is what the kernel calls itself.
	Version string
	// SHA256 is that of the executable, in hexadecimal, as the others are.
	SHA256 string
	// Flavour, the version and hash of the source, and the hash of the whole configuration tell what a kernel was built of.
	Flavour, SourceVersion, SourceSHA256, ConfigSHA256 string
}

// lockAttrs are the attributes of a kernel in a lock, in the order in which they are written, with what may stand in them.
var lockAttrs = []struct {
	name    string
	field   func(*LockedKernel) *string
	what    string // for messages: "its WHAT is ..."
	built   bool   // of one that was built
	pattern pattern
	want    string
}{
	{"version", func(k *LockedKernel) *string { return &k.Version }, "version", false, kernelVersions, "a kernel's version"},
	{"sha256", func(k *LockedKernel) *string { return &k.SHA256 }, "executable's SHA-256", false, hashes, "64 hexadecimal digits"},
	{"flavour", func(k *LockedKernel) *string { return &k.Flavour }, "flavour", true, flavourNames, "a flavour"},
	{"source_version", func(k *LockedKernel) *string { return &k.SourceVersion }, "source's version", true, kernelVersions, "a kernel's version"},
	{"source_sha256", func(k *LockedKernel) *string { return &k.SourceSHA256 }, "source's SHA-256", true, hashes, "64 hexadecimal digits"},
	{"config_sha256", func(k *LockedKernel) *string { return &k.ConfigSHA256 }, "configuration's SHA-256", true, hashes, "64 hexadecimal digits"},
}

var (
	hashes       = newPattern(`^[0-9a-f]{64}$`)
	flavourNames = newPattern(`^[a-z][a-z0-9-]{0,31}$`)
)

// Sort sorts the kernels and the images by name.
func (l *Lock) Sort() {
	slices.SortFunc(l.Kernels, func(a, b LockedKernel) int { return strings.Compare(a.Name, b.Name) })
	l.sortImages()
}

// Kernel returns what is locked for the kernel block of a name.
func (l *Lock) Kernel(name string) (LockedKernel, bool) {
	i := slices.IndexFunc(l.Kernels, func(k LockedKernel) bool { return k.Name == name })
	if i < 0 {
		return LockedKernel{}, false
	}
	return l.Kernels[i], true
}

// Differences says in words in what now, the kernel that is there, differs from the one that is locked.
func (k LockedKernel) Differences(now LockedKernel) []string {
	var out []string
	switch {
	case k.SHA256 != "" && now.SHA256 == "":
		out = append(out, fmt.Sprintf("it was built by sekexe, and an executable of version %s with the SHA-256 %s is locked", k.Version, k.SHA256))
	case k.SHA256 == "" && now.SHA256 != "":
		out = append(out, fmt.Sprintf("it is an executable of version %s, and one of flavour %s that was built of %s is locked", now.Version, k.Flavour, k.SourceVersion))
	default:
		for _, a := range lockAttrs {
			if locked, is := *a.field(&k), *a.field(&now); locked != is {
				out = append(out, fmt.Sprintf("its %s is %s, and %s is locked", a.what, is, locked))
			}
		}
	}
	return out
}

// Write writes the lock as ParseLock reads it.
func (l *Lock) Write(w io.Writer) error {
	f := hclwrite.NewEmptyFile()
	body := f.Body()
	body.SetAttributeValue("format", cty.NumberIntVal(lockFormat))
	for i := range l.Kernels {
		k := &l.Kernels[i]
		b := newBlock(body, "kernel", k.Name)
		for _, a := range lockAttrs {
			b.str(a.name, *a.field(k))
		}
	}
	for i := range l.Images {
		b := newBlock(body, "image", l.Images[i].Name)
		b.str("config", l.Images[i].Config)
		b.str("manifest", l.Images[i].Manifest)
	}
	text := append([]byte("# sekexe lock has written this file: sekexe up --locked boots these kernels and images and no others.\n\n"), hclwrite.Format(f.Bytes())...)
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("lock: write: %w", err)
	}
	return nil
}

// ReadLock reads the lock in the folder dir. It is nil if there is an error; the diagnostics never are.
func ReadLock(dir string) (*Lock, *Diagnostics) {
	path := filepath.Join(dir, LockFile)
	f, err := os.Open(path)
	var src []byte
	if err == nil {
		src, err = io.ReadAll(io.LimitReader(f, maxFile+1))
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		return ParseLock(path, src)
	}
	d := newDiagnostics()
	if errors.Is(err, fs.ErrNotExist) {
		d.errorNowhere("No lock", fmt.Sprintf("%s: no such file. `sekexe lock` writes it.", path))
	} else {
		d.errorNowhere("Cannot read "+path, readHint(err))
	}
	return nil, d
}

// ParseLock reads a lock. It is nil if there is an error; the diagnostics never are. The name is for messages.
func ParseLock(name string, src []byte) (*Lock, *Diagnostics) {
	d := newDiagnostics()
	if len(src) > maxFile {
		d.errorNowhere(name+" is too large", fmt.Sprintf("A lock may have at most %d bytes. Write it anew with `sekexe lock`.", maxFile))
		return nil, d
	}
	f, diags := parseSource(name, src)
	d.addFile(name, f)
	d.add(diags...)
	if f.Body == nil || d.HasErrors() {
		return nil, d
	}
	l := &Lock{}
	if checkFormat(f.Body, d) {
		l.read(f.Body, d)
	}
	if d.HasErrors() {
		return nil, d
	}
	return l, d
}

// checkFormat reports whether the lock is of the format that this package reads: of another one nothing else can be said.
func checkFormat(body hcl.Body, d *Diagnostics) bool {
	c, _, diags := body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "format", Required: true}}})
	d.add(diags...)
	a := c.Attributes["format"]
	if a == nil {
		return false
	}
	v, diags := a.Expr.Value(nil)
	d.add(diags...)
	if diags.HasErrors() {
		return false
	}
	if !v.RawEquals(cty.NumberIntVal(lockFormat)) {
		d.errorAt(a.Expr.Range(), "Unknown format", fmt.Sprintf("This sekexe reads locks of format %d. Use the one that wrote it, or write it anew with `sekexe lock`.", lockFormat))
		return false
	}
	return true
}

// read reads the kernels and the images.
func (l *Lock) read(body hcl.Body, d *Diagnostics) {
	c, diags := body.Content(&hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "format"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "kernel", LabelNames: []string{"name"}}, {Type: "image", LabelNames: []string{"name"}}},
	})
	d.add(diags...)
	places := map[[2]string]hcl.Range{}
	for _, b := range c.Blocks {
		key := [2]string{b.Type, b.Labels[0]}
		first, again := places[key]
		places[key] = b.DefRange
		switch {
		case b.Type == "kernel" && !validName(b.Labels[0]):
			d.errorAt(b.LabelRanges[0], "Invalid name", "The name of a kernel consists of letters, digits, _ and -, begins with a letter or _, and has at most 63 characters.")
		case b.Type == "image" && !checkLockName(b.Labels[0]):
			d.errorAt(b.LabelRanges[0], "Invalid name", "An image has its whole name in a lock, such as docker.io/library/alpine:3.20. Write the lock anew with `sekexe lock`.")
		case again:
			d.errorAt(b.DefRange, "Duplicate block", fmt.Sprintf("%s stands at %s already. Write the lock anew with `sekexe lock`.", blockTitle(b), place(first)))
		case b.Type == "image":
			l.Images = append(l.Images, readLockedImage(b, d))
		default:
			l.Kernels = append(l.Kernels, readLocked(b, d))
		}
	}
	l.Sort()
}

// lockedText is the value of an attribute in a lock; empty, with a diagnostic that says what is wanted, where it doesn't match the pattern.
func lockedText(attr *hcl.Attribute, p pattern, want string, d *Diagnostics) string {
	v, diags := attr.Expr.Value(nil)
	d.add(diags...)
	switch {
	case diags.HasErrors():
	case v.IsNull() || !v.IsKnown() || v.Type() != cty.String || !p.MatchString(v.AsString()):
		d.errorAt(attr.Expr.Range(), "Invalid value in a lock", fmt.Sprintf("%q takes %s, in quotes. Write the lock anew with `sekexe lock`.", attr.Name, want))
	default:
		return v.AsString()
	}
	return ""
}

// readLocked reads one kernel.
func readLocked(b *hcl.Block, d *Diagnostics) LockedKernel {
	schema := &hcl.BodySchema{}
	for _, a := range lockAttrs {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: a.name, Required: a.name == "version"})
	}
	c, diags := b.Body.Content(schema)
	d.add(diags...)
	k := LockedKernel{Name: b.Labels[0]}
	direct, built := 0, 0
	for _, a := range lockAttrs {
		attr := c.Attributes[a.name]
		if attr == nil {
			continue
		}
		*a.field(&k) = lockedText(attr, a.pattern, a.want, d)
		switch {
		case a.built:
			built++
		case a.name != "version":
			direct++
		}
	}
	if (direct != 1 || built != 0) && (direct != 0 || built != 4) {
		d.errorAt(b.DefRange, "Incomplete lock", "A kernel is locked by sha256 alone, or by flavour, source_version, source_sha256 and config_sha256. Write the lock anew with `sekexe lock`.")
	}
	return k
}
