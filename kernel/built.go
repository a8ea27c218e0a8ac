package kernel

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// builtDir is the folder of built kernels below the cache folder: builtDir/NAME/linux, with its modules in builtDir/NAME/modules/VERSION.
const builtDir = "kernels"

// builtFile is the name of a built kernel's executable, provenanceFile that of the file beside it which says how it was built.
const (
	builtFile      = "linux"
	provenanceFile = "provenance.json"
)

// maxProvenance bounds it, in bytes.
const maxProvenance = 1 << 20

// DefaultFlavour is the flavour of which a kernel that was built becomes the default. Those of others are booted if they are asked for.
const DefaultFlavour = "default"

// isName says whether text can be the name of a built kernel.
func isName(text string) bool {
	return text != "" && text != "." && text != ".." && text == filepath.Base(text)
}

// builtPath is where a built kernel's executable is.
func (f *Finder) builtPath(name string) string {
	return filepath.Join(f.CacheDir, builtDir, name, builtFile)
}

// built are the kernels in the cache folder.
func (f *Finder) built() []candidate {
	if f.CacheDir == "" {
		return nil
	}
	dirs, err := os.ReadDir(filepath.Join(f.CacheDir, builtDir))
	if err != nil {
		return nil // there are none yet
	}
	var c []candidate
	for _, d := range dirs {
		if p := f.builtPath(d.Name()); executable(p) {
			c = append(c, candidate{p, OriginBuilt})
		}
	}
	return c
}

// builtName is the name of the built kernel whose executable has an absolute path; empty: it is none.
func (f *Finder) builtName(path string) string {
	name := filepath.Base(filepath.Dir(path))
	if f.CacheDir == "" || filepath.Base(path) != builtFile {
		return ""
	}
	if p, err := filepath.Abs(f.builtPath(name)); err != nil || p != path {
		return ""
	}
	return name
}

// flavourOf reads the flavour of the built kernel whose executable has this path; empty: it is not known.
func flavourOf(path string) string {
	b, err := readBounded(filepath.Join(filepath.Dir(path), provenanceFile), maxProvenance)
	if err != nil {
		return ""
	}
	var p struct {
		Flavour string `json:"flavour"`
	}
	if json.Unmarshal(b, &p) != nil {
		return ""
	}
	return p.Flavour
}
