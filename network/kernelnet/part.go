//go:build linux

package kernelnet

import (
	"net"
	"net/netip"
	"os"
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

// closeParts closes the files of those that have one.
func closeParts(parts []part) {
	for i := range parts {
		parts[i].file.Close()
	}
}
