// Package dhcp is the DHCP server of all networks: DHCPv4 (RFC 2131), DHCPv6 (RFC 8415), and the router advertisements (RFC 4861) that go
// with it. It is authoritative for the segment it serves, and the only one there that is meant to answer.
//
// A Server holds the state and nothing else: HandleV4 and HandleV6 are functions from a message to its answer, and the clock is the
// caller's. Clients are heard in one of two ways. A Port takes and gives whole Ethernet frames, so that it serves a switch in this process,
// an AF_PACKET socket on a bridge and a tap alike, and answers clients that have no address yet by unicast. Serve and ServeV6 take any
// net.PacketConn.
//
// Addresses are never laid out one by one: a pool is a list of ranges, and only what a client has or had is in memory, 65,536 bindings at
// most. A client's first choice is a hash of its MAC, so that it gets the same address in each run if no other client is in its way.
//
// Clients are hostile. What they can take away from each other is addresses that are not reserved, until their leases end, and for that they
// have to pose as many: an offer holds an address for seconds, and a MAC can neither hold more than 32 addresses nor set aside more
// than 4 by declining them. A client whose MAC is in Config.Hosts always gets its address.
package dhcp
