package configurator

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// A sealed record is what an agent keeps for its home and can't read: its own
// record, and the home's roster.
//
//	version u8 | generation u64 | nonce 24 | XChaCha20-Poly1305 of JSON

const (
	sealVersion = 1
	sealHeader  = 1 + 8
	sealLabel   = "homeconf sealed record"
)

var errSeal = errors.New("it is not a record that this home sealed for this device")

// sealedRecord is the plaintext.
type sealedRecord struct {
	Record *model.Record `json:"record"`
	Roster rosterText    `json:"roster"`
}

// sealKey is the key of a home's sealedRecord records.
func sealKey(home session.PrivateKey) []byte {
	b := home.SecretBytes()
	defer clear(b)
	h := hmac.New(sha256.New, b)
	h.Write([]byte(sealLabel + " key"))
	return h.Sum(nil)
}

func sealData(header []byte, device model.DeviceKey) []byte {
	return append(append([]byte(sealLabel), header...), device[:]...)
}

// seal makes a device's record unreadable to all but the home.
func seal(home session.PrivateKey, device model.DeviceKey, generation uint64, s sealedRecord) ([]byte, error) {
	plain, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding the record: %w", err)
	}
	aead, err := chacha20poly1305.NewX(sealKey(home))
	if err != nil {
		return nil, fmt.Errorf("taking the sealing key: %w", err)
	}
	out := binary.BigEndian.AppendUint64([]byte{sealVersion}, generation)
	data := sealData(out, device)
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(nonce)
	out = aead.Seal(append(out, nonce...), nonce, plain, data)
	if len(out) > wire.MaxSealed {
		return nil, fmt.Errorf("the sealed record has %d bytes, at most %d are kept", len(out), wire.MaxSealed)
	}
	return out, nil
}

// unseal reads what a device handed back; its errors hold nothing of it.
func unseal(home session.PrivateKey, device model.DeviceKey, b []byte) (s sealedRecord, generation uint64, err error) {
	if len(b) < sealHeader+chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead || len(b) > wire.MaxSealed || b[0] != sealVersion {
		return s, 0, errSeal
	}
	aead, err := chacha20poly1305.NewX(sealKey(home))
	if err != nil {
		return s, 0, fmt.Errorf("taking the sealing key: %w", err)
	}
	header, rest := b[:sealHeader], b[sealHeader:]
	nonce, text := rest[:chacha20poly1305.NonceSizeX], rest[chacha20poly1305.NonceSizeX:]
	plain, err := aead.Open(nil, nonce, text, sealData(header, device))
	if err != nil {
		return s, 0, errSeal
	}
	if err := json.Unmarshal(plain, &s); err != nil {
		return sealedRecord{}, 0, errors.New("the record was sealedRecord in a form that this version does not know")
	}
	r := s.Record
	if r == nil || r.Key == nil || *r.Key != device || r.ID != model.IDOfKey(device) {
		return sealedRecord{}, 0, errSeal
	}
	return s, binary.BigEndian.Uint64(header[1:]), nil
}

// sealable is what of a record an agent keeps: what a person chose and what was
// decided, not what the agent says itself nor what is seen all the time.
func sealable(r *model.Record) *model.Record {
	c := r.Clone()
	c.Report, c.Sighting, c.LastSeen = nil, nil, time.Time{}
	c.Openings = append([]model.Opening(nil), c.Openings...)
	for i := range c.Openings {
		if o := &c.Openings[i]; o.Lease > 0 { // renewed all the time; a yes renews it, too
			o.Start, o.Expires = time.Time{}, time.Time{}
		}
	}
	return c
}
