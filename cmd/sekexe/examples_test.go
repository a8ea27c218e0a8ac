package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/orchestrator"
)

// TestExamples holds that every example can be planned.
func TestExamples(t *testing.T) {
	t.Parallel()
	files := []string{"../../sekexe.hcl.example"}
	for _, pattern := range []string{"../../examples/*.hcl", "../../examples/*/*.hcl"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("there are no examples %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	for _, f := range files {
		t.Run(strings.TrimPrefix(f, "../../"), func(t *testing.T) {
			dir, err := filepath.Abs(filepath.Dir(f))
			if err != nil {
				t.Fatal(err)
			}
			p, diags := config.Load(config.Options{Files: []string{filepath.Base(f)}, Dir: dir})
			if diags.Len() > 0 {
				var b strings.Builder
				if err := diags.WriteText(&b, 100, false); err != nil {
					t.Fatal(err)
				}
				t.Fatal(b.String())
			}
			if _, err := orchestrator.NewPlan(p); err != nil {
				t.Error(err)
			}
		})
	}
}
