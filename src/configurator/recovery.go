package configurator

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/scrypt"
)

// A recovery file is the home, but for the instance, encrypted by a passphrase:
//
//	"homeconf recovery 1\n" | log2 N u8 | salt 16 | nonce 24 | length u32 | XChaCha20-Poly1305 of JSON
//
// The key is scrypt(passphrase, salt, N, r = 8, p = 1), and all before the
// ciphertext is authenticated with it. age's format does the same at 459 KB more
// in the mipsle binary, where this costs 21.

const (
	recoveryMagic = "homeconf recovery 1\n"
	recoveryHead  = len(recoveryMagic) + 1 + 16 + chacha20poly1305.NonceSizeX + 4
	// recoveryWork takes 16 MB and a second of a small router; a file that asks
	// for more than recoveryMost is refused, for it could take all memory.
	recoveryWork = 14
	recoveryMost = 15
	maxRecovery  = 128 << 10

	passphraseLetters = "abcdefghijkmnpqrstuvwxyz23456789" // 32, none like another
)

var (
	errNotRecovery = errors.New("this is no recovery file of homeconf")
	errPassphrase  = errors.New("the passphrase is wrong, or the file is damaged")
)

// recovery is what a recovery file holds.
type recovery struct {
	Key       string      `json:"key"`
	Discovery string      `json:"discovery"`
	Term      uint64      `json:"term"`
	Roster    rosterText  `json:"roster"`
	Former    *formerFile `json:"former,omitempty"`
}

// newPassphrase makes one of 80 bits, in four groups of four.
func newPassphrase() string {
	var b [16]byte
	rand.Read(b[:])
	var s strings.Builder
	for i, c := range b {
		if i > 0 && i%4 == 0 {
			s.WriteByte('-')
		}
		s.WriteByte(passphraseLetters[c&31])
	}
	return s.String()
}

func recoveryKey(passphrase, salt []byte, work byte) ([]byte, error) {
	return scrypt.Key(passphrase, salt, 1<<work, 8, 1, chacha20poly1305.KeySize)
}

// encryptRecovery writes a recovery file's bytes.
func encryptRecovery(r recovery, passphrase []byte, work byte) ([]byte, error) {
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the home: %w", err)
	}
	defer clear(plain)
	out := append([]byte(recoveryMagic), work)
	random := make([]byte, 16+chacha20poly1305.NonceSizeX)
	rand.Read(random)
	salt, nonce := random[:16], random[16:]
	out = append(out, random...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(plain)))
	key, err := recoveryKey(passphrase, salt, work)
	if err != nil {
		return nil, fmt.Errorf("making a key of the passphrase: %w", err)
	}
	defer clear(key)
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("taking the file's key: %w", err)
	}
	head := bytes.Clone(out)
	return aead.Seal(out, nonce, plain, head), nil
}

// decryptRecovery reads them. What is wrong with them is found before any work
// is done for the passphrase, as far as it can be; no error holds a secret.
func decryptRecovery(b, passphrase []byte) (r recovery, err error) {
	if len(b) > maxRecovery || len(b) < recoveryHead+chacha20poly1305.Overhead || !bytes.HasPrefix(b, []byte(recoveryMagic)) {
		return r, errNotRecovery
	}
	head, text := b[:recoveryHead], b[recoveryHead:]
	rest := head[len(recoveryMagic):]
	work, salt, nonce, n := rest[0], rest[1:17], rest[17:17+chacha20poly1305.NonceSizeX], binary.BigEndian.Uint32(rest[17+chacha20poly1305.NonceSizeX:])
	if int64(n)+chacha20poly1305.Overhead != int64(len(text)) {
		return r, errNotRecovery
	}
	if work < 10 || work > recoveryMost {
		return r, fmt.Errorf("the file asks for scrypt work %d, at most %d is done", work, recoveryMost)
	}
	key, err := recoveryKey(passphrase, salt, work)
	if err != nil {
		return r, fmt.Errorf("making a key of the passphrase: %w", err)
	}
	defer clear(key)
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return r, fmt.Errorf("taking the file's key: %w", err)
	}
	plain, err := aead.Open(nil, nonce, text, head)
	if err != nil {
		return r, errPassphrase
	}
	defer clear(plain)
	if err := json.Unmarshal(plain, &r); err != nil {
		return recovery{}, errors.New("the file holds what this version does not know")
	}
	return r, nil
}
