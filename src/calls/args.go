package calls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"homeconf/src/model"
)

// Args are the arguments of one request, decoded and checked against the table:
// string, bool, int64 and time.Duration. Defaults are filled in; an optional
// argument without one is missing when nobody gave it.
type Args map[string]any

// Has says whether an argument was given or has a default. An empty string
// that was given counts.
func (a Args) Has(name string) bool { _, ok := a[name]; return ok }

// String is a string argument, "" when missing.
func (a Args) String(name string) string { v, _ := a[name].(string); return v }

// Bool is a bool argument, false when missing.
func (a Args) Bool(name string) bool { v, _ := a[name].(bool); return v }

// Int is an int argument, 0 when missing.
func (a Args) Int(name string) int64 { v, _ := a[name].(int64); return v }

// Duration is a duration argument, 0 when missing.
func (a Args) Duration(name string) time.Duration { v, _ := a[name].(time.Duration); return v }

// Device is the argument as a device's id.
func (a Args) Device(name string) model.DeviceID { return model.DeviceID(a.String(name)) }

// Parse reads an argument as a person types it.
func (a *Arg) Parse(text string) (any, error) {
	var v any
	var err error
	switch a.Kind {
	case String:
		v = text
	case Bool:
		v, err = strconv.ParseBool(text)
	case Int:
		v, err = strconv.ParseInt(text, 10, 64)
	case Duration:
		v, err = time.ParseDuration(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %.80q is no %s", a.Name, text, a.noun())
	}
	return a.verify(v)
}

// decode reads an argument from a request.
func (a *Arg) decode(raw json.RawMessage) (any, error) {
	raw = bytes.TrimSpace(raw)
	var v any
	var err error
	switch {
	case bytes.Equal(raw, []byte("null")): // encoding/json would take it for any kind
		err = errors.New("null")
	case a.Kind == String:
		v, err = decodeAs[string](raw)
	case a.Kind == Bool:
		v, err = decodeAs[bool](raw)
	case a.Kind == Int:
		v, err = decodeAs[int64](raw)
	case len(raw) > 0 && raw[0] == '"':
		var s string
		if s, err = decodeAs[string](raw); err == nil {
			v, err = time.ParseDuration(s)
		}
	default:
		var n int64
		if n, err = decodeAs[int64](raw); err == nil {
			if n < -maxSeconds || n > maxSeconds {
				err = errors.New("out of range")
			}
			v = time.Duration(n) * time.Second
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: want a %s", a.Name, a.noun())
	}
	return a.verify(v)
}

// maxSeconds keeps a number of seconds within what a time.Duration holds.
const maxSeconds = int64((1<<63 - 1) / time.Second)

func decodeAs[T any](raw json.RawMessage) (v T, err error) {
	err = json.Unmarshal(raw, &v)
	return v, err
}

func (a *Arg) verify(v any) (any, error) {
	if s, ok := v.(string); ok && !utf8.ValidString(s) {
		return nil, fmt.Errorf("%s: not valid UTF-8", a.Name)
	}
	if a.check == nil {
		return v, nil
	}
	if err := a.check(v); err != nil {
		return nil, fmt.Errorf("%s: %w", a.Name, err)
	}
	return v, nil
}

func (a *Arg) noun() string {
	switch a.Kind {
	case Bool:
		return "bool (true or false)"
	case Int:
		return "whole number"
	case Duration:
		return "duration such as 90s or 2m"
	}
	return "string"
}

// decodeArgs checks a request's arguments against the table. Those that the
// table doesn't know are passed over, so that an older daemon understands a
// newer client; every error is reported, not only the first.
func (c *Call) decodeArgs(raw map[string]json.RawMessage) (Args, error) {
	args := Args{}
	var errs []string
	for i := range c.Args {
		a := &c.Args[i]
		r, given := raw[a.Name]
		switch {
		case given:
			v, err := a.decode(r)
			if err != nil {
				errs = append(errs, err.Error())
				continue
			}
			args[a.Name] = v
		case a.Required:
			errs = append(errs, a.Name+": missing")
		case a.Default != nil:
			args[a.Name] = a.Default
		}
	}
	if len(errs) > 0 {
		return nil, Errorf(InvalidArgument, "%s: %s", c.Name, strings.Join(errs, "; "))
	}
	return args, nil
}

func isDeviceID(v any) error {
	if s := v.(string); !model.DeviceID(s).Valid() {
		return fmt.Errorf("%.40q is no device's id, such as `homeconf device list` shows", s)
	}
	return nil
}

func isDigits(v any) error {
	s := v.(string)
	if len(s) != 6 || strings.Trim(s, "0123456789") != "" {
		// What was typed is not repeated: it may be a secret of another kind.
		return errors.New("want exactly six digits")
	}
	return nil
}

// isSetupCode is what the code can be at all; the configurator reads it. What was
// typed is never repeated: it is a secret.
func isSetupCode(v any) error {
	s := v.(string)
	if len(s) < 16 || len(s) > 128 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789- ") != "" {
		return errors.New("want 16 to 64 letters and digits, with or without dashes")
	}
	return nil
}

// isPath is of a file that the daemon shall write or read: its own folder is
// not the caller's.
func isPath(v any) error {
	if s := v.(string); len(s) > 4096 || !strings.HasPrefix(s, "/") || strings.ContainsRune(s, 0) || strings.HasSuffix(s, "/") {
		return fmt.Errorf("%.80q: want an absolute path of a file", s)
	}
	return nil
}

// isPassphrase never repeats what was given: it is a secret.
func isPassphrase(v any) error {
	if n := len(v.(string)); n < 12 || n > 1024 {
		return errors.New("want 12 to 1024 bytes")
	}
	return nil
}

func isCodeTime(v any) error {
	if d := v.(time.Duration); d < time.Minute || d > 24*time.Hour {
		return fmt.Errorf("%v: want 1m to 24h", d)
	}
	return nil
}

func isName(v any) error {
	s := v.(string)
	if len(s) > 64 {
		return fmt.Errorf("%d bytes, at most 64", len(s))
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%.64q: want printable characters only", s)
		}
	}
	return nil
}

func isCategory(v any) error {
	_, err := model.ParseCategory(v.(string))
	return err
}

func isProfile(v any) error {
	s := v.(string)
	if len(s) > 32 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
		return fmt.Errorf("%.40q: want up to 32 letters, digits, '_' and '-'", s)
	}
	return nil
}

func isAddress(v any) error {
	s := v.(string)
	if s == "" {
		return nil
	}
	if a, err := netip.ParseAddr(s); err != nil || !a.Is4() {
		return fmt.Errorf("%.40q is no IPv4 address", s)
	}
	return nil
}

func isWindow(v any) error {
	if d := v.(time.Duration); d < 10*time.Second || d > 10*time.Minute {
		return fmt.Errorf("%v: want 10s to 10m", d)
	}
	return nil
}

func isEvent(v any) error {
	if n := v.(int64); n < 1 {
		return fmt.Errorf("%d is no event's number", n)
	}
	return nil
}

func isLimit(v any) error {
	if n := v.(int64); n < 1 || n > 1000 {
		return fmt.Errorf("%d: want 1 to 1000", n)
	}
	return nil
}

func isTrue(v any) error {
	if !v.(bool) {
		return errors.New("want true")
	}
	return nil
}
