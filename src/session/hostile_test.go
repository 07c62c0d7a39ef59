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

// TestCookies: without a fresh cookie for just these nonces and this address,
// a first message is not read.
func TestCookies(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, seg *link.Segment, home *homeSide) {
		s := newStranger(t, seg, agentMAC(1))
		type try struct {
			name  string
			alter func(h *wire.Handshake1)
			from  link.MAC
			after time.Duration
			ok    bool
		}
		tries := []try{
			{name: "none", alter: func(h *wire.Handshake1) { h.Cookie = nil }},
			{name: "short", alter: func(h *wire.Handshake1) { h.Cookie = h.Cookie[:cookieSize-1] }},
			{name: "long", alter: func(h *wire.Handshake1) { h.Cookie = append(h.Cookie, 0) }},
			{name: "other address", from: agentMAC(2)},
			{name: "other nonce", alter: func(h *wire.Handshake1) { h.AgentNonce[0] ^= 1 }},
			{name: "other home nonce", alter: func(h *wire.Handshake1) { h.HomeNonce[15] ^= 1 }},
			{name: "fresh", ok: true},
			{name: "59 s old", after: 58900 * time.Millisecond, ok: true},
			{name: "60 s old", after: 60 * time.Second},
			{name: "two secrets old", after: 125 * time.Second},
		}
		for at := range cookieSize {
			tries = append(tries, try{name: "a bit changed", alter: func(h *wire.Handshake1) { h.Cookie[at] ^= 1 << (at % 8) }})
		}
		for _, tt := range tries {
			h, _ := s.first(s.ask(), SetupCode{})
			if tt.alter != nil {
				tt.alter(&h)
			}
			from := s.mac
			if tt.from != (link.MAC{}) {
				from = tt.from
			}
			time.Sleep(max(tt.after, time.Second)) // within every budget
			halves, _ := home.state(t)
			dropped := home.c.Counters.Get(DropCookie)
			s.send(from, 0, h)
			_, answered := s.second()
			now, _ := home.state(t)
			if answered != tt.ok || now-halves != b2i(tt.ok) || home.c.Counters.Get(DropCookie)-dropped != uint64(b2i(!tt.ok)) {
				t.Errorf("%s: answered %v, %d more half open, %v", tt.name, answered, now-halves, home.c.Counters.Snapshot())
			}
		}
	})
}

// TestFirstMessageComesAgain: the same answer, byte for byte, and one half-open
// handshake, whatever was changed that the handshake does not stand on.
func TestFirstMessageComesAgain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, seg *link.Segment, home *homeSide) {
		s := newStranger(t, seg, agentMAC(1))
		h, hs := s.first(s.ask(), SetupCode{})
		s.send(s.mac, 0, h)
		two, ok := s.second()
		if !ok {
			t.Fatal("no answer")
		}
		for range 20 { // more than the budget of one address
			s.send(s.mac, 0, h)
			again, ok := s.second()
			if !ok || again.Sender != two.Sender || !bytes.Equal(again.Noise, two.Noise) {
				t.Fatal("another answer to the same message")
			}
		}
		h.Ticket, h.TicketMAC = make([]byte, 16), make([]byte, 16)
		s.send(s.mac, 0, h)
		if again, ok := s.second(); !ok || again.Sender != two.Sender {
			t.Error("a ticket put on made another message of it")
		}
		if halves, sessions := home.state(t); halves != 1 || sessions != 0 {
			t.Errorf("%d half open, %d sessions", halves, sessions)
		}
		// The third message, too, is worth one session, and the first then none.
		three := s.third(two, hs)
		for range 5 {
			s.send(s.mac, two.Sender, wire.Handshake3{Noise: three})
		}
		s.send(s.mac, two.Sender, wire.Handshake3{Noise: append([]byte{1}, three...)})
		s.send(s.mac, 0, h)
		if frames := len(s.heard(wire.FrameTransport)); frames != 6 {
			t.Errorf("%d Pings to one third message, come six times", frames)
		}
		if halves, sessions := home.state(t); halves != 0 || sessions != 1 {
			t.Errorf("%d half open, %d sessions", halves, sessions)
		}
	})
}

