package orchestrator

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// A MatrixValue is one element of a matrix.
type MatrixValue struct{ Key, Value string }

// kernelKey is the key of a matrix whose elements are kernels.
const kernelKey = "kernel"

// matrixText writes elements for people.
func matrixText(values []MatrixValue) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.Key + " = " + v.Value
	}
	return strings.Join(texts, ", ")
}

// place returns which test the sub-kernel is, by its block and the elements that are no kernel, and on which kernel. It reports false if there is
// no kernel in its matrix.
func (r *SubkernelReport) place() (test, kernel string, ok bool) {
	var others []string
	for _, v := range r.Matrix {
		if v.Key == kernelKey {
			kernel, ok = v.Value, true
		} else {
			others = append(others, v.Value)
		}
	}
	if len(others) == 0 {
		return r.Block, kernel, ok
	}
	return r.Block + "[" + strconv.Quote(strings.Join(others, "/")) + "]", kernel, ok
}

// A grid is a report by test and kernel.
type grid struct {
	tests, kernels []string
	cells          [][]*SubkernelReport // by test, then by kernel; nil: there is no such sub-kernel
}

// newGrid returns the grid of those with a kernel in their matrix, in the order of the report.
func newGrid(r *Report) *grid {
	g := &grid{}
	tests, kernels := map[string]int{}, map[string]int{}
	for i := range r.Subkernels {
		test, kernel, ok := r.Subkernels[i].place()
		if !ok {
			continue
		}
		row, col := indexOf(tests, &g.tests, test), indexOf(kernels, &g.kernels, kernel)
		if row == len(g.cells) {
			g.cells = append(g.cells, nil)
		}
		for col >= len(g.cells[row]) {
			g.cells[row] = append(g.cells[row], nil)
		}
		g.cells[row][col] = &r.Subkernels[i]
	}
	return g
}

// indexOf returns the index of a name, which it adds to the list if it is new.
func indexOf(index map[string]int, list *[]string, name string) int {
	i, ok := index[name]
	if !ok {
		i = len(*list)
		index[name] = i
		*list = append(*list, name)
	}
	return i
}

// hasSeveralKernels says that the grid is worth showing: with one kernel, it would say nothing new.
func (g *grid) hasSeveralKernels() bool { return len(g.kernels) > 1 }

// cell returns the sub-kernel of a test on a kernel, or nil.
func (g *grid) cell(test, kernel int) *SubkernelReport {
	if kernel < len(g.cells[test]) {
		return g.cells[test][kernel]
	}
	return nil
}

// verdict is "ok", or how it ended.
func (r *SubkernelReport) verdict() string {
	switch {
	case r == nil:
		return ""
	case r.OK:
		return "ok"
	default:
		return fmt.Sprintf("%s %d", r.Outcome, r.Status)
	}
}

// write writes the grid as a table, or as several below each other, of as many kernels as width has columns for; 0: all.
func (g *grid) write(b *strings.Builder, width int, color bool) {
	if !g.hasSeveralKernels() {
		return
	}
	for from := 0; from < len(g.kernels); {
		to := g.fitting(from, width)
		b.WriteString("\n")
		g.writeKernels(b, from, to, table{width: width, color: color})
		from = to
	}
}

// fitting returns the end of the kernels that fit beside each other, at least one.
func (g *grid) fitting(from, width int) int {
	if width <= 0 {
		return len(g.kernels)
	}
	left := width
	for _, test := range g.tests {
		left = min(left, width-ansi.StringWidth(escape(test)))
	}
	left = max(left, width/2) // a long name is cut
	to := from
	for ; to < len(g.kernels); to++ {
		if left -= 2 + g.kernelWidth(to); left < 0 {
			break
		}
	}
	return max(to, from+1)
}

// kernelWidth is the width of a kernel's column.
func (g *grid) kernelWidth(kernel int) int {
	width := ansi.StringWidth(escape(g.kernels[kernel]))
	for test := range g.tests {
		width = max(width, len(g.cell(test, kernel).verdict()))
	}
	return width
}

// writeKernels writes the columns of some kernels, without the tests that none of them has.
func (g *grid) writeKernels(b *strings.Builder, from, to int, t table) {
	head := []string{"TEST"}
	for _, kernel := range g.kernels[from:to] {
		head = append(head, escape(kernel))
	}
	t.addStyled(nil, head)
	for test, name := range g.tests {
		row, styles := []string{escape(name)}, []style{""}
		empty := true
		for kernel := from; kernel < to; kernel++ {
			r, s := g.cell(test, kernel), style("")
			if r != nil {
				s, empty = rowStyle(r.OK, r.Outcome), false
			}
			row, styles = append(row, r.verdict()), append(styles, s)
		}
		if !empty {
			t.addStyled(styles, row)
		}
	}
	t.write(b)
}

// writeMarkdown writes the grid as a table of Markdown.
func (g *grid) writeMarkdown(b *strings.Builder) {
	if !g.hasSeveralKernels() {
		return
	}
	b.WriteString("\n| test |")
	for _, kernel := range g.kernels {
		fmt.Fprintf(b, " %s |", markdown(kernel))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(g.kernels)) + "\n")
	for test, name := range g.tests {
		fmt.Fprintf(b, "| %s |", markdown(name))
		for kernel := range g.kernels {
			if r := g.cell(test, kernel); r != nil {
				fmt.Fprintf(b, " %s %s |", r.mark(), r.verdict())
			} else {
				b.WriteString("  |")
			}
		}
		b.WriteString("\n")
	}
}
