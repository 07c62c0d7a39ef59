package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// MAC is an EUI-48 address.
type MAC [6]byte

// ParseMAC reads six pairs of hex digits separated by ':' or '-'.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return m, fmt.Errorf("MAC address %.40q: want six pairs of hex digits", s)
	}
	for i := range m {
		if i > 0 && s[3*i-1] != ':' && s[3*i-1] != '-' {
			return MAC{}, fmt.Errorf("MAC address %.40q: want ':' or '-' between the pairs", s)
		}
		if _, err := hex.Decode(m[i:i+1], []byte(s[3*i:3*i+2])); err != nil {
			return MAC{}, fmt.Errorf("MAC address %.40q: %w", s, err)
		}
	}
	return m, nil
}

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// IsZero says whether no address was given.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsGroup says whether the I/G bit is set (IEEE 802-2014, 8.2): a multicast or
// the broadcast address, which no station may use as its own.
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// IsLocal says whether the U/L bit is set: a locally administered address, as
// devices make up that change theirs at random.
func (m MAC) IsLocal() bool { return m[0]&2 != 0 }

// MarshalText writes the form that ParseMAC reads.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMAC reads.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}

// DeviceKey is the public X25519 key by which a device with an agent is known.
type DeviceKey [32]byte

// MarshalText writes 64 hex digits.
func (k DeviceKey) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(k[:])), nil }

// UnmarshalText reads 64 hex digits.
func (k *DeviceKey) UnmarshalText(b []byte) error {
	if len(b) != 64 {
		return fmt.Errorf("device key: %d characters, want 64 hex digits", len(b))
	}
	var v DeviceKey
	if _, err := hex.Decode(v[:], b); err != nil {
		return fmt.Errorf("device key: %w", err)
	}
	*k = v
	return nil
}

// DeviceID names a device in calls, file names and UCI section names:
// lower-case letters and digits only.
type DeviceID string

// IDOfKey is the id of a device with an agent: "d" and ten hex digits of the
// key's SHA-256.
func IDOfKey(k DeviceKey) DeviceID {
	h := sha256.Sum256(k[:])
	return DeviceID("d" + hex.EncodeToString(h[:5]))
}

// IDOfMAC is the id of a device without an agent: "m" and its MAC address.
func IDOfMAC(m MAC) DeviceID { return DeviceID("m" + hex.EncodeToString(m[:])) }

// Valid says whether the id has the form that IDOfKey and IDOfMAC make.
func (id DeviceID) Valid() bool {
	return len(id) == 11 && id[0] == 'd' && only(string(id[1:]), "0123456789abcdef") ||
		len(id) == 13 && id[0] == 'm' && only(string(id[1:]), "0123456789abcdef")
}

// only says whether a text has no other characters than these. (regexp would
// cost the binary 250 KB.)
func only(s, these string) bool { return strings.Trim(s, these) == "" }

// Agentless says whether the id was made from a MAC address.
func (id DeviceID) Agentless() bool { return strings.HasPrefix(string(id), "m") }

// SectionName is the name of the n-th UCI section made for a device. It says
// whose section it is; nothing else in UCI does.
func SectionName(id DeviceID, n int) string { return fmt.Sprintf("hc_%s_%d", id, n) }

// SectionOwner reads a name that SectionName made.
func SectionOwner(section string) (DeviceID, bool) {
	rest, ok := strings.CutPrefix(section, "hc_")
	id, n, _ := strings.Cut(rest, "_")
	if !ok || !DeviceID(id).Valid() || n == "" || len(n) > 3 || !only(n, "0123456789") {
		return "", false
	}
	return DeviceID(id), true
}
