package session

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/lab"
	"homeconf/src/link"
	"homeconf/src/wire"
)

// both runs a test on the simulated segment, in virtual time, and on packet
// sockets in namespaces that a bridge joins.
func both(t *testing.T, body func(t *testing.T, attach func(link.MAC) link.Port)) {
	t.Run("segment", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := link.NewSegment(link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond})
			body(t, func(mac link.MAC) link.Port { return s.Attach(mac) })
		})
	})
	t.Run("veth", func(t *testing.T) {
		if os.Getenv("HOMECONF_EMULATOR") == "qemu-mips-static" {
			t.Skip("netlink does not work in a big-endian program under qemu-user")
		}
		lab.Need(t)
		t.Parallel()
		l, err := lab.New("session")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		sw, err := l.Switch("switch")
		if err != nil {
			t.Fatal(err)
		}
		body(t, func(mac link.MAC) (port link.Port) {
			h, err := sw.Join(mac)
			if err == nil {
				err = h.Do(func() error {
					port, err = link.Open("eth0", link.Options{EtherType: wire.EtherType, Groups: []link.MAC{link.MAC(wire.Group)}})
					return err
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			return port
		})
	})
}

// eventually waits for what must come true in a while; on a segment no real
// time passes by that.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 30 s: not %s", what)
		}
	}
}

func (h *homeSide) in(f func() bool) func() bool {
	return func() bool { h.mu.Lock(); defer h.mu.Unlock(); return f() }
}

func (a *agentSide) in(f func() bool) func() bool {
	return func() bool { a.mu.Lock(); defer a.mu.Unlock(); return f() }
}

// settle lets what would wrongly happen happen.
func settle() { time.Sleep(3 * time.Second) }

func TestPairByDigits(t *testing.T) {
	both(t, func(t *testing.T, attach func(link.MAC) link.Port) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		home, a := newHomeSide(t), newAgentSide(t)
		home.start(ctx, t, attach(homeMAC))
		boot, off := context.WithCancel(ctx)
		a.start(boot, t, attach(agentMAC(1)))
		eventually(t, "waiting", home.in(func() bool { return home.waiting[a.key()].Digits != "" }))
		home.mu.Lock()
		w, p := home.waiting[a.key()], home.peers[a.key()]
		home.mu.Unlock()
		eventually(t, "showing the same digits", a.in(func() bool { return a.digits.Code == w.Digits }))
		settle()
		if pinned := a.in(func() bool { return a.pin != nil }); pinned() {
			t.Fatal("paired without a yes")
		}
		home.mu.Lock()
		home.members[a.key()] = true
		home.mu.Unlock()
		if err := p.Admit(w.Hash); err != nil {
			t.Fatal(err)
		}
		eventually(t, "paired", a.in(func() bool { return a.opened == 1 && a.pin != nil && a.pin.Home == home.c.Key.Public() }))
		eventually(t, "heard", home.in(func() bool { return strings.Join(home.got[a.key()], " ") == "0 1 2" }))
		off()
		eventually(t, "gone", home.in(func() bool { return len(home.closed) == 1 }))

		// Back by IK: nobody is asked.
		home.mu.Lock()
		clear(home.waiting)
		home.mu.Unlock()
		a.start(ctx, t, attach(agentMAC(1)))
		eventually(t, "back", home.in(func() bool { return home.opened[a.key()] == 2 }))
		eventually(t, "heard again", home.in(func() bool { return len(home.got[a.key()]) == 6 && len(home.waiting) == 0 }))
	})
}

func testCode(t testing.TB) SetupCode {
	c, err := GenerateSetupCode(randomOr(nil))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// offer has a home take these codes.
func (h *homeSide) offer(codes ...SetupCode) {
	h.c.Ways = func() []wire.Way { return []wire.Way{wire.WayApprove, wire.WayCode} }
	h.c.Code = func(d uint16) (l []SetupCode) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, c := range codes {
			if c.Discriminator() == d {
				l = append(l, c)
			}
		}
		return l
	}
}

func TestPairByCode(t *testing.T) {
	both(t, func(t *testing.T, attach func(link.MAC) link.Port) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		home, other, a := newHomeSide(t), newHomeSide(t), newAgentSide(t)
		other.c.Instance[0] = 99
		a.c.Code = testCode(t)
		// Of the same discriminator, so that the device's handshake is answered.
		wrong := SetupCode{}
		for wrong.IsZero() || wrong.Discriminator() != a.c.Code.Discriminator() {
			wrong = testCode(t)
		}
		home.yes = true
		home.offer(wrong, testCode(t), a.c.Code)
		other.yes = true
		other.offer(wrong)
		// With the wrong code alone there is no way in, nor a way round.
		other.start(ctx, t, attach(link.MAC{2, 0, 0, 0, 0, 2}))
		a.start(ctx, t, attach(agentMAC(1)))
		eventually(t, "refused", func() bool { return other.c.Counters.Get(DropHandshake) > 0 })
		settle()
		if in := a.in(func() bool { return a.pin != nil || a.opened > 0 || a.digits.Code != "" }); in() {
			t.Fatal("paired by the wrong code, or showed digits")
		}
		if heard := other.in(func() bool { return len(other.waiting)+len(other.opened) > 0 }); heard() {
			t.Fatal("the home heard of a device with another code")
		}
		// Two homes are heard now: the code alone tells which is right.
		home.start(ctx, t, attach(homeMAC))
		eventually(t, "paired", a.in(func() bool { return a.pin != nil && a.pin.Home == home.c.Key.Public() && a.opened == 1 }))
		eventually(t, "heard", home.in(func() bool { return len(home.got[a.key()]) == 3 }))
		home.mu.Lock()
		defer home.mu.Unlock()
		if w := home.waiting[a.key()]; w.Code != a.c.Code || w.Digits != "" || w.Way != wire.WayCode {
			t.Errorf("waited by %v with digits %q and the right code %v", w.Way, w.Digits, w.Code == a.c.Code)
		}
		if text := fmt.Sprintf("%v %+v %#v", home.waiting[a.key()], home.waiting[a.key()], home.waiting[a.key()]); strings.Contains(text, a.c.Code.text) {
			t.Error("the code is in the text")
		}
	})
}

func TestTwoHomes(t *testing.T) {
	both(t, func(t *testing.T, attach func(link.MAC) link.Port) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		home, other, a := newHomeSide(t), newHomeSide(t), newAgentSide(t)
		other.c.Instance[0] = 99
		home.yes, other.yes = true, true
		home.start(ctx, t, attach(homeMAC))
		other.start(ctx, t, attach(link.MAC{2, 0, 0, 0, 0, 2}))
		a.start(ctx, t, attach(agentMAC(1)))
		eventually(t, "showing digits of two homes", a.in(func() bool { return a.digits.Code != "" && a.digits.Homes == 2 }))
		settle()
		a.mu.Lock()
		shown, pinned := a.digits, a.pin != nil
		a.mu.Unlock()
		if pinned {
			t.Fatal("took one of two homes by itself")
		}
		wrong := "000000"
		if shown.Code == wrong {
			wrong = "000001"
		}
		if a.i.Approve(wrong) == nil {
			t.Error("wrong digits were taken")
		}
		if err := a.i.Approve(shown.Code); err != nil {
			t.Fatal(err)
		}
		eventually(t, "paired with the one approved", a.in(func() bool { return a.pin != nil && a.pin.Home == shown.Home }))
	})
}
