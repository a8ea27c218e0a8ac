package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// load loads the text of one file, from standard input.
func load(t *testing.T, text string) (*Project, *Diagnostics) {
	t.Helper()
	return Load(Options{Files: []string{"-"}, Dir: t.TempDir(), Stdin: strings.NewReader(text), Environ: []string{"HOME=/root", "GREETING=hi"}})
}

// mustLoad loads a text that has no errors.
func mustLoad(t *testing.T, text string) *Project {
	t.Helper()
	p, d := load(t, text)
	if p == nil {
		t.Fatalf("Load:\n%s", text1(t, d))
	}
	return p
}

// text1 returns the diagnostics as text.
func text1(t *testing.T, d *Diagnostics) string {
	t.Helper()
	var buf bytes.Buffer
	if err := d.WriteText(&buf, 0, false); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// TestProjectValues compares a project field by field: the golden files show only what WriteHCL writes.
func TestProjectValues(t *testing.T) {
	p := mustLoad(t, `
kernel "k" {
  version = "7"
}
subkernel "db" {
  kernel = kernel.k
  ready { log = "up" }
  service = true
  command = "serve"
}
subkernel "web" {
  count      = 1
  memory     = "1G"
  depends_on = [subkernel.db]
  env        = { A = 1 }
  tmpfs "/t" { size = "1M" }
  step "s" {
    command = ["a", "b"]
    timeout = "2s"
  }
  command     = "exit 3"
  expect_exit = [3]
}
`)
	kernel := Kernel{Name: "k", Version: "7", Range: Range{"<stdin>", 2, 1}}
	want := []Subkernel{
		{
			Name: "db", Block: "db", NICs: []NIC{{Network: "default", DHCP: true, Range: Range{"<stdin>", 5, 1}}}, Kernel: kernel, Memory: 256 << 20, CPUs: 1, Isolation: "strict", Hostname: "db", Root: Root{Mode: "overlay"}, Cgroups: "v2",
			Steps:   []Step{{Name: "command", Shell: "serve", ExpectExit: []int{0}, Range: Range{"<stdin>", 9, 3}}},
			Service: true, Ready: &Ready{Log: "up", Interval: 200 * time.Millisecond, Timeout: time.Minute, Range: Range{"<stdin>", 7, 3}},
			BootTimeout: time.Minute, StopTimeout: 10 * time.Second, Expect: Expect{[]int{0}, "exited"}, Range: Range{"<stdin>", 5, 1},
		},
		{
			Name: "web[0]", Block: "web", NICs: []NIC{{Network: "default", DHCP: true, Range: Range{"<stdin>", 11, 1}}}, Memory: 1 << 30, CPUs: 1, Isolation: "strict", Hostname: "web-0", Env: map[string]string{"A": "1"}, Root: Root{Mode: "overlay"}, Cgroups: "v2",
			Tmpfs: []Tmpfs{{Target: "/t", Size: 1 << 20, Mode: 0o1777, Range: Range{"<stdin>", 16, 3}}},
			Steps: []Step{
				{Name: "s", Argv: []string{"a", "b"}, Timeout: 2 * time.Second, ExpectExit: []int{0}, Range: Range{"<stdin>", 17, 3}},
				{Name: "command", Shell: "exit 3", ExpectExit: []int{3}, Range: Range{"<stdin>", 21, 3}},
			},
			DependsOn:   []Dependency{{Name: "db", Condition: "ready", Range: Range{"<stdin>", 14, 17}}},
			BootTimeout: time.Minute, StopTimeout: 10 * time.Second, Expect: Expect{[]int{3}, "exited"}, Range: Range{"<stdin>", 11, 1},
		},
	}
	if diff := cmp.Diff(want, p.Subkernels, equateAddresses); diff != "" {
		t.Errorf("Subkernels (-want +got):\n%s", diff)
	}
}

// TestExamples holds that the files we give to people are good, and formatted.
func TestExamples(t *testing.T) {
	example, err := os.ReadFile("../sekexe.hcl.example")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, src := range map[string][]byte{"example": example, "template": Template()} {
		t.Run(name, func(t *testing.T) {
			p, d := Load(Options{Files: []string{"-"}, Dir: root, Stdin: bytes.NewReader(src), Environ: nil, MemoryTotal: 2 << 30, CPUs: 1})
			if p == nil || d.Len() != 0 {
				t.Fatalf("Load:\n%s", text1(t, d))
			}
			checkRoundTrip(t, p)
			got, d := Format(name+".hcl", src)
			if d.HasErrors() {
				t.Fatalf("Format:\n%s", text1(t, d))
			}
			if diff := cmp.Diff(string(got), string(src)); diff != "" {
				t.Errorf("not formatted (-formatted +file):\n%s", diff)
			}
		})
	}
}

// TestDocumentExamples loads the first example of the reference, and that of its section on networks.
func TestDocumentExamples(t *testing.T) {
	b, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{"# Configuration\n", "## Networks\n"} {
		_, rest, _ := strings.Cut(string(b), section)
		_, rest, _ = strings.Cut(rest, "```hcl\n")
		src, _, ok := strings.Cut(rest, "```")
		if !ok {
			t.Fatalf("no example below %q in the reference", section)
		}
		if p := mustLoad(t, src); len(p.Subkernels) != 3 {
			t.Errorf("the example below %q has %d sub-kernels, want 3", section, len(p.Subkernels))
		}
	}
}

func TestFindFile(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	// A folder of the name is none of the files.
	if err := os.MkdirAll(filepath.Join(deep, "sekexe.hcl"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sekexe.hcl", "sekexe.hcl.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := FindFile(deep); !ok || got != filepath.Join(dir, "sekexe.hcl") {
		t.Errorf("FindFile(%q) = %q, %v; want the one in %q", deep, got, ok, dir)
	}
	if got, ok := FindFile("/proc/self"); ok {
		t.Errorf("FindFile(/proc/self) = %q; want none", got)
	}
}

func TestDiagnosticsJSON(t *testing.T) {
	_, d := load(t, "subkernel \"a\" {\n  memory = 5\n}\n")
	var buf bytes.Buffer
	if err := d.WriteJSON(&buf); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema      int
		Diagnostics []struct {
			Severity, Summary, Detail string
			Range                     struct {
				File       string
				Start, End struct{ Line, Column, Byte int }
			}
		}
	}
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != 1 || len(got.Diagnostics) != 1 {
		t.Fatalf("WriteJSON: schema %d with %d diagnostics; want 1 with 1:\n%s", got.Schema, len(got.Diagnostics), buf.String())
	}
	g := got.Diagnostics[0]
	if g.Severity != "error" || g.Summary != "Missing unit" || g.Range.File != "<stdin>" || g.Range.Start.Line != 2 || g.Range.Start.Column != 12 ||
		g.Range.Start.Byte != 27 || g.Range.End.Byte != 28 {
		t.Errorf("WriteJSON:\n%s", buf.String())
	}
}

// TestLongInputs gives the loader what is too large or endless: each must end with an error, soon.
func TestLongInputs(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte("x"), maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "binary"), []byte{0xff, 0xfe}, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, text, want string }{
		{"file of zeros", `locals { a = file("/dev/zero") }`, "not a regular file"},
		{"file too large", `locals { a = file("big") }`, "more than 1048576 bytes"},
		{"file not text", `locals { a = file("binary") }`, "not UTF-8"},
		{"configuration too large", strings.Repeat("#", maxFile+1), "too large"},
		{"brackets in a template", `locals { a = "` + strings.Repeat("${[", 300) + strings.Repeat("]}", 300) + `" }`, "Nested too deeply"},
		{"conditionals", `locals { a = ` + strings.Repeat("true ? 1 : ", 100_000/11) + ` 1 }`, "Nested too deeply"},
		{"sums", `locals { a = ` + strings.Repeat("1 + ", 200_000) + ` 1 }`, "Nested too deeply"},
		{"JSON in a string", `locals { a = jsondecode("` + strings.Repeat("[", 400_000) + `") }`, "nested at most"},
		{"number in JSON", `locals { a = jsondecode("1e999999999") }`, "nested at most"},
		{"YAML in a string", `locals { a = yamldecode("` + strings.Repeat("[", 400_000) + `") }`, "nested at most"},
		{"many references", `locals { ` + strings.Repeat("\na = local.a", 3000) + "\n}", "Too much is wrong"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, d := Load(Options{Files: []string{"-"}, Dir: dir, Stdin: strings.NewReader(tt.text)})
			if p != nil {
				t.Fatal("Load found no error")
			}
			if got := text1(t, d); !strings.Contains(got, tt.want) {
				t.Errorf("Load: %.2000s\nwant %q", got, tt.want)
			}
		})
	}
}

