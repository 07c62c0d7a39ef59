package wire

import (
	"encoding/binary"
	"fmt"
)

// RecordKind says what a record is.
type RecordKind uint8

// The record kinds.
const (
	RecordData  RecordKind = 1
	RecordAck   RecordKind = 2
	RecordPing  RecordKind = 3
	RecordPong  RecordKind = 4
	RecordClose RecordKind = 5
)

// The reasons for a CLOSE.
const (
	CloseDone    = 0 // the session is over; another may follow
	CloseRefused = 1 // a person said no: the agent asks no more for a while
)

func (k RecordKind) String() string {
	switch k {
	case RecordData:
		return "DATA"
	case RecordAck:
		return "ACK"
	case RecordPing:
		return "PING"
	case RecordPong:
		return "PONG"
	case RecordClose:
		return "CLOSE"
	}
	return fmt.Sprintf("RecordKind(%d)", uint8(k))
}

// Record is the plaintext of one TRANSPORT frame, big-endian. A record fills
// its frame: what it carries ends where the frame ends.
//
//	DATA   1 | message u32 | fragment u16 | fragments u16 | bytes …
//	ACK    2 | next u32 | count u8 | count × (message u32 | fragments u16 | bitmap 16)
//	PING   3 | token u64
//	PONG   4 | token u64
//	CLOSE  5 | reason u8
//
// One struct for all kinds, so that a receiver parses without allocating; only
// the fields of its kind mean anything.
type Record struct {
	Kind RecordKind

	// DATA: one fragment of a message. Ids start at 1 and rise by one.
	Message   uint32
	Fragment  uint16 // below Fragments
	Fragments uint16 // of the whole message, at most MaxFragments
	Bytes     []byte // ParseRecord lets it alias its input; never empty

	// ACK: every message below Next has arrived whole; Acks[:Count] say what
	// has arrived of those from Next on.
	Next  uint32
	Count uint8
	Acks  [MaxAckEntries]AckEntry

	Token  uint64 // PING, and the PONG that answers it
	Reason uint8  // CLOSE: CloseDone, CloseRefused; any other means the same as CloseDone
}

// AckEntry says which fragments of a message have arrived. Fragments is the
// number that the message was seen cut into: after a fall-back to shorter
// frames it is cut anew, and what is said of the old cut no longer counts.
type AckEntry struct {
	Message   uint32
	Fragments uint16
	Bitmap    Bitmap
}

// Bitmap has a bit for each fragment; fragment 0 is the lowest bit of byte 0.
type Bitmap [MaxFragments / 8]byte

// Set sets the bit of a fragment below MaxFragments.
func (b *Bitmap) Set(i uint16) { b[i/8] |= 1 << (i % 8) }

// Has says whether the bit of a fragment is set.
func (b *Bitmap) Has(i uint16) bool { return i < MaxFragments && b[i/8]&(1<<(i%8)) != 0 }

const (
	ackLen      = 1 + 4 + 1
	ackEntryLen = 4 + 2 + MaxFragments/8
)

// ParseRecord reads the plaintext of a TRANSPORT frame.
func ParseRecord(b []byte) (r Record, err error) {
	if len(b) == 0 {
		return r, fmt.Errorf("record: %w", ErrTruncated)
	}
	r.Kind = RecordKind(b[0])
	switch r.Kind {
	case RecordData:
		return r, r.parseData(b)
	case RecordAck:
		return r, r.parseAck(b)
	case RecordPing, RecordPong:
		if err := exactly(r.Kind, b, 9); err != nil {
			return r, err
		}
		r.Token = binary.BigEndian.Uint64(b[1:])
	case RecordClose:
		if err := exactly(r.Kind, b, 2); err != nil {
			return r, err
		}
		r.Reason = b[1]
	default:
		return r, fmt.Errorf("record: %w kind %d", ErrUnknown, b[0])
	}
	return r, nil
}

func exactly(k RecordKind, b []byte, n int) error {
	switch {
	case len(b) < n:
		return fmt.Errorf("%v record: %w: %d bytes of %d", k, ErrTruncated, len(b), n)
	case len(b) > n:
		return malformed(k.String()+" record", "%d bytes behind its end", len(b)-n)
	}
	return nil
}

