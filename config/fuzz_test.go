package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// fuzzDir is a folder with a few files that configurations may name; one for each process of the fuzzer.
var fuzzDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sekexe-fuzz-")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "t.tpl"), []byte("${n} %{ for x in y }${x}%{ endfor }"), 0o644); err != nil {
		return "", err
	}
	return dir, os.Symlink("/dev/zero", filepath.Join(dir, "zero"))
})

// FuzzLoad loads a file and one that is merged over it. There must be a project or errors, never both, and nothing may panic; a project must
// survive being written and loaded again.
func FuzzLoad(f *testing.F) {
	for _, path := range goldenFiles(f) {
		switch filepath.Base(path) {
		case "large.txtar", "toomany.txtar", "toomany_dependencies.txtar":
			continue // slow by nature: the fuzzer would do nothing else
		}
		ar, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		vars := ""
		for line := range strings.Lines(string(ar.Comment)) {
			if v, ok := strings.CutPrefix(line, "var: "); ok {
				vars += v
			}
		}
		var last []byte
		for _, file := range ar.Files {
			if strings.Contains(file.Name, ".hcl") || strings.HasSuffix(file.Name, ".json") || file.Name == "stdin" {
				f.Add(file.Data, last, vars)
				last = file.Data
			}
		}
	}
	f.Add(Template(), []byte(`locals { x = [file("zero"), templatefile("t.tpl", { n = 1, y = [1] })] }`), "greeting=x")
	dir, err := fuzzDir()
	if err != nil {
		f.Fatal(err)
	}
	override := filepath.Join(dir, "over.hcl")
	f.Fuzz(func(t *testing.T, src, over []byte, vars string) {
		if err := os.WriteFile(override, over, 0o644); err != nil {
			t.Fatal(err)
		}
		p, d := Load(Options{
			Files: []string{"-", override}, Dir: dir, Stdin: bytes.NewReader(src), Vars: strings.Split(vars, "\n"),
			Environ: []string{"HOME=/", "SEKEXE_VAR_a=1"}, MemoryTotal: 1 << 34, CPUs: 4,
		})
		if (p == nil) != d.HasErrors() {
			t.Errorf("Load: project %v, errors %v; want exactly one of them", p != nil, d.HasErrors())
		}
		var buf bytes.Buffer
		if err := d.WriteText(&buf, 80, true); err != nil {
			t.Fatal(err)
		}
		if err := d.WriteJSON(&buf); err != nil {
			t.Fatal(err)
		}
		if p == nil {
			return
		}
		if err := p.WriteJSON(&buf); err != nil {
			t.Fatal(err)
		}
		if len(p.Subkernels) < 50 {
			checkRoundTrip(t, p)
		}
	})
}
