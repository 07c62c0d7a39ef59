package calls

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxArgs bounds what one request can name; no call has a tenth of it.
const maxArgs = 64

// decodeRequest reads one line. Unlike encoding/json by itself it takes keys by
// their exact case only, none twice, none unknown, and nothing after the end.
func decodeRequest(line []byte) (name string, args map[string]json.RawMessage, err error) {
	if !utf8.Valid(line) {
		return "", nil, Errorf(InvalidArgument, "request: not valid UTF-8")
	}
	top, err := decodeObject(line, 2)
	if err != nil {
		return "", nil, Errorf(InvalidArgument, "request: %w", err)
	}
	for key, raw := range top {
		switch key {
		case "call":
			if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &name) != nil {
				return "", nil, Errorf(InvalidArgument, "request: call: want a string")
			}
		case "args":
			if args, err = decodeObject(raw, maxArgs); err != nil {
				return "", nil, Errorf(InvalidArgument, "request: args: %w", err)
			}
		default:
			return "", nil, Errorf(InvalidArgument, "request: unknown key %.40q", key)
		}
	}
	if name == "" {
		return "", nil, Errorf(InvalidArgument, "request: call: missing")
	}
	return name, args, nil
}

// decodeObject reads a JSON object one level deep.
func decodeObject(b []byte, limit int) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("want a JSON object")
	}
	m := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("at byte %d: no valid JSON", d.InputOffset())
		}
		key, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("at byte %d: want a key", d.InputOffset())
		}
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("key %.40q twice", key)
		}
		if len(m) == limit {
			return nil, fmt.Errorf("more than %d keys", limit)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("%.40q: no valid JSON", key)
		}
		m[key] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("at byte %d: no valid JSON", d.InputOffset())
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("at byte %d: something after the object", d.InputOffset())
	}
	return m, nil
}
