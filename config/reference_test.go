package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const referenceFile = "../docs/configuration.md"

// TestReference holds that docs/configuration.md says of every block, attribute and function what the schema says.
func TestReference(t *testing.T) {
	b, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	old := string(b)
	text := replaceBetween(t, old, "-run TestReference -update -->\n", "<!-- end of the generated text -->", referenceText())
	text = replaceBetween(t, text, "<!-- functions -->\n", "<!-- end of functions -->", functionText())
	if *update {
		if err := os.WriteFile(referenceFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(text, old); diff != "" {
		t.Errorf("%s is out of date; go test ./config -run TestReference -update writes it (-want +got):\n%s", referenceFile, diff)
	}
}

// TestReferenceJSON holds that the reference names every field of the JSON forms.
func TestReferenceJSON(t *testing.T) {
	b, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile("printjson.go")
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for line := range strings.Lines(string(src)) {
		_, tag, ok := strings.Cut(line, "`json:\"")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(tag, "\"")
		name, _, _ = strings.Cut(name, ",")
		fields++
		if !strings.Contains(string(b), "`"+name+"`") && !strings.Contains(string(b), "`"+name+"[]`") && !strings.Contains(string(b), "."+name) {
			t.Errorf("%s does not name the JSON field %q", referenceFile, name)
		}
	}
	if fields < 30 {
		t.Errorf("found only %d fields in printjson.go", fields)
	}
}

func replaceBetween(t *testing.T, text, begin, end, with string) string {
	t.Helper()
	before, rest, ok := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q or no %q", referenceFile, begin, end)
	}
	return before + begin + with + end + after
}

func referenceText() string {
	var b strings.Builder
	var write func(s *BlockSchema, path string)
	write = func(s *BlockSchema, path string) {
		title := s.Name
		for _, l := range s.Labels {
			title += " " + strings.ToUpper(l)
		}
		if path == "" {
			title = "The top level"
		} else {
			title = fmt.Sprintf("`%s`", strings.TrimSpace(strings.TrimPrefix(path, "file")+" "+title))
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", title, s.Doc)
		if len(s.Attrs) > 0 {
			b.WriteString("\n| attribute | takes | default | |\n|---|---|---|---|\n")
		}
		for _, a := range s.Attrs {
			def := a.Default
			if a.Required {
				def = "required"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", a.Name, a.Type, def, a.Doc)
		}
		for _, n := range s.Blocks {
			write(n, strings.TrimSpace(path+" "+s.Name))
		}
	}
	write(fileSchema, "")
	b.WriteString("\n### Not yet\n\nThese are refused, and a later version will know them: ")
	var names []string
	for _, block := range slices.Sorted(maps.Keys(later)) {
		for _, n := range later[block] {
			if block == "file" {
				names = append(names, fmt.Sprintf("`%s`", n.name))
			} else {
				names = append(names, fmt.Sprintf("`%s` in `%s`", n.name, block))
			}
		}
	}
	fmt.Fprintf(&b, "%s.\n\n", listed(names))
	return b.String()
}

func functionText() string {
	names := Functions()
	for i, n := range names {
		names[i] = "`" + n + "`"
	}
	return strings.Join(names, ", ") + "\n"
}
