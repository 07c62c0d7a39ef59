package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strconv"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// The peer: a codec for all of CBOR, as strict as ours.
var (
	peerEncode = func() cbor.EncMode {
		m, err := cbor.CoreDetEncOptions().EncMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
	peerDecode = func() cbor.DecMode {
		var reject []func(*cbor.SimpleValueRegistry) error
		for i := range 256 {
			if i < 20 || i == 22 || i == 23 || i > 31 {
				reject = append(reject, cbor.WithRejectedSimpleValue(cbor.SimpleValue(i)))
			}
		}
		simple, err := cbor.NewSimpleValueRegistryFromDefaults(reject...)
		if err != nil {
			panic(err)
		}
		m, err := cbor.DecOptions{
			DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
			UTF8: cbor.UTF8RejectInvalid, NaN: cbor.NaNDecodeForbidden, Inf: cbor.InfDecodeForbidden,
			IntDec: cbor.IntDecConvertNone, BignumTag: cbor.BignumTagForbidden, SimpleValues: simple,
			MaxNestedLevels: 8, MaxArrayElements: 64, MaxMapPairs: 32,
		}.DecMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
)

// structs are all that is encoded as a whole, and what they hold.
var structs = []any{solicit{}, advertise{}, handshake1{}, handshake2{}, handshake3{}, event{}, retire{}, pair{}, ticket{},
	reportMessage{}, report{}, configure{}, settings{}, outcome{}, confirm{}, confirmed{}}

// mirror is the same struct for the peer, which knows byte strings by a type of
// its own.
func mirror(t reflect.Type) reflect.Type {
	switch {
	case t == octetsType:
		return reflect.TypeFor[cbor.ByteString]()
	case t.Kind() == reflect.Slice:
		return reflect.SliceOf(mirror(t.Elem()))
	case t.Kind() == reflect.Struct:
		var f []reflect.StructField
		for i := range t.NumField() {
			f = append(f, reflect.StructField{Name: t.Field(i).Name, Type: mirror(t.Field(i).Type), Tag: t.Field(i).Tag})
		}
		return reflect.StructOf(f)
	}
	return t
}

var mirrors = map[reflect.Type]reflect.Type{}

// same says whether a struct and its mirror hold the same.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.String:
		return a.String() == b.String()
	}
	return a.Equal(b)
}

// hold decodes with both into the same struct. Ours takes nothing that the peer
// refuses, takes everything that the peer takes but keys that are no integers, and
// both read and write the same.
func hold(t *testing.T, kind any, b []byte) {
	t.Helper()
	typ := reflect.TypeOf(kind)
	if mirrors[typ] == nil {
		mirrors[typ] = mirror(typ)
	}
	ours, theirs := reflect.New(typ), reflect.New(mirrors[typ])
	err := unmarshal("x", b, ours.Interface())
	peerErr := peerDecode.Unmarshal(b, theirs.Interface())
	if len(b) > 0 && b[0]>>5 != majorMap && peerErr == nil {
		peerErr = errors.New("no map") // the peer would take an empty array for an empty struct
	}
	switch {
	case err != nil && Reason(err) == "other":
		t.Fatalf("%T: %x: %v has no reason", kind, b, err)
	case err == nil && peerErr != nil:
		t.Fatalf("%T: took %x, which the peer refuses: %v", kind, b, peerErr)
	case err != nil && peerErr == nil && strconv.IntSize == 32 && longLength(b):
		return // the peer cuts such a length down to an int, and then takes it
	case err != nil && peerErr == nil && !bytes.Contains([]byte(err.Error()), []byte("integer keys")):
		t.Fatalf("%T: refused %x, which the peer takes: %v", kind, b, err)
	case err != nil:
		return
	}
	if !same(ours.Elem(), theirs.Elem()) {
		t.Fatalf("%T: %x is %+v, and with the peer %+v", kind, b, ours.Elem(), theirs.Elem())
	}
	again, peerAgain := marshal(ours.Elem().Interface()), must(peerEncode.Marshal(theirs.Elem().Interface()))
	if !bytes.Equal(again, peerAgain) {
		t.Fatalf("%T: %+v is %x, and with the peer %x", kind, ours.Elem(), again, peerAgain)
	}
}

