package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/fxamacker/cbor/v2"
)

type m = map[int]any

// raw encodes anything, wrong as it may be.
func raw(v any) []byte {
	b, err := cbor.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func header(version, typ byte, length uint16) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{version, typ}, length), 0, 0, 0, 0)
}

func message(t MessageType, body ...byte) []byte { return append([]byte{byte(t)}, body...) }

// nested is n lists in each other, the innermost empty.
func nested(n int) []byte { return append(bytes.Repeat([]byte{0x81}, n-1), 0x80) }

// checkRefused holds an error to what a caller may rely on: one reason, no
// control characters for the log, of bounded length.
func checkRefused(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	reasons := 0
	for _, r := range []error{ErrTruncated, ErrVersion, ErrType, ErrTooLong, ErrMalformed, ErrUnknown} {
		if errors.Is(err, r) {
			reasons++
		}
	}
	if reasons != 1 {
		t.Errorf("%q has %d reasons", err, reasons)
	}
	if s := err.Error(); len(s) > 400 || strings.ContainsFunc(s, unicode.IsControl) {
		t.Errorf("unfit for a log: %q", s)
	}
}

func TestBadFrames(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrTruncated},
		{"half a header", header(1, 1, 1)[:7], ErrTruncated},
		{"header alone", header(1, 1, 1), ErrTruncated},
		{"one byte short", append(header(1, 1, 40), make([]byte, 39)...), ErrTruncated},
		{"length of all", append(header(1, 6, 0xffff), make([]byte, 100)...), ErrTruncated},
		{"empty body", append(header(1, 6, 0), make([]byte, 38)...), ErrMalformed},
		{"version 0", append(header(0, 1, 1), 0), ErrVersion},
		{"version 2", append(header(2, 1, 1), 0), ErrVersion},
		{"type 0", append(header(1, 0, 1), 0), ErrType},
		{"type 7", append(header(1, 7, 1), 0), ErrType},
		{"over 1500 bytes", append(header(1, 6, 1493), make([]byte, 1493)...), ErrTooLong},
		{"a megabyte", append(header(1, 6, 1), make([]byte, 1<<20)...), ErrTooLong},
		{"behind a long body", append(header(1, 6, 60), make([]byte, 61)...), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := ParseFrame(c.b)
			checkRefused(t, err, c.want)
			if f.Body != nil {
				t.Error("and still answered")
			}
		})
	}
	for n := range CounterLen + TagLen + 1 {
		_, _, err := ParseTransport(make([]byte, n))
		checkRefused(t, err, ErrTruncated)
	}
}

