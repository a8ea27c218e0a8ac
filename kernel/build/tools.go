package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A tool is a program or header that a kernel's build needs, with Debian's package for it.
type tool struct {
	program, header, pkg string
}

var tools = []tool{
	{program: "make", pkg: "make"}, {program: "gcc", pkg: "gcc"}, {program: "ld", pkg: "binutils"}, {program: "strip", pkg: "binutils"},
	{program: "flex", pkg: "flex"}, {program: "bison", pkg: "bison"}, {program: "bc", pkg: "bc"}, {program: "perl", pkg: "perl"}, {program: "tar", pkg: "tar"},
	{header: "/usr/include/stdio.h", pkg: "libc6-dev"}, {header: "/usr/include/gelf.h", pkg: "libelf-dev"},
}

// Missing lists Debian's packages with what a build from the source needs and is not there.
func Missing(s *Source) []string {
	var pkgs []string
	for _, t := range append(slices.Clone(tools), unpackers(s)...) {
		if !t.found() && !slices.Contains(pkgs, t.pkg) {
			pkgs = append(pkgs, t.pkg)
		}
	}
	return pkgs
}

func (t tool) found() bool {
	if t.header != "" {
		_, err := os.Stat(t.header)
		return err == nil
	}
	_, err := exec.LookPath(t.program)
	return err == nil
}

// unpackers are the tools for a source's tarball.
func unpackers(s *Source) []tool {
	if s == nil || s.Tarball == "" {
		return nil
	}
	switch p := decompressors[filepath.Ext(s.Tarball)]; p {
	case "":
		return nil
	case "xz":
		return []tool{{program: p, pkg: "xz-utils"}}
	default:
		return []tool{{program: p, pkg: p}}
	}
}

// checkTools says what is missing.
func checkTools(s *Source) error {
	pkgs := Missing(s)
	if len(pkgs) == 0 {
		return nil
	}
	return withHint(fmt.Errorf("build: find its tools: some are missing: %s", strings.Join(pkgs, ", ")),
		"apt-get install "+strings.Join(pkgs, " ")+", or let --install-deps do it")
}

// run runs a program, in a process group of its own that ends with ctx. What it prints goes to log, which may be nil; then it is part of
// the error.
func run(ctx context.Context, dir string, log io.Writer, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var own strings.Builder
	if log == nil {
		log = &own
	}
	cmd.Stdout, cmd.Stderr = log, log
	// The parent-death signal is that of the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && own.Len() > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(own.String()))
	}
	return err
}

func cpus() int { return runtime.NumCPU() }

func hashText(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
