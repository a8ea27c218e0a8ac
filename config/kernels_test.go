package config

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	kernelconfig "github.com/sekexe/sekexe/kernel/config"
)

// The language takes exactly the flavours that there are.
func TestFlavours(t *testing.T) {
	want := slices.Sorted(maps.Keys(kernelconfig.Flavours))
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(flavours))); diff != "" {
		t.Errorf("flavours (-there are +config has):\n%s", diff)
	}
}