func TestBadBodies(t *testing.T) {
	b16 := fill(16, 1)
	h1 := func(change m) []byte {
		v := m{1: 1, 2: 1, 3: 1, 4: b16, 5: b16, 6: b16, 7: b16, 11: b16}
		for k, x := range change {
			if x == nil {
				delete(v, k)
			} else {
				v[k] = x
			}
		}
		return raw(v)
	}
	if _, err := ParseHandshake1(h1(nil)); err != nil {
		t.Fatalf("the good one is refused: %v", err)
	}
	if _, err := ParseHandshake1(h1(m{99: "of a later version"})); err != nil {
		t.Fatalf("a key of a later version is not skipped: %v", err)
	}
	for _, c := range []struct {
		name string
		t    FrameType
		b    []byte
		want error
	}{
		{"no CBOR", FrameSolicit, []byte{0xff}, ErrMalformed},
		{"a list for a map", FrameSolicit, raw([]any{b16}), ErrMalformed},
		{"a number for a map", FrameSolicit, raw(1), ErrMalformed},
		{"null for a map", FrameSolicit, unhex("f6"), ErrMalformed},
		{"empty map", FrameSolicit, raw(m{}), ErrMalformed},
		{"short nonce", FrameSolicit, raw(m{1: b16[:15]}), ErrMalformed},
		{"long nonce", FrameSolicit, raw(m{1: fill(17, 0)}), ErrMalformed},
		{"nonce as text", FrameSolicit, raw(m{1: "0123456789abcdef"}), ErrMalformed},
		{"nonce as list of numbers", FrameSolicit, raw(m{1: []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}), ErrMalformed},
		{"nonce null", FrameSolicit, unhex("a101f6"), ErrMalformed},
		{"nonce undefined", FrameSolicit, unhex("a101f7"), ErrMalformed},
		{"nonce cut off", FrameSolicit, unhex("a10150 0102"), ErrTruncated},
		{"nonce of 2^64-1 bytes", FrameSolicit, unhex("a1015bffffffffffffffff"), ErrMalformed},
		{"nonce of 2^31 bytes", FrameSolicit, unhex("a1015a80000000"), ErrTruncated},
		{"indefinite map", FrameSolicit, append(append([]byte{0xbf, 0x01, 0x50}, b16...), 0xff), ErrMalformed},
		{"indefinite bytes", FrameSolicit, append(append([]byte{0xa1, 0x01, 0x5f, 0x50}, b16...), 0xff), ErrMalformed},
		{"key twice", FrameSolicit, append(append([]byte{0xa2, 0x01, 0x50}, b16...), append([]byte{0x01, 0x50}, b16...)...), ErrMalformed},
		{"trailing byte", FrameSolicit, append(raw(m{1: b16}), 0), ErrMalformed},
		{"tagged map", FrameSolicit, append([]byte{0xc1}, raw(m{1: b16})...), ErrMalformed},
		{"tagged nonce", FrameSolicit, append([]byte{0xa1, 0x01, 0xc2, 0x50}, b16...), ErrMalformed},
		{"reserved head", FrameSolicit, unhex("a1011c"), ErrMalformed},
		{"map of 2^32 pairs", FrameSolicit, unhex("ba ffffffff 01"), ErrTooLong},
		{"33 pairs", FrameSolicit, raw(many(33)), ErrTooLong},
		{"deep nesting", FrameSolicit, append([]byte{0xa1, 0x18, 0x63}, nested(9)...), ErrTooLong},
		{"deepest nesting", FrameSolicit, append([]byte{0xa1, 0x18, 0x63}, nested(1400)...), ErrTooLong},
		{"long list under an unknown key", FrameSolicit, raw(m{1: b16, 99: make([]int, 65)}), ErrTooLong},
		{"nine ways", FrameAdvertise, raw(m{1: b16, 2: b16, 6: make([]int, 9)}), ErrTooLong},
		{"ways as bytes", FrameAdvertise, raw(m{1: b16, 2: b16, 6: []byte{1}}), ErrMalformed},
		{"way below 0", FrameAdvertise, raw(m{1: b16, 2: b16, 6: []int{-1}}), ErrMalformed},
		{"way over 16 bits", FrameAdvertise, raw(m{1: b16, 2: b16, 6: []int{1 << 16}}), ErrMalformed},
		{"short asker", FrameAdvertise, raw(m{1: b16, 2: b16, 3: b16[:1]}), ErrMalformed},
		{"long cookie", FrameAdvertise, raw(m{1: b16, 2: b16, 4: make([]byte, 65)}), ErrTooLong},
		{"short tag", FrameAdvertise, raw(m{1: b16, 2: b16, 5: b16}), ErrMalformed},
		{"no instance", FrameAdvertise, raw(m{2: b16}), ErrMalformed},
		{"pattern 0", FrameHandshake1, h1(m{1: 0}), ErrMalformed},
		{"pattern 257", FrameHandshake1, h1(m{1: 257}), ErrMalformed},
		{"pattern 1.0", FrameHandshake1, h1(m{1: 1.0}), ErrMalformed},
		{"pattern true", FrameHandshake1, h1(m{1: true}), ErrMalformed},
		{"no way with XX", FrameHandshake1, h1(m{2: nil}), ErrMalformed},
		{"way 4", FrameHandshake1, h1(m{2: 4}), ErrMalformed},
		{"sender 0", FrameHandshake1, h1(m{3: 0}), ErrMalformed},
		{"sender over 32 bits", FrameHandshake1, h1(m{3: int64(1) << 32}), ErrMalformed},
		{"no instance in 1", FrameHandshake1, h1(m{4: nil}), ErrMalformed},
		{"long cookie in 1", FrameHandshake1, h1(m{7: make([]byte, 65)}), ErrTooLong},
		{"discriminator of 13 bits", FrameHandshake1, h1(m{8: 4096}), ErrTooLong},
		{"ticket alone", FrameHandshake1, h1(m{9: b16}), ErrMalformed},
		{"short ticket", FrameHandshake1, h1(m{9: b16[:8], 10: b16[:8]}), ErrMalformed},
		{"no noise", FrameHandshake1, h1(m{11: nil}), ErrMalformed},
		{"empty noise", FrameHandshake1, h1(m{11: []byte{}}), ErrMalformed},
		{"long noise", FrameHandshake1, h1(m{11: make([]byte, MaxNoise+1)}), ErrTooLong},
		{"sender 0 in 2", FrameHandshake2, raw(m{1: 0, 2: b16}), ErrMalformed},
		{"no noise in 2", FrameHandshake2, raw(m{1: 1}), ErrMalformed},
		{"no noise in 3", FrameHandshake3, raw(m{}), ErrMalformed},
		{"text keys in 3", FrameHandshake3, raw(map[string]any{"1": b16}), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := ParseBody(Frame{Type: c.t, Body: c.b})
			checkRefused(t, err, c.want)
			if b != nil {
				t.Errorf("and still answered %+v", b)
			}
		})
	}
}

