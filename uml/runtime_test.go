package uml

import (
	"strings"
	"testing"

	"github.com/sekexe/sekexe/orchestrator"
)

// A kernel that the file says how to build is never replaced by the default one because nobody has found it.
func TestUnbuiltKernelIsRefused(t *testing.T) {
	rt := newFakeRuntime(t, "silent")
	i, err := rt.kernel(t.Context(), kernelKey{choice: orchestrator.KernelChoice{Name: "ours", Build: "Debian sid"}})
	if err == nil || !strings.Contains(err.Error(), "kernel ours: boot it: nobody has looked whether it is built") {
		t.Errorf("kernel() = %+v, %v; want an error", i, err)
	}
}