// TestMembersFirstMessageComesAgain: who records a member's IK message and plays
// it back gets nothing new by it.
func TestMembersFirstMessageComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var mu sync.Mutex
		var first []byte
		seg, home, a := paired(ctx, t, link.SegmentOptions{Delay: 100 * time.Microsecond}, func(p link.Port) link.Port {
			f := &filter{Port: p}
			f.set(func(b []byte) bool {
				mu.Lock()
				defer mu.Unlock()
				if wire.FrameType(b[1]) == wire.FrameHandshake1 {
					first = bytes.Clone(b)
				}
				return false
			})
			return f
		})
		index := a.remoteIndex(t)
		replay := func(change func(*wire.Handshake1)) map[string]uint64 {
			f, err := wire.ParseFrame(first)
			if err != nil {
				t.Fatal(err)
			}
			h, err := wire.ParseHandshake1(f.Body)
			if err != nil {
				t.Fatal(err)
			}
			change(&h)
			b, err := wire.AppendBody(nil, 0, h)
			if err != nil {
				t.Fatal(err)
			}
			before := home.c.Counters.Snapshot()
			seg.Inject(agentMAC(1), homeMAC, b)
			time.Sleep(time.Second)
			synctest.Wait()
			after := home.c.Counters.Snapshot()
			for k, v := range after {
				if after[k] -= before[k]; v == before[k] {
					delete(after, k)
				}
			}
			return after
		}
		for _, tt := range []struct {
			change func(*wire.Handshake1)
			count  string
		}{
			{func(*wire.Handshake1) {}, "replay"},
			{func(h *wire.Handshake1) { h.Ticket, h.TicketMAC = nil, nil }, "replay"},
			{func(h *wire.Handshake1) { h.Sender++ }, "handshake"},
			{func(h *wire.Handshake1) { h.Way = wire.WayApprove }, "handshake"},
		} {
			if got := replay(tt.change); len(got) != 1 || got[tt.count] != 1 {
				t.Errorf("counted %v, want one %s", got, tt.count)
			}
		}
		time.Sleep(cookieLife)
		if got := replay(func(*wire.Handshake1) {}); got["cookie"] != 1 {
			t.Errorf("counted %v after a minute", got)
		}
		if halves, sessions := home.state(t); halves != 0 || sessions != 1 || a.remoteIndex(t) != index {
			t.Errorf("%d half open, %d sessions", halves, sessions)
		}
		pass(home, a)
		if len(a.closed)+len(home.closed) > 0 {
			t.Errorf("closed %v and %v", a.closed, home.closed)
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	var a answers
	now := epoch
	sum := func(n int) [32]byte { return [32]byte{byte(n), byte(n >> 8)} }
	for n := range 3 * maxAnswered {
		a.keep(sum(n), []byte{1}, now)
		now = now.Add(time.Millisecond)
		if len(a.bySum) != len(a.order) || len(a.order) > maxAnswered {
			t.Fatalf("%d and %d are kept", len(a.bySum), len(a.order))
		}
	}
	if a.find(sum(3*maxAnswered-1), now) == nil || a.find(sum(0), now) != nil {
		t.Error("the newest is forgotten, or the oldest is not")
	}
	if a.find(sum(3*maxAnswered-1), now.Add(cookieLife+time.Second)) != nil || len(a.bySum) > 0 {
		t.Error("kept for longer than a cookie lives")
	}
}

// TestHalfOpenTableIsBounded: a flood of handshakes that nobody finishes takes
// one fixed table; who comes last still gets through.
func TestHalfOpenTableIsBounded(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, seg *link.Segment, home *homeSide) {
		const n = 200
		type open struct {
			s   *stranger
			two wire.Handshake2
			hs  *handshake
		}
		var all []open
		for i := range n {
			s := newStranger(t, seg, agentMAC(i))
			h, hs := s.first(s.ask(), SetupCode{})
			s.send(s.mac, 0, h)
			two, ok := s.second()
			if !ok {
				t.Fatalf("no answer to number %d", i)
			}
			all = append(all, open{s, two, hs})
			time.Sleep(20 * time.Millisecond)
			if halves, _ := home.state(t); halves > maxHalves {
				t.Fatalf("%d half open", halves)
			}
		}
		onLoop(t, home.r.l, func() {
			if len(home.r.order) > maxHalves {
				t.Errorf("%d in order", len(home.r.order))
			}
		})
		if got := home.c.Counters.Get(DropEvicted); got != n-maxHalves {
			t.Errorf("%d made room", got)
		}
		for i, alive := range map[int]bool{0: false, n - maxHalves - 1: false, n - maxHalves: true, n - 1: true} {
			all[i].s.third(all[i].two, all[i].hs)
			if got := len(all[i].s.heard(wire.FrameTransport)) > 0; got != alive {
				t.Errorf("number %d of %d got through: %v", i, n, got)
			}
		}
	})
}

// TestForgedThirdMessages end after a few, and with them the handshake.
func TestForgedThirdMessages(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, seg *link.Segment, home *homeSide) {
		s := newStranger(t, seg, agentMAC(1))
		for _, forged := range []int{maxForged - 1, maxForged} {
			time.Sleep(time.Second)
			h, hs := s.first(s.ask(), SetupCode{})
			s.send(s.mac, 0, h)
			two, ok := s.second()
			if !ok {
				t.Fatal("no answer")
			}
			for n := range forged {
				s.send(agentMAC(9), two.Sender, wire.Handshake3{Noise: bytes.Repeat([]byte{byte(n)}, 64)})
			}
			s.third(two, hs)
			if got := len(s.heard(wire.FrameTransport)) > 0; got != (forged < maxForged) {
				t.Errorf("after %d forged ones: through %v", forged, got)
			}
		}
	})
}

