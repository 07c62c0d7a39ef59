package calls

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
)

// decode is what the server does with a line before any handler sees it.
func decode(line []byte) (string, Args, error) {
	name, raw, err := decodeRequest(line)
	if err != nil {
		return "", nil, err
	}
	c, ok := Lookup(name)
	if !ok {
		return "", nil, Errorf(UnknownCall, "no call %.40q", name)
	}
	args, err := c.decodeArgs(raw)
	return name, args, err
}

func TestDecodeRequest(t *testing.T) {
	const id = `"id":"d0123456789"`
	for _, tt := range []struct {
		line string
		args Args
		err  string // a part of it
	}{
		{line: `{"call":"status"}`, args: Args{}},
		{line: ` { "call" : "status" , "args" : { } } `, args: Args{}},
		{line: `{"call":"status","args":{"newer":[1,{"a":2}]}}`, args: Args{}},
		{line: `{"call":"device_show","args":{` + id + `}}`, args: Args{"id": "d0123456789"}},
		{line: `{"call":"device_set","args":{` + id + `,"name":"","address":""}}`, args: Args{"id": "d0123456789", "name": "", "address": ""}},
		{line: `{"call":"device_set","args":{` + id + `,"name":"Bob's TV ☂"}}`, args: Args{"id": "d0123456789", "name": "Bob's TV ☂"}},
		{line: `{"call":"pair"}`, args: Args{"for": 2 * time.Minute}},
		{line: `{"call":"pair","args":{"for":"90s"}}`, args: Args{"for": 90 * time.Second}},
		{line: `{"call":"pair","args":{"for":90}}`, args: Args{"for": 90 * time.Second}},
		{line: `{"call":"event_list","args":{"limit":7}}`, args: Args{"limit": int64(7)}},
		{line: `{"call":"agent_reset","args":{"yes":true}}`, args: Args{"yes": true}},

		{line: ``, err: "want a JSON object"},
		{line: `[]`, err: "want a JSON object"},
		{line: `null`, err: "want a JSON object"},
		{line: `{"call":"status"`, err: "no valid JSON"},
		{line: `{"call":"status"}}`, err: "after the object"},
		{line: `{"call":"status"} {"call":"status"}`, err: "after the object"},
		{line: `{"call":"status","call":"plan"}`, err: `"call" twice`},
		{line: `{"Call":"status"}`, err: `unknown key "Call"`},
		{line: `{"call":"status","id":1}`, err: `unknown key "id"`},
		{line: `{"call":"status","args":{},"id":1}`, err: "more than 2 keys"},
		{line: `{"args":{}}`, err: "call: missing"},
		{line: `{"call":null}`, err: "want a string"},
		{line: `{"call":["status"]}`, err: "want a string"},
		{line: `{"call":"status","args":null}`, err: "args: want a JSON object"},
		{line: `{"call":"status","args":[1]}`, err: "args: want a JSON object"},
		{line: `{"call":"status","args":{"a":1,"a":2}}`, err: `"a" twice`},
		{line: `{"call":"no_such"}`, err: `no call "no_such"`},
		{line: "{\"call\":\"status\xff\"}", err: "UTF-8"},
		{line: `{"call":"device_show"}`, err: "id: missing"},
		{line: `{"call":"device_show","args":{"id":null}}`, err: "id: want a string"},
		{line: `{"call":"device_show","args":{"id":7}}`, err: "id: want a string"},
		{line: `{"call":"device_show","args":{"id":"../etc/passwd"}}`, err: "no device's id"},
		{line: `{"call":"device_adopt","args":{"id":"x","code":"12345"}}`, err: "want exactly six digits"},
		{line: `{"call":"device_adopt","args":{` + id + `,"code":482913}}`, err: "code: want a string"},
		{line: `{"call":"device_set","args":{` + id + `,"name":"a\u001b[2Jb"}}`, err: "printable"},
		{line: `{"call":"device_set","args":{` + id + `,"name":"a\u202eb"}}`, err: "printable"},
		{line: `{"call":"device_set","args":{` + id + `,"name":"` + strings.Repeat("x", 65) + `"}}`, err: "at most 64"},
		{line: `{"call":"device_set","args":{` + id + `,"category":"tv"}}`, err: "device category"},
		{line: `{"call":"device_set","args":{` + id + `,"address":"fe80::1"}}`, err: "no IPv4 address"},
		{line: `{"call":"device_set","args":{` + id + `,"profile":"a b"}}`, err: "letters, digits"},
		{line: `{"call":"pair","args":{"for":"1h"}}`, err: "want 10s to 10m"},
		{line: `{"call":"pair","args":{"for":9223372036854775807}}`, err: "want a duration"},
		{line: `{"call":"pair","args":{"for":1.5}}`, err: "want a duration"},
		{line: `{"call":"pair","args":{"for":"soon"}}`, err: "want a duration"},
		{line: `{"call":"event_list","args":{"limit":1e99}}`, err: "limit: want a whole number"},
		{line: `{"call":"event_list","args":{"limit":0}}`, err: "want 1 to 1000"},
		{line: `{"call":"event_list","args":{"limit":"7","device":"x"}}`, err: "limit: want a whole number"},
		{line: `{"call":"agent_reset","args":{"yes":false}}`, err: "want true"},
		{line: `{"call":"agent_reset","args":{"yes":"true"}}`, err: "want a bool"},
	} {
		_, args, err := decode([]byte(tt.line))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want one with %q", tt.line, err, tt.err)
			}
			continue
		}
		if err != nil || !maps.Equal(args, tt.args) {
			t.Errorf("%s: args %v, error %v; want %v", tt.line, args, err, tt.args)
		}
	}
}

