package names

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestResolvers changes a file in the ways in which resolv.conf changes.
func TestResolvers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "resolv.conf")
	c := resolvConf{path: file}
	check := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, a := range c.get() {
			got = append(got, a.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", what, diff)
		}
	}
	write := func(name, text string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(name, when, when); err != nil {
			t.Fatal(err)
		}
	}
	check("no file")
	write(file, "# none\nsearch example.com\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver nobody\nnameserver\n", time.Hour)
	check("a file", "192.0.2.1:53", "[fe80::1%eth0]:53")
	check("the same again", "192.0.2.1:53", "[fe80::1%eth0]:53")
	write(file, "nameserver 192.0.2.2\n", 30*time.Minute)
	check("written anew", "192.0.2.2:53")
	write(file+".new", "nameserver 192.0.2.3\n", 30*time.Minute)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	check("replaced by one of the same age and size", "192.0.2.3:53")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check("removed")
}

func TestHostResolvers(t *testing.T) {
	for _, a := range HostResolvers() {
		if !a.IsValid() || a.Port() != dnsPort {
			t.Errorf("got %s", a)
		}
	}
}
