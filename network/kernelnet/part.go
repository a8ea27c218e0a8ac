//go:build linux

package kernelnet

import (
	"net"
	"net/netip"
	"os"
	"sync"
)

// A partKind says what a descriptor is for.
type partKind string

const (
	partSegment  partKind = "segment" // the namespace of a segment, in scope private; carries MAC and MTU
	partPort     partKind = "port"
	partGateway  partKind = "gateway"
	partListener partKind = "listener"
	partCapture  partKind = "capture"
)

// A part is something of a segment that was made, mostly with a descriptor. All but that goes from the child to us as JSON.
type part struct {
	Kind      partKind
	Segment   int
	Port      int              `json:",omitempty"`
	Socket    bool             `json:",omitempty"`
	MAC       net.HardwareAddr `json:",omitempty"`
	MTU       int              `json:",omitempty"`
	LinkLocal netip.Addr
	HasFile   bool

	file *os.File
}

// closeParts closes the files of those that have one. It does many at once: the end of a tap is waited for by close, for some 20 ms, most of
// which is no work.
func closeParts(parts []part) {
	var wait sync.WaitGroup
	free := make(chan struct{}, 32)
	for i := range parts {
		f := parts[i].file
		if f == nil {
			continue
		}
		free <- struct{}{}
		wait.Go(func() {
			f.Close() // that it was closed before is an error that tells nothing
			<-free
		})
	}
	wait.Wait()
}
