package ubus

import (
	"encoding/binary"
	"errors"
	"fmt"

	"homeconf/src/ubus/internal/frame"
)

// Type is the type of a blobmsg value, as it stands on the wire and in the
// signature of a method.
type Type uint8

// The types. Bool is an int8: the wire knows no other.
const (
	TypeNull Type = iota
	TypeArray
	TypeTable
	TypeString
	TypeInt64
	TypeInt32
	TypeInt16
	TypeInt8
	TypeDouble

	TypeBool = TypeInt8
)

var typeNames = [...]string{"null", "array", "table", "string", "int64", "int32", "int16", "int8", "double"}

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Bounds. ubusd disconnects whoever sends a longer blob; the depth is ours, far
// beyond what anyone sends, since libubox has none.
const (
	maxBlob  = frame.MaxBlob
	maxDepth = 4096
	maxName  = 1<<16 - 1
)

// ErrTooLarge is inside the error of what does not fit into a message.
var ErrTooLarge = errors.New("larger than a ubus message may be")

// An attribute of a blobmsg has the type as its id, is extended, and its payload
// is
//
//	0  2  length n of the name
//	2  n  name
//	   1  NUL
//	   …  padding to a multiple of four, from the length of the name on
//	   …  value
const (
	wordLen      = frame.WordLen
	lengthOfName = 2
	nameMinLen   = 4 // the length, a NUL, and padding
)

// split divides an attribute that was checked into name and value.
func split(a frame.Attr) (name, value []byte) {
	p := a.Payload()
	if !a.Extended() {
		return nil, p
	}
	n := int(binary.BigEndian.Uint16(p))
	return p[lengthOfName : lengthOfName+n], p[frame.Align(lengthOfName+n+1):]
}

// checkAttr checks one attribute by libubox's rules; those inside it not.
func checkAttr(a frame.Attr, named bool) error {
	if len(a.Raw) < wordLen {
		return errors.New("a length below that of its own word")
	}
	value := a.Payload()
	switch {
	case a.Extended():
		if len(value) < nameMinLen {
			return errors.New("no room for a name")
		}
		n := int(binary.BigEndian.Uint16(value))
		switch head := frame.Align(lengthOfName + n + 1); {
		case named && n == 0:
			return errors.New("no name")
		case head > len(value):
			return errors.New("the name runs past the end")
		case value[lengthOfName+n] != 0:
			return errors.New("the name has no NUL")
		default:
			value = value[head:]
		}
	case named:
		return errors.New("no name")
	}
	bad := false
	switch Type(a.ID()) {
	case TypeNull, TypeArray, TypeTable:
	case TypeString:
		bad = len(value) == 0 || value[len(value)-1] != 0
	case TypeInt64:
		bad = len(value) != 8
	case TypeInt32:
		bad = len(value) != 4
	case TypeInt16:
		bad = len(value) != 2
	case TypeInt8:
		bad = len(value) != 1
	case TypeDouble:
		bad = len(value) < 8
	default:
		return fmt.Errorf("unknown %v", Type(a.ID()))
	}
	if bad {
		return fmt.Errorf("%d bytes are no %v", len(value), Type(a.ID()))
	}
	return nil
}

// check checks the attributes in b on every level, once each. It keeps the ends
// of the open containers rather than calling itself.
func check(b []byte, named bool) error {
	type level struct {
		end   int
		named bool
	}
	var open []level
	in, pos := level{len(b), named}, 0
	for {
		a, _, ok := frame.Next(b[pos:in.end])
		if !ok { // the end of this container, or what libubox would not read
			if len(open) == 0 {
				return nil
			}
			pos = frame.Align(in.end)
			in, open = open[len(open)-1], open[:len(open)-1]
			continue
		}
		if err := checkAttr(a, in.named); err != nil {
			return fmt.Errorf("blobmsg, at byte %d: %w", pos, err)
		}
		t := Type(a.ID())
		if t != TypeTable && t != TypeArray {
			pos += frame.Align(len(a.Raw))
			continue
		}
		if len(open) == maxDepth {
			return fmt.Errorf("blobmsg, at byte %d: more than %d levels", pos, maxDepth)
		}
		_, value := split(a)
		open = append(open, in)
		in = level{pos + len(a.Raw), t == TypeTable}
		pos = in.end - len(value)
	}
}
