package config

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

func TestFormatGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/format/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, d := Format(ar.Files[0].Name, ar.Files[0].Data)
			if (got == nil) != d.HasErrors() {
				t.Errorf("Format: text %v, errors %v; want exactly one of them", got != nil, d.HasErrors())
			}
			var buf bytes.Buffer
			if err := d.WriteText(&buf, 0, false); err != nil {
				t.Fatal(err)
			}
			buf.Write(got)
			(&goldenCase{path: path, ar: ar}).compare(t, buf.Bytes())
			if got == nil {
				return
			}
			if again, _ := Format(ar.Files[0].Name, got); !bytes.Equal(again, got) {
				t.Errorf("Format changes what it has formatted:\n%s\nto:\n%s", got, again)
			}
		})
	}
}

func TestFormatTooLarge(t *testing.T) {
	if got, d := Format("a.hcl", bytes.Repeat([]byte("\n"), maxFile+1)); got != nil || !d.HasErrors() {
		t.Errorf("Format of a file that is too large: %d bytes, errors %v; want an error", len(got), d.HasErrors())
	}
}

func FuzzFormat(f *testing.F) {
	for _, path := range append(goldenFiles(f), "testdata/format/hcl.txtar", "testdata/format/json.txtar") {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range ar.Files {
			f.Add(strings.HasSuffix(file.Name, ".json"), file.Data)
		}
	}
	f.Add(false, Template())
	f.Fuzz(func(t *testing.T, isJSON bool, src []byte) {
		name := "a.hcl"
		if isJSON {
			name += ".json"
		}
		got, d := Format(name, src)
		if (got == nil) != d.HasErrors() {
			t.Errorf("Format: text %v, errors %v; want exactly one of them", got != nil, d.HasErrors())
		}
		var buf bytes.Buffer
		if err := d.WriteText(&buf, 80, true); err != nil {
			t.Fatal(err)
		}
		if err := d.WriteJSON(&buf); err != nil {
			t.Fatal(err)
		}
	})
}
