package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/system"
)

// slowly makes applying take a while.
func slowly(b *box, d time.Duration) {
	b.dev.Change(func(m *system.Memory, _ *model.Settings) {
		m.Delay = func(op string) time.Duration {
			if op == "apply" {
				return d
			}
			return 0
		}
	})
}

// TestConfirmWhileUndoing: what is being undone is not confirmed any more.
func TestConfirmWhileUndoing(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(1, "192.168.1.250/24")
		h.say(t, configure(s))
		slowly(b, time.Second)
		settle(5 * time.Second)
		h.say(t, confirm(s))
		wantHeard(t, h, "applied 1")
		settle(time.Second)
		wantHeard(t, h, "reverted 1")
		wantIn(t, b, model.Settings{})
		if b.good(t) != nil {
			t.Error("it was confirmed")
		}
	})
	t.Run("that waits to be tried again", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			s := static(1, "192.168.1.250/24")
			h.say(t, configure(s))
			bad := true
			b.dev.Change(func(m *system.Memory, _ *model.Settings) {
				m.Fail = func(op string) error {
					if bad && op == "apply" {
						return errors.New("broken")
					}
					return nil
				}
			})
			settle(5500 * time.Millisecond)
			h.say(t, confirm(s))
			h.say(t, configure(s)) // nor is it said that it is applied
			wantHeard(t, h, "applied 1")
			b.dev.Change(func(*system.Memory, *model.Settings) { bad = false })
			settle(time.Minute)
			wantHeard(t, h, "reverted 1")
			wantIn(t, b, model.Settings{})
		})
	})
}

// TestChangeBeforeRestored: a change that comes before an older one could be
// undone takes its place, and is not undone in its stead.
func TestChangeBeforeRestored(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		h.say(t, configure(static(1, "192.168.1.250/24")))
		b.stop()
		b.dev.PowerCut()
		failed := 0
		b.dev.Fail = func(op string) error {
			if op == "apply" && failed < 2 { // at the start, and when the link comes
				failed++
				return errors.New("broken")
			}
			return nil
		}
		h.heard()
		b.start(t.Context(), t)
		settle(3 * time.Second)
		s := static(2, "192.168.1.251/24")
		m := configure(s)
		m.Deadline = time.Minute
		h.say(t, m)
		settle(30 * time.Second) // the undoing would have been tried again by now
		wantIn(t, b, s)
		h.say(t, confirm(s))
		settle(time.Minute)
		wantHeard(t, h, "applied 2, confirmed 2")
		wantIn(t, b, s)
		b.noPending(t)
	})
}

// TestNewerWhileMadeWhole: a change that comes while the last one, unconfirmed,
// is put back after the link returned.
func TestNewerWhileMadeWhole(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		first, second := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24")
		m := configure(first)
		m.Deadline = time.Minute
		h.say(t, m)
		wantHeard(t, h, "applied 1")
		slowly(b, 8*time.Second)
		b.unplug()
		settle(100 * time.Millisecond)
		b.plug()
		settle(4 * time.Second) // connected again, and being put back
		m = configure(second)
		m.Deadline = time.Minute
		h.say(t, m)
		settle(30 * time.Second)
		wantHeard(t, h, "reverted 1, applied 2")
		h.say(t, confirm(second))
		wantHeard(t, h, "confirmed 2")
		wantIn(t, b, second)
		b.noPending(t)
	})
}

// TestConfirmWhileMadeWhole: a Confirm is not lost because the device is just
// being changed.
func TestConfirmWhileMadeWhole(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(1, "192.168.1.250/24")
		m := configure(s)
		m.Deadline = time.Minute
		h.say(t, m)
		slowly(b, 8*time.Second)
		b.unplug()
		settle(100 * time.Millisecond)
		b.plug()
		settle(4 * time.Second)
		h.say(t, confirm(s))
		wantHeard(t, h, "applied 1, confirmed 1")
		settle(2 * time.Minute)
		wantHeard(t, h, "")
		wantIn(t, b, s)
		b.noPending(t)
	})
}

// TestResetWhileAsking: a DHCP server that says nothing holds no reset up.
func TestResetWhileAsking(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		h.say(t, configure(model.Settings{Generation: 1, AddressingType: model.AddressingDHCP}))
		began := time.Now()
		if _, err := b.a.Call(t.Context(), "agent_reset", calls.Args{"yes": true}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 600*time.Millisecond {
			t.Errorf("took %v", took)
		}
		wantHeard(t, h, "")
		settle(20 * time.Second)
		b.noPending(t)
		wantIn(t, b, model.Settings{})
	})
}

// TestVoid: what the session of an earlier life tells counts no more.
func TestVoid(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		old := told{b.a, b.a.life}
		h.mu.Lock()
		h.shy = true
		h.mu.Unlock()
		if _, err := b.a.Call(t.Context(), "agent_reset", calls.Args{"yes": true}); err != nil {
			t.Fatal(err)
		}
		old.Digits(session.Digits{Code: "000001", Homes: 1})
		old.Silent()
		synctest.Wait()
		if st := b.status(t); st.Digits == "000001" || strings.Contains(b.dev.String(), "lease") {
			t.Errorf("status: %+v\n%v", st, b.dev)
		}
		if err := old.Pinned(session.Pin{}); !errors.Is(err, errVoid) {
			t.Errorf("%v", err)
		}
	})
}
