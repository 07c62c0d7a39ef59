package ubus

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
)

// item is a value as the recorded vectors write it.
type item struct {
	Name  string
	Type  string
	Value json.RawMessage
	Bits  string
}

type blobVectors struct {
	Encode []struct {
		Name, Note, Hex, JSON string
		Value                 []item
		Refused               bool
		Libubox               string `json:"libubox_json"`
	}
	Malformed []struct {
		Name, Note, Expect, Hex string
		Ignored                 int `json:"ignored_bytes"`
		Size                    int `json:"as_table_blobmsg_check_array_len"`
	}
}

func readVectors(t testing.TB, name string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// build adds recorded values by the Builder's own methods.
func build(t testing.TB, b *Builder, items []item) {
	t.Helper()
	for _, it := range items {
		number := func() int64 {
			n, err := strconv.ParseInt(strings.Trim(string(it.Value), `"`), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		switch it.Type {
		case "string":
			var s string
			if err := json.Unmarshal(it.Value, &s); err != nil {
				t.Fatal(err)
			}
			b.String(it.Name, s)
		case "int64":
			b.Int64(it.Name, number())
		case "int32":
			b.Int32(it.Name, int32(number()))
		case "int16":
			b.Int16(it.Name, int16(number()))
		case "int8":
			b.Int8(it.Name, uint8(number()))
		case "double":
			bits, err := strconv.ParseUint(it.Bits, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			b.Double(it.Name, math.Float64frombits(bits))
		case "null":
			b.Null(it.Name)
		case "table", "array":
			var inner []item
			if err := json.Unmarshal(it.Value, &inner); err != nil {
				t.Fatal(err)
			}
			if it.Type == "table" {
				b.OpenTable(it.Name)
			} else {
				b.OpenArray(it.Name)
			}
			build(t, b, inner)
			b.Close()
		default:
			t.Fatalf("a value of type %q", it.Type)
		}
	}
}

// again adds a decoded value by the Builder's own methods.
func again(b *Builder, name string, v Value) {
	switch v.Type() {
	case TypeString:
		s, _ := v.Text()
		b.String(name, s)
	case TypeInt64:
		n, _ := v.Int()
		b.Int64(name, n)
	case TypeInt32:
		n, _ := v.Int()
		b.Int32(name, int32(n))
	case TypeInt16:
		n, _ := v.Int()
		b.Int16(name, int16(n))
	case TypeInt8:
		n, _ := v.Int()
		b.Int8(name, uint8(n))
	case TypeDouble:
		f, _ := v.Float()
		b.Double(name, f)
	case TypeNull:
		b.Null(name)
	case TypeTable:
		inner, _ := v.Table()
		b.OpenTable(name)
		for n, v := range inner.All() {
			again(b, n, v)
		}
		b.Close()
	case TypeArray:
		inner, _ := v.Array()
		b.OpenArray(name)
		for v := range inner.All() {
			again(b, "", v)
		}
		b.Close()
	}
}

func rebuild(t Table) Table {
	var b Builder
	for name, v := range t.All() {
		again(&b, name, v)
	}
	return b.Table()
}

// What libubox encoded we encode to the same bytes, decode, and encode again.
func TestRecordedBlobs(t *testing.T) {
	var v blobVectors
	readVectors(t, "blobmsg.json", &v)
	if len(v.Encode)+len(v.Malformed) != 131 {
		t.Fatalf("%d blobs", len(v.Encode)+len(v.Malformed))
	}
	for _, e := range v.Encode {
		t.Run(e.Name, func(t *testing.T) {
			if e.JSON != "" {
				testJSONVector(t, e.Name, e.JSON, e.Hex)
			}
			if e.Refused {
				return
			}
			var b Builder
			build(t, &b, e.Value)
			built := b.Table()
			if got := hex.EncodeToString(built.Bytes()); got != e.Hex || built.Err() != nil {
				t.Fatalf("encoded\n%s, %v, want\n%s", got, built.Err(), e.Hex)
			}
			if built.Len() != len(e.Value) {
				t.Errorf("%d values, want %d", built.Len(), len(e.Value))
			}
			if got := string(built.JSON()); comparable(e.Name, e.Libubox) && got != e.Libubox {
				t.Errorf("as JSON %s, libubox has %s", got, e.Libubox)
			}
			decoded, err := Decode(unhex(t, e.Hex))
			if strings.HasPrefix(e.Libubox, "{7}") || strings.HasPrefix(e.Libubox, "{1}") {
				// libubox's own check refuses a table whose values have no name.
				if err == nil {
					t.Error("decoded a value without a name")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(rebuild(decoded).Bytes()); got != e.Hex {
				t.Errorf("decoded and encoded again\n%s, want\n%s", got, e.Hex)
			}
		})
	}
}

// comparable is false where libubox prints doubles its own way, or what is no JSON.
func comparable(name, libubox string) bool {
	return !strings.HasPrefix(name, "double_") && json.Valid([]byte(libubox)) && !strings.Contains(libubox, ".0") && !strings.Contains(libubox, "000")
}

func testJSONVector(t *testing.T, name, text, want string) {
	table, err := ParseJSON([]byte(text))
	switch name {
	case "json_array_top", "json_trailing_garbage": // the second libubox takes, looking no further
		if err == nil {
			t.Errorf("%s was taken", text)
		}
	default:
		if got := hex.EncodeToString(table.Bytes()); err != nil || got != want {
			t.Errorf("%s gives\n%s, %v, want\n%s", text, got, err, want)
		}
	}
}

// What libubox refuses we refuse; where it stops reading we stop.
func TestRecordedMalformedBlobs(t *testing.T) {
	var v blobVectors
	readVectors(t, "blobmsg.json", &v)
	for _, m := range v.Malformed {
		t.Run(m.Name, func(t *testing.T) {
			table, err := Decode(unhex(t, m.Hex))
			switch m.Expect {
			case "reject":
				if !errors.Is(err, StatusParseError) {
					t.Errorf("taken as %s, %v", table.JSON(), err)
				}
			case "stop", "accept":
				if err != nil {
					t.Fatal(err)
				}
				if n := table.Len(); n != m.Size {
					t.Errorf("%d values, libubox has %d", n, m.Size)
				}
				if !json.Valid(table.JSON()) {
					t.Errorf("no JSON: %.200s", table.JSON())
				}
			default:
				t.Fatalf("expect %q", m.Expect)
			}
		})
	}
}

func TestReadByName(t *testing.T) {
	inner := new(Builder).String("x", "y").Table()
	table := new(Builder).Int8("n", 1).Int16("n16", -2).Int32("n32", -3).Int64("n64", 1<<40).Double("d", 1.5).
		Double("whole", 7).String("s", "text").Put("t", inner).Strings("l", "a", "b").Null("null").
		String("twice", "first").Int("twice", 2).Uint32("id", 0xf2119e06).Table()
	for name, want := range map[string]int64{"n": 1, "n16": -2, "n32": -3, "n64": 1 << 40, "whole": 7, "twice": 2,
		"d": 0, "s": 0, "null": 0, "missing": 0} {
		if got := table.Int(name); got != want {
			t.Errorf("Int(%s) = %d, want %d", name, got, want)
		}
	}
	if got := table.Uint32("id"); got != 0xf2119e06 {
		t.Errorf("an id is %#x", got)
	}
	for name, want := range map[string]bool{"n": true, "n64": true, "d": false, "s": false, "missing": false} {
		if got := table.Bool(name); got != want {
			t.Errorf("Bool(%s) = %t", name, got)
		}
	}
	if table.Float("d") != 1.5 || table.Float("n16") != -2 || table.Float("s") != 0 {
		t.Error("Float differs")
	}
	if table.Text("s") != "text" || table.Text("n") != "" || table.Text("twice") != "first" {
		t.Error("Text differs")
	}
	if table.Table("t").Text("x") != "y" || table.Table("l").Len() != 0 || table.Table("missing").Len() != 0 {
		t.Error("Table differs")
	}
	if l := table.Array("l"); l.Len() != 2 || table.Array("t").Len() != 0 {
		t.Error("Array differs")
	}
	if !table.Has("null") || table.Has("missing") || table.Get("missing").Exists() {
		t.Error("Has differs")
	}
	var none Value
	if _, ok := none.Text(); ok || none.Type() != TypeNull || string(none.AppendJSON(nil)) != "null" {
		t.Error("the zero Value has something")
	}
}

// What does not fit is an error, of bounded memory, when the table is used.
func TestBuilderBounds(t *testing.T) {
	long := strings.Repeat("n", 1<<16)
	var much Builder
	for range 3 << 10 {
		much.OpenArray("a").String("", long[:1000])
	}
	var filled Builder
	filled.String("s", strings.Repeat("x", maxBlob-4-8-1-4))
	for name, tt := range map[string]struct {
		table Table
		fits  bool
	}{
		"name":          {new(Builder).Int(long, 1).Table(), false},
		"longest name":  {new(Builder).Int(long[1:], 1).Table(), true},
		"many":          {much.Table(), false},
		"one":           {new(Builder).String("s", strings.Repeat("x", maxBlob)).Table(), false},
		"put one wrong": {new(Builder).Put("t", new(Builder).Int(long, 1).Table()).Table(), false},
		"filled":        {filled.Table(), true},
		"filled by one": {filled.Null("n").Table(), false},
	} {
		err := tt.table.Err()
		if (err == nil) != tt.fits || err != nil && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Decode(tt.table.Bytes()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(Builder).Close().Table().Err(); err == nil {
		t.Error("closed what was not open")
	}
	if got := string(new(Builder).OpenTable("t").OpenArray("l").Table().JSON()); got != `{"t":{"l":[]}}` {
		t.Errorf("what was open is %s", got)
	}
}

func TestDecodeBounds(t *testing.T) {
	if _, err := Decode(make([]byte, maxBlob)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	deep := func(n int) []byte {
		var b Builder
		for range n {
			b.OpenTable("t")
		}
		return b.Table().Bytes()
	}
	if _, err := Decode(deep(maxDepth)); err != nil {
		t.Error(err)
	}
	if _, err := Decode(deep(maxDepth + 1)); err == nil {
		t.Error("decoded one level too many")
	}
}

func TestParseJSONRefuses(t *testing.T) {
	for _, text := range []string{``, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":01}`, `{"a":1.}`, `{"a":-}`,
		`{"a":1e}`, `{"a":"x}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":tru}`, `{"a":[1}`, `{"a":[1,]}`, `[]`, `{}{}`,
		"{\"a\":\"\n\"}", strings.Repeat(`{"a":`, maxDepth+1), `{"a":"` + strings.Repeat("x", maxBlob) + `"}`} {
		if table, err := ParseJSON([]byte(text)); err == nil {
			t.Errorf("%.40s is taken as %.40s", text, table.JSON())
		}
	}
}

func FuzzDecode(f *testing.F) {
	var v blobVectors
	readVectors(f, "blobmsg.json", &v)
	for _, e := range v.Encode {
		f.Add(unhex(f, e.Hex))
	}
	for _, m := range v.Malformed {
		f.Add(unhex(f, m.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := Decode(b)
		if err != nil {
			return
		}
		if !json.Valid(table.JSON()) {
			t.Fatalf("no JSON: %q", table.JSON())
		}
		// Names and strings lose what follows a NUL, and a name may be all of that.
		second := rebuild(table)
		if third := rebuild(second); second.Err() == nil && string(third.Bytes()) != string(second.Bytes()) {
			t.Fatalf("%x and then %x", second.Bytes(), third.Bytes())
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	var v blobVectors
	readVectors(f, "blobmsg.json", &v)
	for _, e := range v.Encode {
		f.Add([]byte(e.JSON))
		f.Add([]byte(e.Libubox))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := ParseJSON(text)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q is no JSON", text)
		}
		again, err := ParseJSON(table.JSON())
		if err != nil {
			t.Fatalf("%s: %v", table.JSON(), err)
		}
		if len(again.Bytes()) == 0 != (len(table.Bytes()) == 0) {
			t.Fatalf("%s became %s", table.JSON(), again.JSON())
		}
	})
}
