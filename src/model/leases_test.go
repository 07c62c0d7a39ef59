package model

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseLeases(t *testing.T) {
	tests := map[string][]string{
		"": nil,
		"1700000000 02:00:00:00:00:01 192.168.1.5 box 01:02:00:00:00:00:01\n":     {"02:00:00:00:00:01 192.168.1.5 box 1700000000"},
		"0 02:00:00:00:00:01 192.168.1.5 * *\n":                                   {"02:00:00:00:00:01 192.168.1.5  0"},
		"1 02:00:00:00:00:01 192.168.1.5 a *\nduid 00:01\n1 12 fd00::1 b 00:01\n": {"02:00:00:00:00:01 192.168.1.5 a 1"},
		"1 02:00:00:00:00:01 192.168.1.50":                                        nil, // torn: may have been .5 or .50
		"x 02:00:00:00:00:01 192.168.1.5 a *\n":                                   nil,
		"-1 02:00:00:00:00:01 192.168.1.5 a *\n":                                  nil,
		"1 02:00:00:00:00 192.168.1.5 a *\n":                                      nil,
		"1 01:00:5e:00:00:01 192.168.1.5 a *\n":                                   nil,
		"1 00:00:00:00:00:00 192.168.1.5 a *\n":                                   nil,
		"1 02:00:00:00:00:01 192.168.1.500 a *\n":                                 nil,
		"1 02:00:00:00:00:01 224.0.0.1 a *\n":                                     nil,
		"1 02:00:00:00:00:01 0.0.0.0 a *\n":                                       nil,
		"1 02:00:00:00:00:01\n":                                                   nil,
		"\n\n \n1 02:00:00:00:00:01 192.168.1.5 a\n":                              {"02:00:00:00:00:01 192.168.1.5 a 1"},
		"1 02:00:00:00:00:01 192.168.1.5 a\x1b[31mb\xffc *\n":                     {"02:00:00:00:00:01 192.168.1.5 a[31mbc 1"},
		"1 02:00:00:00:00:01 192.168.1.5 " + strings.Repeat("a", 300) + " *\n":    {"02:00:00:00:00:01 192.168.1.5 " + strings.Repeat("a", 253) + " 1"},
	}
	for in, want := range tests {
		var got []string
		for _, l := range ParseLeases([]byte(in)) {
			got = append(got, fmt.Sprintf("%s %s %s %d", l.MAC, l.Address, l.HostName, l.Expiry))
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	many := strings.Repeat("1 02:00:00:00:00:01 192.168.1.5 a *\n", MaxLeases+9)
	if n := len(ParseLeases([]byte(many))); n != MaxLeases {
		t.Errorf("%d leases, want at most %d", n, MaxLeases)
	}
}

func FuzzParseLeases(f *testing.F) {
	f.Add([]byte("1700000000 02:00:00:00:00:01 192.168.1.5 box 01:02\nduid 00\n1 2 fd00::1 * 00\n"))
	f.Add([]byte("1 02-00-00-00-00-01 192.168.1.5 \xff\u202ex *\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, l := range ParseLeases(b) {
			if l.MAC.IsGroup() || l.MAC.IsZero() || !l.Address.Is4() || l.Expiry < 0 {
				t.Errorf("%+v from %q", l, b)
			}
			if n := l.HostName; !utf8.ValidString(n) || len(n) > 253 || n != CleanHostName(n) {
				t.Errorf("host name %q from %q", n, b)
			}
		}
	})
}
