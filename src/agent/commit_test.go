package agent

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"homeconf/src/model"
	"homeconf/src/system"
	"homeconf/src/wire"
)

func TestConfigureConfirm(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		rs := h.reports()
		if len(rs) != 1 || rs[0].Report.Generation != 0 || rs[0].Report.State != model.CommitNone || rs[0].Report.Info.ModelName != "Box" ||
			rs[0].Report.HostName != "box" || !rs[0].Full {
			t.Fatalf("reports: %+v", rs)
		}
		s := static(1, "192.168.1.250/24")
		h.say(t, configure(s))
		wantHeard(t, h, "applied 1")
		wantIn(t, b, s)
		if b.good(t) != nil {
			t.Error("good before it was confirmed")
		}
		if b.status(t).Commit != model.CommitPending {
			t.Errorf("status: %+v", b.status(t))
		}
		h.say(t, confirm(s))
		wantHeard(t, h, "confirmed 1")
		if g := b.good(t); g == nil || !g.Same(s) || g.Generation != 1 {
			t.Errorf("last known good: %+v", g)
		}
		b.noPending(t)
		settle(2 * time.Second)
		rs = h.reports()
		if len(rs) == 0 || rs[len(rs)-1].Report.Generation != 1 || rs[len(rs)-1].Report.State != model.CommitConfirmed {
			t.Errorf("reports: %+v", rs)
		}
		for i, r := range rs {
			if r.Seq != uint64(i+2) {
				t.Errorf("report %d has the number %d", i, r.Seq)
			}
		}
		if len(b.announced) != 1 || b.announced[0] != s.Address.Addr() {
			t.Errorf("announced %v", b.announced)
		}
		if st := b.status(t); st.Commit != model.CommitConfirmed || st.Settings == nil || !st.Settings.Same(s) {
			t.Errorf("status: %+v", st)
		}
		want := "configure.received pending.stored applied announced proven outcome.sent confirm.received good.stored pending.removed confirmed.sent"
		if got := strings.Join(b.steps[2:], " "); got != want {
			t.Errorf("steps %s, want %s", got, want)
		}
		// Confirmed is confirmed, whoever says nothing for however long.
		settle(2 * time.Hour)
		wantIn(t, b, s)
		wantHeard(t, h, "")
	})
}

func TestNobodyConfirms(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		first, second := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24")
		h.say(t, configure(first))
		h.say(t, confirm(first))
		wantHeard(t, h, "applied 1, confirmed 1")
		h.say(t, configure(second))
		wantHeard(t, h, "applied 2")
		wantIn(t, b, second)
		settle(4800 * time.Millisecond)
		wantIn(t, b, second)
		settle(200 * time.Millisecond)
		got := wantHeard(t, h, "reverted 2")
		if len(got) == 1 && !strings.Contains(got[0].(wire.Outcome).Reason, "confirmed") {
			t.Errorf("why: %+v", got)
		}
		wantIn(t, b, first)
		b.noPending(t)
		if g := b.good(t); g == nil || g.Generation != 1 {
			t.Errorf("last known good: %+v", g)
		}
		if a := b.announced[len(b.announced)-1]; a != first.Address.Addr() {
			t.Errorf("announced at last: %v", a)
		}
		settle(time.Second)
		rs := h.reports()
		if last := rs[len(rs)-1].Report; last.State != model.CommitReverted || last.Generation != 1 {
			t.Errorf("last report: %+v", last)
		}
		// The same again is tried again: the home may have put right what kept
		// its Confirm from coming.
		h.say(t, configure(second))
		h.say(t, confirm(second))
		wantHeard(t, h, "applied 2, confirmed 2")
		wantIn(t, b, second)
	})
}

func TestFirstChangeRevertsToNothing(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		h.say(t, configure(static(1, "192.168.1.250/24")))
		settle(5 * time.Second)
		wantHeard(t, h, "applied 1, reverted 1")
		wantIn(t, b, model.Settings{})
		b.noPending(t)
	})
}

func TestShortDeadline(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(1, "192.168.1.250/24")
		h.say(t, wire.Configure{Settings: s, Deadline: time.Millisecond})
		wantHeard(t, h, "applied 1")
		wantIn(t, b, s) // below half a second no Confirm could come in time
		settle(500 * time.Millisecond)
		wantHeard(t, h, "reverted 1")
	})
}

func TestConfirmOfSomethingElse(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(1, "192.168.1.250/24")
		other := static(1, "192.168.1.251/24")
		h.say(t, confirm(s)) // nothing is pending
		h.say(t, configure(s))
		wantHeard(t, h, "applied 1")
		h.say(t, confirm(other))
		h.say(t, wire.Confirm{Generation: 2, Digest: wire.SettingsDigest(s)})
		h.say(t, wire.Confirm{Generation: 1})
		wantHeard(t, h, "")
		if b.good(t) != nil {
			t.Error("a Confirm of something else was taken")
		}
		settle(5 * time.Second)
		wantHeard(t, h, "reverted 1")
		h.say(t, confirm(s)) // too late
		wantHeard(t, h, "")
		wantIn(t, b, model.Settings{})
	})
}

