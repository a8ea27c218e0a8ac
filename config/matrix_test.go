package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShortPaths(t *testing.T) {
	deep := strings.Repeat("/x", 300)
	tests := []struct {
		name        string
		paths, want []string
	}{
		{"none", nil, []string{}},
		{"one", []string{"/usr/bin/linux.uml"}, []string{"linux.uml"}},
		{"others", []string{"/a/linux", "/b/linux.uml"}, []string{"linux", "linux.uml"}},
		{"only those that need it", []string{"/opt/6.1/linux", "/opt/7.2/linux", "/usr/bin/linux.uml"}, []string{"6.1/linux", "7.2/linux", "linux.uml"}},
		{"to the end of one", []string{"linux", "/linux", "/a/linux", "/b/a/linux"}, []string{"linux", "/linux", "/a/linux", "b/a/linux"}},
		{"equal", []string{"/a/linux", "/a/linux"}, []string{"/a/linux", "/a/linux"}},
		{"the name of a block", []string{"/a/fast", "fast"}, []string{"a/fast", "./fast"}},
		{"the root", []string{"/", "."}, []string{"/", "."}},
		{"too deep to cut", []string{"/a" + deep, "/b" + deep}, []string{"/a" + deep, "/b" + deep}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, shortPaths(test.paths, map[string]bool{"fast": true})); diff != "" {
				t.Errorf("shortPaths (-want +got):\n%s", diff)
			}
		})
	}
}
