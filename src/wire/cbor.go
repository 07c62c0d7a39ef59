package wire

import (
	"fmt"
	"net/netip"
	"reflect"
	"unicode"
	"unicode/utf8"
)

// marshal encodes a struct as a map with integer keys.
func marshal(v any) []byte { return appendValue(nil, reflect.ValueOf(v)) }

// unmarshal decodes a map with integer keys. A key that this version does not
// know is skipped within the limits, so that a newer sender may add one.
func unmarshal(what string, b []byte, v any) error {
	whole := decoder{b}
	err := whole.check(0)
	switch {
	case err == nil && len(whole.b) > 0:
		err = fmt.Errorf("%w: %d bytes behind the map", ErrMalformed, len(whole.b))
	case err == nil:
		err = (&decoder{b}).value(reflect.ValueOf(v).Elem())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// checkText holds a text field to what may be shown and logged: at most
// MaxText bytes, valid UTF-8, no control character and no line break.
func checkText(what, s string) error {
	if len(s) > MaxText {
		return tooLong(what, len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return malformed(what, "not UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return malformed(what, "control character %U", r)
		}
	}
	return nil
}

func checkList(what string, n, limit int) error {
	if n > limit {
		return tooLong(what, n, limit)
	}
	return nil
}

// fixed copies a byte string that must have exactly the length of dst.
func fixed(what string, dst []byte, src octets) error {
	if len(src) != len(dst) {
		return malformed(what, "%d bytes, want %d", len(src), len(dst))
	}
	copy(dst, src)
	return nil
}

// optional copies a byte string of exactly n bytes, or nil for an absent one.
func optional(what string, src octets, n int) ([]byte, error) {
	if len(src) == 0 {
		return nil, nil
	}
	if len(src) != n {
		return nil, malformed(what, "%d bytes, want %d", len(src), n)
	}
	return []byte(src), nil
}

// addr4 is an IPv4 address as four bytes; the zero Addr is the empty string.
func addr4(what string, a netip.Addr) (octets, error) {
	if !a.IsValid() {
		return "", nil
	}
	if a = a.Unmap(); !a.Is4() {
		return "", malformed(what, "%v is no IPv4 address", a)
	}
	return octets(a.AsSlice()), nil
}

func parseAddr4(what string, b octets) (netip.Addr, error) {
	switch len(b) {
	case 0:
		return netip.Addr{}, nil
	case 4:
		return netip.AddrFrom4([4]byte([]byte(b))), nil
	}
	return netip.Addr{}, malformed(what, "%d bytes, want an IPv4 address of 4", len(b))
}

// prefix4 is an IPv4 address and its prefix length as five bytes; the zero
// Prefix is the empty string.
func prefix4(what string, p netip.Prefix) (octets, error) {
	if p == (netip.Prefix{}) {
		return "", nil
	}
	if !p.IsValid() || !p.Addr().Is4() {
		return "", malformed(what, "%v is no IPv4 prefix", p)
	}
	return octets(append(p.Addr().AsSlice(), byte(p.Bits()))), nil
}

func parsePrefix4(what string, b octets) (netip.Prefix, error) {
	switch {
	case len(b) == 0:
		return netip.Prefix{}, nil
	case len(b) != 5:
		return netip.Prefix{}, malformed(what, "%d bytes, want an IPv4 address and a prefix length", len(b))
	case b[4] > 32:
		return netip.Prefix{}, malformed(what, "prefix length %d", b[4])
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte([]byte(b[:4]))), int(b[4])), nil
}
