package main

import (
	"errors"
	"os/exec"
	"sync"
	"testing"
)

// TestLayDownAmidForks holds that a program which was just laid down can be started, although others are started all the time.
func TestLayDownAmidForks(t *testing.T) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 4 {
		wg.Go(func() {
			for range 15 {
				program, err := layDown(imageProgram, t.TempDir(), "")
				if err != nil {
					t.Error(err)
					return
				}
				var ended *exec.ExitError // it has nothing to do
				if err := exec.Command(program).Run(); err != nil && !errors.As(err, &ended) {
					t.Error(err)
					return
				}
			}
		})
	}
}
