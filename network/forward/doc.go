// Package forward leads a unix socket of the host to a TCP port of one guest, over a link of two: a NIC of the guest's that is on none of the
// run's networks, and a TCP/IP stack in our process. What connects waits until the guest's side is said to be ready.
//
// The guest is not trusted. It can refuse, stall and flood what is its own; all that is kept for it is bounded, and nothing else waits for it.
package forward
