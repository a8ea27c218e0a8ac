package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var updateDocs = flag.Bool("update-docs", false, "write docs/commands.md anew")

// TestCommandReference holds that docs/commands.md says what the commands say of themselves.
func TestCommandReference(t *testing.T) {
	const name = "../../docs/commands.md"
	want := commandReference()
	if *updateDocs {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/commands.md is out of date: go test ./cmd/sekexe -run CommandReference -update-docs writes it (-want +got):\n%s", diff)
	}
}

func commandReference() []byte {
	var b bytes.Buffer
	b.WriteString("# Commands\n\nThis page is made from the commands' own help, by a test that also checks it.\n")
	root := newRootCommand(nil)
	root.InitDefaultCompletionCmd()
	writeCommand(&b, root)
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		writeCommand(&b, c)
		for _, sub := range c.Commands() {
			if c.Name() != "completion" { // one for each shell, which all say the same
				writeCommand(&b, sub)
			}
		}
	}
	return b.Bytes()
}

func writeCommand(b *bytes.Buffer, c *cobra.Command) {
	c.InitDefaultHelpFlag()
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	fmt.Fprintf(b, "\n## %s\n\n```\n%s\n```\n\n%s\n", c.CommandPath(), c.UseLine(), strings.TrimSpace(long))
	if c.Example != "" {
		fmt.Fprintf(b, "\nExamples:\n\n```\n%s\n```\n", c.Example)
	}
	if f := c.LocalFlags(); f.HasFlags() {
		fmt.Fprintf(b, "\nFlags:\n\n```\n%s```\n", f.FlagUsages())
	}
}
