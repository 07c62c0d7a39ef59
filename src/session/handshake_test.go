package session

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"github.com/flynn/noise"
)

type patternCase struct {
	name    string
	pattern noise.HandshakePattern
	psk     []byte
}

func patterns() []patternCase {
	return []patternCase{
		{"XX", noise.HandshakeXX, nil},
		{"XXpsk3", noise.HandshakeXX, bytes.Repeat([]byte{7}, 32)},
		{"IK", noise.HandshakeIK, nil},
	}
}

func newKey(t testing.TB) PrivateKey {
	k, err := GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// pairOf is both sides of a handshake.
func (c patternCase) pairOf(t testing.TB) (agent, home *handshake, agentKey, homeKey PrivateKey) {
	agentKey, homeKey = newKey(t), newKey(t)
	pub := homeKey.Public()
	conf := handshakeConfig{pattern: c.pattern, psk3: c.psk != nil, initiator: true, prologue: []byte("p"), static: agentKey, random: rand.Reader}
	if c.name == "IK" {
		conf.remote = &pub
	}
	var err error
	if agent, err = newHandshake(conf); err != nil {
		t.Fatal(err)
	}
	conf.initiator, conf.static, conf.remote = false, homeKey, nil
	if home, err = newHandshake(conf); err != nil {
		t.Fatal(err)
	}
	if c.psk != nil {
		for _, h := range []*handshake{agent, home} {
			if err := h.setPSK(c.psk); err != nil {
				t.Fatal(err)
			}
		}
	}
	return agent, home, agentKey, homeKey
}

// TestHandshakesTampered changes every byte of every message: it is refused,
// changes nothing, and the genuine one that comes next is read.
func TestHandshakesTampered(t *testing.T) {
	for _, c := range patterns() {
		t.Run(c.name, func(t *testing.T) {
			agent, home, agentKey, homeKey := c.pairOf(t)
			from, to := agent, home
			var ka, kh *keys
			for n := 1; ka == nil || kh == nil; n++ {
				msg, k, err := from.write(nil)
				if err != nil {
					t.Fatal(err)
				}
				// XX's first message is the bare ephemeral key: nothing in it
				// can be told from another one.
				if c.name == "IK" || n > 1 {
					for at := range msg {
						bad := bytes.Clone(msg)
						bad[at] ^= 0x80 >> (at % 8)
						if c.name == "IK" && n == 1 {
							_, other, _, _ := c.pairOf(t)
							other.dh.static, other.conf.StaticKeypair.Public = homeKey.key, homeKey.key.PublicKey().Bytes()
							if _, _, err := other.read(bad); err == nil {
								t.Fatalf("message %d with byte %d changed was read", n, at)
							}
							continue
						}
						if _, _, err := to.read(bad); err == nil {
							t.Fatalf("message %d with byte %d changed was read", n, at)
						}
					}
					for _, bad := range [][]byte{msg[:len(msg)-1], append(bytes.Clone(msg), 0), nil} {
						if _, _, err := to.read(bad); err == nil {
							t.Fatalf("message %d of %d bytes was read", n, len(bad))
						}
					}
				}
				_, got, err := to.read(msg)
				if err != nil {
					t.Fatalf("the genuine message %d: %v", n, err)
				}
				if k != nil {
					if from == agent {
						ka, kh = k, got
					} else {
						kh, ka = k, got
					}
				}
				from, to = to, from
			}
			if ka.send != kh.receive || ka.receive != kh.send || ka.send == ka.receive || ka.hash != kh.hash ||
				ka.remote != homeKey.Public() || kh.remote != agentKey.Public() {
				t.Error("the two sides have not agreed")
			}
		})
	}
}

// TestHandshakesInterop: the other side is flynn/noise with its own X25519.
func TestHandshakesInterop(t *testing.T) {
	suite := noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)
	for _, c := range patterns() {
		t.Run(c.name, func(t *testing.T) {
			_, home, _, homeKey := c.pairOf(t)
			static, err := suite.GenerateKeypair(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			pub := homeKey.Public()
			conf := noise.Config{CipherSuite: suite, Pattern: c.pattern, Initiator: true, Prologue: []byte("p"), StaticKeypair: static}
			if c.psk != nil {
				conf.PresharedKey, conf.PresharedKeyPlacement = c.psk, 3
			}
			if c.name == "IK" {
				conf.PeerStatic = pub[:]
			}
			peer, err := noise.NewHandshakeState(conf)
			if err != nil {
				t.Fatal(err)
			}
			msg, _, _, err := peer.WriteMessage(nil, []byte("hello"))
			if err != nil {
				t.Fatal(err)
			}
			payload, _, err := home.read(msg)
			if err != nil || string(payload) != "hello" {
				t.Fatalf("%q, %v", payload, err)
			}
			msg, k, err := home.write([]byte("there"))
			if err != nil {
				t.Fatal(err)
			}
			payload, c1, c2, err := peer.ReadMessage(nil, msg)
			if err != nil || string(payload) != "there" {
				t.Fatalf("%q, %v", payload, err)
			}
			if k == nil {
				if msg, c1, c2, err = peer.WriteMessage(nil, nil); err != nil {
					t.Fatal(err)
				}
				if _, k, err = home.read(msg); err != nil {
					t.Fatal(err)
				}
			}
			if k.receive != c1.UnsafeKey() || k.send != c2.UnsafeKey() || !bytes.Equal(k.hash[:], peer.ChannelBinding()) || !bytes.Equal(k.remote[:], static.Public) {
				t.Error("the two sides have not agreed")
			}
		})
	}
}

// TestEmptyPSK: flynn/noise reads message 3 with no key at all; we must not.
func TestEmptyPSK(t *testing.T) {
	c := patterns()[1]
	agent, home, _, _ := c.pairOf(t)
	home.psk, home.hs = nil, nil
	for _, bad := range [][]byte{nil, {}, make([]byte, 31), make([]byte, 33)} {
		if err := home.setPSK(bad); !errors.Is(err, errPSK) {
			t.Errorf("%d bytes of PSK: %v", len(bad), err)
		}
	}
	if psk := (SetupCode{}).PSK(); psk != nil {
		t.Error("no code has a PSK")
	}
	one, _, err := agent.write(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := home.read(one); err != nil {
		t.Fatal(err)
	}
	two, _, err := home.write(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := agent.read(two); err != nil {
		t.Fatal(err)
	}
	kept := agent.psk
	agent.psk = nil
	if _, _, err := agent.write(nil); !errors.Is(err, errPSK) {
		t.Errorf("an agent without a PSK wrote message 3: %v", err)
	}
	agent.psk = kept
	three, _, err := agent.write(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := home.read(three); !errors.Is(err, errPSK) {
		t.Errorf("message 3 was read without a PSK: %v", err)
	}
	for _, code := range []SetupCode{{}, testCode(t)} {
		h := &half{hs: home, psk3: true, codes: []SetupCode{code}}
		if k, _ := h.finish(three); k != nil {
			t.Error("the wrong code was taken")
		}
	}
	if h := (&half{hs: home, psk3: true}); true {
		if k, _ := h.finish(three); k != nil {
			t.Error("a handshake by code ended without one")
		}
	}
	if err := home.setPSK(c.psk); err != nil {
		t.Fatal(err)
	}
	if _, k, err := home.read(three); err != nil || k == nil {
		t.Errorf("the right PSK: %v", err)
	}
}

// TestLowOrderPoints are refused in every place where a public key comes in.
func TestLowOrderPoints(t *testing.T) {
	_, home, _, _ := patterns()[0].pairOf(t)
	for _, first := range []byte{0, 1} {
		e := make([]byte, KeySize)
		e[0] = first
		h := *home
		h.dh = &dhKeys{static: home.dh.static, ephemeral: home.dh.ephemeral, bounded: true}
		h.hs, h.done = nil, nil
		h.conf.CipherSuite = noise.NewCipherSuite(h.dh, noise.CipherChaChaPoly, noise.HashBLAKE2s)
		if _, _, err := h.read(e); err != nil {
			continue
		}
		if _, _, err := h.write(nil); err == nil {
			t.Errorf("ephemeral key %d was used", first)
		}
	}
}

// TestThirdMessagesCostNoMoreKeys: an initiator that names one static key after
// another makes the responder do no more public-key work than a handshake takes.
func TestThirdMessagesCostNoMoreKeys(t *testing.T) {
	suite := noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)
	_, home, _, _ := patterns()[0].pairOf(t)
	var one, two []byte
	// One ephemeral key for all, so that only the static key differs.
	e := bytes.Repeat([]byte{9}, 32)
	read := 0
	for n := range 20 {
		static, err := suite.GenerateKeypair(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := noise.NewHandshakeState(noise.Config{CipherSuite: suite, Pattern: noise.HandshakeXX, Initiator: true,
			Prologue: []byte("p"), StaticKeypair: static, Random: bytes.NewReader(e)})
		if err != nil {
			t.Fatal(err)
		}
		msg, _, _, err := peer.WriteMessage(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			one = msg
			if _, _, err := home.read(one); err != nil {
				t.Fatal(err)
			}
			if two, _, err = home.write(nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, _, err := peer.ReadMessage(nil, two); err != nil {
			t.Fatal(err)
		}
		three, _, _, err := peer.WriteMessage(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		three[len(three)-1] ^= 1
		if _, _, err := home.read(three); err == nil {
			read++
		}
	}
	if read > 0 || home.dh.next > len(home.dh.memo) {
		t.Errorf("%d read, %d results of Diffie-Hellman", read, home.dh.next)
	}
}

func BenchmarkHandshake(b *testing.B) {
	for _, c := range patterns() {
		b.Run(c.name, func(b *testing.B) {
			agentKey, homeKey := newKey(b), newKey(b)
			pub := homeKey.Public()
			b.ReportAllocs()
			for b.Loop() {
				conf := handshakeConfig{pattern: c.pattern, psk3: c.psk != nil, initiator: true, prologue: []byte("p"), static: agentKey, random: rand.Reader}
				if c.name == "IK" {
					conf.remote = &pub
				}
				from, err := newHandshake(conf)
				if err != nil {
					b.Fatal(err)
				}
				conf.initiator, conf.static, conf.remote = false, homeKey, nil
				to, err := newHandshake(conf)
				if err != nil {
					b.Fatal(err)
				}
				if c.psk != nil {
					if err := errors.Join(from.setPSK(c.psk), to.setPSK(c.psk)); err != nil {
						b.Fatal(err)
					}
				}
				for done := false; !done; {
					msg, k, err := from.write(nil)
					if err == nil {
						_, _, err = to.read(msg)
					}
					if err != nil {
						b.Fatal(err)
					}
					done = k != nil
					from, to = to, from
				}
			}
		})
	}
}

// BenchmarkMessages is what one core brings across: both ends, sealed,
// acknowledged, opened.
func BenchmarkMessages(b *testing.B) {
	for _, size := range []int{100, 1000, 20000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			c := newChannel(b, 1)
			c.delay = 0
			msg := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				c.say(0, msg)
				if !c.run(giveUp, c.idle) {
					b.Fatal("not acknowledged")
				}
				c.ends[1].got = c.ends[1].got[:0]
			}
		})
	}
}
