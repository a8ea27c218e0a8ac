package orchestrator

import (
	"fmt"
	"io"
	"strings"
)

// WriteGitHubSummary writes the report as the Markdown of a step summary, for the file that GITHUB_STEP_SUMMARY names. The error is the
// writer's.
func (r *Report) WriteGitHubSummary(w io.Writer) error {
	var b strings.Builder
	mark := "✅"
	if !r.OK() {
		mark = "❌"
	}
	fmt.Fprintf(&b, "### %s %s\n\n%s\n\n", mark, markdown(r.Project), r.summary())
	b.WriteString("| | name | outcome | status | kernel | boot | time | memory |\n|---|---|---|--:|---|--:|--:|--:|\n")
	for i := range r.Subkernels {
		r.Subkernels[i].writeMarkdownRow(&b)
	}
	newGrid(r).writeMarkdown(&b)
	for i := range r.Subkernels {
		if sub := &r.Subkernels[i]; !sub.OK {
			sub.writeMarkdownFailure(&b)
		}
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// mark is a character for success, what did not come to run, or a failure.
func (r *SubkernelReport) mark() string {
	switch {
	case r.OK:
		return "✅"
	case r.Outcome == Skipped || r.Outcome == Cancelled:
		return "➖"
	default:
		return "❌"
	}
}

func (r *SubkernelReport) writeMarkdownRow(b *strings.Builder) {
	boot, total, memory := "", "", ""
	if r.Up > 0 {
		boot = formatDuration(r.Up)
	}
	if r.Total > 0 {
		total = formatDuration(r.Total)
	}
	if r.PeakMemory > 0 {
		memory = formatBytes(r.PeakMemory)
	}
	fmt.Fprintf(b, "| %s | %s | %s | %d | %s | %s | %s | %s |\n",
		r.mark(), markdown(r.Name), r.Outcome, r.Status, markdown(escapeGuest(r.KernelVersion)), boot, total, memory)
}

// writeMarkdownFailure writes the reason, and folded up what was printed last.
func (r *SubkernelReport) writeMarkdownFailure(b *strings.Builder) {
	fmt.Fprintf(b, "\n**%s**: %s: %s\n", markdown(r.Name), r.Outcome, markdown(r.Reason))
	if r.Hint != "" {
		fmt.Fprintf(b, "\nHint: %s\n", markdown(r.Hint))
	}
	for i := range r.Steps {
		writeFolded(b, fmt.Sprintf("stdout of step %s", r.Steps[i].Name), escapeLines(r.Stdout[i]))
		writeFolded(b, fmt.Sprintf("stderr of step %s", r.Steps[i].Name), escapeLines(r.Stderr[i]))
	}
	console := make([]string, len(r.Console))
	for i, line := range r.Console {
		console[i] = escapeGuest(line)
	}
	writeFolded(b, "the end of the kernel's log", console)
}

// writeFolded writes lines as an indented block, which no text can end early, below a heading that unfolds it.
func writeFolded(b *strings.Builder, heading string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n<details><summary>%s</summary>\n\n", markdown(heading))
	for _, line := range lines {
		fmt.Fprintf(b, "    %s\n", line)
	}
	b.WriteString("\n</details>\n")
}

// markdown escapes text so that it stands in a paragraph, or a cell of a table, as it is.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range escape(s) {
		switch r {
		case '<':
			b.WriteString("&lt;")
			continue
		case '&':
			b.WriteString("&amp;")
			continue
		case '\\', '`', '*', '_', '[', ']', '|', '~', '#', '>', '!', '@':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// WriteGitHubAnnotations writes a workflow command for each sub-kernel that failed by itself, so that GitHub shows it with the run. The error
// is the writer's.
func (r *Report) WriteGitHubAnnotations(w io.Writer) error {
	var b strings.Builder
	for i := range r.Subkernels {
		sub := &r.Subkernels[i]
		if sub.OK || sub.Outcome == Skipped || sub.Outcome == Cancelled {
			continue
		}
		message := fmt.Sprintf("%s: %s", sub.Outcome, escape(sub.Reason))
		if sub.Hint != "" {
			message += "\nhint: " + escape(sub.Hint)
		}
		fmt.Fprintf(&b, "::error title=%s::%s\n", commandProperty.Replace("sub-kernel "+escape(sub.Name)), commandData.Replace(message))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// The escapes of workflow commands: @actions/core, command.ts.
var (
	commandData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	commandProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)
