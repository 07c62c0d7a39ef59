package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// The part of CBOR (RFC 8949) that the messages use: maps with integer keys, for
// structs; arrays; unsigned integers; text; byte strings; true and false. A
// codec for all of CBOR is 400 KB larger; the tests hold this one against such
// a one.

// Limits of what is read, also of what is skipped.
const (
	maxNesting  = 8
	maxElements = 64 // the longest list of any message
	maxPairs    = 32
)

// The major types (RFC 8949, 3.1), and the simple values in use.
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple

	cborFalse = majorSimple<<5 | 20
	cborTrue  = majorSimple<<5 | 21
)

// octets is a CBOR byte string.
type octets string

var octetsType = reflect.TypeFor[octets]()

// field is a struct's field and its key, of the tag `cbor:"1,keyasint,omitempty"`.
type field struct {
	key       uint64
	omitEmpty bool
}

var fieldsOf sync.Map // reflect.Type → []field

func fields(t reflect.Type) []field {
	if f, ok := fieldsOf.Load(t); ok {
		return f.([]field)
	}
	f := make([]field, t.NumField())
	for i := range f {
		key, rest, _ := strings.Cut(t.Field(i).Tag.Get("cbor"), ",")
		n, err := strconv.ParseUint(key, 10, 8)
		if err != nil {
			panic(fmt.Sprintf("%v: field %s has no key", t, t.Field(i).Name))
		}
		f[i] = field{n, strings.HasSuffix(rest, "omitempty")}
	}
	fieldsOf.Store(t, f)
	return f
}

// appendHead writes a major type and its argument in the shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

// appendValue writes deterministic CBOR (RFC 8949, 4.2.1): shortest forms,
// definite lengths, keys in rising order, which is that of the fields.
func appendValue(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return appendHead(b, majorUint, v.Uint())
	case reflect.Bool:
		if v.Bool() {
			return append(b, cborTrue)
		}
		return append(b, cborFalse)
	case reflect.String:
		major := byte(majorText)
		if v.Type() == octetsType {
			major = majorBytes
		}
		return append(appendHead(b, major, uint64(v.Len())), v.String()...)
	case reflect.Slice:
		b = appendHead(b, majorArray, uint64(v.Len()))
		for i := range v.Len() {
			b = appendValue(b, v.Index(i))
		}
		return b
	case reflect.Struct:
		return appendStruct(b, v)
	}
	panic("no CBOR for " + v.Type().String())
}

func appendStruct(b []byte, v reflect.Value) []byte {
	list := fields(v.Type())
	left := func(i int) bool {
		return list[i].omitEmpty && (v.Field(i).IsZero() || v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0)
	}
	n := 0
	for i := range list {
		if !left(i) {
			n++
		}
	}
	b = appendHead(b, majorMap, uint64(n))
	for i, f := range list {
		if !left(i) {
			b = appendValue(appendHead(b, majorUint, f.key), v.Field(i))
		}
	}
	return b
}

var (
	errNested   = fmt.Errorf("%w: nested deeper than %d", ErrTooLong, maxNesting)
	errElements = fmt.Errorf("%w: an array of more than %d", ErrTooLong, maxElements)
	errPairs    = fmt.Errorf("%w: a map of more than %d", ErrTooLong, maxPairs)
	errForm     = fmt.Errorf("%w: not of the CBOR in use", ErrMalformed)
)

// decoder reads strictly what check has seen whole.
type decoder struct{ b []byte }

// head reads a major type and its argument.
func (d *decoder) head() (major byte, n uint64, err error) {
	if len(d.b) == 0 {
		return 0, 0, ErrTruncated
	}
	major, info := d.b[0]>>5, d.b[0]&31
	d.b = d.b[1:]
	if info < 24 {
		return major, uint64(info), nil
	}
	if info > 27 { // reserved, or an indefinite length
		return 0, 0, errForm
	}
	size := 1 << (info - 24)
	if len(d.b) < size {
		return 0, 0, ErrTruncated
	}
	for _, c := range d.b[:size] {
		n = n<<8 | uint64(c)
	}
	d.b = d.b[size:]
	if major == majorSimple && !finite(size, n) {
		return 0, 0, errForm
	}
	return major, n, nil
}

