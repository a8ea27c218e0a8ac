// The command sekexe-docker keeps a Docker daemon in a sub-kernel. It is embedded into sekexe, which starts it there, and of no use by itself.
// It is no part of the guest's init, which has to start fast.
package main

import (
	"fmt"
	"os"

	"github.com/sekexe/sekexe/guest/docker"
)

func main() {
	if err := docker.Main(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "sekexe-docker:", err)
		os.Exit(1)
	}
}
