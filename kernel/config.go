package kernel

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// maxConfig bounds what is read of a configuration, in bytes. Those of distributions have some 80 KiB here, 280 KiB on real machines.
const maxConfig = 2 << 20

// A Config is the configuration of a kernel: what its .config file said. The zero Config is empty.
type Config struct {
	// text is the lines CONFIG_NAME=VALUE, each with a line break, in the order of the names: it can be written to a file, read and searched
	// as it is.
	text string
}

// State says whether a part of the kernel is there.
type State int

// The states of a symbol.
const (
	Absent  State = iota // not built
	Module               // built as a module
	Builtin              // part of the executable
)

// String returns "no", "module" or "built in".
func (s State) String() string {
	switch s {
	case Module:
		return "module"
	case Builtin:
		return "built in"
	}
	return "no"
}

// errNoConfig says that a text has no configuration in it.
var errNoConfig = errors.New("has no line CONFIG_NAME=value")

// ParseConfig reads the text of a .config file, as --showconfig prints it (Documentation/kbuild/kconfig.rst). Symbols that are not set stand
// in comments there, so every line that is neither empty, nor a comment, nor an assignment is an error.
func ParseConfig(text string) (Config, error) {
	if len(text) > maxConfig {
		return Config{}, fmt.Errorf("kernel configuration: has more than %d bytes", maxConfig)
	}
	var lines []string
	for n, line := range slices.Collect(strings.Lines(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !validSymbol(name) || !validValue(value) {
			return Config{}, fmt.Errorf("kernel configuration: line %d is no assignment to a CONFIG_ symbol", n+1)
		}
		lines = append(lines, line+"\n")
	}
	if len(lines) == 0 {
		return Config{}, fmt.Errorf("kernel configuration: %w", errNoConfig)
	}
	return Config{strings.Join(sortLines(lines), "")}, nil
}

// sortLines sorts by name. Of several lines for a symbol the last counts.
func sortLines(lines []string) []string {
	slices.Reverse(lines)
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(symbolOf(a), symbolOf(b)) })
	return slices.CompactFunc(lines, func(a, b string) bool { return symbolOf(a) == symbolOf(b) })
}

// symbolOf is the name in a line.
func symbolOf(line string) string {
	name, _, _ := strings.Cut(line, "=")
	return name
}

// validSymbol says whether name is a symbol with its prefix.
func validSymbol(name string) bool {
	s, ok := strings.CutPrefix(name, "CONFIG_")
	if !ok || s == "" {
		return false
	}
	for _, c := range []byte(s) {
		if !(c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return true
}

// validValue says whether v can be a value: something, and nothing that a terminal would take for a command.
func validValue(v string) bool {
	return v != "" && strings.IndexFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) < 0
}

// Value returns the value of a symbol, named with or without CONFIG_: y, m, a number, or a string without its quotes. ok is false for
// one that is not set.
func (c Config) Value(symbol string) (value string, ok bool) {
	n := c.find("CONFIG_" + strings.TrimPrefix(symbol, "CONFIG_"))
	if n < 0 {
		return "", false
	}
	line, _, _ := strings.Cut(c.text[n:], "\n")
	_, value, _ = strings.Cut(line, "=")
	return unquote(value), true
}

// find returns where the line of a symbol, named with CONFIG_, begins; -1: nowhere.
func (c Config) find(symbol string) int {
	// A binary search, where lo and hi are always beginnings of lines.
	for lo, hi := 0, len(c.text); lo < hi; {
		start := lo + 1 + strings.LastIndexByte(c.text[lo:(lo+hi)/2], '\n')
		line, _, _ := strings.Cut(c.text[start:hi], "\n")
		switch strings.Compare(symbol, symbolOf(line)) {
		case 0:
			return start
		case -1:
			hi = start
		default:
			lo = min(start+len(line)+1, hi)
		}
	}
	return -1
}

// unquote takes Kconfig's quotes off: only " and \ are escaped in them.
func unquote(v string) string {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return v
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(v[1 : len(v)-1])
}

// State returns how a symbol, named with or without CONFIG_, was built.
func (c Config) State(symbol string) State {
	switch v, _ := c.Value(symbol); v {
	case "y":
		return Builtin
	case "m":
		return Module
	}
	return Absent
}

// only returns the part of a configuration that symbols, named with CONFIG_, are in.
func (c Config) only(symbols []string) Config {
	var lines []string
	for _, s := range symbols {
		if n := c.find(s); n >= 0 {
			end := n + strings.IndexByte(c.text[n:], '\n') + 1
			lines = append(lines, c.text[n:end])
		}
	}
	return Config{strings.Join(sortLines(lines), "")}
}

// All yields the symbols that are set, with CONFIG_, and their values as the file has them, in the order of the names.
func (c Config) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for line := range strings.Lines(c.text) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			if !yield(name, value) {
				return
			}
		}
	}
}
