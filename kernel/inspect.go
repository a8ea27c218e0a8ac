package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout bounds each answer of a kernel. It takes milliseconds, but the host may be busy.
const answerTimeout = 20 * time.Second

// Inspect finds out what the executable at path is. It looks at the file first, and starts it only if it is a program for this machine that
// knows --showconfig; then it asks it for its configuration, its version and its options. Errors are of type *Error, or ctx's.
func Inspect(ctx context.Context, path string) (*Info, error) {
	return defaultInspector.inspect(ctx, path)
}

// An inspector starts kernels to ask them what they are. Timeout bounds each answer, grace the time until what has ended or was killed has
// let go of its output.
type inspector struct{ timeout, grace time.Duration }

var defaultInspector = inspector{timeout: answerTimeout, grace: time.Second}

func (in inspector) inspect(ctx context.Context, path string) (*Info, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: make the path absolute: %w", path, err)
	}
	id, err := identify(path)
	if err != nil {
		return nil, err
	}
	return in.inspectFile(ctx, path, id)
}

// inspectFile inspects an executable that has been identified.
func (in inspector) inspectFile(ctx context.Context, path string, id identity) (*Info, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	a, err := in.ask(ctx, path)
	if err != nil {
		return nil, err
	}
	if now, err := identify(path); err != nil {
		return nil, err
	} else if now != id {
		return nil, problem(path, ErrBadAnswer, "the file changed while it was inspected", "try again when whatever writes it is done")
	}
	return fromAnswers(path, id, a), nil
}

// An identity tells whether a file is still the one that was inspected.
type identity struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64 // nanoseconds since 1970
}

// identify looks at a file that should be an executable.
func identify(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return identity{}, problem(path, ErrNotFound, "", HowToGet)
		}
		return identity{}, problem(path, ErrUnreadable, err.Error(), "make it and the folders above it readable for you")
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return identity{}, problem(path, ErrNotFile, "", "name the kernel's executable itself, such as /usr/bin/linux.uml")
	}
	// Not access(2)'s real ids but the effective ones count for execve.
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS); err != nil {
		return identity{}, problem(path, ErrNotExecutable, err.Error(), "chmod +x "+path+" makes it so, unless its file system is mounted noexec")
	}
	return identity{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}, nil
}

const umlHint = "a User Mode Linux kernel is needed, built with ARCH=um: " + HowToGet

// checkFile says what is wrong with a file without starting it.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return problem(path, ErrUnreadable, err.Error(), "make it readable for you: it is looked at before it is started")
	}
	defer f.Close()
	var magic [4]byte
	n, err := io.ReadFull(f, magic[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return problem(path, ErrUnreadable, err.Error(), "look at the host's log: the disk may be faulty")
	}
	switch {
	case n >= 2 && string(magic[:2]) == "#!":
		return problem(path, ErrScript, "", "name the kernel that the script starts")
	case n < 4 || string(magic[:]) != elf.ELFMAG:
		return problem(path, ErrNotELF, "", umlHint)
	}
	if err := checkELF(path, f); err != nil {
		return err
	}
	return checkOption(path, f)
}

// checkELF says whether an ELF file can be a program on this machine.
func checkELF(path string, r io.ReaderAt) error {
	e, err := elf.NewFile(r)
	if err != nil {
		return problem(path, ErrNotELF, "its headers are damaged: "+err.Error(), "copy or build it again")
	}
	if e.Machine != elf.EM_X86_64 || e.Class != elf.ELFCLASS64 {
		return problem(path, ErrWrongArch, fmt.Sprintf("it is for %s (%s)", e.Machine, e.Class), "use a kernel that was built with ARCH=um SUBARCH=x86_64")
	}
	if e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN {
		return problem(path, ErrNotELF, fmt.Sprintf("its type is %s", e.Type), "name the kernel's executable itself, the file linux in the folder it was built in")
	}
	return nil
}

// checkOption looks for the text of the option that every UML kernel has and that it will be asked with, so that nothing else is started.
func checkOption(path string, f *os.File) error {
	const option = "--showconfig"
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return problem(path, ErrUnreadable, err.Error(), "copy it to a local disk")
	}
	buf := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := f.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], []byte(option)) {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return problem(path, ErrNotUML, "it knows no option "+option, umlHint)
		}
		if err != nil {
			return problem(path, ErrUnreadable, err.Error(), "look at the host's log: the disk may be faulty")
		}
		end := kept + n
		kept = min(end, len(option)-1)
		copy(buf, buf[end-kept:end])
	}
}

// config asks a kernel for its configuration.
func (in inspector) config(ctx context.Context, path string) (Config, error) {
	out, err := in.run(ctx, path, "--showconfig")
	if err != nil {
		return Config{}, err
	}
	c, err := ParseConfig(out)
	if err != nil {
		return Config{}, problem(path, ErrNotUML, "--showconfig printed no configuration but "+quote(out), umlHint)
	}
	if c.State("UML") != Builtin {
		return Config{}, problem(path, ErrNotUML, "its configuration has no CONFIG_UML=y", umlHint)
	}
	return c, nil
}

// ask starts a kernel to ask it what it is.
func (in inspector) ask(ctx context.Context, path string) (answers, error) {
	c, err := in.config(ctx, path)
	if err != nil {
		return answers{}, err
	}
	a := answers{config: c.only(wanted)}
	out, err := in.run(ctx, path, "--version")
	if err != nil {
		return answers{}, err
	}
	a.version = strings.TrimSpace(out)
	if _, err := parseRelease(a.version); err != nil {
		return answers{}, problem(path, ErrBadAnswer, "--version printed "+quote(out), umlHint)
	}
	// The help is the only place where a kernel says that it knows the option.
	if out, err = in.run(ctx, path, "--help"); err != nil {
		return answers{}, err
	}
	a.seccomp = strings.HasPrefix(out, "seccomp=") || strings.Contains(out, "\nseccomp=")
	return a, nil
}
