// The command sekexe boots sub-kernels: complete Linux kernels that run as ordinary processes.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:]))
}
