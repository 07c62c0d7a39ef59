package session

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/blake2s"
)

// setupAlphabet is Crockford's base 32: no I, L, O and U, so that a printed
// code is read in one way.
const setupAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	setupCodeSymbols = 16 // of 5 bits: 80
	setupCodeDigits  = 25 // when only digits were used: 83 bits
	setupCodeLongest = 64
)

// SetupCode is what is printed on a device and entered by a person at the
// configurator, 80 bits or more. No formatting shows it.
type SetupCode struct{ text string }

// GenerateSetupCode makes a code of 80 bits.
func GenerateSetupCode(random io.Reader) (SetupCode, error) {
	var b [setupCodeSymbols]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return SetupCode{}, fmt.Errorf("making a set-up code: %w", err)
	}
	for i, c := range b {
		b[i] = setupAlphabet[c&31]
	}
	return SetupCode{text: string(b[:])}, nil
}

// ParseSetupCode reads a code as a person types it: spaces and dashes are
// ignored, small letters are capital ones, I and L are 1, O is 0. A code that
// can't hold 80 bits is refused. Its errors never repeat the code.
func ParseSetupCode(text string) (SetupCode, error) {
	if len(text) > 2*setupCodeLongest {
		return SetupCode{}, fmt.Errorf("set-up code: longer than %d symbols", setupCodeLongest)
	}
	out := make([]byte, 0, setupCodeSymbols)
	digitsOnly := true
	var seen [256]bool
	distinct := 0
	for i := range len(text) {
		c := text[i]
		switch {
		case c == ' ' || c == '-' || c == '\n' || c == '\r' || c == '\t':
			continue
		case c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		}
		switch c {
		case 'I', 'L':
			c = '1'
		case 'O':
			c = '0'
		}
		switch {
		case c >= '0' && c <= '9':
		case c >= 'A' && c <= 'Z' && c != 'U':
			digitsOnly = false
		default:
			return SetupCode{}, fmt.Errorf("set-up code: symbol %d is neither a digit nor a letter of the code", i+1)
		}
		if !seen[c] {
			seen[c] = true
			distinct++
		}
		out = append(out, c)
	}
	switch {
	case len(out) > setupCodeLongest:
		return SetupCode{}, fmt.Errorf("set-up code: longer than %d symbols", setupCodeLongest)
	case len(out) < setupCodeSymbols, digitsOnly && len(out) < setupCodeDigits:
		return SetupCode{}, fmt.Errorf("set-up code: too short for 80 bits: want %d symbols, or %d where all are digits", setupCodeSymbols, setupCodeDigits)
	case distinct < 5:
		// By chance once in 10 billion codes; in practice a placeholder.
		return SetupCode{}, errors.New("set-up code: too few different symbols to be a random one")
	}
	return SetupCode{text: string(out)}, nil
}

// SecretText is the code in groups of four, for a label.
func (c SetupCode) SecretText() string {
	out := make([]byte, 0, len(c.text)+len(c.text)/4)
	for i := range len(c.text) {
		if i > 0 && i%4 == 0 {
			out = append(out, '-')
		}
		out = append(out, c.text[i])
	}
	return string(out)
}

// IsZero says whether there is no code.
func (c SetupCode) IsZero() bool { return c.text == "" }

// PSK is the pre-shared key of Noise_XXpsk3; no code has none, which a
// handshake refuses.
func (c SetupCode) PSK() []byte {
	if c.IsZero() {
		return nil
	}
	h := blake2s.Sum256([]byte("homeconf set-up code psk" + c.text))
	return h[:]
}

// Discriminator is sent in the clear in message 1, so that the configurator
// finds the right key among those that were entered. Its 12 bits tell nothing
// useful of the 80.
func (c SetupCode) Discriminator() uint16 {
	h := blake2s.Sum256([]byte("homeconf set-up code discriminator" + c.text))
	return uint16(h[0])<<4 | uint16(h[1])>>4
}

// String never shows the code.
func (SetupCode) String() string { return "(set-up code not shown)" }

// GoString never shows the code.
func (c SetupCode) GoString() string { return c.String() }

// Format never shows the code, whatever the verb.
func (c SetupCode) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue never shows the code.
func (c SetupCode) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON never shows the code.
func (c SetupCode) MarshalJSON() ([]byte, error) { return []byte(`"` + c.String() + `"`), nil }