func TestSameAgainSameAnswer(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(5, "192.168.1.250/24")
		h.say(t, configure(s))
		for range 3 {
			h.say(t, configure(s))
		}
		wantHeard(t, h, "applied 5, applied 5, applied 5, applied 5")
		h.say(t, confirm(s))
		h.say(t, confirm(s))
		h.say(t, configure(s))
		wantHeard(t, h, "confirmed 5, confirmed 5, confirmed 5")
		if n := strings.Count(b.dev.String(), "apply"); n != 1 {
			t.Errorf("applied %d times\n%v", n, b.dev)
		}
		// What is in force is asked for by another name: no.
		h.say(t, configure(static(5, "192.168.1.9/24")))
		wantHeard(t, h, "refused 5")
		h.say(t, configure(static(4, "192.168.1.9/24")))
		got := wantHeard(t, h, "refused 4")
		if len(got) == 1 && !strings.Contains(got[0].(wire.Outcome).Reason, "generation 4") {
			t.Errorf("why: %+v", got[0])
		}
		wantIn(t, b, s)
	})
}

func TestSameAgainWhileApplying(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		b.dev.Delay = func(op string) time.Duration {
			if op == "apply" {
				return time.Second
			}
			return 0
		}
		s := static(1, "192.168.1.250/24")
		for range 4 {
			h.say(t, configure(s))
		}
		wantHeard(t, h, "")
		settle(time.Second)
		wantHeard(t, h, "applied 1")
		settle(4 * time.Second)
		// Once undone it is not done again by what was asked before.
		settle(10 * time.Second)
		wantHeard(t, h, "reverted 1")
		wantIn(t, b, model.Settings{})
		b.noPending(t)
	})
}

func TestOlderWhileApplying(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		b.dev.Delay = func(op string) time.Duration {
			if op == "apply" {
				return time.Second
			}
			return 0
		}
		s := static(7, "192.168.1.250/24")
		h.say(t, configure(s))
		h.say(t, configure(static(6, "192.168.1.251/24")))
		wantHeard(t, h, "refused 6")
		settle(time.Second)
		h.say(t, confirm(s))
		settle(10 * time.Second)
		wantHeard(t, h, "applied 7, confirmed 7")
		wantIn(t, b, s)
	})
}

// TestGenerationZero: a Configure that names no generation is refused, by an
// agent that has nothing yet, too.
func TestGenerationZero(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		h.say(t, configure(static(0, "192.168.1.250/24")))
		wantHeard(t, h, "refused 0")
		wantIn(t, b, model.Settings{})
	})
}

func TestNewerTakesTheUnconfirmedOnesPlace(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		first, second, third := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24"), static(3, "192.168.1.252/24")
		h.say(t, configure(first))
		h.say(t, confirm(first))
		wantHeard(t, h, "applied 1, confirmed 1")
		h.say(t, configure(second))
		h.say(t, configure(third))
		wantHeard(t, h, "applied 2, reverted 2, applied 3")
		h.say(t, confirm(second))
		wantHeard(t, h, "")
		settle(5 * time.Second)
		wantHeard(t, h, "reverted 3")
		wantIn(t, b, first)
		b.noPending(t)
	})
}

func TestFailures(t *testing.T) {
	broken := errors.New("broken\nby \x1b[31mhand " + strings.Repeat("ü", 400))
	for _, c := range []struct {
		op   string
		want string
	}{
		{"apply", "reverted 2"},
		{"apply.half", "reverted 2"},
		{"prove", "reverted 2"},
	} {
		t.Run(c.op, func(t *testing.T) {
			scene(t, "", func(t *testing.T, h *home, b *box) {
				first, second := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24")
				h.say(t, configure(first))
				h.say(t, confirm(first))
				wantHeard(t, h, "applied 1, confirmed 1")
				failed := 0
				b.dev.Fail = func(op string) error {
					if op == c.op && failed < 1 {
						failed++
						return broken
					}
					return nil
				}
				h.say(t, configure(second))
				got := wantHeard(t, h, c.want)
				wantIn(t, b, first)
				b.noPending(t)
				if len(got) == 1 {
					if r := got[0].(wire.Outcome).Reason; !strings.Contains(r, "broken") || len(r) > wire.MaxText {
						t.Errorf("why: %q", r)
					}
				}
				// It was a passing trouble.
				h.say(t, configure(second))
				h.say(t, confirm(second))
				wantHeard(t, h, "applied 2, confirmed 2")
				wantIn(t, b, second)
			})
		})
	}
	t.Run("current", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			b.dev.Fail = func(op string) error {
				if op == "current" {
					return broken
				}
				return nil
			}
			h.say(t, configure(static(1, "192.168.1.250/24")))
			wantHeard(t, h, "refused 1") // what can't be gone back to is not left
			wantIn(t, b, model.Settings{})
			b.noPending(t)
		})
	})
	t.Run("announce", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			b.mu.Lock()
			b.announce = broken
			b.mu.Unlock()
			h.say(t, configure(static(1, "192.168.1.250/24")))
			wantHeard(t, h, "reverted 1")
			wantIn(t, b, model.Settings{})
		})
	})
	t.Run("gateway is silent", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			s := static(1, "10.9.9.9/24")
			s.Gateway = netip.MustParseAddr("10.9.9.1")
			h.say(t, configure(s))
			settle(proveTime)
			got := wantHeard(t, h, "reverted 1")
			if len(got) == 1 && !strings.Contains(got[0].(wire.Outcome).Reason, "gateway") {
				t.Errorf("why: %+v", got[0])
			}
			wantIn(t, b, model.Settings{})
			b.noPending(t)
		})
	})
}

