package config

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what the tests get to their golden files")

// A goldenCase is one file of testdata: options in the comment, one a line, then the files, then what is wanted.
type goldenCase struct {
	path string
	ar   *txtar.Archive
	opts Options
	json bool // diagnostics and project are wanted as JSON
}

// readCase reads a case and lays its files down in dir.
func readCase(t testing.TB, path, dir string) *goldenCase {
	t.Helper()
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &goldenCase{path: path, ar: ar, opts: Options{Dir: dir, MemoryTotal: 16 << 30, CPUs: 8, Environ: []string{"HOME=" + dir + "/home"}}}
	for line := range strings.Lines(string(ar.Comment)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue // prose
		}
		value = strings.ReplaceAll(value, "$DIR", dir)
		switch key {
		case "file":
			c.opts.Files = append(c.opts.Files, value)
		case "var":
			c.opts.Vars = append(c.opts.Vars, value)
		case "var-file":
			c.opts.VarFiles = append(c.opts.VarFiles, value)
		case "env":
			c.opts.Environ = append(c.opts.Environ, value)
		case "dir":
			c.opts.Dir = filepath.Join(dir, value)
		case "memory":
			if c.opts.MemoryTotal, err = strconv.ParseInt(value, 10, 64); err != nil {
				t.Fatal(err)
			}
		case "routes":
			var routes []netip.Prefix
			for _, r := range strings.Fields(value) {
				routes = append(routes, netip.MustParsePrefix(r))
			}
			c.opts.HostRoutes = func() []netip.Prefix { return routes }
		case "format":
			c.json = value == "json"
		}
	}
	for _, f := range ar.Files {
		switch f.Name {
		case "want":
			continue
		case "stdin":
			c.opts.Stdin = bytes.NewReader(f.Data)
			continue
		}
		p := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// render returns the diagnostics and the project as text.
func (c *goldenCase) render(t testing.TB, p *Project, d *Diagnostics) []byte {
	t.Helper()
	var buf bytes.Buffer
	writeDiags := func() error { return d.WriteText(&buf, 0, false) }
	if c.json {
		writeDiags = func() error { return d.WriteJSON(&buf) }
	}
	if err := writeDiags(); err != nil {
		t.Fatal(err)
	}
	if p != nil {
		write := p.WriteHCL
		if c.json {
			write = p.WriteJSON
		}
		if err := write(&buf); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

func goldenFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	return files
}

func TestLoadGolden(t *testing.T) {
	for _, path := range goldenFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			// The folder's name is the default name of the project.
			dir := filepath.Join(t.TempDir(), "work")
			c := readCase(t, path, dir)
			p, d := Load(c.opts)
			if (p == nil) != d.HasErrors() {
				t.Errorf("Load: project %v, errors %v; want exactly one of them", p != nil, d.HasErrors())
			}
			got := bytes.ReplaceAll(c.render(t, p, d), []byte(dir), []byte("$DIR"))
			c.compare(t, got)
			if p != nil {
				checkRoundTrip(t, p)
			}
		})
	}
}

// compare compares got with the file "want", or replaces it.
func (c *goldenCase) compare(t *testing.T, got []byte) {
	t.Helper()
	i := slices.IndexFunc(c.ar.Files, func(f txtar.File) bool { return f.Name == "want" })
	if *update {
		if i < 0 {
			c.ar.Files = append(c.ar.Files, txtar.File{Name: "want"})
			i = len(c.ar.Files) - 1
		}
		c.ar.Files[i].Data = got
		if err := os.WriteFile(c.path, txtar.Format(c.ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if i < 0 {
		t.Fatalf("%s has no file \"want\"; run the test with -update and look at what it writes", c.path)
	}
	if diff := cmp.Diff(string(c.ar.Files[i].Data), string(got)); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

// equateAddresses compares addresses and subnets, which have no exported fields.
var equateAddresses = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// sameProject compares projects but for what a file written by WriteHCL can't keep: where things stand in which file, where variables come
// from, and secrets.
var sameProject = cmp.Options{
	cmpopts.IgnoreTypes(Range{}),
	cmpopts.IgnoreUnexported(Project{}),
	cmpopts.IgnoreFields(Project{}, "Dir", "Files"),
	cmpopts.IgnoreFields(Variable{}, "From"),
	cmpopts.IgnoreFields(Network{}, "Implicit"), // it is written as a block
	equateAddresses,
	cmpopts.EquateEmpty(),
}

// checkRoundTrip writes the project as HCL, loads that, and compares. Secrets are redacted in both.
func checkRoundTrip(t testing.TB, p *Project) {
	t.Helper()
	var text bytes.Buffer
	if err := p.WriteHCL(&text); err != nil {
		t.Fatal(err)
	}
	again, d := Load(Options{Files: []string{"-"}, Dir: t.TempDir(), Stdin: bytes.NewReader(text.Bytes())})
	if again == nil {
		var out bytes.Buffer
		if err := d.WriteText(&out, 0, false); err != nil {
			t.Fatal(err)
		}
		t.Fatalf("Load(WriteHCL(p)) has errors:\n%s\n%s", text.String(), out.String())
	}
	var second bytes.Buffer
	if err := again.WriteHCL(&second); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text.String(), second.String()); diff != "" {
		t.Errorf("WriteHCL(Load(WriteHCL(p))) (-first +second):\n%s", diff)
	}
	if len(p.secrets.sorted) > 0 {
		return // the values differ, as they should
	}
	if diff := cmp.Diff(p, again, sameProject); diff != "" {
		t.Errorf("Load(WriteHCL(p)) (-p +again):\n%s", diff)
	}
}

// TestGoldenCoversDiagnostics finds the summary of each diagnostic in the source, and each must stand in a golden file: a diagnostic without a test
// is one that nobody has read.
func TestGoldenCoversDiagnostics(t *testing.T) {
	var golden strings.Builder
	formats, err := filepath.Glob("testdata/format/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Concat(goldenFiles(t), formats, lockFiles(t)) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden.Write(b)
	}
	summaries := sourceSummaries(t)
	if len(summaries) < 50 {
		t.Fatalf("found only %d diagnostics in the source; sourceSummaries is out of date", len(summaries))
	}
	delete(summaries, "Too much is wrong") // TestLongInputs has it: it would make a long file
	for summary, where := range summaries {
		if !strings.Contains(golden.String(), ": "+summary) && !strings.Contains(golden.String(), fmt.Sprintf("%q", summary)) {
			t.Errorf("%s: no case in testdata has the diagnostic %q", where, summary)
		}
	}
}

// sourceSummaries returns the literal summaries in the package's source, with their places.
func sourceSummaries(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	fset := token.NewFileSet()
	take := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				out[s] = fset.Position(lit.Pos()).String()
			}
		}
	}
	at := map[string]int{"errorAt": 1, "warnAt": 1, "errorf": 1, "error": 1, "errorNowhere": 0}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				name := ""
				switch fun := n.Fun.(type) {
				case *ast.SelectorExpr:
					name = fun.Sel.Name
				case *ast.Ident:
					name = fun.Name
				}
				if i, ok := at[name]; ok && i < len(n.Args) {
					take(n.Args[i])
				}
				if name == "fail" {
					take(n.Args[0])
					if len(n.Args) > 2 {
						take(n.Args[1])
					}
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Summary" {
					take(n.Value)
				}
			}
			return true
		})
	}
	return out
}
