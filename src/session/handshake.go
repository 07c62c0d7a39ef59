package session

import (
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/flynn/noise"

	"homeconf/src/wire"
)

var (
	errPSK        = errors.New("pre-shared key: want exactly 32 bytes")
	errDH         = errors.New("no usable Diffie-Hellman result")
	errUnfinished = errors.New("handshake not finished")
)

// The handles that flynn/noise sees instead of private keys; the keys stay
// here as *ecdh.PrivateKey, which keep their public half.
var (
	staticHandle    = []byte{0}
	ephemeralHandle = []byte{1}
)

// spare is an ephemeral key that is made while nobody waits for it: a quarter of
// the public-key work of a side of XX. The zero value is empty.
type spare struct{ key PrivateKey }

// fill makes a key where there is none. Without one a handshake makes its own,
// and says what went wrong.
func (s *spare) fill(random io.Reader) {
	if s.key.IsZero() {
		s.key, _ = newPrivateKey(random)
	}
}

// take takes the key out: no two handshakes get the same.
func (s *spare) take() PrivateKey {
	k := s.key
	s.key = PrivateKey{}
	return k
}

// dhKeys is the DH function of one side of one handshake: its two private keys
// and the results so far. Results are kept because a handshake state that has
// read a forged message can't be used again (flynn/noise rolls back the hash
// but not the cipher key): it is built anew from the messages before it, and
// that must cost hashing only, or forging would be a cheap way to make work.
type dhKeys struct {
	static, ephemeral *ecdh.PrivateKey
	memo              [4]dhResult
	next              int
	// bounded: as many results as fit are all there are. A responder needs
	// no more, and its initiator could else name one static key after
	// another in a third message that never ends.
	bounded bool
}

type dhResult struct {
	used      bool
	ephemeral bool
	public    [KeySize]byte
	secret    [KeySize]byte
}

func (d *dhKeys) GenerateKeypair(io.Reader) (noise.DHKey, error) {
	return noise.DHKey{Private: ephemeralHandle, Public: d.ephemeral.PublicKey().Bytes()}, nil
}

func (d *dhKeys) DH(private, public []byte) ([]byte, error) {
	if len(private) != 1 || len(public) != KeySize {
		return nil, errDH
	}
	eph := private[0] == ephemeralHandle[0]
	for i := range d.memo {
		m := &d.memo[i]
		if m.used && m.ephemeral == eph && m.public == [KeySize]byte(public) {
			return append([]byte(nil), m.secret[:]...), nil
		}
	}
	if d.bounded && d.next >= len(d.memo) {
		return nil, errDH
	}
	key := d.static
	if eph {
		key = d.ephemeral
	}
	pub, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, errDH
	}
	// Refuses the all-zero result of a low-order point (RFC 7748, 6.1).
	secret, err := key.ECDH(pub)
	if err != nil {
		return nil, errDH
	}
	m := &d.memo[d.next%len(d.memo)]
	d.next++
	*m = dhResult{used: true, ephemeral: eph, public: [KeySize]byte(public), secret: [KeySize]byte(secret)}
	return secret, nil
}

func (d *dhKeys) DHLen() int     { return KeySize }
func (d *dhKeys) DHName() string { return "25519" }

// handshake is one side of one Noise handshake. A message that fails to
// authenticate changes nothing: the next one is read as if it had not come.
type handshake struct {
	dh   *dhKeys
	conf noise.Config
	psk  []byte
	hs   *noise.HandshakeState // nil: build it anew from steps
	done []step
}

type step struct {
	write bool
	bytes []byte // the payload written, or the message read
}

// keys is what a finished handshake yields.
type keys struct {
	send, receive [32]byte
	hash          [32]byte // h, the handshake hash: the channel binding
	remote        PublicKey
}

func (k *keys) wipe() {
	clear(k.send[:])
	clear(k.receive[:])
}

// prologueOf binds the handshake to all that was said in the clear before it,
// but not to MAC addresses, which repeaters rewrite:
//
//	"homeconf HCP" | version | pattern | way | discriminator u16 | agent's index u32 | instance | agent's nonce | home's nonce
func prologueOf(h *wire.Handshake1) []byte {
	b := make([]byte, 0, 12+9+48)
	b = append(b, "homeconf HCP"...)
	b = append(b, wire.Version, byte(h.Pattern), byte(h.Way), byte(h.Discriminator>>8), byte(h.Discriminator))
	b = binary.BigEndian.AppendUint32(b, h.Sender)
	b = append(b, h.Instance[:]...)
	b = append(b, h.AgentNonce[:]...)
	return append(b, h.HomeNonce[:]...)
}

type handshakeConfig struct {
	pattern   noise.HandshakePattern
	psk3      bool // Noise_XXpsk3
	initiator bool
	prologue  []byte
	static    PrivateKey
	remote    *PublicKey // the initiator of IK knows it
	ephemeral PrivateKey // made before, used once; zero: made now
	random    io.Reader
}

