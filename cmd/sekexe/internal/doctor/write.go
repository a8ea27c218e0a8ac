package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// schema is the version of the JSON form.
const schema = 1

// colors are the SGR sequences of the statuses (ECMA-48).
var colors = map[Status]string{OK: "\x1b[32m", Warn: "\x1b[33m", Fail: "\x1b[31m"}

// WriteText writes a line for each check, and a line below it for what to do.
func WriteText(w io.Writer, checks []Check, color bool) error {
	width := 0
	for _, c := range checks {
		width = max(width, utf8.RuneCountInString(c.Name))
	}
	var b bytes.Buffer
	for _, c := range checks {
		status := fmt.Sprintf("%-4s", c.Status)
		if color {
			status = colors[c.Status] + status + "\x1b[0m"
		}
		fmt.Fprintf(&b, "%s  %-*s  %s\n", status, width, c.Name, printable(c.Detail))
		if c.Fix != "" {
			fmt.Fprintf(&b, "%*s  fix: %s\n", len("fail  ")+width, "", printable(c.Fix))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteJSON writes an object with the version of its schema, the checks, and whether none failed.
func WriteJSON(w io.Writer, checks []Check) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Schema int     `json:"schema"`
		Checks []Check `json:"checks"`
		OK     bool    `json:"ok"`
	}{schema, checks, Healthy(checks)})
}

// printable makes one line of a text, without anything that a terminal would take for a command.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// hintOf is what an error says to do, or else what is given.
func hintOf(err error, otherwise string) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return h.Hint()
	}
	return otherwise
}
