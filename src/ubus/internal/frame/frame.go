package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Type is a message's type.
type Type uint8

// The types.
const (
	Hello Type = iota
	Status
	Data
	Ping
	Lookup
	Invoke
	AddObject
	RemoveObject
	Subscribe
	Unsubscribe
	Notify
	Monitor
)

// The attributes of all types but Monitor.
const (
	AttrStatus      = 1
	AttrObjPath     = 2
	AttrObjID       = 3
	AttrMethod      = 4
	AttrObjType     = 5
	AttrSignature   = 6
	AttrData        = 7
	AttrTarget      = 8
	AttrActive      = 9
	AttrNoReply     = 10
	AttrSubscribers = 11
	AttrUser        = 12
	AttrGroup       = 13
)

// HeaderLen is the header's length: version, type, seq (2 bytes), peer (4). The
// blob's word follows.
//
//	0  1  version, 0
//	1  1  type
//	2  2  seq, the requester's
//	4  4  peer: a client's id, an object's id, or 0
const HeaderLen = 8

// Header is a message's header with the word of its blob.
type Header struct {
	Version uint8
	Type    Type
	Seq     uint16
	Peer    uint32
	Word    uint32
}

// ReadLen is how many bytes ParseHeader wants: with them the length is known.
const ReadLen = HeaderLen + WordLen

// ParseHeader reads a header, and says how many bytes of blob follow its word.
func ParseHeader(b []byte) (h Header, n int, err error) {
	h = Header{b[0], Type(b[1]), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]),
		binary.BigEndian.Uint32(b[8:])}
	n = int(h.Word & lenMask)
	if n < WordLen || n > MaxBlob {
		return h, 0, fmt.Errorf("ubus: a message of %d bytes", n)
	}
	return h, n - WordLen, nil
}

// Message is a message that was taken apart. Attributes that are malformed count
// as absent; of two of a kind the last counts.
type Message struct {
	Header
	has         uint32
	Status      int32
	ObjPath     string
	ObjID       uint32
	Method      string
	ObjType     uint32
	Signature   []byte
	Data        []byte
	Target      uint32
	Active      bool
	NoReply     bool
	Subscribers []byte
	User, Group string
}

// Has says whether an attribute is there.
func (m *Message) Has(attr int) bool { return m.has&(1<<attr) != 0 }

// Parse takes the attributes of a message apart. Signature, Data and Subscribers
// are views of blob.
func Parse(h Header, blob []byte) *Message {
	m := &Message{Header: h}
	for a, rest, ok := Next(blob); ok; a, rest, ok = Next(rest) {
		if len(a.Raw) >= WordLen {
			m.set(a.ID(), a.Payload())
		}
	}
	return m
}

func (m *Message) set(id uint8, p []byte) {
	ok := true
	switch id {
	case AttrStatus:
		ok = number(p, func(n uint32) { m.Status = int32(n) })
	case AttrObjPath:
		ok = text(p, &m.ObjPath)
	case AttrObjID:
		ok = number(p, func(n uint32) { m.ObjID = n })
	case AttrMethod:
		ok = text(p, &m.Method)
	case AttrObjType:
		ok = number(p, func(n uint32) { m.ObjType = n })
	case AttrSignature:
		m.Signature = p
	case AttrData:
		m.Data = p
	case AttrTarget:
		ok = number(p, func(n uint32) { m.Target = n })
	case AttrActive:
		ok = flag(p, &m.Active)
	case AttrNoReply:
		ok = flag(p, &m.NoReply)
	case AttrSubscribers:
		m.Subscribers = p
	case AttrUser:
		ok = text(p, &m.User)
	case AttrGroup:
		ok = text(p, &m.Group)
	default:
		ok = false
	}
	if ok {
		m.has |= 1 << id
	}
}

func number(p []byte, set func(uint32)) bool {
	if len(p) != 4 {
		return false
	}
	set(binary.BigEndian.Uint32(p))
	return true
}

func flag(p []byte, b *bool) bool {
	if len(p) != 1 {
		return false
	}
	*b = p[0] != 0
	return true
}

func text(p []byte, s *string) bool {
	if len(p) == 0 || p[len(p)-1] != 0 {
		return false
	}
	p, _, _ = bytes.Cut(p, []byte{0})
	*s = string(p)
	return true
}

// Writer makes messages, one behind the other in one buffer. The zero Writer is
// ready.
type Writer struct {
	b     []byte
	start int
	long  bool
}

// Begin begins a message.
func (w *Writer) Begin(t Type, seq uint16, peer uint32) *Writer {
	w.start = len(w.b)
	w.b = append(w.b, 0, byte(t))
	w.b = binary.BigEndian.AppendUint16(w.b, seq)
	w.b = binary.BigEndian.AppendUint32(w.b, peer)
	w.b = append(w.b, 0, 0, 0, WordLen)
	return w
}

// Uint32 adds a number.
func (w *Writer) Uint32(id int, n uint32) *Writer {
	w.b = binary.BigEndian.AppendUint32(w.word(id, 4), n)
	return w.end()
}

// Flag adds a flag.
func (w *Writer) Flag(id int, on bool) *Writer {
	n := byte(0)
	if on {
		n = 1
	}
	w.b = append(w.word(id, 1), n)
	return w.end()
}

// Text adds a string.
func (w *Writer) Text(id int, s string) *Writer {
	w.b = append(append(w.word(id, len(s)+1), s...), 0)
	return w.end()
}

// Blob adds attributes.
func (w *Writer) Blob(id int, b []byte) *Writer {
	w.b = append(w.word(id, len(b)), b...)
	return w.end()
}

func (w *Writer) word(id, n int) []byte {
	return binary.BigEndian.AppendUint32(w.b, uint32(id)<<IDShift|uint32(n+WordLen)&lenMask)
}

// end pads the attribute and keeps the message's length right.
func (w *Writer) end() *Writer {
	for (len(w.b)-w.start)&3 != 0 {
		w.b = append(w.b, 0)
	}
	n := len(w.b) - w.start - HeaderLen
	w.long = w.long || n > MaxBlob
	binary.BigEndian.PutUint32(w.b[w.start+HeaderLen:], uint32(n)&lenMask)
	return w
}

// Bytes are the messages. It says no where one of them is longer than ubus takes.
func (w *Writer) Bytes() ([]byte, bool) {
	return w.b, !w.long
}
