package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sekexe/sekexe/orchestrator"
)

// A reportTarget is one --report flag.
type reportTarget struct {
	format string
	file   string // "-": standard output
}

type reportTargets []reportTarget

var reportFormats = map[string]func(*orchestrator.Report, io.Writer) error{
	"json":  (*orchestrator.Report).WriteJSON,
	"junit": (*orchestrator.Report).WriteJUnit,
}

// parseReports reads --report.
func parseReports(flags []string) (reportTargets, error) {
	var ts reportTargets
	for _, f := range flags {
		format, file, ok := strings.Cut(f, "=")
		if reportFormats[format] == nil || !ok || file == "" {
			return nil, misuse("--report %s: want json=FILE or junit=FILE, with - for standard output", f)
		}
		ts = append(ts, reportTarget{format, file})
	}
	return ts, nil
}

// write writes the reports. A run without one has none to write.
func (ts reportTargets) write(r *orchestrator.Report) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, t := range ts {
		write := func(w io.Writer) error { return reportFormats[t.format](r, w) }
		if t.file == "-" {
			errs = append(errs, write(os.Stdout))
			continue
		}
		if err := writeWhole(t.file, write); err != nil {
			errs = append(errs, fmt.Errorf("report %s: write it: %w", t.file, err))
		}
	}
	return errors.Join(errs...)
}

// writeWhole writes a file in one step, so that nobody reads half of it.
func writeWhole(name string, write func(io.Writer) error) error {
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() { // such as /dev/stderr: it can't be replaced
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".sekexe-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// writeGitHub writes the summary and the annotations that GitHub Actions shows, where this is one of its steps.
func writeGitHub(r *orchestrator.Report) error {
	if name := os.Getenv("GITHUB_STEP_SUMMARY"); name != "" {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return fmt.Errorf("step summary: %w", err)
		}
		if err := errors.Join(r.WriteGitHubSummary(f), f.Close()); err != nil {
			return fmt.Errorf("step summary: write it: %w", err)
		}
	}
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		return r.WriteGitHubAnnotations(os.Stdout)
	}
	return nil
}
