package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// confineScene measures sekexe run against one that is built of the same source, but confines nothing.
func (e *env) confineScene() (result, error) {
	bare := filepath.Join(e.dir, "sekexe-unconfined")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-tags", "unconfined", "-o", bare, "./cmd/sekexe")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return result{}, fmt.Errorf("build sekexe without confinement: %w: %s", err, out)
	}
	args := []string{"-n", "--net", "none", "--", "/bin/true"}
	return e.pair(3*e.n, func() (time.Duration, error) { return e.runOf(bare, args...) }, func() (time.Duration, error) { return e.run(args...) })
}
