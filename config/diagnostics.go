package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
)

// Diagnostics are the errors and warnings of a Load or Format, with the sources that they point into. Values of sensitive variables are
// redacted in all that they print.
type Diagnostics struct {
	list    hcl.Diagnostics
	files   map[string]*hcl.File
	order   map[string]int // the rank of a file, by name
	seen    map[string]bool
	secrets *secrets
	// more and moreErrors count those beyond maxDiagnostics.
	more, moreErrors int
}

// maxDiagnostics bounds the diagnostics that are kept. Each is written with an excerpt, which takes time by the length of the file, and nobody
// reads hundreds.
const maxDiagnostics = 200

func newDiagnostics() *Diagnostics {
	return &Diagnostics{
		files:   map[string]*hcl.File{},
		order:   map[string]int{},
		seen:    map[string]bool{},
		secrets: &secrets{},
	}
}

// HasErrors reports whether there is an error among them, not only warnings.
func (d *Diagnostics) HasErrors() bool { return d.moreErrors > 0 || d.list.HasErrors() }

// Len returns the number of errors and warnings.
func (d *Diagnostics) Len() int { return len(d.list) + d.more }

// WriteText writes all diagnostics for people: each with its file, line, source excerpt and what to do. Details are wrapped at width columns
// (0: not at all); color adds terminal colours.
func (d *Diagnostics) WriteText(w io.Writer, width int, color bool) error {
	var buf bytes.Buffer
	tw := hcl.NewDiagnosticTextWriter(&buf, d.files, uint(max(width, 0)), color)
	for _, diag := range d.sorted() {
		if err := tw.WriteDiagnostic(d.redacted(diag)); err != nil {
			return fmt.Errorf("diagnostics: render: %w", err)
		}
	}
	if _, err := io.WriteString(w, d.secrets.redact(buf.String())); err != nil {
		return fmt.Errorf("diagnostics: write: %w", err)
	}
	return nil
}

// The JSON form of diagnostics, schema 1.
type (
	jsonDiagnostics struct {
		Schema      int              `json:"schema"`
		Diagnostics []jsonDiagnostic `json:"diagnostics"`
	}
	jsonDiagnostic struct {
		Severity string     `json:"severity"` // "error" or "warning"
		Summary  string     `json:"summary"`
		Detail   string     `json:"detail,omitempty"`
		Range    *jsonRange `json:"range,omitempty"`
	}
	jsonRange struct {
		File  string  `json:"file"`
		Start jsonPos `json:"start"`
		End   jsonPos `json:"end"`
	}
	// jsonPos counts lines and columns from 1, bytes from 0; a column is a character as a user sees it.
	jsonPos struct {
		Line   int `json:"line"`
		Column int `json:"column"`
		Byte   int `json:"byte"`
	}
)

// WriteJSON writes all diagnostics as one JSON object:
//
//	{"schema": 1, "diagnostics": [{"severity", "summary", "detail", "range": {"file", "start": {"line", "column", "byte"}, "end"}}]}
//
// The range is left out where a diagnostic has no place in a file.
func (d *Diagnostics) WriteJSON(w io.Writer) error {
	out := jsonDiagnostics{Schema: 1, Diagnostics: []jsonDiagnostic{}}
	for _, diag := range d.sorted() {
		diag = d.redacted(diag)
		j := jsonDiagnostic{Severity: "error", Summary: diag.Summary, Detail: diag.Detail}
		if diag.Severity == hcl.DiagWarning {
			j.Severity = "warning"
		}
		if s := diag.Subject; s != nil {
			j.Range = &jsonRange{File: s.Filename, Start: jsonPos(s.Start), End: jsonPos(s.End)}
		}
		out.Diagnostics = append(out.Diagnostics, j)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("diagnostics: write: %w", err)
	}
	return nil
}

// add adds diagnostics. One that says the same of the same place is added once: an expression may be evaluated many times, for many
// instances.
func (d *Diagnostics) add(diags ...*hcl.Diagnostic) {
	for _, diag := range diags {
		key := diag.Summary + "\x00" + diag.Detail
		if s := diag.Subject; s != nil {
			key = fmt.Sprintf("%s\x00%s\x00%d\x00%d", diag.Summary, s.Filename, s.Start.Byte, s.End.Byte)
		}
		if d.seen[key] {
			continue
		}
		d.seen[key] = true
		if len(d.list) >= maxDiagnostics {
			d.more++
			if diag.Severity == hcl.DiagError {
				d.moreErrors++
			}
			continue
		}
		d.list = append(d.list, diag)
	}
}

