// The command sekexe-init is the first process of a sub-kernel. It is embedded into sekexe, and of no use by itself.
package main

import (
	"os"

	"github.com/sekexe/sekexe/guest"
)

func main() {
	run := guest.Main
	if guest.IsModprobe(os.Args) {
		run = func() error { return guest.Modprobe(os.Args) }
	}
	if err := run(); err != nil {
		os.Stderr.WriteString("sekexe-init: " + err.Error() + "\n")
		os.Exit(1)
	}
}
