package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sekexe/sekexe"

// allowed are the only imports between packages of this module: see docs/architecture.md. cmd/sekexe may import everything.
var allowed = map[string][]string{
	"bench":                       {},
	"cmd/sekexe-init":             {"guest", "uml/reaper"},
	"cmd/sekexe-image":            {"image", "image/fetch"},
	"cmd/sekexe-docker":           {"guest/docker"},
	"cmd/sekexe/internal/rundir":  {},
	"cmd/sekexe/internal/doctor":  {"kernel"},
	"cmd/sekexe/internal/fscheck": {},
	"config":                      {},
	"orchestrator":                {"config"},
	"uml":                         {"orchestrator", "kernel", "guest", "guest/wire", "uml/confine", "uml/ext4", "uml/reaper", "uml/seed", "uml/tmpfs"},
	"uml/confine":                 {},
	"uml/ext4":                    {},
	"uml/reaper":                  {},
	"uml/seed":                    {"uml/ext4"},
	"uml/tmpfs":                   {},
	"guest":                       {"guest/wire"},
	"guest/docker":                {"guest/wire"},
	"guest/wire":                  {},
	"network": {
		"orchestrator", "network/dhcp", "network/forward", "network/frames", "network/impair", "network/kernelnet", "network/names", "network/netstack", "network/pcapng",
		"network/publish", "network/vswitch",
	},
	"network/dhcp":      {},
	"network/forward":   {"network/frames", "network/netstack", "network/relay"},
	"network/frames":    {},
	"network/impair":    {"network/frames"},
	"network/kernelnet": {},
	"network/names":     {},
	"network/netstack":  {"network/relay"},
	"network/pcapng":    {},
	"network/publish":   {"network/relay"},
	"network/relay":     {},
	"network/vswitch":   {"network/frames", "network/impair"},
	"image":             {},
	"image/fetch":       {"image"},
	"image/imagetest":   {},
	"kernel":            {},
	"kernel/config":     {},
	"kernel/build":      {"kernel", "kernel/config"},
}

func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		w := strings.Fields(l)
		pkg := strings.TrimPrefix(w[0], module+"/")
		if pkg == "cmd/sekexe" {
			continue
		}
		ok, known := allowed[pkg]
		if !known {
			t.Errorf("package %s: which packages it may import is not laid down", pkg)
		}
		for _, i := range w[1:] {
			if i, ours := strings.CutPrefix(i, module+"/"); ours && !slices.Contains(ok, i) {
				t.Errorf("package %s imports %s, which it may not", pkg, i)
			}
		}
	}
}
