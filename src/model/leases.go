package model

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLeases bounds how many leases are taken from a file.
const MaxLeases = 4096

// ParseLeases reads dnsmasq's lease file: "expiry MAC address name client-id" a
// line, IPv4 first, then "duid …" and the IPv6 leases, which carry no MAC and
// are left out. The server rewrites the file in place, so what was caught half
// written, a line that is none, is passed over.
func ParseLeases(b []byte) []Lease {
	var out []Lease
	for l := range bytes.Lines(b) {
		if len(out) == MaxLeases {
			break
		}
		if l[len(l)-1] != '\n' || len(l) > 1024 {
			continue // a torn address may still look like one
		}
		f := bytes.Fields(l)
		if len(f) < 4 {
			continue
		}
		expiry, err := strconv.ParseInt(string(f[0]), 10, 64)
		if err != nil || expiry < 0 {
			continue
		}
		mac, err := ParseMAC(string(f[1]))
		if err != nil || mac.IsZero() || mac.IsGroup() {
			continue
		}
		addr, err := netip.ParseAddr(string(f[2]))
		if err != nil || !addr.Is4() || addr.IsUnspecified() || addr.IsMulticast() {
			continue
		}
		lease := Lease{MAC: mac, Address: addr, Expiry: expiry}
		if name := string(f[3]); name != "*" {
			lease.HostName = CleanHostName(name)
		}
		out = append(out, lease)
	}
	return out
}

// maxHostName is the length of a host name (RFC 1035, 2.3.4).
const maxHostName = 253

// CleanHostName makes a name that a stranger chose fit to be kept and shown:
// valid UTF-8 without characters that print nothing or change their
// surroundings, of at most 253 bytes.
func CleanHostName(s string) string {
	if len(s) > 4*maxHostName {
		s = s[:4*maxHostName]
	}
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			return -1
		}
		return r
	}, s)
	for len(s) > maxHostName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.TrimSpace(s)
}
