package pcapng

import (
	"encoding/binary"
	"time"
)

// The types of blocks that are written here.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6
)

// The options: of an interface and of its statistics; the first two are known to all blocks.
const (
	optEnd         = 0
	optName        = 2  // if_name
	optResolution  = 9  // if_tsresol
	optApplication = 4  // shb_userappl
	optReceived    = 4  // isb_ifrecv
	optDropped     = 5  // isb_ifdrop
	linkEthernet   = 1  // LINKTYPE_ETHERNET
	nanoseconds    = 9  // times are in units of 10^-9 s
	packetHeader   = 28 // a packet block before the frame
)

var order = binary.LittleEndian

// begin starts a block; end(b, at) ends it, with at the length of b before.
func begin(b []byte, kind uint32) []byte {
	b = order.AppendUint32(b, kind)
	return order.AppendUint32(b, 0)
}

func end(b []byte, at int) []byte {
	size := uint32(len(b) - at + 4)
	order.PutUint32(b[at+4:], size)
	return order.AppendUint32(b, size)
}

func pad(b []byte, n int) []byte { return append(b, make([]byte, -n&3)...) }

func option(b []byte, code uint16, value []byte) []byte {
	b = order.AppendUint16(b, code)
	b = order.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...), len(value))
}

func appendTime(b []byte, t time.Time) []byte {
	n := uint64(t.UnixNano())
	b = order.AppendUint32(b, uint32(n>>32))
	return order.AppendUint32(b, uint32(n))
}

func appendSection(b []byte) []byte {
	at := len(b)
	b = begin(b, blockSection)
	b = order.AppendUint32(b, 0x1a2b3c4d)
	b = order.AppendUint16(b, 1)
	b = order.AppendUint16(b, 0)
	b = order.AppendUint64(b, 1<<64-1) // the length of the section is not known
	b = option(b, optApplication, []byte("sekexe"))
	return end(option(b, optEnd, nil), at)
}

func appendInterface(b []byte, name string) []byte {
	at := len(b)
	b = begin(b, blockInterface)
	b = order.AppendUint16(b, linkEthernet)
	b = order.AppendUint16(b, 0)
	b = order.AppendUint32(b, 0) // frames are not cut
	b = option(b, optName, []byte(name))
	b = option(b, optResolution, []byte{nanoseconds})
	return end(option(b, optEnd, nil), at)
}

// packetSize is how many bytes appendPacket appends for a frame of this length.
func packetSize(n int) int { return packetHeader + n + -n&3 + 4 }

func appendPacket(b []byte, t time.Time, frame []byte) []byte {
	at := len(b)
	b = begin(b, blockPacket)
	b = order.AppendUint32(b, 0) // the interface
	b = appendTime(b, t)
	b = order.AppendUint32(b, uint32(len(frame)))
	b = order.AppendUint32(b, uint32(len(frame)))
	return end(pad(append(b, frame...), len(frame)), at)
}

func appendStatistics(b []byte, t time.Time, received, dropped uint64) []byte {
	at := len(b)
	b = begin(b, blockStatistics)
	b = order.AppendUint32(b, 0)
	b = appendTime(b, t)
	b = option(b, optReceived, order.AppendUint64(nil, received))
	b = option(b, optDropped, order.AppendUint64(nil, dropped))
	return end(option(b, optEnd, nil), at)
}
