package wire

import (
	"fmt"
)

// MessageType says what a message is.
type MessageType uint8

// The message types.
const (
	TypeReport    MessageType = 1
	TypeConfigure MessageType = 2
	TypeOutcome   MessageType = 3
	TypeConfirm   MessageType = 4
	TypeEvent     MessageType = 5
	TypePair      MessageType = 6
	TypeRetire    MessageType = 7
	TypeReplicate MessageType = 8 // reserved
	TypeConfirmed MessageType = 9
	TypeTicket    MessageType = 10
	TypeKeep      MessageType = 11
	TypeKept      MessageType = 12
	TypeRotate    MessageType = 13
	TypeRotated   MessageType = 14
)

func (t MessageType) String() string {
	switch t {
	case TypeReport:
		return "Report"
	case TypeConfigure:
		return "Configure"
	case TypeOutcome:
		return "Outcome"
	case TypeConfirm:
		return "Confirm"
	case TypeEvent:
		return "Event"
	case TypePair:
		return "Pair"
	case TypeRetire:
		return "Retire"
	case TypeReplicate:
		return "Replicate"
	case TypeConfirmed:
		return "Confirmed"
	case TypeTicket:
		return "Ticket"
	case TypeKeep:
		return "Keep"
	case TypeKept:
		return "Kept"
	case TypeRotate:
		return "Rotate"
	case TypeRotated:
		return "Rotated"
	}
	return fmt.Sprintf("MessageType(%d)", uint8(t))
}

// Message is what one side tells the other inside a session. The types of this
// package that are messages are so as values, not as pointers.
type Message interface {
	Type() MessageType
}

// encoder is what every Message of this package is besides.
type encoder interface {
	encode() ([]byte, error)
}

// EncodeMessage writes a message:
//
//	type u8 | CBOR map
func EncodeMessage(m Message) ([]byte, error) {
	e, ok := m.(encoder)
	if !ok {
		return nil, fmt.Errorf("message: %w: %T", ErrUnknown, m)
	}
	body, err := e.encode()
	if err != nil {
		return nil, err
	}
	if n := 1 + len(body); n > MaxMessage {
		return nil, tooLong(m.Type().String(), n, MaxMessage)
	}
	return append([]byte{byte(m.Type())}, body...), nil
}

// DecodeMessage reads a message. What it answers shares no memory with b.
func DecodeMessage(b []byte) (Message, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("message: %w: %d bytes", ErrTruncated, len(b))
	}
	if len(b) > MaxMessage {
		return nil, tooLong("message", len(b), MaxMessage)
	}
	body := b[1:]
	switch t := MessageType(b[0]); t {
	case TypeReport:
		return asMessage(decodeReport(body))
	case TypeConfigure:
		return asMessage(decodeConfigure(body))
	case TypeOutcome:
		return asMessage(decodeOutcome(body))
	case TypeConfirm:
		return asMessage(decodeConfirm(body))
	case TypeConfirmed:
		return asMessage(decodeConfirmed(body))
	case TypeEvent:
		return asMessage(decodeEvent(body))
	case TypePair:
		return asMessage(decodePair(body))
	case TypeRetire:
		return asMessage(decodeRetire(body))
	case TypeTicket:
		return asMessage(decodeTicket(body))
	case TypeKeep:
		return asMessage(decodeKeep(body))
	case TypeKept:
		return asMessage(decodeKept(body))
	case TypeRotate:
		return asMessage(decodeRotate(body))
	case TypeRotated:
		return asMessage(decodeRotated(body))
	default:
		return nil, fmt.Errorf("message: %w type: %v", ErrUnknown, t)
	}
}

func asMessage[M Message](m M, err error) (Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Event is something that happened at an agent, for the home's history.
//
//	{1: kind text, 2: text text}
type Event struct {
	Kind string // noun.verb
	Text string // one sentence
}

type event struct {
	Kind string `cbor:"1,keyasint"`
	Text string `cbor:"2,keyasint"`
}

// Type is TypeEvent.
func (Event) Type() MessageType { return TypeEvent }

func (e Event) check() error {
	if e.Kind == "" {
		return malformed("Event: kind", "empty")
	}
	if err := checkText("Event: kind", e.Kind); err != nil {
		return err
	}
	return checkText("Event: text", e.Text)
}

func (e Event) encode() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return marshal(event(e)), nil
}

func decodeEvent(b []byte) (Event, error) {
	var w event
	if err := unmarshal("Event", b, &w); err != nil {
		return Event{}, err
	}
	return Event(w), Event(w).check()
}

// Retire lets a device go: it forgets the home.
//
//	{? 1: reason text}
type Retire struct {
	Reason string
}

type retire struct {
	Reason string `cbor:"1,keyasint,omitempty"`
}

// Type is TypeRetire.
func (Retire) Type() MessageType { return TypeRetire }

func (r Retire) encode() ([]byte, error) {
	if err := checkText("Retire: reason", r.Reason); err != nil {
		return nil, err
	}
	return marshal(retire(r)), nil
}

func decodeRetire(b []byte) (Retire, error) {
	var w retire
	if err := unmarshal("Retire", b, &w); err != nil {
		return Retire{}, err
	}
	return Retire(w), checkText("Retire: reason", w.Reason)
}
