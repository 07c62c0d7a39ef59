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
			h.start(t.Context(), t, seg.Attach(link.MAC{2, 0, 0, 0, 0, 1}))
			a.start(t.Context(), t, seg.Attach(link.MAC{2, 0, 0, 0, 0, 2}))
			time.Sleep(4 * time.Second)
			if h.opened[a.c.Key.Public()] != 1 {
				t.Fatal("not paired")
			}
			key, err := GeneratePrivateKey()
			if err != nil {
				t.Fatal(err)
			}
			former := &FormerKey{Key: h.c.Key, Discovery: h.c.DiscoveryKey}
			h.r.Rotate(key, [32]byte{9}, former)
			time.Sleep(time.Second)
			if p := h.peers[a.c.Key.Public()]; !p.Former() || p.over.Load() {
				t.Fatal("the open session is over, or not said to be of the former key")
			}
			if !left {
				h.r.Rotate(key, [32]byte{9}, nil)
			}
			a.peer.Close(nil)
			time.Sleep(time.Minute)
			switch n := h.opened[a.c.Key.Public()]; {
			case left && (n != 2 || !h.peers[a.c.Key.Public()].Former()):
				t.Fatalf("opened %d times", n)
			case !left && n != 1:
				t.Fatalf("let in by a key that is gone: %d", n)
			}
			a.i.Repin(Pin{Home: key.Public(), Discovery: [32]byte{9}, Instance: h.c.Instance, Term: 1})
			if left {
				a.peer.Close(nil)
			}
			time.Sleep(time.Minute)
			if p := h.peers[a.c.Key.Public()]; p.Former() || p.over.Load() {
				t.Fatal("not here by the new key")
			}
		})
	}
}
