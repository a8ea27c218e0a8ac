package confine

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkNew measures what a boot waits for before its kernel starts.
func BenchmarkNew(b *testing.B) {
	home, err := os.UserHomeDir()
	if err != nil {
		b.Fatal(err)
	}
	p := Policy{
		Hide: []string{filepath.Join(home, ".ssh"), filepath.Join(home, ".config/gh"), "/etc/shadow", "/etc/ssh/ssh_host_rsa_key", "/run/secrets"},
	}
	s := Probe()
	for b.Loop() {
		d, err := New(s, p)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(d.rules.rules), "rules")
		d.Close()
	}
}
