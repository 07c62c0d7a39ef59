package session

import (
	"crypto/subtle"
	"fmt"

	"golang.org/x/crypto/blake2s"
)

// digitCount is how many digits a person compares.
const digitCount = 6

// commitment binds the agent to its nonce before it knows the configurator's:
// H('commit' | h | Na).
func commitment(h [32]byte, na [16]byte) [32]byte {
	b := make([]byte, 0, 6+32+16)
	b = append(b, "commit"...)
	b = append(b, h[:]...)
	b = append(b, na[:]...)
	return blake2s.Sum256(b)
}

// digits is the short authentication string, H('sas' | h | Na | Nb) as one big-endian number mod 10⁶, with
// leading zeros.
func digits(h [32]byte, na, nb [16]byte) string {
	b := make([]byte, 0, 3+32+16+16)
	b = append(b, "sas"...)
	b = append(b, h[:]...)
	b = append(b, na[:]...)
	b = append(b, nb[:]...)
	sum := blake2s.Sum256(b)
	n := uint32(0)
	for _, c := range sum {
		n = (n<<8 | uint32(c)) % 1_000_000 // n < 10⁶ < 2²⁴: the shift does not overflow
	}
	return fmt.Sprintf("%0*d", digitCount, n)
}

// sameDigits compares what a person typed with what is shown, in constant time; spaces and
// dashes between the digits are ignored.
func sameDigits(typed, shown string) bool {
	var b []byte
	for i := range len(typed) {
		if c := typed[i]; c != ' ' && c != '-' && len(b) <= digitCount {
			b = append(b, c)
		}
	}
	return len(shown) == digitCount && subtle.ConstantTimeCompare(b, []byte(shown)) == 1
}