func many(n int) m {
	v := m{}
	for i := range n {
		v[i] = 0
	}
	return v
}

func TestUnknownWaysAreLeftOut(t *testing.T) {
	b16 := fill(16, 1)
	a, err := ParseAdvertise(raw(m{1: b16, 2: b16, 6: []int{0, 4, 2, 258}}))
	if err != nil || len(a.Ways) != 1 || a.Ways[0] != WayWindow {
		t.Errorf("%v, %v", a.Ways, err)
	}
}

func TestBadMessages(t *testing.T) {
	b32 := fill(32, 1)
	settings := func(change m) []byte {
		v := m{1: 7, 2: "Static", 3: []byte{192, 168, 1, 5, 24}, 4: []byte{192, 168, 1, 1}, 5: [][]byte{{192, 168, 1, 1}}}
		for k, x := range change {
			v[k] = x
		}
		return message(TypeConfigure, raw(m{1: v, 2: 1000})...)
	}
	report := func(v m) []byte { return message(TypeReport, raw(m{1: 1, 2: true, 5: v})...) }
	if _, err := DecodeMessage(settings(nil)); err != nil {
		t.Fatalf("the good one is refused: %v", err)
	}
	if _, err := DecodeMessage(report(m{1: m{}})); err != nil {
		t.Fatalf("the good report is refused: %v", err)
	}
	ifs := func(n int, f func(int) any) []any {
		var out []any
		for i := range n {
			out = append(out, f(i))
		}
		return out
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrTruncated},
		{"type alone", message(TypeReport), ErrTruncated},
		{"too long", message(TypeEvent, make([]byte, MaxMessage)...), ErrTooLong},
		{"type 0", message(0, 0xa0), ErrUnknown},
		{"reserved Replicate", message(TypeReplicate, 0xa0), ErrUnknown},
		{"type 255", message(255, 0xa0), ErrUnknown},
		{"trailing byte", append(message(TypeConfirmed, raw(m{1: 1})...), 0), ErrMalformed},
		{"two messages", append(message(TypeConfirmed, raw(m{1: 1})...), message(TypeConfirmed, raw(m{1: 1})...)...), ErrMalformed},
		{"negative generation", message(TypeConfirmed, raw(m{1: -1})...), ErrMalformed},
		{"generation over 64 bits", message(TypeConfirmed, unhex("a101 c249 010000000000000000")...), ErrMalformed},
		{"generation as text", message(TypeConfirmed, raw(m{1: "1"})...), ErrMalformed},
		{"generation as float", message(TypeConfirmed, raw(m{1: 1.5})...), ErrMalformed},
		{"generation NaN", message(TypeConfirmed, unhex("a101f97e00")...), ErrMalformed},
		{"generation infinite", message(TypeConfirmed, unhex("a101f97c00")...), ErrMalformed},
		{"digest missing", message(TypeConfirm, raw(m{1: 1})...), ErrMalformed},
		{"digest short", message(TypeConfirm, raw(m{1: 1, 2: b32[:31]})...), ErrMalformed},
		{"duplicate generation", message(TypeConfirm, append(unhex("a3 0101 0102 025820"), b32...)...), ErrMalformed},
		{"event without kind", message(TypeEvent, raw(m{2: "x"})...), ErrMalformed},
		{"event of bytes", message(TypeEvent, raw(m{1: []byte("a.b"), 2: "x"})...), ErrMalformed},
		{"long event", message(TypeEvent, raw(m{1: "a.b", 2: strings.Repeat("x", 257)})...), ErrTooLong},
		{"bad UTF-8", message(TypeEvent, unhex("a2 0161 61 0262 c328")...), ErrMalformed},
		{"surrogate", message(TypeEvent, unhex("a2 0161 61 0263 eda080")...), ErrMalformed},
		{"escape character", message(TypeEvent, raw(m{1: "a.b", 2: "\x1b[31m"})...), ErrMalformed},
		{"zero byte", message(TypeEvent, raw(m{1: "a\x00b", 2: ""})...), ErrMalformed},
		{"delete", message(TypeRetire, raw(m{1: "\x7f"})...), ErrMalformed},
		{"line break", message(TypeRetire, raw(m{1: "a\nhomeconf: all is well"})...), ErrMalformed},
		{"indefinite text", message(TypeRetire, unhex("a101 7f 6161 ff")...), ErrMalformed},
		{"unknown outcome", message(TypeOutcome, raw(m{1: 1, 2: "done"})...), ErrMalformed},
		{"long outcome", message(TypeOutcome, raw(m{1: 1, 2: strings.Repeat("\x1b", 10000)})...), ErrMalformed},
		{"no settings", message(TypeConfigure, raw(m{2: 1000})...), ErrMalformed},
		{"no deadline", message(TypeConfigure, raw(m{1: m{1: 1, 2: "DHCP"}})...), ErrMalformed},
		{"deadline over an hour", message(TypeConfigure, raw(m{1: m{1: 1, 2: "DHCP"}, 2: 3600001})...), ErrTooLong},
		{"addressing type", settings(m{2: "AutoIP"}), ErrMalformed},
		{"address of 4 bytes", settings(m{3: []byte{1, 2, 3, 4}}), ErrMalformed},
		{"address /33", settings(m{3: []byte{10, 2, 3, 4, 33}}), ErrMalformed},
		{"address /0", settings(m{3: []byte{10, 2, 3, 4, 0}}), ErrMalformed},
		{"address 0.0.0.0", settings(m{3: []byte{0, 0, 0, 0, 24}}), ErrMalformed},
		{"address of a group", settings(m{3: []byte{224, 0, 0, 1, 24}}), ErrMalformed},
		{"address of a loopback", settings(m{3: []byte{127, 0, 0, 1, 8}}), ErrMalformed},
		{"gateway of 16 bytes", settings(m{4: make([]byte, 16)}), ErrMalformed},
		{"gateway as text", settings(m{4: "192.168.1.1"}), ErrMalformed},
		{"gateway of all ones", settings(m{4: []byte{255, 255, 255, 255}}), ErrMalformed},
		{"empty DNS", settings(m{5: [][]byte{{}}}), ErrMalformed},
		{"nine DNS", settings(m{5: [][]byte{{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1},
			{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}}}), ErrTooLong},
		{"list of 2^32", message(TypeConfigure, unhex("a2 01 a3 0101 02 64 44484350 05 9a ffffffff")...), ErrTooLong},
		{"pair step 0", message(TypePair, raw(m{1: 0})...), ErrMalformed},
		{"pair without commit", message(TypePair, raw(m{1: 1})...), ErrMalformed},
		{"pair with a short nonce", message(TypePair, raw(m{1: 2, 3: b32[:8]})...), ErrMalformed},
		{"pair with half a ticket", message(TypePair, raw(m{1: 4, 4: b32, 5: b32[:16], 7: b32[:16]})...), ErrMalformed},
		{"pair with a zero ticket", message(TypePair, raw(m{1: 4, 4: b32, 5: b32[:16], 7: make([]byte, 16), 8: b32})...), ErrMalformed},
		{"keep without term", message(TypeKeep, raw(m{2: 1})...), ErrMalformed},
		{"keep too long", message(TypeKeep, raw(m{1: 1, 2: make([]byte, MaxSealed+1)})...), ErrTooLong},
		{"kept too long", message(TypeKept, raw(m{1: 1, 2: make([]byte, MaxSealed+1)})...), ErrTooLong},
		{"kept of text", message(TypeKept, raw(m{1: 1, 2: "x"})...), ErrMalformed},
		{"rotate to no key", message(TypeRotate, raw(m{1: make([]byte, 32), 2: b32})...), ErrMalformed},
		{"rotate to a short key", message(TypeRotate, raw(m{1: b32[:31], 2: b32})...), ErrMalformed},
		{"rotate without discovery key", message(TypeRotate, raw(m{1: b32})...), ErrMalformed},
		{"rotated of nothing", message(TypeRotated, raw(m{})...), ErrMalformed},
		{"ticket without key", message(TypeTicket, raw(m{1: b32[:16]})...), ErrMalformed},
		{"17 interfaces", report(m{1: m{}, 3: ifs(17, func(int) any { return m{1: "eth0", 4: true} })}), ErrTooLong},
		{"17 addresses", report(m{1: m{}, 3: ifs(1, func(int) any {
			return m{1: "eth0", 4: true, 6: ifs(17, func(i int) any { return m{1: []byte{10, 0, 0, byte(i), 24}} })}
		})}), ErrTooLong},
		{"33 capabilities", report(m{1: m{}, 8: ifs(33, func(int) any { return "x" })}), ErrTooLong},
		{"65 groups", report(m{1: m{}, 9: ifs(65, func(i int) any { return []byte{239, 0, 0, byte(i)} })}), ErrTooLong},
		{"group that is none", report(m{1: m{}, 9: ifs(1, func(i int) any { return []byte{10, 0, 0, 1} })}), ErrMalformed},
		{"DNS of 5 bytes", report(m{1: m{}, 6: ifs(1, func(i int) any { return []byte{10, 0, 0, 1, 1} })}), ErrMalformed},
		{"DNS mapped to IPv6", report(m{1: m{}, 6: ifs(1, func(i int) any {
			return []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4}
		})}), ErrMalformed},
		{"MAC of 5 bytes", report(m{1: m{}, 3: ifs(1, func(int) any { return m{1: "eth0", 2: b32[:5], 4: true} })}), ErrMalformed},
		{"interface as text", report(m{1: m{}, 3: []string{"eth0"}}), ErrMalformed},
		{"interface name with an escape", report(m{1: m{}, 3: ifs(1, func(int) any { return m{1: "e\x1b0", 4: true} })}), ErrMalformed},
		{"medium", report(m{1: m{}, 3: ifs(1, func(int) any { return m{1: "eth0", 3: strings.Repeat("\n", 5000)} })}), ErrMalformed},
		{"port of no protocol", report(m{1: m{}, 7: ifs(1, func(int) any { return m{1: "tv", 3: "running", 4: []any{1<<16 | 443}} })}), ErrMalformed},
		{"port 0", report(m{1: m{}, 7: ifs(1, func(int) any { return m{1: "tv", 3: "running", 4: []any{6 << 16}} })}), ErrMalformed},
		{"five ports", report(m{1: m{}, 7: ifs(1, func(int) any {
			return m{1: "tv", 3: "running", 4: []any{6<<16 | 1, 6<<16 | 2, 6<<16 | 3, 6<<16 | 4, 6<<16 | 5}}
		})}), ErrTooLong},
		{"service state", report(m{1: m{}, 7: ifs(1, func(int) any { return m{1: "tv", 3: "odd"} })}), ErrMalformed},
		{"category", report(m{1: m{1: "a b"}}), ErrMalformed},
		{"long category", report(m{1: m{1: strings.Repeat("A", 20000)}}), ErrMalformed},
		{"commit state", report(m{1: m{}, 12: "odd"}), ErrMalformed},
		{"base of 31 bytes", message(TypeReport, raw(m{1: 1, 2: true, 3: b32[:31], 5: m{1: m{}}})...), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodeMessage(c.b)
			checkRefused(t, err, c.want)
			if got != nil {
				t.Errorf("and still answered %+v", got)
			}
		})
	}
}

