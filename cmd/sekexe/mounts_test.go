package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekexe/sekexe/kernel"
)

var updateMounts = flag.Bool("update-mounts", false, "rewrite what testdata/mounts says of this kernel and user")

// mountKinds are the kinds of mounts that TestMounts writes to, with where they lie.
var mountKinds = []string{"rw", "overlay", "root", "tmpfs", "disk"}

const mountsFile = `subkernel "a" {
  memory  = "256M"
  network = "none"
  mount "/m/ro" { source = "tree" }
  mount "/m/rw" {
    source = "rw"
    mode   = "rw"
  }
  mount "/m/overlay" {
    source = "overlay"
    mode   = "overlay"
  }
  tmpfs "/m/tmpfs" {}
  disk "/m/disk" { size = "1G" }
  mount "/m/read-rw" {
    source = "tree"
    mode   = "rw"
  }
  mount "/m/read-overlay" {
    source = "tree"
    mode   = "overlay"
  }
  mount "/m/change-rw" {
    source = "change-rw"
    mode   = "rw"
  }
  mount "/m/change-overlay" {
    source = "change-overlay"
    mode   = "overlay"
  }
  copy_out = { "/m/out" = "out" }
  step "read" { command = "mkdir /m/root /m/out && ./fscheck -read /m/ro >/m/out/ro" }
  dynamic "step" {
    for_each = ["rw", "overlay"]
    labels   = ["read ${step.value}"]
    content { command = "./fscheck -read /m/read-${step.value} >/m/out/read-${step.value} && ./fscheck -change /m/change-${step.value} >/m/out/change-${step.value}" }
  }
  dynamic "step" {
    for_each = ["rw", "overlay", "root", "tmpfs", "disk"]
    labels   = [step.value]
    content { command = "./fscheck /m/${step.value} >/m/out/${step.value}" }
  }
  workdir = path.root
}
`

// TestMounts compares how files behave on each kind of mount with the host's own file system: it runs the same program on both. Where
// they differ is laid down in testdata/mounts, for each kernel that the project is tested with, as root and as an ordinary user; of another
// kernel, no differences are accepted but those that one of these has.
func TestMounts(t *testing.T) {
	t.Parallel()
	s := testSandbox(t)
	build := exec.Command("go", "build", "-o", filepath.Join(s.dir, "fscheck"), "./internal/fscheck")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build fscheck: %v\n%s", err, out)
	}
	for _, d := range []string{"host", "tree", "rw", "overlay", "change-host", "change-rw", "change-overlay"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.fscheck(t, "-make", "tree")
	for _, d := range []string{"change-host", "change-rw", "change-overlay"} {
		s.fscheck(t, "-some", d)
	}
	written, read, changed := s.fscheck(t, "host"), s.fscheck(t, "-read", "tree"), s.fscheck(t, "-change", "change-host")
	s.write(t, "sekexe.hcl", mountsFile)
	if out, err := s.command(t, "up", "--progress", "quiet").CombinedOutput(); err != nil {
		t.Fatalf("up: %v\n%s", err, out)
	}
	var diffs []string
	for _, kind := range []string{"rw", "overlay"} {
		diffs = append(diffs, differences(t, kind, read, s.results(t, "read-"+kind))...)
	}
	for _, kind := range []string{"rw", "overlay"} {
		diffs = append(diffs, differences(t, kind, changed, s.results(t, "change-"+kind))...)
	}
	for name, want := range read { // there is nothing on the host to compare it with
		if strings.HasPrefix(name, "refuses ") && want == skippedCheck {
			read[name] = "EROFS"
		}
	}
	diffs = append(diffs, differences(t, "ro", read, s.results(t, "ro"))...)
	for _, kind := range mountKinds {
		diffs = append(diffs, differences(t, kind, written, s.results(t, kind))...)
	}
	checkDifferences(t, diffs)
}

// skippedCheck is what fscheck prints of a check that can't be done.
const skippedCheck = "skipped"

// fscheck runs the program on the host, and returns what it says, by check.
func (s *sandbox) fscheck(t *testing.T, args ...string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./fscheck", args...)
	cmd.Dir = s.dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fscheck %q: %v", args, err)
	}
	return parseChecks(t, string(out))
}

