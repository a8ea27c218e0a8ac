// Package netstack is the gateway of a segment: a TCP/IP stack in our process, which needs no privileges. It answers for the gateway's
// addresses, carries TCP, UDP and echo requests of guests to the world by sockets of the host, and connects into the segment for published
// ports. Frames come by Gateway.Input and leave by Config.Send.
//
// What a guest sends is not trusted: the numbers of its connections and flows, and what they keep in memory, are bounded, and each MAC address
// has at most half of what there is. Memory that a connection may take shrinks as their number grows.
package netstack
