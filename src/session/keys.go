package session

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// KeySize is the length of an X25519 key, private or public (RFC 7748,
// section 5).
const KeySize = 32

const (
	privateKeyPrefix = "hcprivkey:"
	publicKeyPrefix  = "hckey:"
	redacted         = "hcprivkey:(not shown)"
)

var errKeyText = errors.New("want its prefix and 64 hex digits")

// PrivateKey is an X25519 private key: the home's or a device's. No
// formatting, logging or encoding shows it; only SecretText does, for the key
// file. The zero value is no key.
type PrivateKey struct {
	key *ecdh.PrivateKey // keeps the public key: computing it anew would double the cost of each exchange
}

// GeneratePrivateKey makes a key from the system's random source.
func GeneratePrivateKey() (PrivateKey, error) { return newPrivateKey(rand.Reader) }

func newPrivateKey(random io.Reader) (PrivateKey, error) {
	var b [KeySize]byte
	defer clear(b[:])
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("making a private key: %w", err)
	}
	return privateKeyFromBytes(b[:])
}

func privateKeyFromBytes(b []byte) (PrivateKey, error) {
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return PrivateKey{}, errors.New("reading a private key: want 32 bytes") // never the bytes
	}
	return PrivateKey{key: k}, nil
}

// ParsePrivateKey reads what SecretText wrote; white space around it is
// ignored. Its errors never repeat the text.
func ParsePrivateKey(text []byte) (PrivateKey, error) {
	var b [KeySize]byte
	defer clear(b[:])
	if err := parseKeyText(b[:], privateKeyPrefix, text); err != nil {
		return PrivateKey{}, fmt.Errorf("reading a private key: %w", err)
	}
	var or byte
	for _, c := range b {
		or |= c
	}
	if or == 0 {
		return PrivateKey{}, errors.New("reading a private key: it is all zeros")
	}
	return privateKeyFromBytes(b[:])
}

// SecretText is the key in the form of the key file. The caller keeps the file
// at mode 0600 and clears the slice after use.
func (k PrivateKey) SecretText() []byte {
	if k.key == nil {
		return nil
	}
	b := k.key.Bytes()
	defer clear(b)
	out := make([]byte, 0, len(privateKeyPrefix)+2*KeySize+1)
	out = append(out, privateKeyPrefix...)
	out = hex.AppendEncode(out, b)
	return append(out, '\n')
}

// SecretBytes is the bare scalar, for sealing under a key derived from it. The
// caller clears it after use.
func (k PrivateKey) SecretBytes() []byte {
	if k.key == nil {
		return nil
	}
	return k.key.Bytes()
}

// IsZero says whether there is no key.
func (k PrivateKey) IsZero() bool { return k.key == nil }

// Public is the public half, zero when there is no key.
func (k PrivateKey) Public() PublicKey {
	var p PublicKey
	if k.key != nil {
		copy(p[:], k.key.PublicKey().Bytes())
	}
	return p
}

// Equal compares in constant time.
func (k PrivateKey) Equal(o PrivateKey) bool {
	if k.key == nil || o.key == nil {
		return k.key == o.key
	}
	return k.key.Equal(o.key)
}

// String never shows the key.
func (PrivateKey) String() string { return redacted }

// GoString never shows the key.
func (PrivateKey) GoString() string { return redacted }

// Format never shows the key, whatever the verb.
func (PrivateKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue never shows the key.
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON never shows the key.
func (PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// PublicKey names a device or a home. Comparable, so it can be a map's key.
type PublicKey [KeySize]byte

// ParsePublicKey reads what String wrote.
func ParsePublicKey(text string) (PublicKey, error) {
	var k PublicKey
	if err := parseKeyText(k[:], publicKeyPrefix, []byte(text)); err != nil {
		return PublicKey{}, fmt.Errorf("reading a public key: %w", err)
	}
	return k, nil
}

// ConstantTimeEqual compares in constant time.
func (k PublicKey) ConstantTimeEqual(o PublicKey) bool {
	return subtle.ConstantTimeCompare(k[:], o[:]) == 1
}

// IsZero says whether there is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

func (k PublicKey) String() string { return publicKeyPrefix + hex.EncodeToString(k[:]) }

// Fingerprint is the key's name for people: long enough not to be met by chance,
// short enough to be read out, and the same on both sides.
func (k PublicKey) Fingerprint() string {
	h := sha256.Sum256(k[:])
	return hex.EncodeToString(h[:8])
}

// MarshalText writes the form that ParsePublicKey reads.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *PublicKey) UnmarshalText(text []byte) error {
	p, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*k = p
	return nil
}

// parseKeyText fills dst from prefix and hex digits. One form only: digits in
// lower case, so that a text compares as its key does.
func parseKeyText(dst []byte, prefix string, text []byte) error {
	for len(text) > 0 && isSpace(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	for len(text) > 0 && isSpace(text[0]) {
		text = text[1:]
	}
	if len(text) != len(prefix)+2*len(dst) || string(text[:len(prefix)]) != prefix {
		return errKeyText
	}
	digits := text[len(prefix):]
	for _, c := range digits {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return errKeyText
		}
	}
	_, err := hex.Decode(dst, digits)
	if err != nil {
		return errKeyText
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
