package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The parsers and the evaluator recurse, and a Go program whose stack overflows can't be saved. So what they are given is bounded first, by a
// scan that doesn't recurse.
const (
	maxNesting   = 200  // brackets and templates inside each other
	maxOperators = 1000 // operators in one expression
)

// checkNesting refuses a text that is nested deeper than any person would write.
func checkNesting(name string, src []byte, isJSON bool) hcl.Diagnostics {
	if isJSON {
		return checkJSONNesting(name, src)
	}
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	return checkTokens(tokens)
}

// checkTemplateNesting is checkNesting for the text of a template.
func checkTemplateNesting(name string, src []byte) hcl.Diagnostics {
	tokens, _ := hclsyntax.LexTemplate(src, name, hcl.InitialPos)
	return checkTokens(tokens)
}

// checkExpressionNesting is checkNesting for the text of an expression.
func checkExpressionNesting(name string, src []byte) hcl.Diagnostics {
	tokens, _ := hclsyntax.LexExpression(src, name, hcl.InitialPos)
	return checkTokens(tokens)
}

func checkTokens(tokens hclsyntax.Tokens) hcl.Diagnostics {
	depth, operators := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenNumberLit:
			if hugeNumber(t.Bytes) {
				return numberTooLarge(t.Range)
			}
		case hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenOBrace:
			depth++
			operators = 0
		case hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			depth--
		case hclsyntax.TokenCBrace:
			depth--
			operators = 0
		case hclsyntax.TokenEqual, hclsyntax.TokenComma:
			operators = 0
		case hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenPercent,
			hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
			hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenBang,
			hclsyntax.TokenQuestion:
			operators++
		}
		if depth > maxNesting || operators > maxOperators {
			return tooDeep(t.Range)
		}
	}
	return nil
}

// checkJSONNesting scans brackets outside of strings, and the templates in strings.
func checkJSONNesting(name string, src []byte) hcl.Diagnostics {
	depth, start := 0, -1
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case start >= 0 && c == '\\':
			i++
		case c == '"' && start < 0:
			start = i + 1
		case c == '"':
			if s := src[start:i]; bytes.Contains(s, []byte("{")) {
				if checkTemplateNesting(name, s).HasErrors() {
					return tooDeep(rangeAt(name, src, start))
				}
			}
			start = -1
		case start >= 0:
		case c == 'e' || c == 'E':
			if hugeNumber(src[i:min(i+12, len(src))]) {
				return numberTooLarge(rangeAt(name, src, i))
			}
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
		if depth > maxNesting {
			return tooDeep(rangeAt(name, src, i))
		}
	}
	return nil
}

// rangeAt returns the range of the byte at the offset.
func rangeAt(name string, src []byte, offset int) hcl.Range {
	before := src[:offset]
	pos := hcl.Pos{Byte: offset, Line: 1 + bytes.Count(before, []byte("\n")), Column: offset - bytes.LastIndexByte(before, '\n')}
	end := pos
	end.Byte++
	end.Column++
	return hcl.Range{Filename: name, Start: pos, End: end}
}

// exponents with four digits and more are of numbers that take up to a gigabyte to write out.
var hugeExponent = newPattern(`^[0-9.]*[eE][+-]?[0-9]{4,}`)

func hugeNumber(text []byte) bool { return hugeExponent.Match(text) }

func numberTooLarge(rng hcl.Range) hcl.Diagnostics {
	return hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: "Number out of range", Detail: "The exponent of a number has at most three digits.", Subject: &rng,
	}}
}

func tooDeep(rng hcl.Range) hcl.Diagnostics {
	return hcl.Diagnostics{{
		Severity: hcl.DiagError,
		Summary:  "Nested too deeply",
		Detail:   fmt.Sprintf("Brackets and templates may be nested %d deep, and an expression may have %d operators. Split it up with locals.", maxNesting, maxOperators),
		Subject:  &rng,
	}}
}

// dataTooDeep reports whether JSON or YAML in a string is nested deeper than its decoder should be asked to follow.
func dataTooDeep(s string) bool {
	depth := 0
	for _, c := range s {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		if depth > maxNesting {
			return true
		}
	}
	// Block YAML nests by indentation, and by a run of "- ".
	for line := range strings.Lines(s) {
		if indent := len(line) - len(strings.TrimLeft(line, " -?")); indent > 4*maxNesting {
			return true
		}
	}
	return false
}
