package config

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format returns the text of a configuration file in the canonical format. A text that can't be parsed gives nil and says why; name is for
// messages, and one that ends in .json means JSON.
func Format(name string, src []byte) ([]byte, *Diagnostics) {
	d := newDiagnostics()
	if len(src) > maxFile {
		d.errorNowhere(name+" is too large", fmt.Sprintf("A configuration file may have at most %d bytes. Split it.", maxFile))
		return nil, d
	}
	f, diags := parseSource(name, src)
	d.addFile(name, f)
	d.add(diags...)
	if d.HasErrors() {
		return nil, d
	}
	if !isJSONName(name) {
		// Never nil, even of an empty text.
		return append([]byte{}, hclwrite.Format(src)...), d
	}
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(src), "", "  "); err != nil {
		d.errorNowhere("Cannot format "+name, fmt.Sprintf("It is not JSON: %s. Correct it.", err))
		return nil, d
	}
	out.WriteByte('\n')
	return out.Bytes(), d
}

//go:embed template.hcl
var template []byte

// Template returns a first file, with comments, that is valid and runs.
func Template() []byte { return bytes.Clone(template) }
