package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

// hello has a home say hello unasked, as at its start.
func (h *homeSide) hello(t *testing.T) {
	onLoop(t, h.r.l, func() {
		h.r.broadcast(link.MAC(wire.Group), wire.Advertise{Instance: h.r.c.Instance, Nonce: h.r.l.nonce(), Ways: h.r.c.Ways()})
	})
}

// TestHomeThatStartsAgainIsNoticed: a home that was killed knows no session and
// says hello; the agent is back in a fraction of a second.
func TestHomeThatStartsAgainIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, home, a := paired(ctx, t, link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond}, nil)
		onLoop(t, home.r.l, func() { clear(home.r.sessions); clear(home.r.members) })
		home.hello(t)
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		pass(home, a)
		if a.opened != 2 || home.opened[a.key()] != 2 || len(a.closed) != 1 || !errors.Is(a.closed[0], ErrReplaced) {
			t.Fatalf("opened %d and %d, closed %v", a.opened, home.opened[a.key()], a.closed)
		}
	})
}

// TestHomeThatStartsAgainDuringTheHandshake: it knows none of the cookies that it
// gave before, and says hello; the agent does not wait for the whole handshake's
// time.
func TestHomeThatStartsAgainDuringTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := &filter{}
		_, home, a := paired(ctx, t, link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond}, func(p link.Port) link.Port {
			f.Port = p
			return f
		})
		f.set(func(b []byte) bool {
			frame, err := wire.ParseFrame(b)
			return err == nil && frame.Type == wire.FrameHandshake1
		})
		onLoop(t, home.r.l, func() { clear(home.r.sessions); clear(home.r.members) })
		home.hello(t)
		time.Sleep(500 * time.Millisecond) // it has noticed, and shakes hands with the home that was
		onLoop(t, home.r.l, func() {
			var err error
			if home.r.jar, err = newCookieJar(home.r.c.Rand, time.Now()); err != nil {
				t.Error(err)
			}
		})
		f.set(nil)
		home.hello(t)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		pass(home, a)
		if a.opened != 2 || home.opened[a.key()] != 2 {
			t.Fatalf("opened %d and %d within 1.1 s", a.opened, home.opened[a.key()])
		}
	})
}

// TestForgedHelloEndsNothing: whatever says hello, and however often, the
// session stays, on a segment that loses a fifth of all frames too, and the
// agent sends at most a Ping a second for it.
func TestForgedHelloEndsNothing(t *testing.T) {
	for _, loss := range []float64{0, 0.2} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sent := 0
			count := &filter{}
			_, home, a := paired(ctx, t, link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond, Loss: loss}, func(p link.Port) link.Port {
				count.Port = p
				return count
			})
			count.set(func([]byte) bool { sent++; return false })
			for range 1000 {
				home.hello(t)
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			pass(home, a)
			if a.opened != 1 || len(a.closed) > 0 {
				t.Errorf("loss %v: opened %d times, closed %v", loss, a.opened, a.closed)
			}
			if loss == 0 && (sent < 5 || sent > 25) {
				t.Errorf("%d frames were sent in 10 s, want a Ping a second", sent)
			}
		})
	}
}

// TestStrangersNoticeToo: digits that a home which started again does not know
// are taken back in seconds.
func TestStrangersNoticeToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := link.NewSegment(link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond})
		home, a := newHomeSide(t), newAgentSide(t)
		home.start(ctx, t, s.Attach(homeMAC))
		a.start(ctx, t, s.Attach(agentMAC(1)))
		time.Sleep(time.Second)
		synctest.Wait()
		pass(home, a)
		first := a.digits.Code
		onLoop(t, home.r.l, func() { clear(home.r.sessions) })
		home.hello(t)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		pass(home, a)
		if first == "" || a.digits.Code == "" || a.digits.Code == first {
			t.Errorf("digits %q, and after the home's restart %q", first, a.digits.Code)
		}
	})
}
