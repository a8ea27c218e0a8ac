package config

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// The bounds of a disk, those of ext4 as sekexe makes it, and how many a sub-kernel may have: the block driver of User Mode Linux knows 16,
// one of which a root may need.
const (
	minDisk  = 16 * units.MiB
	maxDisk  = 16 * units.TiB
	maxDisks = 15
)

// defaultCopyLimit is the most that one copy_out brings where the file says nothing.
const defaultCopyLimit = units.GiB

// buildDisks fills in the disks of a sub-kernel.
func (l *loader) buildDisks(in *instance, s *Subkernel, c content, targets map[string]hcl.Range) {
	most, besides := maxDisks, ""
	if s.Root.Persist != "" {
		most, besides = maxDisks-1, " besides its root's"
	}
	files := map[string]hcl.Range{}
	for i, b := range c.blocks["disk"] {
		d := l.nested(in, b)
		if i == most {
			l.diags.errorAt(b.defRange, "Too many disks", fmt.Sprintf("A sub-kernel may have %d disks%s. Put more folders on one of them.", most, besides))
			return
		}
		d.require(b, "size")
		disk := Disk{Target: d.target(b, targets), Size: d.diskSize(), FS: d.oneOf("fs", "ext4", "ext4"), Mode: d.permissions("mode", 0o755), Range: toRange(b.defRange)}
		if v := d.get("file"); v != nil {
			disk.File = d.hostPath(v)
			if first, ok := files[disk.File]; ok && disk.File != "" {
				d.error(v, "File of another disk", fmt.Sprintf("The disk at %s is in this file. Name another one.", place(first)))
			}
			files[disk.File] = b.defRange
		}
		s.Disks = append(s.Disks, disk)
	}
}

func (d *decoder) diskSize() int64 {
	n, ok := tried(d, func() int64 { return d.size("size", minDisk) })
	if v := d.get("size"); v != nil && ok && (n < minDisk || n > maxDisk) {
		d.error(v, "Invalid size", fmt.Sprintf("A disk holds %s to %s.", formatSize(minDisk), formatSize(maxDisk)))
	}
	return n
}

// copyOut returns what copy_out says, that of all files merged: a null takes a path of an earlier file out.
func (d *decoder) copyOut() []CopyOut {
	all := map[string]CopyOut{}
	for _, a := range d.attrs["copy_out"] {
		v := d.evaluate(a, wholeValue)
		if v == nil {
			continue
		}
		if ty := v.val.Type(); !ty.IsObjectType() && !ty.IsMapType() {
			d.error(v, "Wrong type", fmt.Sprintf("\"copy_out\" takes a map, such as { \"/path/in/guest\" = \"./here\" }, and this is %s.", article(ty.FriendlyName())))
			continue
		}
		for it := v.val.ElementIterator(); it.Next(); {
			key, elem := it.Element()
			d.addCopyOut(v.elem(key), all, key.AsString(), elem)
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b CopyOut) int { return cmp.Compare(a.From, b.From) })
}

// addCopyOut adds one element of copy_out.
func (d *decoder) addCopyOut(v *attrValue, all map[string]CopyOut, from string, elem cty.Value) {
	if !path.IsAbs(from) || strings.ContainsRune(from, 0) {
		d.error(v, "Path not absolute", fmt.Sprintf("%q is a path in the guest and begins with /.", from))
		return
	}
	from = path.Clean(from)
	if _, err := path.Match(from, ""); err != nil {
		d.error(v, "Invalid pattern", fmt.Sprintf("%q has a [ without a ], or an end that is escaped. Write \\\\[ for the character itself.", from))
		return
	}
	if elem.IsNull() {
		delete(all, from)
		return
	}
	c := CopyOut{From: from, Limit: defaultCopyLimit, Range: toRange(v.attr.Expr.Range())}
	to := elem
	if elem.Type().IsObjectType() {
		var ok bool
		if to, ok = d.copyOptions(v, elem, &c); !ok {
			return
		}
	}
	one := *v
	one.val = to
	if c.To = d.hostPath(&one); c.To == "" {
		return
	}
	if strings.HasSuffix(one.val.AsString(), "/") && c.To != "/" {
		c.To += "/"
	}
	all[from] = c
}

// copyOptions reads the long form of an element of copy_out, and returns its path.
func (d *decoder) copyOptions(v *attrValue, elem cty.Value, c *CopyOut) (to cty.Value, ok bool) {
	const example = `{ to = "./here", optional = true, limit = "1G" }`
	types := elem.Type().AttributeTypes()
	for _, name := range slices.Sorted(maps.Keys(types)) {
		ty, val := types[name], elem.GetAttr(name)
		switch {
		case name == "to":
			to = val
		case name == "optional" && ty == cty.Bool && !val.IsNull():
			c.Optional = val.True()
		case name == "limit":
			text, err := convert.Convert(val, cty.String)
			if err != nil || text.IsNull() || !sizes.MatchString(text.AsString()) {
				d.error(v, "Invalid size", `"limit" takes a size such as "512M" or "4G".`)
				return to, false
			}
			c.Limit, _ = units.RAMInBytes(text.AsString())
			c.Limit = min(c.Limit, maxSize)
		default:
			d.error(v, "Wrong type", fmt.Sprintf("An element of \"copy_out\" is a path, or an object such as %s. %q doesn't fit there.", example, name))
			return to, false
		}
	}
	if to == cty.NilVal || to.IsNull() {
		d.error(v, "Missing attribute", fmt.Sprintf("An element of \"copy_out\" needs the path on the host: %s", example))
		return to, false
	}
	return to, true
}

// copyOut writes the attribute that is read by the decoder's method of this name.
func (b blockWriter) copyOut(list []CopyOut) {
	if len(list) == 0 {
		return
	}
	var attrs []hclwrite.ObjectAttrTokens
	for _, c := range list {
		val := cty.ObjectVal(map[string]cty.Value{
			"to": cty.StringVal(c.To), "optional": cty.BoolVal(c.Optional), "limit": cty.StringVal(formatSize(c.Limit)),
		})
		attrs = append(attrs, hclwrite.ObjectAttrTokens{Name: hclwrite.TokensForValue(cty.StringVal(c.From)), Value: hclwrite.TokensForValue(val)})
	}
	b.body.SetAttributeRaw("copy_out", hclwrite.TokensForObject(attrs))
}