// TestBudgets: one address, and all together, make the home do no more than so
// much public-key work.
func TestBudgets(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, seg *link.Segment, home *homeSide) {
		s := newStranger(t, seg, agentMAC(1))
		answered := 0
		for range 30 {
			h, _ := s.first(s.ask(), SetupCode{})
			s.send(s.mac, 0, h)
			if _, ok := s.second(); ok {
				answered++
			}
		}
		if answered != shakeBurst || home.c.Counters.Get(DropRateSource) != uint64(30-answered) {
			t.Errorf("%d of 30 from one address were answered, %v", answered, home.c.Counters.Snapshot())
		}
		time.Sleep(time.Minute)
		var all []*stranger
		var firsts []wire.Handshake1
		for i := range 150 {
			o := newStranger(t, seg, agentMAC(10+i))
			h, _ := o.first(o.ask(), SetupCode{})
			all, firsts = append(all, o), append(firsts, h)
		}
		for i, o := range all {
			o.send(o.mac, 0, firsts[i])
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		answered = 0
		for _, o := range all {
			if _, ok := o.second(); ok {
				answered++
			}
		}
		if answered > shakeAllBurst+1 || answered < shakeAllBurst/2 {
			t.Errorf("%d of 150 at once were answered", answered)
		}
	})
}

// TestWaitingIsBounded: sixteen strangers wait, and one more does not; but a
// device that has proven a code does, and who leaves makes room.
func TestWaitingIsBounded(t *testing.T) {
	var code SetupCode
	inBubble(t, func(h *homeSide) { code = testCode(t); h.offer(code) }, func(t *testing.T, seg *link.Segment, home *homeSide) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var stops []func()
		for n := range 20 {
			a := newAgentSide(t)
			actx, stop := context.WithCancel(ctx)
			a.start(actx, t, seg.Attach(agentMAC(n)))
			stops = append(stops, stop)
		}
		time.Sleep(30 * time.Second)
		waiting := func() int { home.mu.Lock(); defer home.mu.Unlock(); return len(home.waiting) }
		if n := waiting(); n != maxWaiting || home.c.Counters.Get(DropWaiting) == 0 {
			t.Fatalf("%d wait, %v", n, home.c.Counters.Snapshot())
		}
		coded := newAgentSide(t)
		coded.c.Code = code
		coded.start(ctx, t, seg.Attach(agentMAC(99)))
		time.Sleep(time.Second)
		if home.mu.Lock(); home.waiting[coded.key()].Code != code {
			t.Error("the device with a code does not wait")
		}
		home.mu.Unlock()
		for _, stop := range stops[:10] {
			stop()
		}
		time.Sleep(time.Minute)
		if n := waiting(); n != 10+1 {
			t.Errorf("%d wait", n)
		}
	})
}

// TestDeviceThatAsksAnewWaitsOnce: one device can't take all the places, and a
// yes to its earlier session is void.
func TestDeviceThatAsksAnewWaitsOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, seg *link.Segment, home *homeSide) {
		s := newStranger(t, seg, agentMAC(1))
		for range 30 {
			time.Sleep(time.Second)
			h, hs := s.first(s.ask(), SetupCode{})
			s.send(s.mac, 0, h)
			two, ok := s.second()
			if !ok {
				t.Fatal("no answer")
			}
			s.third(two, hs)
			s.heard(wire.FrameTransport)
			if _, sessions := home.state(t); sessions != 1 {
				t.Fatalf("%d sessions of one device", sessions)
			}
		}
	})
}

// TestAgentStopsRevealing: ten times, then never again until somebody acts at
// the device.
func TestAgentStopsRevealing(t *testing.T) {
	inBubble(t, func(h *homeSide) { h.no = true }, func(t *testing.T, seg *link.Segment, home *homeSide) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := newAgentSide(t)
		a.start(ctx, t, seg.Attach(agentMAC(1)))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		shown := func() (int, bool) { a.mu.Lock(); defer a.mu.Unlock(); return a.shown, a.digits.Stopped }
		if n, stopped := shown(); n != maxReveals || !stopped {
			t.Fatalf("digits were shown %d times, told of the end: %v", n, stopped)
		}
		if err := a.i.Approve("000000"); err == nil {
			t.Error("a yes to nobody was taken")
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if n, stopped := shown(); n != 2*maxReveals || !stopped {
			t.Fatalf("digits were shown %d times, told of the end: %v", n, stopped)
		}
	})
}

// TestHomeRevealsSlowly: however often strangers ask, the home takes part in
// few comparisons.
func TestHomeRevealsSlowly(t *testing.T) {
	inBubble(t, func(h *homeSide) { h.no = true }, func(t *testing.T, seg *link.Segment, home *homeSide) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for n := range 12 {
			a := newAgentSide(t)
			a.start(ctx, t, seg.Attach(agentMAC(n)))
			time.Sleep(time.Millisecond)
			synctest.Wait()
			pass(home, a)
			go func() { // a device that doesn't keep to its part
				for a.i.l.post(func() { a.i.reveals = 0 }) {
					time.Sleep(time.Second)
				}
			}()
		}
		const span = 10 * time.Minute
		time.Sleep(span)
		home.mu.Lock()
		asked := home.asked
		home.mu.Unlock()
		if most := revealBurst + int(span/revealEvery) + 1; asked > most || asked < most/2 {
			t.Errorf("%d comparisons in %v, at most %d", asked, span, most)
		}
		cancel()
		time.Sleep(2 * time.Second)
	})
}
