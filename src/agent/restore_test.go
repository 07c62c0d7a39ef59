package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/system"
)

// steps are all that an agent can be killed at on the way to its settings.
var crashSteps = strings.Fields("pin.begin pin.stored configure.received pending.stored applied announced proven outcome.sent " +
	"confirm.received good.stored pending.removed confirmed.sent")

// TestCrashAtEachStep kills the agent between any two steps, with and without a
// reboot of the device, and starts it again: the end is always the same.
func TestCrashAtEachStep(t *testing.T) {
	for _, power := range []bool{false, true} {
		for _, before := range []bool{false, true} {
			for _, step := range crashSteps {
				if before && strings.HasPrefix(step, "pin.") {
					continue
				}
				t.Run(fmt.Sprintf("%s, power cut %v, configured %v", step, power, before), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { crashOnce(t, step, power, before) })
				})
			}
		}
	}
}

func crashOnce(t *testing.T, step string, power, before bool) {
	seg := link.NewSegment(link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
	h := newHome(t)
	stop := h.start(t.Context(), t, seg.Attach(homeMAC))
	defer stop()
	b := newBox(t, seg, "")
	first, want := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24")
	if before {
		h.wants(first)
		b.start(t.Context(), t)
		settle(5 * time.Second)
		wantIn(t, b, first)
		b.stop()
	}
	h.wants(want)
	b.crashAt, b.crashIn = step, 1
	b.start(t.Context(), t)
	settle(10 * time.Second)
	if !b.crashed() {
		t.Fatalf("not reached: %v", b.steps)
	}
	b.stop()
	if power {
		b.dev.PowerCut()
	}
	// Before anybody is heard, the device is back where it was, or where it was
	// confirmed to be.
	seg.Partition([]link.MAC{homeMAC})
	b.start(t.Context(), t)
	settle(500 * time.Millisecond)
	switch {
	case b.good(t) != nil:
		wantIn(t, b, *b.good(t))
	default:
		wantIn(t, b, model.Settings{})
	}
	b.noPending(t)
	seg.Heal()
	settle(40 * time.Second)
	wantIn(t, b, want)
	b.noPending(t)
	if g := b.good(t); g == nil || !g.Same(want) || g.Generation != 2 {
		t.Errorf("last known good: %+v", g)
	}
	if s := b.status(t); s.State != calls.AgentConnected || s.Commit != model.CommitConfirmed {
		t.Errorf("status: %+v", s)
	}
	b.stop()
}

// TestCrashWhileReverting kills the agent in the midst of going back.
func TestCrashWhileReverting(t *testing.T) {
	for _, step := range []string{"revert.begin", "reverted", "revert.removed"} {
		t.Run(step, func(t *testing.T) {
			scene(t, "", func(t *testing.T, h *home, b *box) {
				first, second := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24")
				h.say(t, configure(first))
				h.say(t, confirm(first))
				b.mu.Lock()
				b.crashAt, b.crashIn = step, 1
				b.mu.Unlock()
				h.say(t, configure(second))
				settle(10 * time.Second)
				if !b.crashed() {
					t.Fatalf("not reached: %v", b.steps)
				}
				b.stop()
				b.dev.PowerCut()
				// And once more, at the same step of the start.
				b.crashAt, b.crashIn = step, 1
				b.start(t.Context(), t)
				settle(time.Second)
				b.stop()
				b.crashAt = ""
				b.start(t.Context(), t)
				settle(time.Second)
				wantIn(t, b, first)
				b.noPending(t)
				if g := b.good(t); g == nil || g.Generation != 1 {
					t.Errorf("last known good: %+v", g)
				}
			})
		})
	}
}

// TestRebootWithPendingChange: nobody confirms across a reboot.
func TestRebootWithPendingChange(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		h.say(t, configure(static(1, "192.168.1.250/24")))
		wantHeard(t, h, "applied 1")
		b.stop()
		b.dev.PowerCut()
		b.start(t.Context(), t)
		settle(4 * time.Second)
		wantIn(t, b, model.Settings{})
		b.noPending(t)
		h.say(t, confirm(static(1, "192.168.1.250/24"))) // late
		wantIn(t, b, model.Settings{})
		rs := h.reports()
		if last := rs[len(rs)-1].Report; last.State != model.CommitReverted || last.Generation != 0 {
			t.Errorf("last report: %+v", last)
		}
	})
}

