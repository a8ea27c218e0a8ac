package orchestrator

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// escape makes text fit for one line of a table or a message: control characters, what changes the direction of writing, and bytes that are
// no UTF-8 are written as Go writes them in a string; a tab becomes spaces.
func escape(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\t':
			b.WriteString("    ")
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		s = s[n:]
	}
	return b.String()
}

// isPlain says that s holds printable ASCII alone.
func isPlain[T string | []byte](s T) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// escapeGuest is escape for a line that a guest printed: colours and other control sequences are left out first.
func escapeGuest(s string) string { return escape(ansi.Strip(s)) }

// escapeLines is escapeGuest for each line of s.
func escapeLines(s string) []string {
	if s == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	for i := range lines {
		lines[i] = escapeGuest(strings.TrimSuffix(lines[i], "\r"))
	}
	return lines
}

const sgrReset = "\x1b[m"

// appendForTerminal appends a guest's line as it may go to a terminal that others write to: of the control sequences only colours and the
// like are left, and those end with the line. Where carriage returns draw a line over, the last state is shown.
func appendForTerminal(dst, line []byte) []byte {
	if isPlain(line) {
		return append(dst, line...)
	}
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	var state byte
	styled := false
	for len(line) > 0 {
		seq, width, n, next := ansi.DecodeSequence(line, state, nil)
		switch {
		case isSGR(seq):
			styled = true
			dst = append(dst, seq...)
		case width > 0 && utf8.Valid(seq), len(seq) == 1 && seq[0] == '\t':
			dst = append(dst, seq...)
		case width > 0:
			dst = append(dst, "\uFFFD"...)
		}
		line, state = line[n:], next
	}
	if styled {
		dst = append(dst, sgrReset...)
	}
	return dst
}

// isSGR says whether seq is ESC [ parameters m, which sets colours and weight and moves nothing.
func isSGR(seq []byte) bool {
	body, ok := bytes.CutPrefix(seq, []byte("\x1b["))
	if !ok {
		return false
	}
	body, ok = bytes.CutSuffix(body, []byte("m"))
	return ok && len(bytes.TrimLeft(body, "0123456789;:")) == 0
}

// formatDuration writes a time span with about three digits: 35ms, 1.24s, 2m5s.
func formatDuration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// formatBytes writes a size as the configuration does: with the greatest binary unit that leaves at least one, and a decimal where that is
// needed: 256M, 1.5G.
func formatBytes(n int64) string {
	units := []string{"B", "K", "M", "G", "T"}
	f, u := float64(n), 0
	for f >= 1024 && u < len(units)-1 {
		f /= 1024
		u++
	}
	s := strconv.FormatFloat(f, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + units[u]
}

// plural writes a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
