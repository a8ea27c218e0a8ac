package config

import (
	"regexp"
	"sync"
)

// A pattern is a regular expression that is compiled when it is first used: every command of the program pays for what is compiled at its
// start, also those that read no file.
type pattern struct{ compiled func() *regexp.Regexp }

func newPattern(expr string) pattern {
	return pattern{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

// MatchString says whether s has a match of the pattern.
func (p pattern) MatchString(s string) bool { return p.compiled().MatchString(s) }

// Match says whether b has a match of the pattern.
func (p pattern) Match(b []byte) bool { return p.compiled().Match(b) }
