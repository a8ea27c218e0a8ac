// Package network connects sub-kernels: with each other, with the host, and with what the host reaches.
//
// A network is one Ethernet segment. Each NIC is a descriptor that carries one frame a read or write, and that the sub-kernel's process
// inherits. Behind it is, by the network's mode, a switch in this process (package vswitch), or a bridge or a routed link of the host's
// kernel (package kernelnet). The gateway of a segment is a stack of our own in this process (package netstack), which needs no privileges,
// or the host's kernel where the network is in its namespace. DHCP (package dhcp) and names (package names) are served at the gateway.
//
// The gateway's stack is made when the first frame is meant for it, so that a network that nobody uses costs next to nothing.
package network
