package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// An Info is what a UML executable is found to be.
type Info struct {
	Path    string // absolute
	Version string // such as 6.1.176
	// SMP says that the kernel was built for several CPUs, Seccomp that it can run guests by seccomp=on (since 6.16).
	SMP, Seccomp bool
	// Modules is the folder of its modules, the one that holds modules.dep; empty if it takes none or none are found.
	Modules string
	Config  Config
	// identity is that of the file.
	identity identity
}

// An InspectError says why a file is no kernel that can be booted.
type InspectError struct {
	Path string
	Err  error
	hint string
}

func (e *InspectError) Error() string { return fmt.Sprintf("kernel %s: inspect it: %v", e.Path, e.Err) }
func (e *InspectError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *InspectError) Hint() string { return e.hint }

// notUML is the advice for a file that is something else.
const notUML = "name a kernel built for UML (make ARCH=um), such as linux.uml of Debian's package user-mode-linux"

// askTimeout bounds how long a kernel may take to say what it is.
const askTimeout = 10 * time.Second

// askMost bounds what it may say, in bytes. A configuration has some 100 KB.
const askMost = 4 << 20

// Inspect asks the file what kernel it is. Its errors are InspectErrors.
func Inspect(ctx context.Context, path string) (*Info, error) {
	fail := func(err error, hint string) (*Info, error) { return nil, &InspectError{path, err, hint} }
	id, err := identify(path)
	if err != nil {
		return fail(err, "name a kernel that is there")
	}
	if err := checkELF(path); err != nil {
		return fail(err, notUML)
	}
	text, err := ask(ctx, path, "--showconfig")
	if err != nil {
		return fail(err, notUML)
	}
	config := parseConfig(text)
	if !config.Has("CONFIG_UML") {
		return fail(errors.New("it is a program, but no UML kernel: it has no CONFIG_UML=y"), notUML)
	}
	text, err = ask(ctx, path, "--version")
	if err != nil {
		return fail(err, notUML)
	}
	version, err := parseVersion(text)
	if err != nil {
		return fail(err, notUML)
	}
	return newInfo(path, version, config, id), nil
}

// newInfo draws the conclusions from what a kernel said.
func newInfo(path, version string, config Config, id identity) *Info {
	return &Info{
		Path: path, Version: version, Config: config, identity: id,
		SMP: config.Has("CONFIG_SMP"), Seccomp: atLeast(version, 6, 16) && config.Has("CONFIG_SECCOMP"),
	}
}

// checkELF says why a file can't be run, before it is.
func checkELF(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return pathless(err)
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return errors.New("it is no program: it has no ELF header")
	}
	if e.Machine != elf.EM_X86_64 || e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN {
		return fmt.Errorf("it is for another machine: %v", e.Machine)
	}
	if st, err := f.Stat(); err == nil && st.Mode()&0o111 == 0 {
		return errors.New("it is not executable")
	}
	return nil
}

// pathless takes the path, which the message has already, off an error.
func pathless(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// ask runs a kernel with one option that makes it print something and exit (arch/um/kernel/um_arch.c).
func ask(ctx context.Context, path, option string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, option)
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=/", "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out := &limited{most: askMost}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("run it with %s: it says nothing for %v", option, askTimeout)
		}
		return nil, fmt.Errorf("run it with %s: %w", option, err)
	}
	return out.Bytes(), nil
}

// limited keeps the beginning of what is written to it.
type limited struct {
	bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if n := l.most - l.Len(); n > 0 {
		l.Buffer.Write(p[:min(n, len(p))])
	}
	return len(p), nil
}

var _ io.Writer = (*limited)(nil)

// versionPattern is a kernel release: make kernelrelease.
var versionPattern = regexp.MustCompile(`^\d+\.\d+(\.\d+)?([-+.][0-9A-Za-z.+_~-]*)?$`)

func parseVersion(text []byte) (string, error) {
	v := string(bytes.TrimSpace(text))
	if len(v) > 64 || !versionPattern.MatchString(v) {
		return "", fmt.Errorf("its version makes no sense: %.64q", v)
	}
	return v, nil
}

// findModules returns the folder of a kernel's modules: in dir, if one is named, else where distributions put them, else beside it.
func findModules(i *Info, dir string) string {
	if !i.Config.Has("CONFIG_MODULES") {
		return ""
	}
	candidates := []string{"/usr/lib/uml/modules", filepath.Join(filepath.Dir(i.Path), "modules"), "/lib/modules"}
	if dir != "" {
		candidates = []string{dir}
	}
	for _, d := range candidates {
		d = filepath.Join(d, i.Version)
		if _, err := os.Stat(filepath.Join(d, "modules.dep")); err == nil {
			return d
		}
	}
	return ""
}
