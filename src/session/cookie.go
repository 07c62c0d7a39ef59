package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"homeconf/src/link"
)

const (
	// cookieLife is how long a cookie is fresh, and so how long a first
	// message can be replayed at all.
	cookieLife   = 60 * time.Second
	cookieSecret = 32
	cookieMAC    = 16
	cookieSize   = 4 + cookieMAC

	ticketMACSize = 16
)

// cookieJar bakes and checks cookies: proof that the asker hears what is sent
// to its address, kept by the asker and not by us. A cookie is
//
//	age u32 | HMAC-SHA256(secret, "homeconf cookie" | age | MAC | asker's nonce | our nonce)[:16]
//
// where age is the whole seconds since the jar was made. The secret changes each 60 s,
// at use and not by a timer, and the one before is accepted.
type cookieJar struct {
	random           io.Reader
	start            time.Time
	made             time.Time
	current, earlier [cookieSecret]byte
	hasEarlier       bool
}

func newCookieJar(random io.Reader, now time.Time) (*cookieJar, error) {
	j := &cookieJar{random: random, start: now, made: now}
	if _, err := io.ReadFull(random, j.current[:]); err != nil {
		return nil, fmt.Errorf("making a cookie secret: %w", err)
	}
	return j, nil
}

func (j *cookieJar) rotate(now time.Time) {
	age := now.Sub(j.made)
	if age < cookieLife {
		return
	}
	var fresh [cookieSecret]byte
	if _, err := io.ReadFull(j.random, fresh[:]); err != nil {
		return // the old secret still is one
	}
	j.earlier, j.hasEarlier = j.current, age < 2*cookieLife
	if !j.hasEarlier {
		clear(j.earlier[:])
	}
	j.current, j.made = fresh, now
}

func (j *cookieJar) bake(now time.Time, mac link.MAC, asker, ours [16]byte) []byte {
	j.rotate(now)
	out := binary.BigEndian.AppendUint32(make([]byte, 0, cookieSize), uint32(now.Sub(j.start)/time.Second))
	m := cookieSum(&j.current, out, mac, asker, ours)
	return append(out, m[:]...)
}

func (j *cookieJar) check(now time.Time, cookie []byte, mac link.MAC, asker, ours [16]byte) bool {
	if len(cookie) != cookieSize {
		return false
	}
	j.rotate(now)
	age := int64(now.Sub(j.start)/time.Second) - int64(binary.BigEndian.Uint32(cookie))
	if age < 0 || age >= int64(cookieLife/time.Second) {
		return false
	}
	m := cookieSum(&j.current, cookie[:4], mac, asker, ours)
	if hmac.Equal(m[:], cookie[4:]) {
		return true
	}
	if !j.hasEarlier {
		return false
	}
	m = cookieSum(&j.earlier, cookie[:4], mac, asker, ours)
	return hmac.Equal(m[:], cookie[4:])
}

func cookieSum(secret *[cookieSecret]byte, age []byte, mac link.MAC, asker, ours [16]byte) (out [cookieMAC]byte) {
	h := hmac.New(sha256.New, secret[:])
	h.Write([]byte("homeconf cookie"))
	h.Write(age)
	h.Write(mac[:])
	h.Write(asker[:])
	h.Write(ours[:])
	var sum [sha256.Size]byte
	copy(out[:], h.Sum(sum[:0]))
	return out
}

// discoveryTag is what shows an ADVERTISE to be of an agent's home:
// HMAC-SHA256(discovery key, "homeconf tag" | asker's nonce | home's nonce | instance).
func discoveryTag(key [32]byte, asker, home, instance [16]byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("homeconf tag"))
	h.Write(asker[:])
	h.Write(home[:])
	h.Write(instance[:])
	return h.Sum(nil)
}

// ticketKey is the secret of the ticket of an id. The configurator keeps
// nothing: HMAC-SHA256(boot secret, "homeconf ticket key" | id).
func ticketKey(boot *[32]byte, id [16]byte) (key [32]byte) {
	h := hmac.New(sha256.New, boot[:])
	h.Write([]byte("homeconf ticket key"))
	h.Write(id[:])
	h.Sum(key[:0])
	return key
}

// ticketMAC is what a holder of a ticket shows of it in message 1, over the
// prologue (without this MAC) and the Noise message.
func ticketMAC(key *[32]byte, prologue, msg []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("homeconf ticket"))
	h.Write(prologue)
	h.Write(msg)
	return h.Sum(nil)[:ticketMACSize]
}
