package session

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"homeconf/src/wire"
)

var (
	errReplay = errors.New("counter was seen before or is too old")
	errAuth   = errors.New("record does not authenticate")
	// errSpent says that a key has sealed as many frames as it may.
	errSpent = errors.New("session key is spent")
)

// maxFrames is how many frames one key seals before the agent makes a new
// session; the counter itself would last longer.
const maxFrames = 1 << 32

// sealer is the record layer of one session: ChaCha20-Poly1305 with a counter
// for a nonce, and the frame's header and counter as associated data.
type sealer struct {
	send, receive cipher.AEAD
	remote        uint32 // the receiver index that the peer chose
	counter       uint64
	window        replayWindow
	nonceOut      [chacha20poly1305.NonceSize]byte
	nonceIn       [chacha20poly1305.NonceSize]byte
	header        []byte
	plain         []byte
}

func newSealer(k *keys, remote uint32) (*sealer, error) {
	send, err := chacha20poly1305.New(k.send[:])
	if err != nil {
		return nil, fmt.Errorf("taking the sending key: %w", err)
	}
	receive, err := chacha20poly1305.New(k.receive[:])
	if err != nil {
		return nil, fmt.Errorf("taking the receiving key: %w", err)
	}
	k.wipe()
	return &sealer{send: send, receive: receive, remote: remote, header: make([]byte, 0, wire.HeaderLen+wire.CounterLen),
		plain: make([]byte, 0, wire.MaxFrame)}, nil
}

// seal appends a whole frame with the record to dst.
func (s *sealer) seal(dst []byte, r *wire.Record) ([]byte, error) {
	if s.counter >= maxFrames {
		return dst, errSpent
	}
	plain, err := r.Append(s.plain[:0])
	if err != nil {
		return dst, err
	}
	start := len(dst)
	dst = wire.AppendTransportHeader(dst, s.remote, s.counter, len(plain))
	// The nonce of Noise's ChaChaPoly (Noise, 12.3): 32 zero bits, then the
	// counter, little-endian.
	binary.LittleEndian.PutUint64(s.nonceOut[4:], s.counter)
	s.counter++
	return s.send.Seal(dst, s.nonceOut[:], plain, dst[start:]), nil
}

// open reads the record of a frame. Its bytes are good until the next call.
func (s *sealer) open(f wire.Frame) (r wire.Record, err error) {
	counter, sealed, err := wire.ParseTransport(f.Body)
	if err != nil {
		return r, err
	}
	if !s.window.fresh(counter) {
		return r, errReplay
	}
	header := wire.AppendTransportHeader(s.header[:0], f.Receiver, counter, len(sealed)-wire.TagLen)
	binary.LittleEndian.PutUint64(s.nonceIn[4:], counter)
	plain, err := s.receive.Open(s.plain[:0], s.nonceIn[:], sealed, header)
	if err != nil {
		return r, errAuth
	}
	s.window.accept(counter)
	return wire.ParseRecord(plain)
}