func TestDecodeNamesEveryError(t *testing.T) {
	_, _, err := decode([]byte(`{"call":"device_adopt","args":{"id":"x","code":"1"}}`))
	if err == nil || !strings.Contains(err.Error(), "id: ") || !strings.Contains(err.Error(), "code: ") {
		t.Errorf("error %v, want id and code named", err)
	}
}

func TestDecodeBoundsArguments(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"call":"status","args":{`)
	for i := range maxArgs + 1 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"a` + strings.Repeat("x", i) + `":0`)
	}
	b.WriteString("}}")
	if _, _, err := decode([]byte(b.String())); err == nil {
		t.Error("more arguments than any call has were taken")
	}
}

// What the client sends the server understands as it was meant.
func TestEncodeRequestRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		name string
		args Args
	}{
		{"status", Args{}},
		{"pair", Args{"for": 90 * time.Second}},
		{"event_list", Args{"device": "m001122334455", "limit": int64(3)}},
		{"agent_reset", Args{"yes": true}},
		{"device_set", Args{"id": "d0123456789", "name": `a"b\c<&>`}},
	} {
		line, err := encodeRequest(tt.name, tt.args)
		if err != nil {
			t.Fatal(err)
		}
		name, args, err := decode(line)
		if err != nil || name != tt.name || !maps.Equal(args, tt.args) {
			t.Errorf("%s: decoded %s %v, %v", line, name, args, err)
		}
	}
	if _, err := encodeRequest("device_set", Args{"name": strings.Repeat("x", maxRequest)}); CodeOf(err) != InvalidArgument {
		t.Errorf("oversized request: %v", err)
	}
}

func TestParse(t *testing.T) {
	call, _ := Lookup("pair")
	if v, err := call.Args[0].Parse("90s"); v != 90*time.Second || err != nil {
		t.Errorf("90s: %v, %v", v, err)
	}
	for _, bad := range []string{"", "90", "soon", "1s"} {
		if v, err := call.Args[0].Parse(bad); err == nil {
			t.Errorf("%q: taken as %v", bad, v)
		}
	}
	call, _ = Lookup("event_list")
	if v, err := call.Args[1].Parse("12"); v != int64(12) || err != nil {
		t.Errorf("12: %v, %v", v, err)
	}
	if _, err := call.Args[1].Parse("12x"); err == nil {
		t.Error("12x: taken")
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, c := range Table {
		f.Add([]byte(`{"call":"` + c.Name + `","args":{"id":"d0123456789","code":"123456","for":"2m","limit":5,"yes":true,"digits":"000000"}}`))
	}
	f.Add([]byte(`{"call":"device_set","args":{"id":"m001122334455","name":"\u202e","category":"AV_STB"}}`))
	f.Add([]byte(`{"call":"status","args":{"a":[[[[{}]]]]}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		name, args, err := decode(line)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Message == "" {
				t.Fatalf("error without code or message: %v", err)
			}
			if len(e.Message) > 4096 {
				t.Fatalf("an error of %d bytes", len(e.Message))
			}
			return
		}
		// What was taken is what the table says, and survives the way back.
		call, _ := Lookup(name)
		for _, a := range call.Args {
			if v, ok := args[a.Name]; ok {
				if _, err := a.verify(v); err != nil {
					t.Fatalf("%s was taken: %v", a.Name, err)
				}
			} else if a.Required {
				t.Fatalf("%s is missing and was not missed", a.Name)
			}
		}
		again, err := encodeRequest(name, args)
		if err != nil {
			t.Fatal(err)
		}
		_, args2, err := decode(again)
		if err != nil || !maps.Equal(args, args2) {
			t.Fatalf("%v came back as %v, %v", args, args2, err)
		}
		if !json.Valid(again) {
			t.Fatal("not JSON")
		}
	})
}
