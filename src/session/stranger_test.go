package session

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flynn/noise"

	"homeconf/src/link"
	"homeconf/src/wire"
)

// stranger speaks the protocol by hand, and as badly as a test wants.
type stranger struct {
	t    *testing.T
	seg  *link.Segment
	mac  link.MAC
	key  PrivateKey
	mu   sync.Mutex
	got  []wire.Frame
	sent int
}

func newStranger(t *testing.T, seg *link.Segment, mac link.MAC) *stranger {
	s := &stranger{t: t, seg: seg, mac: mac, key: newKey(t)}
	port := seg.Attach(mac)
	t.Cleanup(func() { port.Close() })
	go func() {
		buf := make([]byte, link.BufferSize)
		for {
			f, err := port.Receive(buf)
			if err != nil {
				return
			}
			if fr, err := wire.ParseFrame(bytes.Clone(f.Payload)); err == nil {
				s.mu.Lock()
				s.got = append(s.got, fr)
				s.mu.Unlock()
			}
		}
	}()
	return s
}

func (s *stranger) send(from link.MAC, receiver uint32, b wire.Body) {
	s.t.Helper()
	f, err := wire.AppendBody(nil, receiver, b)
	if err != nil {
		s.t.Fatal(err)
	}
	s.seg.Inject(from, homeMAC, f)
}

// heard takes what has come of a type.
func (s *stranger) heard(kind wire.FrameType) (l []wire.Frame) {
	time.Sleep(time.Millisecond)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.got {
		if f.Type == kind {
			l = append(l, f)
		}
	}
	s.got = nil
	return l
}

// ask gets an answer to a SOLICIT.
func (s *stranger) ask() wire.Advertise {
	s.t.Helper()
	s.sent++
	s.send(s.mac, 0, wire.Solicit{Nonce: [16]byte{1, byte(s.sent), byte(s.sent >> 8)}})
	for _, f := range s.heard(wire.FrameAdvertise) {
		if a, err := wire.ParseAdvertise(f.Body); err == nil && a.Cookie != nil {
			return a
		}
	}
	s.t.Fatal("no answer to a SOLICIT")
	return wire.Advertise{}
}

// first makes message 1 of XX, or of XXpsk3 with a code.
func (s *stranger) first(a wire.Advertise, code SetupCode) (wire.Handshake1, *handshake) {
	s.t.Helper()
	h := wire.Handshake1{Pattern: wire.PatternXX, Way: wire.WayApprove, Sender: 7, Instance: a.Instance, AgentNonce: a.Asker, HomeNonce: a.Nonce, Cookie: a.Cookie}
	if !code.IsZero() {
		h.Pattern, h.Way, h.Discriminator = wire.PatternXXpsk3, wire.WayCode, code.Discriminator()
	}
	hs, err := newHandshake(handshakeConfig{pattern: noise.HandshakeXX, psk3: !code.IsZero(), initiator: true, prologue: prologueOf(&h), static: s.key, random: randomOr(nil)})
	if err == nil && !code.IsZero() {
		err = hs.setPSK(code.PSK())
	}
	if err == nil {
		h.Noise, _, err = hs.write(nil)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return h, hs
}

// second is the answer to message 1, if there is one.
func (s *stranger) second() (wire.Handshake2, bool) {
	s.t.Helper()
	l := s.heard(wire.FrameHandshake2)
	if len(l) == 0 {
		return wire.Handshake2{}, false
	}
	h, err := wire.ParseHandshake2(l[len(l)-1].Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return h, true
}

// third ends XX.
func (s *stranger) third(h wire.Handshake2, hs *handshake) []byte {
	s.t.Helper()
	_, _, err := hs.read(h.Noise)
	if err != nil {
		s.t.Fatal(err)
	}
	msg, _, err := hs.write(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(s.mac, h.Sender, wire.Handshake3{Noise: msg})
	return msg
}

// state is how many handshakes and sessions a home keeps.
func (h *homeSide) state(t *testing.T) (halves, sessions int) {
	onLoop(t, h.r.l, func() { halves, sessions = len(h.r.halves), len(h.r.sessions) })
	return halves, sessions
}

// inBubble is a home on a perfect segment.
func inBubble(t *testing.T, prepare func(*homeSide), body func(t *testing.T, seg *link.Segment, home *homeSide)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seg := link.NewSegment(link.SegmentOptions{})
		home := newHomeSide(t)
		if prepare != nil {
			prepare(home)
		}
		home.start(ctx, t, seg.Attach(homeMAC))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		pass(home)
		body(t, seg, home)
		synctest.Wait()
	})
}
