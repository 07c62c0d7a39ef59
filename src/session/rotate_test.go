package session

import (
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/link"
)

// TestRotate: an agent with the home's former key is let in and said to be so;
// one with the new key is not; and without the former key the first stays out.
func TestRotate(t *testing.T) {
	for _, left := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			seg := link.NewSegment(link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
			h, a := newHomeSide(t), newAgentSide(t)
			h.yes = true
			key := a.c.Key.Public()
			opened := func() int { h.mu.Lock(); defer h.mu.Unlock(); return h.opened[key] }
			peer := func() *Peer { h.mu.Lock(); defer h.mu.Unlock(); return h.peers[key] }
			hangUp := func() { a.mu.Lock(); defer a.mu.Unlock(); a.peer.Close(nil) }
			h.start(t.Context(), t, seg.Attach(link.MAC{2, 0, 0, 0, 0, 1}))
			a.start(t.Context(), t, seg.Attach(link.MAC{2, 0, 0, 0, 0, 2}))
			time.Sleep(4 * time.Second)
			if opened() != 1 {
				t.Fatal("not paired")
			}
			next, err := GeneratePrivateKey()
			if err != nil {
				t.Fatal(err)
			}
			former := &FormerKey{Key: h.c.Key, Discovery: h.c.DiscoveryKey}
			h.r.Rotate(next, [32]byte{9}, former)
			time.Sleep(time.Second)
			if p := peer(); !p.Former() || p.over.Load() {
				t.Fatal("the open session is over, or not said to be of the former key")
			}
			if !left {
				h.r.Rotate(next, [32]byte{9}, nil)
			}
			hangUp()
			time.Sleep(time.Minute)
			switch n := opened(); {
			case left && (n != 2 || !peer().Former()):
				t.Fatalf("opened %d times", n)
			case !left && n != 1:
				t.Fatalf("let in by a key that is gone: %d", n)
			}
			a.i.Repin(Pin{Home: next.Public(), Discovery: [32]byte{9}, Instance: h.c.Instance, Term: 1})
			if left {
				hangUp()
			}
			time.Sleep(time.Minute)
			if p := peer(); p.Former() || p.over.Load() {
				t.Fatal("not here by the new key")
			}
		})
	}
}
