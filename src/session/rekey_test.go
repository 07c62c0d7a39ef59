package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

// onLoop runs f on the loop of a side and waits for it.
func onLoop(t testing.TB, l *loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.post(func() { f(); close(done) }) {
		t.Fatal("the loop has ended")
	}
	<-done
}

// remoteIndex names the keys that an agent sends under; 0: none are open.
func (a *agentSide) remoteIndex(t testing.TB) (index uint32) {
	onLoop(t, a.i.l, func() {
		if p := a.i.peer; p != nil && p.phase == phaseOpen {
			index = p.t.seal.remote
		}
	})
	return index
}

// paired is a home and an agent that is its member, in the bubble of the test.
func paired(ctx context.Context, t *testing.T, o link.SegmentOptions, wrap func(link.Port) link.Port) (*link.Segment, *homeSide, *agentSide) {
	s := link.NewSegment(o)
	home, a := newHomeSide(t), newAgentSide(t)
	home.members[a.key()] = true
	a.pin = &Pin{Home: home.c.Key.Public(), Discovery: home.c.DiscoveryKey, Instance: home.c.Instance, Term: 1}
	a.says = 0
	var port link.Port = s.Attach(agentMAC(1))
	if wrap != nil {
		port = wrap(port)
	}
	home.start(ctx, t, s.Attach(homeMAC))
	a.start(ctx, t, port)
	time.Sleep(5 * time.Second)
	synctest.Wait()
	if a.opened != 1 || home.opened[a.key()] != 1 {
		t.Fatalf("opened %d and %d", a.opened, home.opened[a.key()])
	}
	pass(home, a)
	return s, home, a
}

// numbers are the texts of messages 0 to n-1, some long enough for many frames.
func numbers(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprintf("%d %s", i, strings.Repeat("x", i%7*30)))
	}
	return texts
}

// TestRekeyLosesNothing: sessions change their keys again and again under
// traffic both ways, on a bad segment. No handler hears of it; every message
// comes once and in its order.
func TestRekeyLosesNothing(t *testing.T) {
	changes, n := 0, seeds(200)
	for seed := range n {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, home, a := paired(ctx, t, link.SegmentOptions{Seed: uint64(seed), Loss: 0.15, Duplicate: 0.1, Reorder: 0.2,
				Delay: 200 * time.Microsecond, Jitter: time.Millisecond}, nil)
			onLoop(t, a.i.l, func() { a.i.frames = 100 })
			texts := numbers(600)
			home.mu.Lock()
			hp := home.peers[a.key()]
			home.mu.Unlock()
			used := map[uint32]bool{}
			for n, text := range texts {
				for _, p := range []*Peer{a.peer, hp} {
					if err := p.Send(wire.Event{Kind: "test.said", Text: text}); err != nil {
						t.Fatalf("seed %d: message %d: %v", seed, n, err)
					}
				}
				used[a.remoteIndex(t)] = true
				if n%20 == 0 {
					time.Sleep(3 * time.Second) // so that the old keys go, too
				} else {
					time.Sleep(time.Duration(n%4) * time.Millisecond)
				}
			}
			// Old keys go after 10 s, and idle Pings, which a bad segment may
			// lose one too many of, begin after 12.
			time.Sleep(11 * time.Second)
			synctest.Wait()
			pass(home, a)
			changes += len(used) - 1
			for side, got := range map[string][]string{"home": home.got[a.key()], "agent": a.got} {
				if strings.Join(got, ",") != strings.Join(texts, ",") {
					t.Errorf("seed %d: the %s got %d messages of %d, or others", seed, side, len(got), len(texts))
				}
			}
			if a.opened != 1 || home.opened[a.key()] != 1 || len(a.closed)+len(home.closed) > 0 || a.silent > 0 {
				t.Errorf("seed %d: opened %d and %d, closed %v and %v, silent %d", seed, a.opened, home.opened[a.key()], a.closed, home.closed, a.silent)
			}
			if len(used) < 3 {
				t.Errorf("seed %d: %d keys only", seed, len(used))
			}
			// What a change leaves behind goes again.
			onLoop(t, home.r.l, func() {
				if len(home.r.sessions) > 2 || len(home.r.members) != 1 {
					t.Errorf("seed %d: %d sessions and %d members are kept", seed, len(home.r.sessions), len(home.r.members))
				}
			})
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d changes of keys in %d runs", changes, n)
}

func TestRekeyAfterTwelveHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, home, a := paired(ctx, t, link.SegmentOptions{Seed: 1, Loss: 0.02, Delay: 100 * time.Microsecond}, nil)
		begun := time.Now()
		index := a.remoteIndex(t)
		var spans []time.Duration
		for len(spans) < 4 {
			time.Sleep(time.Minute)
			now := a.remoteIndex(t)
			if now != index {
				spans, index, begun = append(spans, time.Since(begun)), now, time.Now()
			}
			if time.Since(begun) > 14*time.Hour {
				t.Fatalf("no new keys after %v; before: %v", time.Since(begun), spans)
			}
		}
		for _, d := range spans {
			if d < rekeyFrom || d > rekeyUntil+2*time.Minute {
				t.Errorf("new keys after %v", d)
			}
		}
		if spans[0] == spans[1] && spans[1] == spans[2] {
			t.Error("all spans are the same: where is the jitter?")
		}
		synctest.Wait()
		pass(home, a)
		if a.opened != 1 || home.opened[a.key()] != 1 || len(a.closed)+len(home.closed) > 0 || a.silent > 0 {
			t.Errorf("opened %d and %d, closed %v and %v, silent %d", a.opened, home.opened[a.key()], a.closed, home.closed, a.silent)
		}
	})
}