// TestOldPendingComesBack: a power cut brought back a file whose removing was
// not on disk yet. Its change is confirmed, and stays.
func TestOldPendingComesBack(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(1, "192.168.1.250/24")
		h.say(t, configure(s))
		pending, err := os.ReadFile(b.state("agent-pending.json"))
		if err != nil {
			t.Fatal(err)
		}
		h.say(t, confirm(s))
		b.stop()
		b.dev.PowerCut()
		if err := os.WriteFile(b.state("agent-pending.json"), pending, 0o600); err != nil {
			t.Fatal(err)
		}
		b.start(t.Context(), t)
		settle(time.Second)
		wantIn(t, b, s)
		b.noPending(t)
	})
}

// TestDamagedState: what can't be read is set aside and told, and the agent
// runs.
func TestDamagedState(t *testing.T) {
	for _, name := range []string{"agent.json", "agent-pending.json", "agent.key"} {
		for what, text := range map[string]string{"empty": "", "half": `{"version":1,"want":{"Gen`, "version": `{"version":99}`,
			"long": strings.Repeat("x", maxState+1), "zero": "\x00\x00\x00", "pin": `{"version":1,"pin":{"home":"x"}}`, "folder": "/"} {
			if name == "agent-pending.json" && what == "pin" {
				continue
			}
			t.Run(name+" "+what, func(t *testing.T) {
				scene(t, "", func(t *testing.T, h *home, b *box) {
					s := static(1, "192.168.1.250/24")
					h.say(t, configure(s))
					h.say(t, confirm(s))
					b.stop()
					path := b.state(name)
					if what == "folder" {
						if err := os.RemoveAll(path); err != nil {
							t.Fatal(err)
						}
						block(t, path)
					} else if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
					b.start(t.Context(), t)
					settle(10 * time.Second)
					st := b.status(t)
					if !strings.Contains(st.Problem, "set aside") {
						t.Errorf("problem: %q", st.Problem)
					}
					if st.State != calls.AgentConnected {
						t.Errorf("status: %+v", st)
					}
					if _, err := os.Stat(path + ".bad"); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestStateCannotBeWritten: an agent that could never keep what it promises
// does not start, and says why.
func TestStateCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	b := &box{dir: dir}
	if err := os.MkdirAll(dir+"/config", 0o755); err != nil {
		t.Fatal(err)
	}
	b.conf(t, "")
	if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{ConfigDir: dir + "/config", StateDir: dir + "/file/state", Interface: "eth0", Device: &system.Memory{}})
	if err == nil || !strings.Contains(err.Error(), dir+"/file") {
		t.Errorf("%v", err)
	}
}

// TestLinkReturns: the kernel forgets when an interface goes, and the agent
// puts its settings back.
func TestLinkReturns(t *testing.T) {
	t.Run("confirmed", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			s := static(1, "192.168.1.250/24")
			h.say(t, configure(s))
			h.say(t, confirm(s))
			b.unplug()
			settle(time.Second)
			if st := b.status(t); st.LinkUp {
				t.Errorf("status: %+v", st)
			}
			b.dev.PowerCut() // it was an adapter, and took everything along
			b.plug()
			settle(10 * time.Second)
			wantIn(t, b, s)
			if st := b.status(t); !st.LinkUp || st.State != calls.AgentConnected {
				t.Errorf("status: %+v", st)
			}
		})
	})
	t.Run("somebody else's address stays", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			s, theirs := static(1, "192.168.1.250/24"), static(0, "192.168.1.77/24")
			h.say(t, configure(s))
			h.say(t, confirm(s))
			b.unplug()
			settle(time.Second)
			b.dev.Change(func(_ *system.Memory, in *model.Settings) { *in = theirs })
			b.plug()
			settle(10 * time.Second)
			wantIn(t, b, theirs)
		})
	})
	t.Run("pending, and confirmed after", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			s := static(1, "192.168.1.250/24")
			m := configure(s)
			m.Deadline = 30 * time.Second
			h.say(t, m)
			b.unplug()
			settle(time.Second)
			b.dev.PowerCut()
			h.wants(s)
			b.plug()
			settle(10 * time.Second)
			wantIn(t, b, s)
			if g := b.good(t); g == nil || g.Generation != 1 {
				t.Errorf("last known good: %+v", g)
			}
			b.noPending(t)
		})
	})
	t.Run("pending, and the deadline passes", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			first, second := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24")
			h.say(t, configure(first))
			h.say(t, confirm(first))
			h.say(t, configure(second))
			b.unplug()
			settle(6 * time.Second)
			wantIn(t, b, first)
			b.noPending(t)
		})
	})
	t.Run("undone as soon as it can be", func(t *testing.T) {
		scene(t, "", func(t *testing.T, h *home, b *box) {
			first, second := static(1, "192.168.1.250/24"), static(2, "192.168.1.251/24")
			h.say(t, configure(first))
			h.say(t, confirm(first))
			h.say(t, configure(second))
			gone := true
			b.dev.Change(func(m *system.Memory, _ *model.Settings) {
				m.Fail = func(op string) error {
					if gone && op == "apply" {
						return errors.New("no such interface")
					}
					return nil
				}
			})
			b.unplug()
			settle(10 * time.Minute) // tried once a minute by now
			b.dev.Change(func(_ *system.Memory, _ *model.Settings) { gone = false })
			b.plug()
			settle(100 * time.Millisecond)
			wantIn(t, b, first)
			b.noPending(t)
		})
	})
}