func (r *Record) parseData(b []byte) error {
	if len(b) <= DataLen {
		return fmt.Errorf("DATA record: %w: %d bytes", ErrTruncated, len(b))
	}
	r.Message = binary.BigEndian.Uint32(b[1:])
	r.Fragment = binary.BigEndian.Uint16(b[5:])
	r.Fragments = binary.BigEndian.Uint16(b[7:])
	r.Bytes = b[DataLen:]
	return r.checkData()
}

func (r *Record) checkData() error {
	switch {
	case r.Message == 0:
		return malformed("DATA record", "message 0")
	case r.Fragments > MaxFragments:
		return tooLong("DATA record: fragments", int(r.Fragments), MaxFragments)
	case r.Fragment >= r.Fragments:
		return malformed("DATA record", "fragment %d of %d", r.Fragment, r.Fragments)
	case len(r.Bytes) == 0:
		return malformed("DATA record", "empty fragment")
	case len(r.Bytes) > MaxFrame-TransportOverhead-DataLen:
		return tooLong("DATA record: bytes", len(r.Bytes), MaxFrame-TransportOverhead-DataLen)
	}
	return nil
}

func (r *Record) parseAck(b []byte) error {
	if len(b) < ackLen {
		return fmt.Errorf("ACK record: %w: %d bytes", ErrTruncated, len(b))
	}
	r.Next, r.Count = binary.BigEndian.Uint32(b[1:]), b[5]
	if r.Count > MaxAckEntries {
		return tooLong("ACK record: entries", int(r.Count), MaxAckEntries)
	}
	if err := exactly(RecordAck, b, ackLen+int(r.Count)*ackEntryLen); err != nil {
		return err
	}
	for i := range r.Acks[:r.Count] {
		e, p := &r.Acks[i], b[ackLen+i*ackEntryLen:]
		e.Message = binary.BigEndian.Uint32(p)
		e.Fragments = binary.BigEndian.Uint16(p[4:])
		copy(e.Bitmap[:], p[6:ackEntryLen])
	}
	return r.checkAck()
}

func (r *Record) checkAck() error {
	if r.Next == 0 {
		return malformed("ACK record", "next message 0")
	}
	least := r.Next
	for i := range r.Acks[:r.Count] {
		e := &r.Acks[i]
		// In rising order: an entry is never said twice.
		if e.Message < least {
			return malformed("ACK record", "message %d out of order", e.Message)
		}
		if e.Message == 1<<32-1 && i+1 < int(r.Count) {
			return malformed("ACK record", "an entry behind the last message")
		}
		least = e.Message + 1
		if e.Fragments == 0 {
			return malformed("ACK record", "message %d of no fragments", e.Message)
		}
		if e.Fragments > MaxFragments {
			return tooLong("ACK record: fragments", int(e.Fragments), MaxFragments)
		}
		for n := e.Fragments; n < MaxFragments; n++ {
			if e.Bitmap.Has(n) {
				return malformed("ACK record", "fragment %d of %d", n, e.Fragments)
			}
		}
	}
	return nil
}

// Append appends the record's bytes.
func (r *Record) Append(dst []byte) ([]byte, error) {
	switch r.Kind {
	case RecordData:
		if err := r.checkData(); err != nil {
			return dst, err
		}
		dst = append(dst, byte(RecordData))
		dst = binary.BigEndian.AppendUint32(dst, r.Message)
		dst = binary.BigEndian.AppendUint16(dst, r.Fragment)
		dst = binary.BigEndian.AppendUint16(dst, r.Fragments)
		return append(dst, r.Bytes...), nil
	case RecordAck:
		if r.Count > MaxAckEntries {
			return dst, tooLong("ACK record: entries", int(r.Count), MaxAckEntries)
		}
		if err := r.checkAck(); err != nil {
			return dst, err
		}
		dst = append(dst, byte(RecordAck))
		dst = binary.BigEndian.AppendUint32(dst, r.Next)
		dst = append(dst, r.Count)
		for i := range r.Acks[:r.Count] {
			dst = binary.BigEndian.AppendUint32(dst, r.Acks[i].Message)
			dst = binary.BigEndian.AppendUint16(dst, r.Acks[i].Fragments)
			dst = append(dst, r.Acks[i].Bitmap[:]...)
		}
		return dst, nil
	case RecordPing, RecordPong:
		return binary.BigEndian.AppendUint64(append(dst, byte(r.Kind)), r.Token), nil
	case RecordClose:
		return append(dst, byte(RecordClose), r.Reason), nil
	}
	return dst, fmt.Errorf("record: %w kind %d", ErrUnknown, uint8(r.Kind))
}
