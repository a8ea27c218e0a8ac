package kernel

import (
	"bytes"
	"iter"
	"os"
	"path/filepath"
)

// SystemModules is where distributions put the modules of their UML kernels, in a folder for each version.
const SystemModules = "/usr/lib/uml/modules"

// withModules returns info with its modules folder filled in. named is the user's folder of such folders; empty: search.
func withModules(info *Info, named string) (*Info, error) {
	i := *info
	if named != "" {
		return namedModules(&i, named)
	}
	if !i.ModulesEnabled {
		return &i, nil
	}
	for dir := range modulesCandidates(&i) {
		if hasModules(dir) {
			i.Modules = dir
			break
		}
	}
	return &i, nil
}

// namedModules fills in the folder that the user named.
func namedModules(i *Info, named string) (*Info, error) {
	if !i.ModulesEnabled {
		return nil, problem(i.Path, ErrModules, "it is built without CONFIG_MODULES", "leave the modules folder out: it can load none")
	}
	named, err := filepath.Abs(named)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(named, i.Version)
	if !hasModules(dir) {
		hint := "name the folder above the one called " + i.Version + ", and run depmod if the file is missing"
		return nil, problem(i.Path, ErrModules, filepath.Join(dir, "modules.dep")+" does not exist", hint)
	}
	i.Modules = dir
	return i, nil
}

// modulesCandidates are the folders where a kernel's modules may lie: the system's, and beside the executable, also where that is a link.
func modulesCandidates(i *Info) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(filepath.Join(SystemModules, i.Version)) || !yield(filepath.Join(filepath.Dir(i.Path), "modules", i.Version)) {
			return
		}
		if real, err := filepath.EvalSymlinks(i.Path); err == nil && real != i.Path {
			yield(filepath.Join(filepath.Dir(real), "modules", i.Version))
		}
	}
}

// hasModules says whether dir is the folder of a kernel's modules: depmod was there.
func hasModules(dir string) bool {
	st, err := os.Stat(filepath.Join(dir, "modules.dep"))
	return err == nil && isRegular(st.Mode())
}

// A moduleList tells which modules there are.
type moduleList []byte

// maxModuleList bounds what is read of a modules.dep, in bytes. A distribution's has some 700 KiB.
const maxModuleList = 16 << 20

// readModuleList reads modules.dep(5). Where it can't, there are no modules.
func readModuleList(dir string) moduleList {
	if dir == "" {
		return nil
	}
	b, err := readBounded(filepath.Join(dir, "modules.dep"), maxModuleList)
	if err != nil {
		return nil
	}
	return b
}

// has says whether a module is there, packed or not.
func (l moduleList) has(name string) bool { return bytes.Contains(l, []byte("/"+name+".ko")) }