func TestBadRecords(t *testing.T) {
	ack := func(next uint32, count byte, entries ...AckEntry) []byte {
		b := append(binary.BigEndian.AppendUint32([]byte{2}, next), count)
		for _, e := range entries {
			b = binary.BigEndian.AppendUint32(b, e.Message)
			b = binary.BigEndian.AppendUint16(b, e.Fragments)
			b = append(b, e.Bitmap[:]...)
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrTruncated},
		{"kind 0", []byte{0}, ErrUnknown},
		{"kind 6", []byte{6, 1}, ErrUnknown},
		{"data without bytes", unhex("01 00000001 0000 0001"), ErrTruncated},
		{"message 0", unhex("01 00000000 0000 0001 ff"), ErrMalformed},
		{"of no fragments", unhex("01 00000001 0000 0000 ff"), ErrMalformed},
		{"fragment past the last", unhex("01 00000001 0001 0001 ff"), ErrMalformed},
		{"129 fragments", unhex("01 00000001 0000 0081 ff"), ErrTooLong},
		{"65535 fragments", unhex("01 00000001 0000 ffff ff"), ErrTooLong},
		{"longer than a frame", append(unhex("01 00000001 0000 0001"), make([]byte, 1500)...), ErrTooLong},
		{"ack cut off", unhex("02 000000"), ErrTruncated},
		{"ack of next 0", ack(0, 0), ErrMalformed},
		{"ack with nine entries", ack(1, 9), ErrTooLong},
		{"ack with 255 entries", ack(1, 255), ErrTooLong},
		{"ack with an entry too few", ack(1, 1), ErrTruncated},
		{"ack with an entry too many", ack(1, 0, AckEntry{Message: 1, Fragments: 1}), ErrMalformed},
		{"ack of what is below next", ack(5, 1, AckEntry{Message: 4, Fragments: 1}), ErrMalformed},
		{"ack of one message twice", ack(5, 2, AckEntry{Message: 5, Fragments: 1}, AckEntry{Message: 5, Fragments: 1}), ErrMalformed},
		{"ack falling", ack(5, 2, AckEntry{Message: 7, Fragments: 1}, AckEntry{Message: 6, Fragments: 1}), ErrMalformed},
		{"ack behind the last message", ack(5, 2, AckEntry{Message: 1<<32 - 1, Fragments: 1}, AckEntry{Message: 0, Fragments: 1}), ErrMalformed},
		{"ack of no fragments", ack(5, 1, AckEntry{Message: 5}), ErrMalformed},
		{"ack of 129 fragments", ack(5, 1, AckEntry{Message: 5, Fragments: 129}), ErrTooLong},
		{"ack of a fragment past the last", ack(5, 1, AckEntry{Message: 5, Fragments: 1, Bitmap: Bitmap{2}}), ErrMalformed},
		{"short ping", unhex("03 00"), ErrTruncated},
		{"long ping", append([]byte{3}, make([]byte, 9)...), ErrMalformed},
		{"short pong", unhex("04"), ErrTruncated},
		{"short close", unhex("05"), ErrTruncated},
		{"long close", unhex("05 00 00"), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseRecord(c.b)
			checkRefused(t, err, c.want)
		})
	}
	for _, r := range []Record{{}, {Kind: 6}, {Kind: RecordData}, {Kind: RecordData, Message: 1, Fragment: 1, Fragments: 1, Bytes: []byte{1}},
		{Kind: RecordAck}, {Kind: RecordAck, Next: 1, Count: MaxAckEntries + 1}, {Kind: RecordAck, Next: 1, Count: 1}} {
		if b, err := r.Append(nil); err == nil || b != nil {
			t.Errorf("%+v was encoded", r)
		}
	}
	var b Bitmap
	if b.Has(MaxFragments) || b.Has(1<<16-1) {
		t.Error("a bit beyond the bitmap")
	}
}

// TestBadInputIsCheap: what a hostile frame or message costs is a small
// multiple of its length, whatever counts it announces.
func TestBadInputIsCheap(t *testing.T) {
	bad := func(n int) []byte {
		// The longest message of maps that only end where the input does.
		return message(TypeReport, bytes.Repeat([]byte{0xb8, 0x20}, n/2)...)
	}
	for _, c := range []struct {
		name string
		f    func()
		most float64
	}{
		{"frame", func() { ParseFrame(append(header(1, 6, 0xffff), 1)) }, 10},
		{"record", func() { ParseRecord([]byte{2, 0, 0, 0, 1, 8}) }, 10},
		{"message", func() { DecodeMessage(bad(MaxMessage - 2)) }, 60},
		{"counts", func() { DecodeMessage(message(TypeConfigure, unhex("a1 01 a1 05 9b 7fffffffffffffff")...)) }, 60},
		{"good frame", func() { ParseFrame([]byte{1, 6, 0, 1, 0, 0, 0, 0, 9}) }, 0},
	} {
		if n := testing.AllocsPerRun(20, c.f); n > c.most {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}
