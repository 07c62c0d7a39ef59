package ubus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"homeconf/src/ubus/internal/frame"
)

// Builder makes a Table, one value after the other. The zero Builder is ready.
// Its methods return it, so that a small table is one expression:
//
//	args := new(ubus.Builder).String("config", "dhcp").Bool("force", true).Table()
//
// The items of an array have the name "". Names and strings end at their first
// NUL, because to C code they do.
type Builder struct {
	b    []byte
	open []int // where the open containers begin
	err  error
}

func cString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// begin writes an attribute's head and says where it begins.
func (b *Builder) begin(t Type, name string) int {
	name = cString(name)
	switch {
	case len(name) > maxName:
		b.fail(fmt.Errorf("a name of %d bytes: %w", len(name), ErrTooLarge))
		name = ""
	case len(b.b) > maxBlob-wordLen:
		b.fail(fmt.Errorf("a table of more than %d bytes: %w", maxBlob, ErrTooLarge))
		b.b, b.open = b.b[:0], nil // what has failed takes no memory
	}
	start := len(b.b)
	b.b = binary.BigEndian.AppendUint32(b.b, frame.ExtendedBit|uint32(t)<<frame.IDShift)
	b.b = binary.BigEndian.AppendUint16(b.b, uint16(len(name)))
	b.b = append(b.b, name...)
	b.b = append(b.b, 0)
	b.pad()
	return start
}

// end writes the length of the attribute that began there, and pads it.
func (b *Builder) end(start int) *Builder {
	n := len(b.b) - start
	if n > maxBlob {
		b.fail(fmt.Errorf("a value of %d bytes: %w", n, ErrTooLarge))
		b.b, b.open = b.b[:0], nil
		return b
	}
	word := binary.BigEndian.Uint32(b.b[start:])
	binary.BigEndian.PutUint32(b.b[start:], word|uint32(n))
	b.pad()
	return b
}

func (b *Builder) pad() {
	for len(b.b)&3 != 0 {
		b.b = append(b.b, 0)
	}
}

func (b *Builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// String adds a string.
func (b *Builder) String(name, v string) *Builder {
	start := b.begin(TypeString, name)
	b.b = append(b.b, cString(v)...)
	b.b = append(b.b, 0)
	return b.end(start)
}

// Int adds a whole number as libubox writes those in JSON: an int32 where it
// fits, else an int64.
func (b *Builder) Int(name string, v int64) *Builder {
	if int64(int32(v)) == v {
		return b.Int32(name, int32(v))
	}
	return b.Int64(name, v)
}

// Int64 adds an int64.
func (b *Builder) Int64(name string, v int64) *Builder {
	start := b.begin(TypeInt64, name)
	b.b = binary.BigEndian.AppendUint64(b.b, uint64(v))
	return b.end(start)
}

// Int32 adds an int32.
func (b *Builder) Int32(name string, v int32) *Builder { return b.Uint32(name, uint32(v)) }

// Uint32 adds an int32 without a sign, as object ids are.
func (b *Builder) Uint32(name string, v uint32) *Builder {
	start := b.begin(TypeInt32, name)
	b.b = binary.BigEndian.AppendUint32(b.b, v)
	return b.end(start)
}

// Int16 adds an int16.
func (b *Builder) Int16(name string, v int16) *Builder {
	start := b.begin(TypeInt16, name)
	b.b = binary.BigEndian.AppendUint16(b.b, uint16(v))
	return b.end(start)
}

// Int8 adds an int8, which everybody takes for a bool.
func (b *Builder) Int8(name string, v uint8) *Builder {
	start := b.begin(TypeInt8, name)
	b.b = append(b.b, v)
	return b.end(start)
}

// Bool adds a bool.
func (b *Builder) Bool(name string, v bool) *Builder {
	if v {
		return b.Int8(name, 1)
	}
	return b.Int8(name, 0)
}

// Double adds a double.
func (b *Builder) Double(name string, v float64) *Builder {
	start := b.begin(TypeDouble, name)
	b.b = binary.BigEndian.AppendUint64(b.b, math.Float64bits(v))
	return b.end(start)
}

// Null adds a null.
func (b *Builder) Null(name string) *Builder { return b.end(b.begin(TypeNull, name)) }

// Put adds a table that is there already.
func (b *Builder) Put(name string, t Table) *Builder {
	if t.err != nil {
		b.fail(t.err)
	}
	start := b.begin(TypeTable, name)
	b.b = append(b.b, t.b...)
	return b.end(start)
}

// Strings adds an array of strings.
func (b *Builder) Strings(name string, items ...string) *Builder {
	b.OpenArray(name)
	for _, s := range items {
		b.String("", s)
	}
	return b.Close()
}

// OpenTable begins a table inside this one; what is added goes there, until
// Close.
func (b *Builder) OpenTable(name string) *Builder { return b.openAs(TypeTable, name) }

// OpenArray begins an array.
func (b *Builder) OpenArray(name string) *Builder { return b.openAs(TypeArray, name) }

func (b *Builder) openAs(t Type, name string) *Builder {
	start := b.begin(t, name)
	b.open = append(b.open, start)
	return b
}

// Close ends the innermost open table or array.
func (b *Builder) Close() *Builder {
	if len(b.open) == 0 {
		b.fail(errors.New("blobmsg: closed what was not open"))
		return b
	}
	start := b.open[len(b.open)-1]
	b.open = b.open[:len(b.open)-1]
	return b.end(start)
}

// Table ends what is open and gives the table, which the Builder may not add to
// any more.
func (b *Builder) Table() Table {
	for len(b.open) > 0 {
		b.Close()
	}
	if len(b.b) > maxBlob-wordLen {
		b.fail(fmt.Errorf("a table of %d bytes: %w", len(b.b), ErrTooLarge))
	}
	if b.err != nil {
		return Table{list{err: b.err}}
	}
	if b.b == nil {
		return Table{list{b: []byte{}}} // what was built is not the zero Table
	}
	return Table{list{b: b.b}}
}
