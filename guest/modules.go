package guest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// modulesAside is where the modules lie if a read-only root has no place for them. Only our modprobe looks there.
const modulesAside = "/run/sekexe/modules"

// modulesDir is where modprobe, ours as well as kmod's, looks for the modules of the running kernel.
func modulesDir() (string, error) {
	if _, err := os.Stat(modulesAside); err == nil {
		return modulesAside, nil
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("modprobe: uname: %w", err)
	}
	return "/lib/modules/" + unix.ByteSliceToString(u.Release[:]), nil
}

// initAsModprobe names our init to the kernel wherever it lies, also where the root hides its folder.
const initAsModprobe = "/proc/1/exe"

// mountModules shows the kernel's modules where they are looked for. When the kernel needs one it calls modprobe
// (Documentation/admin-guide/sysctl/kernel.rst); where the root has none, our init serves.
func mountModules(s *wire.Spec) error {
	if s.Modules == "" {
		return nil
	}
	dir, err := modulesDir()
	if err != nil {
		return err
	}
	aside := false
	if s.Modules != dir {
		err := hostfs(s.Modules, dir, true).do()
		if errors.Is(err, unix.EROFS) {
			aside, err = true, hostfs(s.Modules, modulesAside, true).do()
		}
		if err != nil {
			return err
		}
	}
	if _, err := os.Stat("/sbin/modprobe"); err == nil && !aside {
		return nil
	}
	if err := writeFile("/proc/sys/kernel/modprobe", initAsModprobe, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("root: name a modprobe: %w", err)
	}
	return nil
}

// IsModprobe says whether this program was called as modprobe: by the kernel or by iptables, which read the name of it that mountModules writes
// down, or by a link that has modprobe's name.
func IsModprobe(args []string) bool {
	return len(args) > 1 && (args[0] == initAsModprobe || path.Base(args[0]) == "modprobe")
}

// Modprobe loads what args, for which IsModprobe holds, name by its name or an alias: -q -- NAME from the kernel (kernel/module/kmod.c),
// NAME or NAME -q from iptables, -va NAME... from dockerd.
func Modprobe(args []string) error {
	names, err := modprobeNames(args[1:])
	if err != nil {
		return err
	}
	dir, err := modulesDir()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		errs = append(errs, loadNamed(dir, n))
	}
	return errors.Join(errs...)
}

// modprobeNames returns the modules that modprobe's arguments name. Of its options (modprobe(8)) all that change what is done are refused.
func modprobeNames(args []string) ([]string, error) {
	var names []string
	all := false
	for _, a := range args {
		switch {
		case a == "--" || a == "--quiet" || a == "--verbose":
		case a == "--all":
			all = true
		case strings.HasPrefix(a, "-"):
			if rest := strings.Trim(a[1:], "aqvbs"); rest != "" {
				return nil, fmt.Errorf("modprobe: read the arguments: %s is not an option that is known here", a)
			}
			all = all || strings.Contains(a, "a")
		default:
			names = append(names, a)
		}
	}
	if len(names) > 1 && !all {
		return nil, fmt.Errorf("modprobe: read the arguments: parameters of modules are not known here: %s", strings.Join(names[1:], " "))
	}
	return names, nil
}

// loadNamed loads the module of a name, or those of an alias.
func loadNamed(dir, name string) error {
	if err := loadModule(dir, name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	names, err := resolveAlias(dir, name)
	if err != nil {
		return err
	}
	if len(names) == 0 && !isBuiltin(dir, name) {
		return fmt.Errorf("module %s: find it: %w in %s", name, os.ErrNotExist, dir)
	}
	for _, n := range names {
		if err := loadModule(dir, n); err != nil {
			return err
		}
	}
	return nil
}

// isBuiltin says whether the kernel has the module built in (modules.builtin: a path a line).
func isBuiltin(dir, name string) bool {
	b, err := os.ReadFile(path.Join(dir, "modules.builtin"))
	if err != nil {
		return false
	}
	for l := range strings.Lines(string(b)) {
		if moduleName(strings.TrimSuffix(l, "\n")) == moduleName(name) {
			return true
		}
	}
	return false
}

// moduleName is what the kernel calls a module: names differ in files, aliases and code by - and _ only.
func moduleName(file string) string {
	n, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(n, "-", "_")
}

// loadModule loads a module of dir with all that it depends on, in the order that modules.dep gives (modules.dep(5)): the last one first.
// The error wraps os.ErrNotExist if there is none of that name.
func loadModule(dir, name string) error {
	if dir == "" {
		return fmt.Errorf("module %s: find it: %w: no folder of modules is known", name, os.ErrNotExist)
	}
	files, err := moduleFiles(dir, name)
	if err != nil {
		return err
	}
	for i := len(files) - 1; i >= 0; i-- {
		if err := insertModule(path.Join(dir, files[i])); err != nil {
			return err
		}
	}
	return nil
}

// moduleFiles returns the module's file and those of its dependencies.
func moduleFiles(dir, name string) ([]string, error) {
	f, err := os.Open(path.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("module %s: find it: %w", name, err)
	}
	defer f.Close()
	want := moduleName(name)
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		file, deps, ok := strings.Cut(sc.Text(), ":")
		if ok && moduleName(file) == want {
			return append([]string{file}, strings.Fields(deps)...), nil
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("module %s: read modules.dep: %w", name, err)
	}
	return nil, fmt.Errorf("module %s: find it: %w in %s", name, os.ErrNotExist, dir)
}

// resolveAlias returns the modules whose aliases, which are patterns, match name (modules.alias: "alias PATTERN MODULE").
func resolveAlias(dir, name string) ([]string, error) {
	f, err := os.Open(path.Join(dir, "modules.alias"))
	if err != nil {
		return nil, fmt.Errorf("module %s: find it by its alias: %w", name, err)
	}
	defer f.Close()
	var found []string
	want := strings.ReplaceAll(name, "-", "_")
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		w := strings.Fields(sc.Text())
		if len(w) != 3 || w[0] != "alias" {
			continue
		}
		if ok, err := path.Match(strings.ReplaceAll(w[1], "-", "_"), want); ok && err == nil {
			found = append(found, w[2])
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("module %s: read modules.alias: %w", name, err)
	}
	return found, nil
}

// insertModule loads one module file. A module that is there already is no error.
func insertModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("module %s: open it: %w", moduleName(file), err)
	}
	defer f.Close()
	var flags int
	switch path.Ext(file) {
	case ".gz", ".xz", ".zst":
		flags = 4 // MODULE_INIT_COMPRESSED_FILE, include/uapi/linux/module.h
	}
	if err := unix.FinitModule(int(f.Fd()), "", flags); err != nil && err != unix.EEXIST {
		return fmt.Errorf("module %s: load it: %w", moduleName(file), err)
	}
	return nil
}