func newHandshake(c handshakeConfig) (*handshake, error) {
	if c.static.IsZero() {
		return nil, errors.New("handshake without a private key")
	}
	e := c.ephemeral
	if e.IsZero() {
		var err error
		if e, err = newPrivateKey(c.random); err != nil {
			return nil, err
		}
	}
	dh := &dhKeys{static: c.static.key, ephemeral: e.key, bounded: !c.initiator}
	h := &handshake{dh: dh, conf: noise.Config{
		CipherSuite:   noise.NewCipherSuite(dh, noise.CipherChaChaPoly, noise.HashBLAKE2s),
		Random:        c.random,
		Pattern:       c.pattern,
		Initiator:     c.initiator,
		Prologue:      c.prologue,
		StaticKeypair: noise.DHKey{Private: staticHandle, Public: c.static.key.PublicKey().Bytes()},
	}}
	if c.psk3 {
		// With placement 3 and no key yet the name and the message pattern
		// are already those of XXpsk3; the key is due before message 3.
		h.conf.PresharedKeyPlacement = 3
	}
	if c.remote != nil {
		h.conf.PeerStatic = c.remote[:]
	}
	return h, nil
}

// setPSK gives the key of XXpsk3. flynn/noise would go on reading with an
// empty one: refused here.
func (h *handshake) setPSK(psk []byte) error {
	if len(psk) != 32 {
		return errPSK
	}
	h.psk = append(h.psk[:0], psk...)
	h.hs = nil
	return nil
}

// state is the live Noise state, built anew from the steps where a failure
// spoilt it.
func (h *handshake) state() (*noise.HandshakeState, error) {
	if h.hs != nil {
		return h.hs, nil
	}
	hs, err := noise.NewHandshakeState(h.conf)
	if err != nil {
		return nil, err
	}
	if h.psk != nil {
		if err := hs.SetPresharedKey(h.psk); err != nil {
			return nil, err
		}
	}
	for _, s := range h.done {
		if s.write {
			_, _, _, err = hs.WriteMessage(nil, s.bytes)
		} else {
			_, _, _, err = hs.ReadMessage(nil, s.bytes)
		}
		if err != nil {
			return nil, err
		}
	}
	h.hs = hs
	return hs, nil
}

func (h *handshake) lastNeedsPSK() bool {
	return h.conf.PresharedKeyPlacement == 3 && len(h.done) == 2 && len(h.psk) != 32
}

// write makes the next message. k is set when that ends the handshake.
func (h *handshake) write(payload []byte) (msg []byte, k *keys, err error) {
	if h.lastNeedsPSK() {
		return nil, nil, errPSK
	}
	hs, err := h.state()
	if err != nil {
		return nil, nil, fmt.Errorf("writing a handshake message: %w", err)
	}
	msg, c1, c2, err := hs.WriteMessage(nil, payload)
	if err != nil {
		h.hs = nil
		return nil, nil, fmt.Errorf("writing a handshake message: %w", err)
	}
	h.done = append(h.done, step{write: true, bytes: append([]byte(nil), payload...)})
	return msg, h.finish(c1, c2), nil
}

// read takes the peer's next message. k is set when that ends the handshake.
func (h *handshake) read(msg []byte) (payload []byte, k *keys, err error) {
	if h.lastNeedsPSK() {
		return nil, nil, errPSK
	}
	hs, err := h.state()
	if err != nil {
		return nil, nil, fmt.Errorf("reading a handshake message: %w", err)
	}
	payload, c1, c2, err := hs.ReadMessage(nil, msg)
	if err != nil {
		h.hs = nil
		return nil, nil, fmt.Errorf("reading a handshake message: %w", err)
	}
	h.done = append(h.done, step{bytes: append([]byte(nil), msg...)})
	return payload, h.finish(c1, c2), nil
}

// remoteKey is the peer's static key, once a message with it was read.
func (h *handshake) remoteKey() (PublicKey, error) {
	if h.hs == nil || len(h.hs.PeerStatic()) != KeySize {
		return PublicKey{}, errUnfinished
	}
	return PublicKey(h.hs.PeerStatic()), nil
}

// finish takes the keys of a finished handshake: the first cipher state is
// the initiator's for sending (Noise, 5.2 Split()).
func (h *handshake) finish(c1, c2 *noise.CipherState) *keys {
	if c1 == nil || c2 == nil {
		return nil
	}
	k := &keys{send: c1.UnsafeKey(), receive: c2.UnsafeKey()}
	if !h.conf.Initiator {
		k.send, k.receive = k.receive, k.send
	}
	copy(k.hash[:], h.hs.ChannelBinding())
	copy(k.remote[:], h.hs.PeerStatic())
	h.wipe()
	return k
}

// wipe forgets what no longer is needed: keys are used once.
func (h *handshake) wipe() {
	clear(h.psk)
	clear(h.dh.memo[:])
	h.psk, h.done, h.dh.static, h.dh.ephemeral = nil, nil, nil, nil
}
