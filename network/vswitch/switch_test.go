package vswitch

import (
	"net"
)

var (
	station1  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	station2  = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	station3  = net.HardwareAddr{2, 0, 0, 0, 0, 3}
	gateway   = net.HardwareAddr{2, 0, 0, 0, 0, 254}
	broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}
)

// frameOf returns a frame of a private ethertype with zeroes in it.
func frameOf(to, from net.HardwareAddr, size int) []byte {
	f := make([]byte, size)
	copy(f, to)
	copy(f[6:], from)
	f[12], f[13] = 0x88, 0xb5
	return f
}
