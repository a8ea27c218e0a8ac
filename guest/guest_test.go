package guest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/tool", 0o755)
	write("bin/data", 0o644)
	write("sbin/data", 0o755)
	env := []string{"PATH=" + dir + "/bin:" + dir + "/sbin:" + dir + "/bin/tool"}
	for _, tc := range []struct {
		name, cmd, want string
		status          int
	}{
		{"by PATH", "tool", dir + "/bin/tool", 0},
		{"what is not executable is passed over", "data", dir + "/sbin/data", 0},
		{"absolute", dir + "/bin/tool", dir + "/bin/tool", 0},
		{"relative to the working directory", "./bin/tool", "./bin/tool", 0},
		{"missing", "nosuch", "", 127},
		{"missing with a slash", "./nosuch", "", 127},
		{"below a file", "./bin/tool/x", "", 127},
		{"not executable", "./bin/data", "", 126},
		{"a folder", "./bin", "", 126},
		{"empty", "", "", 127},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := lookPath([]string{tc.cmd}, env, dir)
			var se *startError
			if errors.As(err, &se) != (tc.status != 0) || se != nil && se.status != tc.status || got != tc.want {
				t.Errorf("lookPath(%q) = %q, %v; want %q and status %d", tc.cmd, got, err, tc.want, tc.status)
			}
		})
	}
}

func TestModuleFiles(t *testing.T) {
	dir := t.TempDir()
	dep := "kernel/fs/overlayfs/overlay.ko:\nkernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko kernel/net/llc/llc.ko\n"
	alias := "alias fs-overlay overlay\nalias net-pf-16-proto-*  nfnetlink\n"
	for name, text := range map[string]string{"modules.dep": dep, "modules.alias": alias} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := moduleFiles(dir, "bridge")
	want := []string{"kernel/net/bridge/bridge.ko.xz", "kernel/net/802/stp.ko", "kernel/net/llc/llc.ko"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("moduleFiles(bridge): %v, differs (-want +got):\n%s", err, diff)
	}
	if _, err := moduleFiles(dir, "over"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("moduleFiles(over) = %v; want that it doesn't exist", err)
	}
	names, err := resolveAlias(dir, "net-pf-16-proto-12")
	if diff := cmp.Diff([]string{"nfnetlink"}, names); err != nil || diff != "" {
		t.Errorf("resolveAlias: %v, differs (-want +got):\n%s", err, diff)
	}
}

func TestOverlayPath(t *testing.T) {
	if got, want := overlayPath(`/a,b:c\d`), `/a\,b\:c\\d`; got != want {
		t.Errorf("overlayPath = %q; want %q", got, want)
	}
}

func TestIsModprobe(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want bool
	}{
		{[]string{"/proc/1/exe", "-q", "--", "overlay"}, true},
		{[]string{"/proc/1/exe", "ip_tables", "-q"}, true},
		{[]string{"/run/bin/modprobe", "-va", "bridge", "br_netfilter"}, true},
		{[]string{"modprobe", "overlay"}, true},
		{[]string{"/init"}, false},
		{[]string{"/proc/1/exe"}, false},
		{[]string{"/init", "-q", "--", "overlay"}, false},
	} {
		if got := IsModprobe(tc.args); got != tc.want {
			t.Errorf("IsModprobe(%q) = %v; want %v", tc.args, got, tc.want)
		}
	}
}

func TestModprobeNames(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want []string // nil: refused
	}{
		{[]string{"-q", "--", "overlay"}, []string{"overlay"}},
		{[]string{"ip_tables", "-q"}, []string{"ip_tables"}},
		{[]string{"-va", "bridge", "br_netfilter"}, []string{"bridge", "br_netfilter"}},
		{[]string{"--all", "--quiet", "a", "b"}, []string{"a", "b"}},
		{[]string{"dummy", "numdummies=2"}, nil},
		{[]string{"-r", "overlay"}, nil},
		{[]string{"--show-depends", "overlay"}, nil},
	} {
		got, err := modprobeNames(tc.args)
		if diff := cmp.Diff(tc.want, got); diff != "" || (err != nil) != (tc.want == nil) {
			t.Errorf("modprobeNames(%q): %v, differs (-want +got):\n%s", tc.args, err, diff)
		}
	}
}

func TestLookUpUser(t *testing.T) {
	for _, tc := range []struct {
		spec     string
		uid, gid uint32
		fails    bool
	}{
		{"", 0, 0, false},
		{"root", 0, 0, false},
		{"1234567", 1234567, 1234567, false}, // numbers need no entry
		{"1234567:7", 1234567, 7, false},
		{"0:1234567", 0, 1234567, false},
		{"no-such-user", 0, 0, true},
		{"root:no-such-group", 0, 0, true},
	} {
		c, err := lookUpUser(tc.spec)
		if (err != nil) != tc.fails || err == nil && (c.uid != tc.uid || c.gid != tc.gid) {
			t.Errorf("lookUpUser(%q) = %+v, %v; want %d:%d, failure %v", tc.spec, c, err, tc.uid, tc.gid, tc.fails)
		}
	}
}

func TestEnvironKeepsWhatIsSet(t *testing.T) {
	c := &credentials{name: "u", home: "/home/u", shell: "/bin/sh"}
	got := c.environ([]string{"HOME=/elsewhere", "A=b"})
	want := []string{"HOME=/elsewhere", "A=b", "USER=u", "LOGNAME=u", "SHELL=/bin/sh"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environ differs (-want +got):\n%s", diff)
	}
}

func TestWithCores(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"processor\t: 0\nmodel\t: UML\n": "processor\t: 0\ncore id\t\t: 0\nmodel\t: UML\n",
		"processor\t: 0\nx\n\nprocessor\t: 1\nx\n\n": "processor\t: 0\ncore id\t\t: 0\nx\n\nprocessor\t: 1\ncore id\t\t: 1\nx\n\n",
		"x\nprocessors\t: 0":                         "x\nprocessors\t: 0",
	} {
		if got := string(withCores([]byte(text))); got != want {
			t.Errorf("withCores(%q) = %q, want %q", text, got, want)
		}
	}
}
