package wire

import "time"

// EtherType is IEEE 802's Local Experimental EtherType 1, the default of both
// sides (IEEE 802-2014, 9.2.2).
const EtherType = 0x88B5

// Group is the locally administered group address that discovery is sent to.
var Group = [6]byte{0x03, 0x68, 0x63, 0x00, 0x00, 0x01}

// Sizes of frames and their parts, in bytes.
const (
	MaxFrame   = 1500 // the payload of an Ethernet frame
	MinFrame   = 576  // what frames fall to when only large ones go unanswered
	HeaderLen  = 8    // of every frame
	CounterLen = 8    // of a TRANSPORT frame, behind the header
	TagLen     = 16   // of the AEAD, at the end of a TRANSPORT frame
	DataLen    = 9    // of a DATA record, before its bytes

	// TransportOverhead is what a TRANSPORT frame adds to a record.
	TransportOverhead = HeaderLen + CounterLen + TagLen

	// maxPadded is the longest payload that may be padded. Ethernet pads
	// payloads to 46 bytes (IEEE 802.3, 4.2.3.3); some drivers pad to 64, or
	// leave a check sequence behind it.
	maxPadded = 64
)

// Sizes of messages and their parts.
const (
	MaxMessage    = 65536 // bytes of one message
	MaxFragments  = 128   // a message of 65,536 bytes in frames of 576 takes 123
	MaxAckEntries = 8     // messages that one ACK record says something of
	MaxText       = 256   // bytes of a text field
	MaxNoise      = 1024  // bytes of a Noise message in a handshake frame
	MaxCookie     = 64    // bytes of a cookie
	MaxSealed     = 49152 // bytes of a sealed record
	MaxWays       = 8     // ways of pairing in an ADVERTISE

	MaxInterfaces   = 16
	MaxAddresses    = 16 // of one interface
	MaxServices     = 64
	MaxExposed      = 4 // ports of one service
	MaxGroups       = 64
	MaxDNS          = 8
	MaxCapabilities = 32

	// MaxDeadline is the longest time that a Configure may give an agent.
	MaxDeadline = time.Hour
)
