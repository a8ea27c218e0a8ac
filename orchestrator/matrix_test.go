package orchestrator

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

// newMatrixReport is a report of two blocks with matrices, one with a kernel that the other has not, and of a block without a kernel in its matrix.
func newMatrixReport() *Report {
	sub := func(block string, o Outcome, status int, values ...string) SubkernelReport {
		s := SubkernelReport{Block: block, OK: o == Exited && status == 0, Result: Result{Outcome: o, Status: status}, Expect: Expect{Exit: []int{0}, Outcome: Exited}}
		if !s.OK {
			s.Reason = "it " + describe(o, status, status-128)
		}
		keys := []string{"db", "kernel"}
		for i, v := range values {
			s.Matrix = append(s.Matrix, MatrixValue{keys[len(keys)-len(values)+i], v})
		}
		s.Name = block + `["` + strings.Join(values, "/") + `"]`
		return s
	}
	alone := SubkernelReport{Name: "alone", Block: "alone", OK: true, Result: Result{Outcome: Exited}}
	letters := sub("letters", Exited, 0, "a", "x")
	letters.Name, letters.Matrix = `letters["a"]`, []MatrixValue{{"letter", "a"}}
	panicked := sub("boot", Panicked, StatusFailed, "distro")
	panicked.OK, panicked.Expect.Outcome = true, Panicked
	return &Report{Project: "lab", Subkernels: []SubkernelReport{
		alone, letters,
		sub("test", Exited, 0, "pg", "distro"), sub("test", Exited, 1, "pg", "7.2/linux"),
		sub("test", Exited, 0, "my|\x1b[2J", "distro"), sub("test", Signalled, 137, "my|\x1b[2J", "7.2/linux"),
		panicked, sub("boot", BootFailed, StatusFailed, "next"), sub("boot", Skipped, StatusFailed, "7.2/linux"),
	}}
}

func TestGridGolden(t *testing.T) {
	r := newMatrixReport()
	for name, write := range map[string]func(w io.Writer) error{
		"matrix.txt":        func(w io.Writer) error { return r.WriteTable(w, 0, false) },
		"matrix-narrow.txt": func(w io.Writer) error { return r.WriteTable(w, 44, false) },
		"matrix-color.txt":  func(w io.Writer) error { return r.WriteTable(w, 120, true) },
		"matrix.md":         r.WriteGitHubSummary,
		"matrix.xml":        r.WriteJUnit,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, name, b.String())
		})
	}
}

func TestGridNeedsTwoKernels(t *testing.T) {
	r := newMatrixReport()
	r.Subkernels = r.Subkernels[:3] // of which one has a kernel
	var table, summary strings.Builder
	if err := r.WriteTable(&table, 0, false); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteGitHubSummary(&summary); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(table.String(), "TEST") || strings.Contains(summary.String(), "| test |") {
		t.Errorf("there is a table by kernel for one kernel:\n%s\n%s", table.String(), summary.String())
	}
}

// TestGridWidth holds that the grid is never wider than the terminal as long as one column fits beside half of it, and shows every cell.
func TestGridWidth(t *testing.T) {
	g := newGrid(newMatrixReport())
	for width := 34; width < 100; width++ {
		var b strings.Builder
		g.write(&b, width, false)
		for line := range strings.Lines(b.String()) {
			if n := ansi.StringWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("width %d: a line has %d columns:\n%s", width, n, b.String())
			}
		}
		for _, cell := range []string{"exited 1", "signalled 137", "boot-failed 125", "skipped 125", "distro", "7.2/linux", "next"} {
			if !strings.Contains(b.String(), cell) {
				t.Fatalf("width %d: there is no %q:\n%s", width, cell, b.String())
			}
		}
	}
}

func TestReportJSONHasMatrix(t *testing.T) {
	var b bytes.Buffer
	if err := newMatrixReport().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Subkernels []struct {
			Block  string
			Matrix map[string]string
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := got
	want.Subkernels = append(want.Subkernels[:0:0], want.Subkernels...)
	want.Subkernels[0].Block, want.Subkernels[0].Matrix = "alone", map[string]string{}
	want.Subkernels[3].Block, want.Subkernels[3].Matrix = "test", map[string]string{"db": "pg", "kernel": "7.2/linux"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}