// TestRekeyWithoutAHomeThatAnswers: the search for new keys must not disturb a
// session that works, and must not tell the device that its home is silent.
func TestRekeyWithoutAHomeThatAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		deaf := &filter{}
		_, home, a := paired(ctx, t, link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond}, func(p link.Port) link.Port {
			deaf.Port = p
			return deaf
		})
		index := a.remoteIndex(t)
		// Handshakes are lost, discovery and the session are not.
		deaf.set(func(b []byte) bool { return wire.FrameType(b[1]) == wire.FrameHandshake1 })
		onLoop(t, a.i.l, func() { a.i.rekeying(time.Now()) })
		time.Sleep(10 * time.Minute)
		if err := a.peer.Send(wire.Event{Kind: "test.said", Text: "still here"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		pass(home, a)
		if got := home.got[a.key()]; len(got) != 1 || a.silent > 0 || len(a.closed) > 0 || a.remoteIndex(t) != index {
			t.Fatalf("got %v, silent %d, closed %v", got, a.silent, a.closed)
		}
		deaf.set(nil)
		time.Sleep(time.Minute)
		if now := a.remoteIndex(t); now == index || now == 0 {
			t.Error("no new keys although the home answers again")
		}
	})
}

// TestRekeyWithAHomeThatForgot: a configurator that has started anew knows no
// session; the agent must not go on with one that only it has.
func TestRekeyWithAHomeThatForgot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, home, a := paired(ctx, t, link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond}, nil)
		onLoop(t, home.r.l, func() { home.r.members[a.key()].end(ErrClosed) })
		onLoop(t, a.i.l, func() { a.i.rekeying(time.Now()) })
		time.Sleep(time.Second)
		synctest.Wait()
		pass(home, a)
		if a.opened != 2 || home.opened[a.key()] != 2 || len(a.closed) != 1 || !errors.Is(a.closed[0], ErrReplaced) {
			t.Fatalf("opened %d and %d, closed %v", a.opened, home.opened[a.key()], a.closed)
		}
	})
}

// TestRekeyNamesOnlyOnesOwnSession: the index of another device's session must
// not be gone on with.
func TestRekeyNamesOnlyOnesOwnSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, home, a := paired(ctx, t, link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond}, nil)
		other := newAgentSide(t)
		home.mu.Lock()
		home.members[other.key()] = true
		home.mu.Unlock()
		other.pin = a.pin
		other.start(ctx, t, s.Attach(agentMAC(2)))
		time.Sleep(time.Second)
		theirs := a.remoteIndex(t)
		onLoop(t, other.i.l, func() {
			other.i.peer.t.seal.remote = theirs // all it takes to say the wrong index
			other.i.rekeying(time.Now())
		})
		time.Sleep(time.Minute)
		if err := a.peer.Send(wire.Event{Kind: "test.said", Text: "mine"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		pass(home, a, other)
		if len(home.got[a.key()]) != 1 || len(a.closed) != 0 || a.remoteIndex(t) != theirs {
			t.Fatalf("got %v, closed %v", home.got[a.key()], a.closed)
		}
		if home.opened[other.key()] != 2 {
			t.Errorf("the other opened %d sessions, want a new one", home.opened[other.key()])
		}
	})
}

// TestOldKeysReceiveForTenSeconds: a frame that was long on the way is still
// taken, but not for ever.
func TestOldKeysReceiveForTenSeconds(t *testing.T) {
	for _, late := range []time.Duration{oldKeys - time.Second, oldKeys + time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f := &filter{}
			s, home, a := paired(ctx, t, link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond}, func(p link.Port) link.Port {
				f.Port = p
				return f
			})
			var held []byte
			f.set(func(b []byte) bool {
				if wire.FrameType(b[1]) != wire.FrameTransport || held != nil {
					return false
				}
				held = append([]byte(nil), b...)
				return true
			})
			if err := a.peer.Send(wire.Event{Kind: "test.said", Text: "late"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // resent, and acknowledged
			index := a.remoteIndex(t)
			onLoop(t, a.i.l, func() { a.i.rekeying(time.Now()) })
			time.Sleep(50 * time.Millisecond)
			if a.remoteIndex(t) == index || held == nil {
				t.Fatal("no new keys")
			}
			time.Sleep(late)
			before := home.c.Counters.Snapshot()
			s.Inject(agentMAC(1), homeMAC, held)
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			after := home.c.Counters.Snapshot()
			wantIndex := uint64(0)
			if late > oldKeys {
				wantIndex = 1
			}
			if after["index"]-before["index"] != wantIndex || after["transport"] != before["transport"] {
				t.Errorf("after %v: %v, before %v", late, after, before)
			}
			pass(home, a)
			if got := home.got[a.key()]; len(got) != 1 {
				t.Errorf("got %v", got)
			}
		})
	}
}
