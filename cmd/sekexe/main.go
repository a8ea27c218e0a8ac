// The command sekexe boots sub-kernels: complete Linux kernels that run as ordinary processes.
package main

import (
	"context"
	"os"

	"github.com/sekexe/sekexe/network/kernelnet"
)

func main() {
	kernelnet.Child()
	os.Exit(run(context.Background(), os.Args[1:]))
}
