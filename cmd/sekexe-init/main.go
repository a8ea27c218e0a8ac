// The init has one processor, and nobody changes that: it need not look for limits.

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// The command sekexe-init is the first process of a sub-kernel, and on the host the process that removes what a killed sekexe leaves. It is
// embedded into sekexe, and of no use by itself.
package main

import (
	"os"

	"github.com/sekexe/sekexe/guest"
	"github.com/sekexe/sekexe/uml/reaper"
)

func main() {
	run := guest.Main
	switch {
	case guest.IsModprobe(os.Args):
		run = func() error { return guest.Modprobe(os.Args) }
	case len(os.Args) > 1 && os.Args[1] == reaper.Arg:
		run = func() error { return reaper.Main(os.Args) }
	}
	if err := run(); err != nil {
		os.Stderr.WriteString("sekexe-init: " + err.Error() + "\n")
		os.Exit(1)
	}
}