// TestStartWithoutInterface: what can't be put back at the start is put back
// when the interface is there.
func TestStartWithoutInterface(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(1, "192.168.1.250/24")
		h.say(t, configure(s))
		h.say(t, confirm(s))
		b.stop()
		b.dev.PowerCut()
		gone := true
		b.dev.Fail = func(op string) error {
			if gone && (op == "apply" || op == "current") {
				return errors.New("no such interface")
			}
			return nil
		}
		in := b.cable
		b.cable = make(chan struct{})
		b.start(t.Context(), t)
		settle(10 * time.Second)
		wantIn(t, b, model.Settings{})
		b.dev.Change(func(*system.Memory, *model.Settings) { gone = false })
		b.mu.Lock()
		close(b.cable)
		b.cable = in
		b.mu.Unlock()
		settle(time.Second)
		wantIn(t, b, s)
	})
}

// TestDeadlinePassesWhileBusy: a deadline is not forgotten because the device
// was just being changed.
func TestDeadlinePassesWhileBusy(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		h.say(t, configure(static(1, "192.168.1.250/24")))
		settle(4 * time.Second)
		b.dev.Change(func(m *system.Memory, _ *model.Settings) {
			m.Delay = func(op string) time.Duration {
				if op == "apply" {
					return 3 * time.Second
				}
				return 0
			}
		})
		b.unplug()
		settle(100 * time.Millisecond)
		b.plug() // made whole again, from 4.2 to 7.2 s
		settle(20 * time.Second)
		wantIn(t, b, model.Settings{})
		b.noPending(t)
	})
}

