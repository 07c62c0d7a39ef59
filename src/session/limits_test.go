package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

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
