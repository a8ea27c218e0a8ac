package config

import (
	"sort"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// redactedText stands where the value of a sensitive variable would.
const redactedText = "(sensitive)"

// shortestSecret is the least length in bytes that a secret must have to be searched for inside other text. Shorter ones are replaced only
// where they are the whole text: a secret "1" would make every output unreadable, and would be told by it.
const shortestSecret = 4

// sensitiveMark marks the values of sensitive variables and all that is computed from them.
type sensitiveMark struct{}

// isSensitive reports whether v holds, at any depth, something computed from a sensitive variable.
func isSensitive(v cty.Value) bool { return v.ContainsMarked() }

// secrets are the texts to redact.
type secrets struct {
	known  map[string]bool
	sorted []string // longest first
}

// add adds the texts of a value: its strings and numbers at every depth.
func (s *secrets) add(v cty.Value) {
	v, _ = v.UnmarkDeep()
	// The walk has no errors of its own.
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if !v.IsKnown() || v.IsNull() {
			return false, nil
		}
		switch v.Type() {
		case cty.String:
			s.addText(v.AsString())
		case cty.Number:
			s.addText(v.AsBigFloat().Text('f', -1))
		}
		return true, nil
	})
}

// addMarked adds those parts of a value that are computed from sensitive variables.
func (s *secrets) addMarked(v cty.Value) {
	switch {
	case v.IsMarked():
		s.add(v)
	case v.IsKnown() && !v.IsNull() && v.CanIterateElements():
		for it := v.ElementIterator(); it.Next(); {
			_, elem := it.Element()
			s.addMarked(elem)
		}
	}
}

func (s *secrets) addText(text string) {
	if text == "" || text == redactedText || s.known[text] {
		return
	}
	if s.known == nil {
		s.known = map[string]bool{}
	}
	s.known[text] = true
	s.sorted = append(s.sorted, text)
	sort.Slice(s.sorted, func(i, j int) bool {
		if len(s.sorted[i]) != len(s.sorted[j]) {
			return len(s.sorted[i]) > len(s.sorted[j])
		}
		return s.sorted[i] < s.sorted[j]
	})
}

func (s *secrets) redact(text string) string {
	if s == nil || len(s.sorted) == 0 {
		return text
	}
	if s.known[text] {
		return redactedText
	}
	for _, secret := range s.sorted {
		if len(secret) < shortestSecret {
			break
		}
		text = strings.ReplaceAll(text, secret, redactedText)
	}
	return text
}

// Redact returns s with the values of the project's sensitive variables, and what was computed from them, replaced by "(sensitive)". A value
// of less than four bytes is replaced only where it is all of s.
func (p *Project) Redact(s string) string { return p.secrets.redact(s) }
