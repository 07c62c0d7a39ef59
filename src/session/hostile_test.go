package session

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

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

// TestEphemeralKeysAreUsedOnce: a key made beforehand serves one handshake.
func TestEphemeralKeysAreUsedOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, seg *link.Segment, home *homeSide) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := map[string]bool{}
		s := newStranger(t, seg, agentMAC(1))
		for range 10 {
			time.Sleep(time.Second)
			h, _ := s.first(s.ask(), SetupCode{})
			s.send(s.mac, 0, h)
			two, ok := s.second()
			if !ok {
				t.Fatal("no answer")
			}
			seen[string(two.Noise[:KeySize])] = true
		}
		if len(seen) != 10 {
			t.Errorf("%d keys for 10 handshakes", len(seen))
		}
		// An agent whose handshakes are lost begins one after another.
		var mu sync.Mutex
		firsts := map[string]bool{}
		f := &filter{Port: seg.Attach(agentMAC(2))}
		f.set(func(b []byte) bool {
			if wire.FrameType(b[1]) != wire.FrameHandshake1 {
				return false
			}
			fr, err := wire.ParseFrame(b)
			h, err2 := wire.ParseHandshake1(fr.Body)
			if err != nil || err2 != nil {
				t.Errorf("%v, %v", err, err2)
			}
			mu.Lock()
			defer mu.Unlock()
			firsts[string(h.AgentNonce[:])+string(h.Noise[:KeySize])] = true
			seen[string(h.Noise[:KeySize])] = true
			return true
		})
		newAgentSide(t).start(ctx, t, f)
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(firsts) < 5 || len(seen) != 10+len(firsts) {
			t.Errorf("%d keys for %d handshakes", len(seen)-10, len(firsts))
		}
	})
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