// TestChains loads long chains of references, which take a deep stack.
func TestChains(t *testing.T) {
	var b strings.Builder
	b.WriteString("locals {\n  a0 = 1\n")
	const n = 5000
	for i := 1; i < n; i++ {
		b.WriteString("  a")
		b.WriteString(itoa(i))
		b.WriteString(" = local.a")
		b.WriteString(itoa(i - 1))
		b.WriteString("\n")
	}
	b.WriteString("}\nsubkernel \"s\" { command = \"exit ${local.a4999}\" }\n")
	if p := mustLoad(t, b.String()); p.Subkernels[0].Steps[0].Shell != "exit 1" {
		t.Errorf("command = %q, want %q", p.Subkernels[0].Steps[0].Shell, "exit 1")
	}
}

func itoa(n int) string { return string(must(json.Marshal(n))) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestRedact holds what the doc of Project.Redact says.
func TestRedact(t *testing.T) {
	p := mustLoad(t, `
variable "long" {
  sensitive = true
  default   = { a = "hunter22", b = ["hunter22 and more"] }
}
variable "short" {
  sensitive = true
  default   = "abc"
}
subkernel "a" { env = { X = sha256(var.long.a) } }
`)
	for _, tt := range []struct{ name, in, want string }{
		{"within a text", "say hunter22!", "say (sensitive)!"},
		{"the longest first", "hunter22 and more", "(sensitive)"},
		{"computed", p.Subkernels[0].Env["X"], "(sensitive)"},
		{"short within a text", "abcdef", "abcdef"},
		{"short alone", "abc", "(sensitive)"},
		{"nothing", "hunter", "hunter"},
	} {
		if got := p.Redact(tt.in); got != tt.want {
			t.Errorf("%s: Redact(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
	if got := new(Project).Redact("x"); got != "x" {
		t.Errorf("Redact of a project without secrets = %q, want x", got)
	}
}

// TestWriteErrors holds that an error of the writer comes back.
func TestWriteErrors(t *testing.T) {
	p, d := load(t, `subkernel "a" { hostname = "b" }
subkernel "b" {}`)
	if d.Len() != 1 || d.HasErrors() {
		t.Fatalf("want one warning:\n%s", text1(t, d))
	}
	full := errors.New("full")
	w := writerFunc(func([]byte) (int, error) { return 0, full })
	for name, err := range map[string]error{
		"WriteHCL": p.WriteHCL(w), "Project.WriteJSON": p.WriteJSON(w), "WriteText": d.WriteText(w, 0, false), "Diagnostics.WriteJSON": d.WriteJSON(w),
	} {
		if !errors.Is(err, full) {
			t.Errorf("%s = %v, want %v", name, err, full)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestControlCharacters holds that a value in a message can't move the cursor.
func TestControlCharacters(t *testing.T) {
	_, d := load(t, "subkernel \"a\" {\n  user = \"\\u001b[2J\"\n}\n")
	if got := text1(t, d); strings.Contains(got, "\x1b") || !strings.Contains(got, "Invalid user") {
		t.Errorf("WriteText = %q; want the error without an escape", got)
	}
}

// TestHostLabel makes host names of names.
func TestHostLabel(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"web", "web"}, {`web["a"]`, "web-a"}, {"web[0]", "web-0"}, {"A_b", "a-b"}, {`x["..é"]`, "x"}, {"_", "subkernel"},
		{strings.Repeat("a", 62) + "_b", strings.Repeat("a", 62)},
	} {
		got := hostLabel(tt.in)
		if got != tt.want || !hostnames.MatchString(got) {
			t.Errorf("hostLabel(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
