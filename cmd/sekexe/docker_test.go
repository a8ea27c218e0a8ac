package main

import (
	"bytes"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// scriptTerminal is "terminal PROGRAM [ARG...]": it runs the program on a terminal of 31 lines of 101 characters, on which "typed" and return are
// typed when the program has said a size, and prints what the terminal shows.
func scriptTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: terminal PROGRAM [ARG...]")
	}
	master, tty, err := pty.Open()
	ts.Check(err)
	defer master.Close()
	ts.Check(pty.Setsize(tty, &pty.Winsize{Rows: 31, Cols: 101}))
	program, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TERM=xterm", "DOCKER_HOST=" + ts.Getenv("DOCKER_HOST")}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	tty.Close()
	ts.Check(err)
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	var shown bytes.Buffer
	typed := false
	for b := make([]byte, 4096); ; {
		n, err := master.Read(b)
		shown.Write(b[:n])
		if !typed && bytes.Contains(shown.Bytes(), []byte("size ")) {
			typed = true
			_, err := io.WriteString(master, "typed\r")
			ts.Check(err)
		}
		if err != nil {
			break // EIO: the terminal's last user has gone
		}
	}
	err = cmd.Wait()
	text := strings.ReplaceAll(shown.String(), "\r\n", "\n")
	if _, werr := io.WriteString(ts.Stdout(), text); werr != nil {
		ts.Check(werr)
	}
	if err != nil {
		ts.Fatalf("%s: %v: the terminal shows %q", args[0], err, text)
	}
}

func TestDockerEnviron(t *testing.T) {
	got := dockerEnviron([]string{"A=1", "DOCKER_HOST=x", "DOCKER_TLS=1", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/c", "DOCKER_CONTEXT=c", "DOCKER_CONFIG=/d"}, "/s")
	want := []string{"A=1", "DOCKER_CONFIG=/d", "DOCKER_HOST=unix:///s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestDockerFind(t *testing.T) {
	t.Chdir(t.TempDir())
	live := []dockerSocket{
		{Run: "1", File: "/a/sekexe.hcl", Name: "web", Socket: "/1"},
		{Run: "2", File: "/b/sekexe.hcl", Name: "web", Socket: "/2"},
		{Run: "2", File: "/b/sekexe.hcl", Name: "db", Socket: "/3"},
		{Run: "3", File: "/b/sekexe.hcl", Name: "twice", Socket: "/4"},
		{Run: "4", File: "/b/sekexe.hcl", Name: "twice", Socket: "/5"},
	}
	for _, tc := range []struct {
		name, sub string
		flags     dockerFlags
		live      []dockerSocket
		socket    string
		err, hint string // in them
	}{
		{name: "the only one", sub: "db", live: live, socket: "/3"},
		{name: "several", sub: "web", live: live, err: "several runs have one", hint: "--run: web in run 1 of /a/sekexe.hcl, web in run 2 of /b/sekexe.hcl"},
		{name: "by file", sub: "web", flags: dockerFlags{file: "/b/sekexe.hcl"}, live: live, socket: "/2"},
		{name: "by run", sub: "web", flags: dockerFlags{run: "1"}, live: live, socket: "/1"},
		{name: "several of one file", sub: "twice", flags: dockerFlags{file: "/b/sekexe.hcl"}, live: live, err: "several runs have one", hint: "run 3"},
		{name: "another file", sub: "db", flags: dockerFlags{file: "/a/sekexe.hcl"}, live: live, err: "no such one runs", hint: "db in run 2"},
		{name: "another run", sub: "db", flags: dockerFlags{run: "9"}, live: live, err: "no such one runs", hint: "these run"},
		{name: "none", sub: "db", err: "none runs", hint: "sekexe up"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.flags.find(tc.sub, slices.Clone(tc.live))
			if tc.err == "" {
				if err != nil || got.Socket != tc.socket {
					t.Errorf("find = %v, %v; want %s", got, err, tc.socket)
				}
				return
			}
			h, _ := err.(interface{ Hint() string })
			if h == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(h.Hint(), tc.hint) {
				t.Errorf("find = %v (%v); want %q, and the advice %q", err, h, tc.err, tc.hint)
			}
		})
	}
}
