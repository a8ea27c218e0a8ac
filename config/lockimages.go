package config

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// A LockedImage is one image that is the root of sub-kernels.
type LockedImage struct {
	// Name is that of ParseImage, but for a path in it, which starts from the lock's folder: see LockName.
	Name string
	// Config is the digest of the image's configuration, which stands for all that is in it: sha256: and 64 digits.
	Config string
	// Manifest is the digest by which its registry knows it; empty for an image in a file.
	Manifest string
}

// LockName returns the name under which a lock in the folder dir has an image. name is what ParseImage has returned.
func LockName(name, dir string) string {
	for _, prefix := range []string{layoutPrefix, archivePrefix} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		path, tag := cutTag(rest)
		if rel, err := filepath.Rel(dir, path); err == nil {
			path = rel
		}
		return prefix + path + tag
	}
	return name
}

// Image returns what is locked for the image of a name of LockName.
func (l *Lock) Image(name string) (LockedImage, bool) {
	i := slices.IndexFunc(l.Images, func(m LockedImage) bool { return m.Name == name })
	if i < 0 {
		return LockedImage{}, false
	}
	return l.Images[i], true
}

// sortImages sorts the images by name.
func (l *Lock) sortImages() {
	slices.SortFunc(l.Images, func(a, b LockedImage) int { return cmp.Compare(a.Name, b.Name) })
}

// checkLockName says whether an image may have such a name in a lock.
func checkLockName(name string) bool {
	for _, prefix := range []string{layoutPrefix, archivePrefix} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			path, _ := cutTag(rest)
			return path != ""
		}
	}
	again, err := parseReference(name)
	return err == nil && again == name
}

// readLockedImage reads one image.
func readLockedImage(b *hcl.Block, d *Diagnostics) LockedImage {
	c, diags := b.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "config", Required: true}, {Name: "manifest"}}})
	d.add(diags...)
	m := LockedImage{Name: b.Labels[0]}
	for name, to := range map[string]*string{"config": &m.Config, "manifest": &m.Manifest} {
		attr := c.Attributes[name]
		if attr == nil {
			continue
		}
		*to = lockedText(attr, digests, "sha256: and 64 hexadecimal digits", d)
	}
	return m
}
