package kernel

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// errTooMuch says that a program printed more than anybody wants to know.
var errTooMuch = errors.New("printed too much")

// A bounded buffer keeps so many bytes, drops the others, and calls full, if it is not nil, whenever it drops some.
type bounded struct {
	b     []byte
	limit int
	full  func()
}

// Write is as io.Writer's.
func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.limit-len(b.b))
	b.b = append(b.b, p[:n]...)
	if n < len(p) && b.full != nil {
		b.full()
	}
	return len(p), nil
}

// run starts an executable with one option and returns what it printed. It runs in a session of its own, which is killed as a whole.
func (in inspector) run(ctx context.Context, path, option string) (string, error) {
	tctx, cancel := context.WithTimeoutCause(ctx, in.timeout, ErrHung)
	defer cancel()
	kctx, kill := context.WithCancelCause(tctx)
	defer kill(nil)
	cmd := exec.CommandContext(kctx, path, option)
	// As it will have at its boot; nothing of the user's gets in the way.
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/", "TMPDIR=/tmp"}
	cmd.Dir = "/"
	out := &bounded{limit: maxConfig, full: func() { kill(errTooMuch) }}
	errs := &bounded{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = in.grace // for what has left the session and still holds the pipe
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		_ = cmd.Cancel() // it has ended, but something in its session holds the pipe
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("kernel %s: ask it for %s: %w", path, option, context.Cause(ctx))
	}
	if err != nil || kctx.Err() != nil {
		return "", in.runError(path, option, err, context.Cause(kctx), string(errs.b))
	}
	return string(out.b), nil
}

// runError says how an executable failed to answer.
func (in inspector) runError(path, option string, err, cause error, stderr string) error {
	const hint = "start it by hand to see more: "
	said := ""
	if stderr != "" {
		said = ", it said " + quote(stderr)
	}
	var ee *exec.ExitError
	switch {
	case errors.Is(cause, ErrHung) || errors.Is(err, exec.ErrWaitDelay):
		return problem(path, ErrHung, fmt.Sprintf("%s took more than %v%s", option, in.timeout, said), hint+path+" "+option)
	case errors.Is(cause, errTooMuch):
		return problem(path, ErrNotUML, fmt.Sprintf("%s printed more than %d MiB", option, maxConfig>>20), umlHint)
	case errors.As(err, &ee):
		ws, _ := ee.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			return problem(path, ErrCrashed, fmt.Sprintf("%s ended by %v%s", option, ws.Signal(), said), hint+path+" "+option)
		}
		return problem(path, ErrNotUML, fmt.Sprintf("%s ended with status %d%s", option, ws.ExitStatus(), said), umlHint)
	case errors.Is(err, syscall.ENOENT):
		return problem(path, ErrCrashed, "the loader or a library it needs does not exist", "ldd "+path+" says which: install it")
	}
	return problem(path, ErrCrashed, fmt.Sprintf("start it: %v", err), hint+path+" "+option)
}

// quote makes a short piece of what a program printed fit for a message.
func quote(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return "nothing"
	}
	const limit = 120
	if len(s) > limit {
		return strconv.QuoteToASCII(s[:limit]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
