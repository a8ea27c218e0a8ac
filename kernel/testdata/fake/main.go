// Fake plays kernels for the tests. How it behaves stands in the file behaviour beside the executable, a line of words each: "OPTION print
// TEXT", "OPTION complain TEXT", "OPTION status N", "OPTION crash", "OPTION hang", "OPTION flood", "OPTION leave". Each start is noted in
// the file starts.
package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// goodConfig is the configuration of a kernel that has what every sub-kernel needs.
//
//go:embed good.config
var goodConfig string

// options are in the executable, so that it looks like a kernel.
var options = []string{"--showconfig", "--version", "--help"}

func main() {
	self, err := os.Executable() // not the link to it that may have been started
	if err != nil || len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: fake", strings.Join(options, "|"))
		os.Exit(99)
	}
	dir, option := filepath.Dir(self), os.Args[1]
	note(filepath.Join(dir, "starts"), option)
	behaviour, err := os.ReadFile(filepath.Join(dir, "behaviour"))
	if err != nil {
		os.Exit(99)
	}
	for sc := bufio.NewScanner(strings.NewReader(string(behaviour))); sc.Scan(); {
		w := strings.SplitN(sc.Text()+"  ", " ", 3)
		if w[0] == option {
			play(dir, w[1], strings.TrimSpace(w[2]))
		}
	}
}

// note adds a line to a file.
func note(file, line string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(99)
	}
	fmt.Fprintln(f, line)
	f.Close()
}

// play does one thing.
func play(dir, what, arg string) {
	switch what {
	case "print":
		fmt.Println(strings.NewReplacer("GOODCONFIG", goodConfig, `\e`, "\x1b").Replace(arg))
	case "complain":
		fmt.Fprintln(os.Stderr, arg)
	case "status":
		var n int
		fmt.Sscan(arg, &n)
		os.Exit(n)
	case "crash":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "hang":
		hang(dir)
	case "flood":
		for {
			if _, err := fmt.Println(strings.Repeat("CONFIG_X=y\n", 1000)); err != nil {
				os.Exit(1)
			}
		}
	case "leave":
		c := exec.Command("sleep", "1000")
		c.Stdout = os.Stdout
		_ = c.Start()
	}
}

// hang starts a child and waits for it, for ever; both hold the FIFO open.
func hang(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, "fifo"), os.O_WRONLY, 0)
	if err != nil {
		os.Exit(99)
	}
	c := exec.Command("sleep", "1000")
	c.ExtraFiles = []*os.File{f}
	c.Stdout = os.Stdout
	_ = c.Run()
}