// TestUndoingFails: what can't be undone at once is undone later, and stays
// pending on disk until then.
func TestUndoingFails(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		first, second := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24")
		h.say(t, configure(first))
		h.say(t, confirm(first))
		h.say(t, configure(second))
		h.heard()
		bad := true
		b.dev.Change(func(m *system.Memory, _ *model.Settings) {
			m.Fail = func(op string) error {
				if bad && op == "apply" {
					return errors.New("broken")
				}
				return nil
			}
		})
		settle(7 * time.Second)
		wantHeard(t, h, "")
		if b.good(t).Generation != 1 {
			t.Error("last known good is gone")
		}
		if p, _, err := load(b.state("agent-pending.json"), checkPending); err != nil || p == nil || !p.Before.Same(first) {
			t.Errorf("pending: %+v, %v", p, err)
		}
		b.dev.Change(func(m *system.Memory, _ *model.Settings) { bad = false })
		settle(2 * time.Second)
		wantHeard(t, h, "reverted 2")
		wantIn(t, b, first)
		b.noPending(t)
	})
}

// TestGoodCannotBeStored: what isn't on disk is not confirmed.
func TestGoodCannotBeStored(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(1, "192.168.1.250/24")
		h.say(t, configure(s))
		wantHeard(t, h, "applied 1")
		block(t, b.state("agent.json.tmp"))
		h.say(t, confirm(s))
		wantHeard(t, h, "")
		if !strings.Contains(b.status(t).Problem, "stored") {
			t.Errorf("problem: %q", b.status(t).Problem)
		}
		settle(5 * time.Second)
		wantHeard(t, h, "reverted 1")
		wantIn(t, b, model.Settings{})
	})
}

// TestPendingCannotBeStored: nothing is touched that could not be undone.
func TestPendingCannotBeStored(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		block(t, b.state("agent-pending.json.tmp"))
		h.say(t, configure(static(1, "192.168.1.250/24")))
		wantHeard(t, h, "refused 1")
		if s := b.dev.String(); s != "" {
			t.Errorf("the device was touched: %s", s)
		}
	})
}

func TestNewerWhileApplying(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		b.dev.Delay = func(op string) time.Duration {
			if op == "apply" {
				return time.Second
			}
			return 0
		}
		second := static(2, "192.168.1.251/24")
		h.say(t, configure(static(1, "192.168.1.250/24")))
		h.say(t, configure(second))
		h.say(t, configure(second))
		// Applied, undone at once, and then the newer one: 3 s, not a deadline.
		settle(3 * time.Second)
		got := wantHeard(t, h, "reverted 1, applied 2")
		if len(got) > 0 && got[0].(wire.Outcome).Reason != overtaken {
			t.Errorf("why: %+v", got[0])
		}
		h.say(t, confirm(second))
		wantHeard(t, h, "confirmed 2")
		wantIn(t, b, second)
		b.noPending(t)
	})
}

// TestReasonsCanBeSent: whatever an error says, the wire takes it.
func TestReasonsCanBeSent(t *testing.T) {
	for _, s := range []string{"", "plain", "a\nb\x00\x7f", "\u0085\u2028\u2029", "\xff\xfe broken", strings.Repeat("x", 300),
		strings.Repeat("ü", 300), strings.Repeat("x", wire.MaxText-1) + "☎", strings.Repeat("\xff", 300)} {
		r := shortened(errors.New(s))
		if _, err := wire.EncodeMessage(wire.Outcome{Outcome: model.Outcome{Code: model.OutcomeReverted, Reason: r}}); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if len(s) > wire.MaxText && len(r) < wire.MaxText-3 {
			t.Errorf("%q was cut to %d bytes", s, len(r))
		}
	}
	if shortened(nil) != "" {
		t.Error("no error has a text")
	}
}
