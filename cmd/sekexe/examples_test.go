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
	files, err := filepath.Glob("../../examples/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, f := range append(files, "../../sekexe.hcl.example") {
		t.Run(filepath.Base(f), func(t *testing.T) {
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
