package wire

import (
	"encoding/binary"
	"fmt"
)

// Version is the version of the protocol that this package speaks.
const Version = 1

// FrameType says what the body of a frame is.
type FrameType uint8

// The frame types.
const (
	FrameSolicit    FrameType = 1
	FrameAdvertise  FrameType = 2
	FrameHandshake1 FrameType = 3
	FrameHandshake2 FrameType = 4
	FrameHandshake3 FrameType = 5
	FrameTransport  FrameType = 6
)

func (t FrameType) String() string {
	switch t {
	case FrameSolicit:
		return "SOLICIT"
	case FrameAdvertise:
		return "ADVERTISE"
	case FrameHandshake1:
		return "HANDSHAKE1"
	case FrameHandshake2:
		return "HANDSHAKE2"
	case FrameHandshake3:
		return "HANDSHAKE3"
	case FrameTransport:
		return "TRANSPORT"
	}
	return fmt.Sprintf("FrameType(%d)", uint8(t))
}

// Frame is the payload of one Ethernet frame, big-endian:
//
//	0      1      2             4                           8
//	+------+------+-------------+---------------------------+----------
//	| ver  | type |   length    |         receiver          | body …
//	+------+------+-------------+---------------------------+----------
//
// length counts the body alone, so that the padding of short Ethernet frames
// is told from it. receiver is the index that the receiver gave to the session
// or handshake, 0 where there is none yet.
type Frame struct {
	Type     FrameType
	Receiver uint32
	Body     []byte // ParseFrame lets it alias the payload
}

// ParseFrame reads the payload of an Ethernet frame. Cheap checks come first:
// nothing is copied, nothing allocated but for an error.
func ParseFrame(payload []byte) (Frame, error) {
	if len(payload) < HeaderLen {
		return Frame{}, fmt.Errorf("frame header: %w: %d bytes", ErrTruncated, len(payload))
	}
	if len(payload) > MaxFrame {
		return Frame{}, tooLong("frame", len(payload), MaxFrame)
	}
	if payload[0] != Version {
		return Frame{}, fmt.Errorf("frame: %w: %d", ErrVersion, payload[0])
	}
	t := FrameType(payload[1])
	if t < FrameSolicit || t > FrameTransport {
		return Frame{}, fmt.Errorf("frame: %w: %d", ErrType, payload[1])
	}
	n := int(binary.BigEndian.Uint16(payload[2:]))
	switch {
	case n == 0:
		return Frame{}, malformed("frame", "%v with an empty body", t)
	case HeaderLen+n > len(payload):
		return Frame{}, fmt.Errorf("frame body: %w: %d bytes of %d", ErrTruncated, len(payload)-HeaderLen, n)
	case HeaderLen+n < len(payload) && len(payload) > maxPadded:
		return Frame{}, malformed("frame", "%d bytes behind the body", len(payload)-HeaderLen-n)
	}
	return Frame{Type: t, Receiver: binary.BigEndian.Uint32(payload[4:]), Body: payload[HeaderLen : HeaderLen+n : HeaderLen+n]}, nil
}

// Append appends the frame's bytes, without padding.
func (f Frame) Append(dst []byte) ([]byte, error) {
	if f.Type < FrameSolicit || f.Type > FrameTransport {
		return dst, fmt.Errorf("frame: %w: %d", ErrType, uint8(f.Type))
	}
	if len(f.Body) == 0 {
		return dst, malformed("frame", "%v with an empty body", f.Type)
	}
	if n := HeaderLen + len(f.Body); n > MaxFrame {
		return dst, tooLong(f.Type.String()+" frame", n, MaxFrame)
	}
	return append(appendHeader(dst, f.Type, len(f.Body), f.Receiver), f.Body...), nil
}

func appendHeader(dst []byte, t FrameType, n int, receiver uint32) []byte {
	dst = append(dst, Version, byte(t))
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	return binary.BigEndian.AppendUint32(dst, receiver)
}

// AppendTransportHeader appends what stands before the ciphertext of a
// TRANSPORT frame and is the AEAD's associated data: the frame header and the
// counter, for a record of the given length.
//
//	0                    8                  16
//	+--------------------+------------------+--------------------------
//	|    frame header    |  counter u64     | ciphertext … | tag 16
//	+--------------------+------------------+--------------------------
func AppendTransportHeader(dst []byte, receiver uint32, counter uint64, record int) []byte {
	dst = appendHeader(dst, FrameTransport, CounterLen+record+TagLen, receiver)
	return binary.BigEndian.AppendUint64(dst, counter)
}

// ParseTransport splits the body of a TRANSPORT frame. The ciphertext, its tag
// included, aliases the body.
func ParseTransport(body []byte) (counter uint64, ciphertext []byte, err error) {
	// A record has at least its kind.
	if len(body) < CounterLen+TagLen+1 {
		return 0, nil, fmt.Errorf("TRANSPORT body: %w: %d bytes", ErrTruncated, len(body))
	}
	return binary.BigEndian.Uint64(body), body[CounterLen:], nil
}