// errorAt adds an error. The detail says what to do.
func (d *Diagnostics) errorAt(rng hcl.Range, summary, detail string) {
	d.add(&hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: rng.Ptr()})
}

// errorNowhere adds an error that has no place in a file.
func (d *Diagnostics) errorNowhere(summary, detail string) {
	d.add(&hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail})
}

// warnAt adds a warning.
func (d *Diagnostics) warnAt(rng hcl.Range, summary, detail string) {
	d.add(&hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: summary, Detail: detail, Subject: rng.Ptr()})
}

// addFile makes a source known, for excerpts, and ranks it behind those already known.
func (d *Diagnostics) addFile(name string, f *hcl.File) {
	if _, ok := d.order[name]; !ok {
		d.order[name] = len(d.order)
	}
	d.files[name] = f
}

// sorted returns the diagnostics by file and place; those without a place come first.
func (d *Diagnostics) sorted() hcl.Diagnostics {
	out := append(hcl.Diagnostics{}, d.list...)
	rank := func(diag *hcl.Diagnostic) (int, int) {
		if diag.Subject == nil {
			return -1, 0
		}
		if n, ok := d.order[diag.Subject.Filename]; ok {
			return n, diag.Subject.Start.Byte
		}
		return len(d.order), diag.Subject.Start.Byte
	}
	sort.SliceStable(out, func(i, j int) bool {
		fi, bi := rank(out[i])
		fj, bj := rank(out[j])
		if fi != fj {
			return fi < fj
		}
		return bi < bj
	})
	if d.more > 0 {
		severity := hcl.DiagWarning
		if d.moreErrors > 0 {
			severity = hcl.DiagError
		}
		out = append(out, &hcl.Diagnostic{Severity: severity, Summary: "Too much is wrong", Detail: fmt.Sprintf("%d more errors and warnings are not shown. Correct these first.", d.more)})
	}
	return out
}

// redacted returns diag without values of sensitive variables in its texts, before they are wrapped.
func (d *Diagnostics) redacted(diag *hcl.Diagnostic) *hcl.Diagnostic {
	c := *diag
	c.Summary = printable(d.secrets.redact(diag.Summary))
	c.Detail = printable(d.secrets.redact(diag.Detail))
	return &c
}

// printable replaces control characters, which a value in a message may hold, but for the line breaks of the message itself.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return '\uFFFD'
		}
		return r
	}, s)
}

// suggestion returns ` Did you mean "x"?` for the candidate that is nearest to what was written, or nothing if none is near.
func suggestion(given string, candidates []string) string {
	if s := nearest(given, candidates); s != "" {
		return fmt.Sprintf(" Did you mean %q?", s)
	}
	return ""
}

// maxSuggested bounds the bytes of a name that a suggestion is looked for, which takes time by its length.
const maxSuggested = 100

// nearest returns the candidate that a person who wrote given may have meant, or "".
func nearest(given string, candidates []string) string {
	best, bestDistance := "", 3
	if len(given) > maxSuggested {
		return ""
	}
	for _, c := range candidates {
		if n := distance(strings.ToLower(given), strings.ToLower(c)); n < bestDistance && n < min(len(given), len(c)) {
			best, bestDistance = c, n
		}
	}
	return best
}

// distance is Levenshtein's, but counts letters in another order as one slip.
func distance(a, b string) int {
	if a != b && len(a) == len(b) && slices.Equal(slices.Sorted(maps.Keys(letters(a))), slices.Sorted(maps.Keys(letters(b)))) {
		return 1
	}
	return levenshtein.Distance(a, b, nil)
}

// letters returns the set of the letters of s, each with its rank among equal ones.
func letters(s string) map[string]bool {
	set := map[string]bool{}
	for _, r := range s {
		key := string(r)
		for set[key] {
			key += string(r)
		}
		set[key] = true
	}
	return set
}