// finite says whether the bits are a float's that is neither infinite nor NaN.
// Floats are only ever skipped. One byte is no float but a simple value that
// nobody uses.
func finite(size int, bits uint64) bool {
	switch size {
	case 2:
		return bits>>10&0x1f != 0x1f
	case 4:
		return bits>>23&0xff != 0xff
	case 8:
		return bits>>52&0x7ff != 0x7ff
	}
	return false
}

// check goes over one item: well-formed, within the limits, nothing indefinite,
// no tag, no simple value but true and false.
func (d *decoder) check(depth int) error {
	if len(d.b) > 0 && d.b[0]>>5 == majorSimple && d.b[0]&31 < 24 && d.b[0] != cborFalse && d.b[0] != cborTrue {
		return errForm
	}
	major, n, err := d.head()
	if err != nil {
		return err
	}
	switch major {
	case majorBytes, majorText:
		if n > math.MaxInt64 {
			return errForm
		}
		if n > uint64(len(d.b)) {
			return ErrTruncated
		}
		d.b = d.b[n:]
	case majorArray, majorMap:
		switch {
		case depth == maxNesting:
			return errNested
		case major == majorArray && n > maxElements:
			return errElements
		case major == majorMap && n > maxPairs:
			return errPairs
		}
		if major == majorMap {
			n *= 2
		}
		for range n {
			if err := d.check(depth + 1); err != nil {
				return err
			}
		}
	case majorTag:
		return errForm
	}
	return nil
}

// value reads an item that check has passed. Its errors name what was wanted and
// never a value, so that no secret gets into a log with them.
func (d *decoder) value(v reflect.Value) error {
	first := d.b[0]
	major, n, err := d.head()
	if err != nil {
		return err
	}
	switch v.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if major != majorUint || v.OverflowUint(n) {
			return wanted("a number of " + strconv.Itoa(v.Type().Bits()) + " bits")
		}
		v.SetUint(n)
	case reflect.Bool:
		if first != cborFalse && first != cborTrue {
			return wanted("true or false")
		}
		v.SetBool(first == cborTrue)
	case reflect.String:
		if v.Type() == octetsType {
			if major != majorBytes {
				return wanted("bytes")
			}
		} else if major != majorText || !utf8.Valid(d.b[:n]) {
			return wanted("text")
		}
		v.SetString(string(d.b[:n]))
		d.b = d.b[n:]
	case reflect.Slice:
		if major != majorArray {
			return wanted("an array")
		}
		list := reflect.MakeSlice(v.Type(), int(n), int(n))
		for i := range int(n) {
			if err := d.value(list.Index(i)); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
		v.Set(list)
	case reflect.Struct:
		if major != majorMap {
			return wanted("a map")
		}
		return d.fields(v, int(n))
	default:
		panic("no CBOR for " + v.Type().String())
	}
	return nil
}

func wanted(what string) error { return fmt.Errorf("%w: want %s", ErrMalformed, what) }

// fields reads a struct from n pairs.
func (d *decoder) fields(v reflect.Value, n int) error {
	list := fields(v.Type())
	type key struct {
		major byte
		n     uint64
	}
	seen := make([]key, 0, maxPairs)
	for range n {
		major, number, err := d.head()
		if err != nil {
			return err
		}
		if major != majorUint && major != majorNegative {
			return wanted("integer keys")
		}
		k := key{major, number}
		if slices.Contains(seen, k) {
			return fmt.Errorf("%w: a key twice", ErrMalformed)
		}
		seen = append(seen, k)
		i := slices.IndexFunc(list, func(f field) bool { return major == majorUint && f.key == number })
		if i < 0 {
			err = d.check(0) // that is, skip
		} else if err = d.value(v.Field(i)); err != nil {
			err = fmt.Errorf("%d: %w", number, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
