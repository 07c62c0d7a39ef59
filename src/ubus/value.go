package ubus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"homeconf/src/ubus/internal/frame"
)

// Table is a blobmsg table: named values in the order they came, as they stand
// on the wire. The zero Table is empty. Names may repeat; the methods that read
// by name take the first value of the type that was asked for, as libubox does.
type Table struct {
	list
}

// Array is a blobmsg array. The zero Array is empty.
type Array struct {
	list
}

// list is the attributes of a table or an array, checked.
type list struct {
	b   []byte
	err error // what was wrong in the building of it
}

// Decode takes a table from the bytes inside a message, and checks all of it, on
// every level; what is wrong with it is a StatusParseError. The table is a view
// of b, which must not change any more.
func Decode(b []byte) (Table, error) {
	if len(b) > maxBlob-wordLen {
		return Table{}, fmt.Errorf("%w: %d bytes: %w", StatusParseError, len(b), ErrTooLarge)
	}
	if err := check(b, true); err != nil {
		return Table{}, fmt.Errorf("%w: %w", StatusParseError, err)
	}
	return Table{list{b: b}}, nil
}

// Bytes are the table as it stands inside a message.
func (t Table) Bytes() []byte { return t.b }

// Err says what went wrong when the table was built: a name or all of it too
// long. Sending such a table fails with the same error.
func (t Table) Err() error { return t.err }

// Len counts the values.
func (l list) Len() int {
	n := 0
	for rest := l.b; ; n++ {
		var ok bool
		if _, rest, ok = frame.Next(rest); !ok {
			return n
		}
	}
}

// All gives the values with their names.
func (t Table) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for a, rest, ok := frame.Next(t.b); ok; a, rest, ok = frame.Next(rest) {
			name, _ := split(a)
			if !yield(string(name), Value{a}) {
				return
			}
		}
	}
}

// All gives the items.
func (l Array) All() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		for a, rest, ok := frame.Next(l.b); ok; a, rest, ok = frame.Next(rest) {
			if !yield(Value{a}) {
				return
			}
		}
	}
}

// find is the first value of that name that is wanted.
func (t Table) find(name string, wanted func(Value) bool) bool {
	for a, rest, ok := frame.Next(t.b); ok; a, rest, ok = frame.Next(rest) {
		if n, _ := split(a); string(n) == name && wanted(Value{a}) {
			return true
		}
	}
	return false
}

// Get is the first value of that name, whatever its type. Without one it is the
// zero Value, which is of no use to any of its methods.
func (t Table) Get(name string) (v Value) {
	t.find(name, func(found Value) bool { v = found; return true })
	return v
}

// Has says whether there is a value of that name.
func (t Table) Has(name string) bool { return t.Get(name).Exists() }

// Text is the string of that name, "" without one.
func (t Table) Text(name string) (s string) {
	t.find(name, func(v Value) (ok bool) { s, ok = v.Text(); return ok })
	return s
}

// Int is the number of that name, of any width, 0 without one.
func (t Table) Int(name string) (n int64) {
	t.find(name, func(v Value) (ok bool) { n, ok = v.Int(); return ok })
	return n
}

// Uint32 is the number of that name without a sign, as object ids have none; 0
// without one.
func (t Table) Uint32(name string) uint32 { return uint32(t.Int(name)) }

// Float is the number of that name, 0 without one.
func (t Table) Float(name string) (f float64) {
	t.find(name, func(v Value) (ok bool) { f, ok = v.Float(); return ok })
	return f
}

// Bool is the bool of that name, false without one.
func (t Table) Bool(name string) (b bool) {
	t.find(name, func(v Value) (ok bool) { b, ok = v.Bool(); return ok })
	return b
}

// Table is the table of that name, an empty one without one.
func (t Table) Table(name string) (inner Table) {
	t.find(name, func(v Value) (ok bool) { inner, ok = v.Table(); return ok })
	return inner
}

// Array is the array of that name, an empty one without one.
func (t Table) Array(name string) (l Array) {
	t.find(name, func(v Value) (ok bool) { l, ok = v.Array(); return ok })
	return l
}

// Value is one value. Each of its methods says whether it is what was asked for.
type Value struct {
	a frame.Attr
}

// Exists is false for the zero Value only.
func (v Value) Exists() bool { return v.a.Raw != nil }

// Type is the value's type.
func (v Value) Type() Type { return Type(v.a.ID()) }

// Text is a string, up to its first NUL, as C code sees it.
func (v Value) Text() (string, bool) {
	if v.Type() != TypeString {
		return "", false
	}
	_, b := split(v.a)
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s), true
}

// Int is a whole number of any width, a bool as 0 or 1, or a double that is
// whole: senders differ in what they make of one and the same number. An int32
// is signed.
func (v Value) Int() (int64, bool) {
	_, b := split(v.a)
	switch v.Type() {
	case TypeInt64:
		return int64(binary.BigEndian.Uint64(b)), true
	case TypeInt32:
		return int64(int32(binary.BigEndian.Uint32(b))), true
	case TypeInt16:
		return int64(int16(binary.BigEndian.Uint16(b))), true
	case TypeInt8:
		return int64(b[0]), true
	case TypeDouble:
		f := math.Float64frombits(binary.BigEndian.Uint64(b))
		if f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
			return int64(f), true
		}
	}
	return 0, false
}

// Float is a number of any type.
func (v Value) Float() (float64, bool) {
	if v.Type() == TypeDouble {
		_, b := split(v.a)
		return math.Float64frombits(binary.BigEndian.Uint64(b)), true
	}
	n, ok := v.Int()
	return float64(n), ok
}

// Bool is a whole number of any width: all but 0 is true.
func (v Value) Bool() (bool, bool) {
	n, ok := v.Int()
	return n != 0, ok && v.Type() != TypeDouble
}

// Table is a table.
func (v Value) Table() (Table, bool) {
	if v.Type() != TypeTable {
		return Table{}, false
	}
	_, b := split(v.a)
	return Table{list{b: b}}, true
}

// Array is an array.
func (v Value) Array() (Array, bool) {
	if v.Type() != TypeArray {
		return Array{}, false
	}
	_, b := split(v.a)
	return Array{list{b: b}}, true
}
