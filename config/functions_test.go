package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFunctions evaluates calls of the functions that are not cty's own, through a file, as users do.
func TestFunctions(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"text": "two\nlines", "t.tpl": "${upper(n)}%{ for x in l } ${x}%{ endfor }", "self.tpl": `${templatefile("self.tpl", {})}`, "open.tpl": "${"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ expr, want string }{
		{`cidrhost("10.77.0.0/24", 5)`, "10.77.0.5"},
		{`cidrhost("10.77.0.0/24", -2)`, "10.77.0.254"},
		{`cidrhost("fd00::/64", 1)`, "fd00::1"},
		{`cidrsubnet("10.0.0.0/8", 8, 3)`, "10.3.0.0/16"},
		{`cidrnetmask("10.0.0.0/20")`, "255.255.240.0"},
		{`cidrsubnets("10.0.0.0/24", 1, 2, 2)`, `["10.0.0.0/25","10.0.0.128/26","10.0.0.192/26"]`},
		{`cidrsubnets("10.0.0.0/24")`, "[]"},
		{`env("GREETING")`, "hi"},
		{`env("NOT_SET", "default")`, "default"},
		{`file("text")`, "two\nlines"},
		{`fileexists("text")`, "true"},
		{`fileexists("nope")`, "false"},
		{`fileexists(".")`, "false"},
		{`templatefile("t.tpl", { n = "x", l = [1, 2] })`, "X 1 2"},
		{`abspath("a/../b")`, dir + "/b"},
		{`abspath("/a//b")`, "/a/b"},
		{`basename("/a/b")`, "b"},
		{`dirname("/a/b")`, "/a"},
		{`pathexpand("~/x")`, "/root/x"},
		{`pathexpand("x")`, "x"},
		{`length("äö")`, "2"},
		{`length({ a = 1 })`, "1"},
		{`length([1, 2])`, "2"},
		{`index(["a", "b"], "b")`, "1"},
		{`one([])`, "null"},
		{`one(toset(["x"]))`, "x"},
		{`sum([1, 2.5])`, "3.5"},
		{`alltrue([true, false])`, "false"},
		{`alltrue([])`, "true"},
		{`anytrue([false, true])`, "true"},
		{`replace("aXbX", "X", "-")`, "a-b-"},
		{`replace("a1b22", "/[0-9]+/", "#")`, "a#b#"},
		{`base64decode(base64encode("x"))`, "x"},
		{`sha256("")`, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{`startswith("abc", "ab") && endswith("abc", "bc") && strcontains("abc", "b")`, "true"},
		{`indent(2, "a\nb")`, "a\n  b"},
		{`setproduct(["a"], [1, 2])`, `[["a",1],["a",2]]`},
		{`jsondecode("{\"a\":[1]}").a[0]`, "1"},
		{`yamldecode("a: [1]").a[0]`, "1"},
		{`try(jsondecode("x"), "fallback")`, "fallback"},
		{`can(regex("^a", "b"))`, "false"},
	}
	for _, tt := range tests {
		p, d := loadExpr(dir, tt.expr)
		if p == nil {
			t.Errorf("%s: %s", tt.expr, text1(t, d))
			continue
		}
		if got := p.Subkernels[0].Env["X"]; got != tt.want {
			t.Errorf("%s = %q, want %q", tt.expr, got, tt.want)
		}
	}
}

// loadExpr puts an expression into an environment: as it is if it is a string, else as JSON.
func loadExpr(dir, expr string) (*Project, *Diagnostics) {
	text := "locals {\n  v = " + expr + "\n}\nsubkernel \"a\" {\n  env = { X = can(tostring(local.v)) ? coalesce(try(tostring(local.v), null), \"null\") : jsonencode(local.v) }\n}\n"
	return Load(Options{Files: []string{"-"}, Dir: dir, Stdin: strings.NewReader(text), Environ: []string{"HOME=/root", "GREETING=hi"}})
}

func TestFunctionErrors(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"self.tpl": `${templatefile("self.tpl", {})}`, "open.tpl": "${", "var.tpl": "${x}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ expr, want string }{
		{`cidrhost("10.77.0.0/24", 256)`, "does not accommodate"},
		{`cidrhost("10.77.0.0/24", 1.5)`, "whole number"},
		{`cidrsubnet("10.0.0.0/8", -1, 0)`, "0 to 128"},
		{`cidrsubnet("10.0.0.0/8", 8, -1)`, "negative"},
		{`cidrsubnets("10.0.0.0/24", 1, 1, 1)`, "no room"},
		{`cidrsubnets("10.0.0.0/24", 9)`, "33 of 32"},
		{`cidrnetmask("fd00::/64")`, "IPv6"},
		{`env("A", "b", "c")`, "no more"},
		{`templatefile("self.tpl", {})`, "no function named \"templatefile\""},
		{`templatefile("open.tpl", {})`, "open.tpl"},
		{`templatefile("var.tpl", {})`, `"x"`},
		{`templatefile("var.tpl", 1)`, "must be a map"},
		{`index(["a"], "b")`, "not in the list"},
		{`index("a", "b")`, "must be a list"},
		{`one([1, 2])`, "at most one"},
		{`one("a")`, "must be a list"},
		{`sum([null])`, "null"},
		{`base64decode("_w==")`, "base64"},
		{`base64decode("/w==")`, "UTF-8"},
		{`pow(-1, 0.5)`, "panic"},
	}
	for _, tt := range tests {
		p, d := loadExpr(dir, tt.expr)
		if p != nil {
			t.Errorf("%s = %q, want an error", tt.expr, p.Subkernels[0].Env["X"])
			continue
		}
		if got := d.list[0].Detail; !strings.Contains(got, tt.want) { // not the excerpt, which holds the call
			t.Errorf("%s: %s\nwant %q", tt.expr, got, tt.want)
		}
	}
}
