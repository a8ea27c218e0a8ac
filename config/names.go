package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// parseInstanceLabel takes a label apart: `web`, `web["a"]` or `web[0]`.
func parseInstanceLabel(s string) (label string, key cty.Value, ok bool) {
	label, rest, indexed := strings.Cut(s, "[")
	if !validName(label) {
		return "", cty.NilVal, false
	}
	if !indexed {
		return label, cty.NilVal, true
	}
	rest, closed := strings.CutSuffix(rest, "]")
	if text, err := strconv.Unquote(rest); err == nil {
		key = cty.StringVal(text)
	} else if n, err := strconv.Atoi(rest); err == nil {
		key = cty.NumberIntVal(int64(n))
	}
	// Only the one way of writing a name is taken, so that names can be compared.
	if !closed || key == cty.NilVal || instanceName(label, key) != s {
		return "", cty.NilVal, false
	}
	return label, key, true
}

// instanceName returns the name of an instance: its label, and its key in brackets.
func instanceName(label string, key cty.Value) string {
	switch {
	case key == cty.NilVal:
		return label
	case key.Type() == cty.Number:
		return label + "[" + keyText(key) + "]"
	}
	return label + "[" + strconv.Quote(keyText(key)) + "]"
}

// keyText returns a key as text: the key of for_each itself, or the number of count.
func keyText(key cty.Value) string {
	switch {
	case key == cty.NilVal:
		return ""
	case key.Type() == cty.Number:
		return key.AsBigFloat().Text('f', 0)
	}
	return key.AsString()
}

// validName reports whether s can be the name of a block that expressions refer to.
func validName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

// identifierHint suggests a valid name in place of s.
func identifierHint(s string) string {
	fixed := strings.Map(func(r rune) rune {
		if r < 128 && validName("x"+string(r)) {
			return r
		}
		return '_'
	}, s)
	if fixed == s || !validName(fixed) {
		return ""
	}
	return fmt.Sprintf(" %q would do.", fixed)
}
