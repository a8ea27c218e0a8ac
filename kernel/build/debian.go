package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sekexe/sekexe/kernel"
)

// Debian fetches the newest linux-source package of a suite, such as bookworm or sid, by apt from the mirror that this machine is
// configured for, into the folder dir. It needs no root: apt gets folders of its own. A package that is there already is not fetched again.
func Debian(ctx context.Context, suite, dir string) (*Source, error) {
	if !regexp.MustCompile(`^[a-z][a-z0-9/-]*$`).MatchString(suite) {
		return nil, withHint(fmt.Errorf("suite %q: fetch its kernel source: that is no name of a suite", suite), "write a suite such as bookworm or sid")
	}
	a, err := newApt(ctx, suite, filepath.Join(dir, "debian-"+strings.ReplaceAll(suite, "/", "-")))
	if err != nil {
		return nil, fmt.Errorf("suite %s: fetch its kernel source: %w", suite, err)
	}
	pkg, version, err := a.newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("suite %s: find its kernel source: %w", suite, err)
	}
	tarball, err := a.tarball(ctx, pkg, version)
	if err != nil {
		return nil, fmt.Errorf("suite %s: fetch %s: %w", suite, pkg, err)
	}
	s, err := openTarball(ctx, tarball)
	if err != nil {
		return nil, err
	}
	s.Origin = "Debian " + suite + " " + pkg + " " + version
	return s, nil
}

// An apt is apt-get with lists and a cache of its own, for one suite.
type apt struct {
	dir  string
	args []string
}

// newApt writes a list of sources and brings the package lists up to date.
func newApt(ctx context.Context, suite, dir string) (*apt, error) {
	uri, err := mirror(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	keyring := ""
	if k := "/usr/share/keyrings/debian-archive-keyring.gpg"; exists(k) {
		keyring = "[signed-by=" + k + "] "
	}
	list := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(list, []byte("deb "+keyring+uri+" "+suite+" main\n"), 0o644); err != nil {
		return nil, err
	}
	a := &apt{dir: dir, args: []string{
		"-o", "Dir::Etc::SourceList=" + list, "-o", "Dir::Etc::SourceParts=/dev/null", "-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "APT::Sandbox::User=", "-q",
	}}
	return a, run(ctx, dir, nil, append([]string{"apt-get", "update"}, a.args...)...)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// mirror is the URI of Debian's archive in this machine's configuration (apt-get(8), indextargets).
func mirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return "", withHint(fmt.Errorf("ask apt for its mirror: %w", err), "this needs Debian's apt: elsewhere, use --source or --version")
	}
	for _, l := range strings.Split(string(out), "\n") {
		if label, uri, ok := strings.Cut(l, " "); ok && label == "Debian" && uri != "" {
			return uri, nil
		}
	}
	return "", withHint(errors.New("find Debian's mirror in apt's configuration: there is none"), "run apt-get update first, or use --source or --version")
}

var sourcePackage = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^linux-source-([0-9.]+)$`) })

// newest returns the newest linux-source package and its version.
func (a *apt) newest(ctx context.Context) (pkg, version string, err error) {
	out, err := exec.CommandContext(ctx, "apt-cache", append(slices.Clone(a.args), "pkgnames", "linux-source-")...).Output()
	if err != nil {
		return "", "", err
	}
	best := ""
	for _, n := range strings.Fields(string(out)) {
		if m := sourcePackage().FindStringSubmatch(n); m != nil && (best == "" || kernel.CompareVersions(m[1], best) > 0) {
			best = m[1]
		}
	}
	if best == "" {
		return "", "", errors.New("it has no package linux-source-VERSION")
	}
	pkg = "linux-source-" + best
	out, err = exec.CommandContext(ctx, "apt-cache", append(slices.Clone(a.args), "show", "--no-all-versions", pkg)...).Output()
	if err != nil {
		return "", "", err
	}
	for _, l := range strings.Split(string(out), "\n") {
		if v, ok := strings.CutPrefix(l, "Version: "); ok {
			return pkg, strings.TrimSpace(v), nil
		}
	}
	return "", "", fmt.Errorf("apt says nothing of the version of %s", pkg)
}

// tarball fetches a package and takes the tarball out of it.
func (a *apt) tarball(ctx context.Context, pkg, version string) (string, error) {
	dir := filepath.Join(a.dir, pkg+"_"+strings.ReplaceAll(version, ":", "_"))
	find := func() string {
		m, _ := filepath.Glob(filepath.Join(dir, "usr/src", pkg+".tar.*"))
		if len(m) == 0 {
			return ""
		}
		return m[0]
	}
	if t := find(); t != "" {
		return t, nil
	}
	tmp := dir + ".partial"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return "", err
	}
	if err := run(ctx, tmp, nil, append([]string{"apt-get", "download", pkg + "=" + version}, a.args...)...); err != nil {
		return "", err
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(debs) != 1 {
		return "", errors.New("apt has fetched nothing")
	}
	if err := run(ctx, tmp, nil, "dpkg-deb", "-x", debs[0], tmp); err != nil {
		return "", err
	}
	if err := errors.Join(os.Remove(debs[0]), os.Rename(tmp, dir)); err != nil {
		return "", err
	}
	t := find()
	if t == "" {
		return "", fmt.Errorf("package %s has no tarball in usr/src", pkg)
	}
	return t, nil
}

// InstallTools installs by apt what Missing lists; as root, or by sudo. What apt prints goes to stderr.
func InstallTools(ctx context.Context, pkgs []string) error {
	if len(pkgs) == 0 {
		return nil
	}
	argv := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, pkgs...)
	if os.Getuid() != 0 {
		argv = append([]string{"sudo"}, argv...)
	}
	if err := run(ctx, "", os.Stderr, argv...); err != nil {
		return withHint(fmt.Errorf("build: install its tools: %w", err), "have root run: apt-get install "+strings.Join(pkgs, " "))
	}
	return nil
}
