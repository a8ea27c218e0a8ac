package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptDockerd is "dockerd FILE": it prints what the JSON report in the file says of each sub-kernel's Docker daemon, as lines
// "NAME IMAGE...; loaded|not loaded, no seed|seed was there|prepared a seed".
func scriptDockerd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: dockerd FILE")
	}
	var r struct {
		Subkernels []struct {
			Name   string
			Docker *struct {
				LoadMS float64 `json:"load_ms"`
				SeedMS float64 `json:"seed_ms"`
				Images []string
			}
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &r))
	for _, s := range r.Subkernels {
		if s.Docker == nil {
			ts.Fatalf("%s has no Docker daemon", s.Name)
		}
		d := s.Docker
		slices.Sort(d.Images)
		loaded, seed := "not loaded", "no seed"
		if d.LoadMS > 0 {
			loaded = "loaded"
		}
		switch {
		case d.SeedMS > 0:
			seed = "prepared a seed"
		case loaded == "not loaded":
			seed = "seed was there"
		}
		fmt.Fprintf(ts.Stdout(), "%s %s; %s, %s\n", s.Name, strings.Join(d.Images, " "), loaded, seed)
	}
}
