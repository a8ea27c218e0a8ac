// The command sekexe boots sub-kernels: complete Linux kernels that run as ordinary processes.
package main

import (
	"context"
	"os"

	"github.com/sekexe/sekexe/network/kernelnet"
)

func main() {
	kernelnet.Child() // which this program is, too, to make networks in namespaces
	os.Exit(run(context.Background(), os.Args[1:]))
}
