package config

import "fmt"

var confineSchema = &BlockSchema{
	Name: "confine",
	Doc: "What the host keeps from the sub-kernel, whatever its root does. A sub-kernel changes files of the host only where a mount is `\"rw\"`, and reads all others but the " +
		"hidden ones: see [confinement](confinement.md).",
	Attrs: []AttrSchema{
		{Name: "read", Type: "list of paths", Default: "everything", Doc: "The only files and folders of the host that can be read, besides those of mounts and the system's libraries. The root needs its programs: `[\"/usr\", \"/etc\"]`."},
		{Name: "hide", Type: "list of paths", Doc: "Files and folders of the host that can't be read, besides the usual ones, such as `~/.ssh` and `/etc/shadow`."},
		{Name: "show", Type: "list of paths", Doc: "What can be read although it is hidden: all that is hidden in these files and folders, too."},
		{Name: "root", Type: "bool", Default: "false", Doc: "If sekexe runs as root, let the kernel be root, too, with all that root may do; otherwise it runs as user 65534."},
		{Name: "required", Type: "bool", Default: "false", Doc: "Don't boot where the host can't enforce all of that."},
	},
}

func (l *loader) buildConfine(in *instance, s *Subkernel, c content) {
	for _, b := range c.blocks["confine"] {
		d := l.nested(in, b)
		s.Confine = Confine{
			Read: d.hostPaths("read"), Hide: d.hostPaths("hide"), Show: d.hostPaths("show"),
			Root: d.boolean("root", false), Required: d.boolean("required", false),
		}
		if v := d.get("read"); v != nil && len(s.Confine.Read) == 0 && !d.bad {
			d.error(v, "Nothing to read", "An empty list would leave the kernel without programs. Name what may be read, or leave \"read\" out.")
		}
	}
}

// hostPaths returns a list of absolute paths of the host's. They need not exist.
func (d *decoder) hostPaths(name string) []string {
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
		}
	}
	return out
}
