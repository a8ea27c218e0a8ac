// Package vswitch is a learning Ethernet switch in our process. Its ports are functions (the gateway) or descriptors of package frames (the
// guests).
//
// What comes from a guest is not trusted. A port can't send in the name of an address that another port has by configuration, can't fill the
// table of learned addresses, can't send frames larger than the MTU, and can't have more copied by flooding than floodRate. There is no queue
// but the buffers of the sockets. A guest that takes its frames too slowly slows those who send to it, by a bounded wait; one that takes none
// loses what is sent to it.
package vswitch