// longLength says whether there may be a length of eight bytes in b, which a
// 32-bit int does not hold.
func longLength(b []byte) bool {
	return bytes.ContainsAny(b, "\x5b\x7b") || bytes.IndexByte(b, 0x9b) >= 0 || bytes.IndexByte(b, 0xbb) >= 0
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// seeds are items of every kind, most of them wrong somewhere.
func seeds() [][]byte {
	var out [][]byte
	for _, s := range sampleBodies() {
		b, err := s.body.encode()
		if err != nil {
			panic(err)
		}
		out = append(out, b)
	}
	for _, s := range sampleMessages() {
		b, err := EncodeMessage(s.m)
		if err != nil {
			panic(err)
		}
		out = append(out, b[1:])
	}
	for _, s := range []string{"", "80", "a0", "a101f4", "a101f5", "a101f6", "a101f7", "a101e0", "a118c8e0", "a118c8f820", "a118c8f810",
		"a118c8f93c00", "a118c8f97c00", "a118c8fa7f800000", "a118c8fa3f800000", "a118c8fb3ff0000000000000", "a118c8fb7ff8000000000000",
		"a10101", "a1011801", "a101190001", "a1011a00000001", "a1011b0000000000000001", "a10120", "a1011bffffffffffffffff",
		"a120f5", "a22001" + "2001", "a2200120f5", "a2010118" + "0101", "a1616101", "a1412001", "a1f401", "a180f4", "a1a0f4", "a118c8bfff", "a118c8c001",
		"a118c8a2616101616102", "a118c8a201010101", "a118c862c328", "a10262c328", "a118c89b8000000000000000", "a118c85b8000000000000000", "a118c8ff", "a1ff01",
		"a118c8818181818181818180", "a118c88181818181818180"} {
		out = append(out, unhex(s))
	}
	return out
}

func TestCodecAgainstPeer(t *testing.T) {
	for n, b := range seeds() {
		for k, kind := range structs {
			hold(t, kind, b)
			// Close by: where it fits, and with one of those where it doesn't.
			if unmarshal("x", b, reflect.New(reflect.TypeOf(kind)).Interface()) != nil && k != n%len(structs) {
				continue
			}
			for i := range b {
				hold(t, kind, b[:i])
				for _, x := range []byte{1, 0x20, 0x80} {
					changed := bytes.Clone(b)
					changed[i] ^= x
					hold(t, kind, changed)
				}
			}
		}
	}
}

func FuzzCodec(f *testing.F) {
	for i, b := range seeds() {
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) { hold(t, structs[int(kind)%len(structs)], b) })
}

// Keys rise, and a struct has none that the decoder's limit forbids.
func TestFieldKeys(t *testing.T) {
	for _, kind := range structs {
		last := uint64(0)
		for _, f := range fields(reflect.TypeOf(kind)) {
			if f.key <= last || f.key > maxPairs {
				t.Errorf("%T: key %d after %d", kind, f.key, last)
			}
			last = f.key
		}
	}
}

func TestHeads(t *testing.T) {
	for _, n := range []uint64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<64 - 1} {
		b := appendHead(nil, majorUint, n)
		if want := must(peerEncode.Marshal(n)); !bytes.Equal(b, want) {
			t.Errorf("%d is %x, want %x", n, b, want)
		}
		d := decoder{b}
		if major, got, err := d.head(); major != majorUint || got != n || err != nil || len(d.b) != 0 {
			t.Errorf("%x is %d of %d, %v", b, got, major, err)
		}
	}
}

// What a stranger can make the decoder do is bounded: the widest tree within the
// limits is still read in a time that its length allows.
func TestDecodeCost(t *testing.T) {
	b := []byte{0xa1, 0x18, 0xc8}
	for len(b) < MaxMessage {
		b = binary.BigEndian.AppendUint16(append(b, 0x98), 0x4081)
	}
	n := testing.AllocsPerRun(10, func() {
		var w report
		if unmarshal("x", b, &w) == nil {
			t.Fatal("taken")
		}
	})
	if n > 20 {
		t.Errorf("%v allocations", n)
	}
}
