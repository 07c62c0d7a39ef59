// Package frame has what ubus puts on the socket: the header, the attributes
// behind it, and the numbers of both.
package frame

import "encoding/binary"

// MaxBlob bounds the blob of a message, its own word included: ubusd disconnects
// whoever sends a longer one.
const MaxBlob = 1 << 20

// An attribute, as a whole message's blob too, is a word, big-endian, and its
// payload; the next one begins at the next multiple of four.
//
//	31     extended: the payload begins with a name
//	30-24  id
//	23-0   length in bytes, with this word, without the padding
const (
	WordLen     = 4
	ExtendedBit = 1 << 31
	IDShift     = 24
	idMask      = 0x7f
	lenMask     = 1<<24 - 1
)

// Align is the next multiple of four.
func Align(n int) int { return (n + 3) &^ 3 }

// Attr is one attribute: its word, and all bytes of it, word included, padding
// not.
type Attr struct {
	Word uint32
	Raw  []byte
}

// ID is the attribute's number.
func (a Attr) ID() uint8 { return uint8(a.Word>>IDShift) & idMask }

// Extended says whether the payload begins with a name.
func (a Attr) Extended() bool { return a.Word&ExtendedBit != 0 }

// Payload is what follows the word: nothing where the length is below the word's
// own.
func (a Attr) Payload() []byte {
	if len(a.Raw) < WordLen {
		return nil
	}
	return a.Raw[WordLen:]
}

// Next takes the first attribute off b. Where libubox stops reading without an
// error, it says no: too few bytes for a word, a length of 0, or one that with
// its padding runs past the end.
func Next(b []byte) (a Attr, rest []byte, ok bool) {
	if len(b) < WordLen {
		return Attr{}, nil, false
	}
	word := binary.BigEndian.Uint32(b)
	n := int(word & lenMask)
	if n == 0 || Align(n) > len(b) {
		return Attr{}, nil, false
	}
	return Attr{word, b[:n]}, b[Align(n):], true
}
