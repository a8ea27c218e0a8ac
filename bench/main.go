// The command bench measures sekexe against a floor: the same kernel, with the same memory, on one CPU, with a first process that does
// nothing but power it off. Floor and subject take turns, so that a busy machine is busy for both; the medians and their ratio are printed.
//
//	go run ./bench [-sekexe bin/sekexe] [-kernel PATH] [-n RUNS] [-json FILE] [SCENE...]
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A result is one line of the table.
type result struct {
	Scene string `json:"scene"`
	// Unit is that of Floor and Subject: "ms", "MB/s" or "MB".
	Unit           string  `json:"unit"`
	Floor, Subject float64 // 0: the scene has no floor
	Ratio          float64 `json:"ratio"`
	Budget         string  `json:"budget,omitempty"`
	Runs           int     `json:"runs"`
}

// A document is what -json writes, for comparing two commits.
type document struct {
	Schema  int       `json:"schema"` // 1
	Time    time.Time `json:"time"`
	Machine string    `json:"machine"`
	Kernel  string    `json:"kernel"`
	Results []result  `json:"results"`
}

func main() {
	run := bench
	if len(os.Args) == 3 && os.Args[1] == insideArg {
		run = func() error { return inside(os.Args[2]) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench() error {
	var e env
	flag.StringVar(&e.sekexe, "sekexe", "bin/sekexe", "the program to measure")
	flag.StringVar(&e.kernel, "kernel", "", "the kernel to boot (default: the one that sekexe takes)")
	flag.IntVar(&e.n, "n", 9, "how often each side of a scene runs")
	out := flag.String("json", "", "write the figures to this file, too")
	flag.Parse()
	if err := e.open(); err != nil {
		return err
	}
	defer e.close()
	doc := document{Schema: 1, Time: time.Now().UTC(), Machine: machine(), Kernel: e.version}
	fmt.Printf("%s; kernel %s\n\n| scene | floor | sekexe | ratio | budget |\n|---|---|---|---|---|\n", doc.Machine, doc.Kernel)
	for _, s := range append(scenes, fileScenes()...) {
		if flag.NArg() > 0 && !slices.ContainsFunc(flag.Args(), s.is) || flag.NArg() == 0 && s.long {
			continue
		}
		r, err := s.run(&e)
		if errors.Is(err, errSkip) {
			fmt.Fprintf(os.Stderr, "scene %s: %v\n", s.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("scene %s: %w", s.name, err)
		}
		r.Scene, r.Budget = s.name, s.budget
		if r.Floor > 0 {
			r.Ratio = r.Subject / r.Floor
		}
		fmt.Println(r.row())
		doc.Results = append(doc.Results, r)
	}
	if *out == "" {
		return nil
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(b, '\n'), 0o644)
}

func (r result) row() string {
	floor, ratio := "-", "-"
	if r.Floor > 0 {
		floor, ratio = fmt.Sprintf("%.1f %s", r.Floor, r.Unit), fmt.Sprintf("%.2f", r.Ratio)
	}
	return fmt.Sprintf("| %s | %s | %.1f %s | %s | %s |", r.Scene, floor, r.Subject, r.Unit, ratio, r.Budget)
}

// machine describes the host: its CPU, how many of them, its kernel.
func machine() string {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, l := range strings.Split(string(b), "\n") {
			if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d CPUs, Linux %s", model, runtime.NumCPU(), strings.TrimSpace(string(release)))
}

// median returns the middle of some figures.
func median(v []float64) float64 {
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