// TestReset: a device that forgets its home is a stranger at once, with another
// key, and without what the home had set.
func TestReset(t *testing.T) {
	for _, when := range []string{"searching", "connected", "configured", "pending", "applying"} {
		t.Run(when, func(t *testing.T) {
			scene(t, "", func(t *testing.T, h *home, b *box) {
				s := static(1, "192.168.1.250/24")
				switch when {
				case "searching":
					b.unplug()
					settle(time.Second)
				case "configured":
					h.say(t, configure(s))
					h.say(t, confirm(s))
					wantIn(t, b, s)
				case "pending":
					h.say(t, configure(s))
					wantIn(t, b, s)
				case "applying":
					b.dev.Change(func(m *system.Memory, _ *model.Settings) {
						m.Delay = func(op string) time.Duration {
							if op == "prove" || op == "apply" {
								return 300 * time.Millisecond
							}
							return 0
						}
					})
					h.say(t, configure(s))
				}
				h.mu.Lock()
				h.shy = true
				opened := h.opened
				h.mu.Unlock()
				was := b.status(t).Device
				if _, err := b.a.Call(t.Context(), "agent_reset", calls.Args{"yes": true}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				wantIn(t, b, model.Settings{})
				b.noPending(t)
				if b.good(t) != nil {
					t.Error("the last known good is left")
				}
				if when == "searching" {
					b.plug()
				}
				settle(20 * time.Second)
				st := b.status(t)
				if st.Device == was || st.State != calls.AgentWaiting || st.Digits == "" || st.Home != "" || st.Commit != model.CommitNone || st.Settings != nil {
					t.Errorf("status: %+v", st)
				}
				wantIn(t, b, model.Settings{})
				b.noPending(t)
				h.mu.Lock()
				if h.opened != opened {
					t.Error("the home was spoken to again")
				}
				h.shy = false
				for _, yes := range h.waiting {
					h.mu.Unlock()
					yes()
					h.mu.Lock()
				}
				h.mu.Unlock()
				// It is taken in again, as the new device that it is, also after
				// a start.
				key := st.Device
				settle(10 * time.Second)
				h.wants(static(1, "192.168.1.99/24"))
				b.stop()
				b.dev.Delay = nil
				b.start(t.Context(), t)
				settle(10 * time.Second)
				if st := b.status(t); st.State != calls.AgentConnected || st.Device != key {
					t.Errorf("status: %+v", st)
				}
				wantIn(t, b, static(1, "192.168.1.99/24"))
			})
		})
	}
}

// TestResetFails: a reset that can't be carried out says so, and nothing is
// half forgotten.
func TestResetFails(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		s := static(1, "192.168.1.250/24")
		h.say(t, configure(s))
		h.say(t, confirm(s))
		if err := b.a.hands.use(t.Context(), func() error {
			_, err := b.a.Call(t.Context(), "agent_reset", calls.Args{"yes": true})
			return err
		}); err == nil || !strings.Contains(err.Error(), "try again") {
			t.Errorf("%v", err)
		}
		settle(time.Second)
		wantIn(t, b, s)
		if g := b.good(t); g == nil || g.Generation != 1 {
			t.Errorf("last known good: %+v", g)
		}
		if st := b.status(t); st.State != calls.AgentConnected {
			t.Errorf("status: %+v", st)
		}
		next := static(2, "192.168.1.251/24") // and it goes on working
		h.say(t, configure(next))
		h.say(t, confirm(next))
		wantIn(t, b, next)
	})
}

// TestUnusableSettings are refused before anything is touched.
func TestUnusableSettings(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		no := netip.Addr{}
		for why, s := range map[string]model.Settings{
			"first":     {AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("192.168.1.0/24")},
			"last":      {AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("192.168.1.255/24")},
			"network":   {AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("192.168.1.9/24"), Gateway: netip.MustParseAddr("10.0.0.1")},
			"itself":    {AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("192.168.1.1/24"), Gateway: netip.MustParseAddr("192.168.1.1")},
			"host's":    {AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("10.0.0.3/30"), Gateway: no},
			"in the ne": {AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("10.0.0.1/32"), Gateway: netip.MustParseAddr("10.0.0.2")},
		} {
			s.Generation = 1
			h.say(t, configure(s))
			got := wantHeard(t, h, "refused 1")
			if len(got) == 1 && !strings.Contains(fmt.Sprint(got[0]), why) {
				t.Errorf("%s: %+v", why, got[0])
			}
		}
		if s := b.dev.String(); s != "" {
			t.Errorf("the device was touched: %s", s)
		}
		b.noPending(t)
		for _, s := range []model.Settings{{}, {Generation: 1}, {Generation: 1, AddressingType: model.AddressingAutoIP},
			{Generation: 1, AddressingType: model.AddressingStatic}, {Generation: 1, AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("fd00::1/64")}} {
			if usable(s) == nil {
				t.Errorf("usable: %+v", s)
			}
		}
		for _, a := range []string{"192.168.1.2/31", "192.168.1.2/32", "10.255.255.254/8", "172.16.0.0/31"} {
			if err := usable(model.Settings{Generation: 1, AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix(a)}); err != nil {
				t.Error(err)
			}
		}
	})
}