// results returns what fscheck said in the guest.
func (s *sandbox) results(t *testing.T, kind string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "out", kind))
	if err != nil {
		t.Fatal(err)
	}
	return parseChecks(t, string(b))
}

func parseChecks(t *testing.T, out string) map[string]string {
	t.Helper()
	checks := map[string]string{}
	for line := range strings.Lines(out) {
		name, result, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			t.Fatalf("fscheck printed %q", line)
		}
		checks[name] = result
	}
	return checks
}

// differences returns a line for each check that has another result than on the host.
func differences(t *testing.T, kind string, host, guest map[string]string) []string {
	t.Helper()
	var diffs []string
	if len(host) < 7 {
		t.Errorf("%s: only %d checks", kind, len(host))
	}
	for name, want := range host {
		got, ok := guest[name]
		switch {
		case !ok:
			t.Errorf("%s: %s: there is no result", kind, name)
		case want != skippedCheck && got != want:
			line := fmt.Sprintf("%s: %s: %s (host: %s)", kind, name, got, want)
			diffs = append(diffs, strings.ReplaceAll(line, fmt.Sprintf(" %d:%d ", os.Getuid(), os.Getgid()), " UID:GID "))
		}
	}
	slices.Sort(diffs)
	return diffs
}

// checkDifferences holds the differences against what is laid down.
func checkDifferences(t *testing.T, diffs []string) {
	t.Helper()
	user := "user"
	if os.Getuid() == 0 {
		user = "root"
	}
	file := filepath.Join("testdata/mounts", kernelSeries(t)+"-"+user+".txt")
	text := strings.Join(diffs, "\n") + "\n"
	if *updateMounts {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err == nil {
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s says otherwise; go test ./cmd/sekexe -run TestMounts -update-mounts rewrites it (-want +got):\n%s", file, diff)
		}
		return
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	known := knownDifferences(t)
	for _, d := range diffs {
		if !slices.Contains(known, checkOf(d)) {
			t.Errorf("a difference that no kernel is known to have: %s", d)
		}
	}
}

// kernelSeries is such as "6.1".
func kernelSeries(t *testing.T) string {
	t.Helper()
	path, err := testKernel()
	if err != nil {
		t.Fatal(err)
	}
	info, err := kernel.NewFinder("").Resolve(context.Background(), kernel.Choice{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	w := strings.SplitN(info.Version, ".", 3)
	return strings.Join(w[:min(len(w), 2)], ".")
}

// checkOf is the beginning of a difference, such as "rw: holes".
func checkOf(diff string) string {
	w := strings.SplitN(diff, ": ", 3)
	return strings.Join(w[:min(len(w), 2)], ": ")
}

// knownDifferences are the checks that differ with any kernel.
func knownDifferences(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/mounts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/mounts: %v, %d files", err, len(files))
	}
	var known []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			known = append(known, checkOf(line))
		}
	}
	slices.Sort(known)
	return slices.Compact(known)
}

// TestMountsDocs holds that docs/mounts.md has a row for each check that differs, and none for another.
func TestMountsDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/mounts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "<!-- differences -->")
	table, _, end := strings.Cut(table, "<!-- end of differences -->")
	if !ok || !end {
		t.Fatal("docs/mounts.md has no table of differences")
	}
	documented := map[string]bool{}
	for line := range strings.Lines(table) {
		if w := strings.Split(line, "|"); len(w) > 3 && !strings.HasPrefix(w[1], "-") && strings.TrimSpace(w[1]) != "check" {
			documented[strings.TrimSpace(w[1])] = true
		}
	}
	for _, k := range knownDifferences(t) {
		_, check, _ := strings.Cut(k, ": ")
		if _, ok := documented[check]; !ok {
			t.Errorf("docs/mounts.md doesn't say that %q differs", check)
			continue
		}
		documented[check] = false
	}
	for check, left := range documented {
		if left {
			t.Errorf("docs/mounts.md says that %q differs, and it doesn't", check)
		}
	}
}
