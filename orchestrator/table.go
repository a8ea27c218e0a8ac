package orchestrator

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// consoleLines is how many lines of a kernel's log stand below the table for a failure.
const consoleLines = 10

// minColumn is the width to which the table shrinks a column at most.
const minColumn = 8

// WriteTable writes the report for people: a table with a line for each sub-kernel, and for each step where there are several, and below it
// the tests on each kernel, where a matrix has several, and the failures with their reason, what to do, and the end of the kernel's log where that may explain it. Names and reasons are cut to width
// columns, 0: not at all; other text is never cut. The error is the writer's.
func (r *Report) WriteTable(w io.Writer, width int, color bool) error {
	t := table{width: width, color: color}
	t.add(style(""), "NAME", "OUTCOME", "STATUS", "KERNEL", "BOOT", "TIME", "MEMORY")
	for i := range r.Subkernels {
		r.Subkernels[i].addRows(&t)
	}
	var b strings.Builder
	t.write(&b)
	newGrid(r).write(&b, width, color)
	for i := range r.Subkernels {
		if sub := &r.Subkernels[i]; !sub.OK && !sub.neverStarted() {
			sub.writeFailure(&b, color)
		}
	}
	r.writeUnstarted(&b, color)
	b.WriteString("\n" + r.summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// addRows adds the row of a sub-kernel, and those of its steps if it has several.
func (r *SubkernelReport) addRows(t *table) {
	row := []string{escape(r.Name), string(r.Outcome), fmt.Sprint(r.Status), escapeGuest(r.KernelVersion), "", "", ""}
	if r.Up > 0 {
		row[4] = formatDuration(r.Up)
	}
	if r.Total > 0 {
		row[5] = formatDuration(r.Total)
	}
	if r.PeakMemory > 0 {
		row[6] = formatBytes(r.PeakMemory)
	}
	t.add(rowStyle(r.OK, r.Outcome), row...)
	if len(r.Steps) < 2 {
		return
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		duration := ""
		if s.Duration > 0 {
			duration = formatDuration(s.Duration)
		}
		t.add(rowStyle(s.OK, s.Outcome), "  "+escape(s.Name), string(s.Outcome), fmt.Sprint(s.Status), "", "", duration, "")
	}
}

// rowStyle is green for success, yellow for what did not come to run, red for a failure.
func rowStyle(ok bool, o Outcome) style {
	switch {
	case ok:
		return "32"
	case o == Skipped || o == Cancelled:
		return "33"
	default:
		return "31"
	}
}

// writeFailure writes why a sub-kernel failed.
func (r *SubkernelReport) writeFailure(b *strings.Builder, color bool) {
	name := escape(r.Name)
	if color {
		name = rowStyle(false, r.Outcome).apply(name)
	}
	fmt.Fprintf(b, "\n%s: %s: %s\n", name, r.Outcome, escape(r.Reason))
	if r.Hint != "" {
		fmt.Fprintf(b, "  hint: %s\n", escape(r.Hint))
	}
	if r.Logs != "" {
		fmt.Fprintf(b, "  logs: %s\n", escape(r.Logs))
	}
	if r.Docker != nil && len(r.Docker.Log) > 0 {
		b.WriteString("  the end of dockerd's log:\n")
		for _, line := range lastLines(r.Docker.Log, consoleLines) {
			fmt.Fprintf(b, "    %s\n", escapeGuest(line))
		}
	}
	if len(r.Console) > 0 {
		b.WriteString("  the end of the kernel's log:\n")
		for _, line := range lastLines(r.Console, consoleLines) {
			fmt.Fprintf(b, "    %s\n", escapeGuest(line))
		}
	}
}

// writeUnstarted writes why sub-kernels never started, those with the same reason together.
func (r *Report) writeUnstarted(b *strings.Builder, color bool) {
	const namesShown = 5
	names := make(map[string][]string) // by what happened to them
	var order []string
	for i := range r.Subkernels {
		sub := &r.Subkernels[i]
		if sub.OK || !sub.neverStarted() {
			continue
		}
		what := fmt.Sprintf("%s: %s", sub.Outcome, escape(sub.Reason))
		if names[what] == nil {
			order = append(order, what)
		}
		name := escape(sub.Name)
		if color {
			name = rowStyle(false, sub.Outcome).apply(name)
		}
		names[what] = append(names[what], name)
	}
	for _, what := range order {
		who := strings.Join(names[what][:min(namesShown, len(names[what]))], ", ")
		if more := len(names[what]) - namesShown; more > 0 {
			who += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(b, "\n%s: %s\n", who, what)
	}
}

func lastLines(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }

// summary counts: "3 sub-kernels in 1.2s: 2 as expected, 1 failed, 1 skipped".
func (r *Report) summary() string {
	var ok, skipped, cancelled, failed int
	for i := range r.Subkernels {
		switch sub := &r.Subkernels[i]; {
		case sub.OK:
			ok++
		case sub.Outcome == Skipped:
			skipped++
		case sub.Outcome == Cancelled:
			cancelled++
		default:
			failed++
		}
	}
	parts := []string{fmt.Sprintf("%d as expected", ok)}
	for _, c := range []struct {
		n    int
		word string
	}{{failed, "failed"}, {skipped, "skipped"}, {cancelled, "cancelled"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	text := fmt.Sprintf("%s in %s: %s", plural(len(r.Subkernels), "sub-kernel"), formatDuration(r.Duration), strings.Join(parts, ", "))
	switch {
	case r.Interrupted:
		text += "; the run was interrupted"
	case r.TimedOut:
		text += "; the run's time was up"
	}
	return text
}

// A style is the parameters of an SGR sequence.
type style string

func (s style) apply(text string) string {
	if s == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + sgrReset
}

// A table aligns cells by columns.
type table struct {
	width int // columns of the terminal; 0: any number
	color bool
	rows  [][]string
	style [][]style // of the cells of each row; those that are missing have none
}

// add adds a row, of which the second cell has a style.
func (t *table) add(s style, cells ...string) { t.addStyled([]style{"", s}, cells) }

func (t *table) addStyled(styles []style, cells []string) {
	t.rows = append(t.rows, cells)
	t.style = append(t.style, styles)
}

// write writes the rows with two spaces between columns, leaving out columns that are empty below their heading.
func (t *table) write(b *strings.Builder) {
	columns := t.columns()
	widths := t.widths(columns)
	for i, row := range t.rows {
		var line strings.Builder
		for at, c := range columns {
			text := ansi.Truncate(row[c], widths[at], "…")
			cell := pad(text, widths[at])
			if t.color && c < len(t.style[i]) {
				cell = t.style[i][c].apply(text) + cell[len(text):]
			}
			if at > 0 {
				line.WriteString("  ")
			}
			line.WriteString(cell)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

func (t *table) columns() []int {
	var columns []int
	for c := range t.rows[0] {
		if slices.ContainsFunc(t.rows[1:], func(row []string) bool { return row[c] != "" }) {
			columns = append(columns, c)
		}
	}
	return columns
}

// widths gives each column the width of its widest cell, and takes what the terminal lacks from the widest ones.
func (t *table) widths(columns []int) []int {
	widths := make([]int, len(columns))
	total := -2
	for at, c := range columns {
		for _, row := range t.rows {
			widths[at] = max(widths[at], ansi.StringWidth(row[c]))
		}
		total += widths[at] + 2
	}
	if t.width <= 0 {
		return widths
	}
	for ; total > t.width; total-- {
		widest := 0
		for at := range widths {
			if widths[at] > widths[widest] {
				widest = at
			}
		}
		if widths[widest] <= minColumn {
			break
		}
		widths[widest]--
	}
	return widths
}
