package link

import (
	"errors"
	"fmt"
)

// MAC is an EUI-48 address.
type MAC = [6]byte

// Broadcast is the address of every station on the segment.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	// MaxMTU is the most payload that a frame carries here, whatever the
	// interface would take: jumbo frames don't cross a home's switches.
	MaxMTU = 1500
	// MinPayload is what NICs pad a shorter payload to, with zeros (IEEE
	// 802.3-2018, 3.2.8). A receiver sees the padding.
	MinPayload = 46
	// BufferSize is the length of a buffer for Port.Receive that holds any
	// frame with its header, so that none is cut off or copied.
	BufferSize = headerSize + MaxMTU

	headerSize = 14 // destination, source, EtherType
)

var (
	// ErrDown says that the interface went down or away. The Port is of no
	// further use; Keep opens another when the interface is back.
	ErrDown = errors.New("interface is down")
	// ErrTooLong says that a payload exceeds the MTU.
	ErrTooLong = errors.New("payload exceeds the MTU")
)

// Frame is a received frame. Payload may end in padding.
type Frame struct {
	Src, Dst MAC
	Payload  []byte
}

// Port is where frames enter and leave a segment. Send may be called by many
// goroutines, Receive by one at a time.
type Port interface {
	// MAC is the port's own address. It can change while the port is open,
	// as a bridge's does when a port joins it.
	MAC() MAC
	// MTU is the longest payload that Send takes, at most MaxMTU.
	MTU() int
	// Send sends one frame. A full queue loses the frame without an error,
	// as the wire would.
	Send(dst MAC, payload []byte) error
	// Receive blocks until a frame comes. Its payload aliases buf, which
	// should be BufferSize long. It answers net.ErrClosed after Close, and
	// ErrDown when the interface went down or away.
	Receive(buf []byte) (Frame, error)
	// Close makes a Receive that blocks return. It may be called again.
	Close() error
}

// Counters say what became of frames at a Port.
type Counters struct {
	Sent, Received uint64
	// Dropped frames found no place in the receive buffer.
	Dropped uint64
	// Refused frames came with our own or a group source address, or short.
	Refused uint64
	// Deaf is set when a discovery group could not be joined: what is sent to
	// the group may not reach this port, what is broadcast does.
	Deaf bool
}

// CounterPort is a Port that counts. Both Ports of this package do.
type CounterPort interface {
	Port
	Counters() Counters
}

// IsGroup says whether a frame to m goes to more than one station.
func IsGroup(m MAC) bool { return m[0]&1 != 0 }

// checkLength refuses a payload that does not fit a frame.
func checkLength(payload []byte, mtu int) error {
	if len(payload) > mtu {
		return fmt.Errorf("send frame of %d bytes: %w of %d", len(payload), ErrTooLong, mtu)
	}
	return nil
}

// Options say what Open listens to.
type Options struct {
	// EtherType of the frames sent and received.
	EtherType uint16
	// Groups are the group addresses to join.
	Groups []MAC
	// ReceiveBuffer is the size of the socket's receive buffer in bytes; 0
	// leaves the kernel's default, which holds some 90 full frames.
	ReceiveBuffer int
}
