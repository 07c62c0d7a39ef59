package agent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/system"
)

// elsewhere is the network of another router: no home of this device's.
var elsewhere = netip.MustParsePrefix("10.0.0.1/24")

var elseOffer = system.Lease{Address: netip.MustParsePrefix("10.0.0.77/24"), Gateway: netip.MustParseAddr("10.0.0.1"), Server: netip.MustParseAddr("10.0.0.1"), For: time.Hour}

// fixed is a scene with a device that was given a fixed address, and whose home
// then falls silent at Layer 2.
func fixed(t *testing.T, uci string, f func(t *testing.T, h *home, b *box, want model.Settings)) {
	scene(t, uci, func(t *testing.T, h *home, b *box) {
		want := static(1, "192.168.1.250/24")
		h.wants(want)
		h.say(t, configure(want))
		settle(time.Second)
		wantIn(t, b, want)
		b.seg.Partition([]link.MAC{homeMAC})
		f(t, h, b, want)
	})
}

func (b *box) world(home netip.Prefix, offer system.Lease) {
	b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Home, m.Offer = home, offer })
}

// leased is what is in force with a lease.
func leased(l system.Lease) model.Settings { return l.Settings() }

func wantStranded(t *testing.T, b *box, l system.Lease) {
	t.Helper()
	wantIn(t, b, leased(l))
	k, _, err := load(b.state("agent.json"), checkKept)
	if err != nil || k == nil || !k.Stranded || k.Good == nil || k.Good.AddressingType != model.AddressingStatic {
		t.Errorf("on disk: %+v, %v", k, err)
	}
	if s := b.status(t); s.Problem == "" || s.Temporary != l.Address {
		t.Errorf("a person isn't told: %+v", s)
	}
}

func wantHome(t *testing.T, b *box, want model.Settings) {
	t.Helper()
	wantIn(t, b, want)
	k, _, err := load(b.state("agent.json"), checkKept)
	if err != nil || k == nil || k.Stranded {
		t.Errorf("on disk: %+v, %v", k, err)
	}
	if s := b.status(t); s.Problem != "" || s.Temporary.IsValid() || b.dev.Leased() {
		t.Errorf("traces are left: %+v\n%v", s, b.dev)
	}
}

// TestSilentConfiguratorIsNoReason: the gateway answers, so all stays.
func TestSilentConfiguratorIsNoReason(t *testing.T) {
	fixed(t, "", func(t *testing.T, _ *home, b *box, want model.Settings) {
		b.world(netip.MustParsePrefix("192.168.1.1/24"), offer)
		settle(24 * time.Hour)
		wantHome(t, b, want)
	})
}

// TestNoLeaseOnOffer: alone with nobody to give an address, all stays.
func TestNoLeaseOnOffer(t *testing.T) {
	fixed(t, "", func(t *testing.T, _ *home, b *box, want model.Settings) {
		b.world(netip.Prefix{}, system.Lease{})
		settle(24 * time.Hour)
		wantHome(t, b, want)
		// And once one is on offer, it is taken.
		b.world(elsewhere, elseOffer)
		settle(5 * time.Minute)
		wantStranded(t, b, elseOffer)
	})
}

func TestNoDHCPWanted(t *testing.T) {
	fixed(t, "\toption dhcp '0'\n", func(t *testing.T, _ *home, b *box, want model.Settings) {
		b.world(elsewhere, elseOffer)
		settle(time.Hour)
		wantHome(t, b, want)
	})
}

// TestTenMinutes: before them nothing happens, whatever was heard in between
// begins them anew, and a cable that is out counts for nothing.
func TestTenMinutes(t *testing.T) {
	fixed(t, "", func(t *testing.T, _ *home, b *box, want model.Settings) {
		b.world(elsewhere, elseOffer)
		settle(9 * time.Minute)
		wantHome(t, b, want)
		b.world(netip.MustParsePrefix("192.168.1.1/24"), elseOffer) // the gateway is there for a moment
		settle(2 * time.Minute)
		b.world(elsewhere, elseOffer)
		settle(8 * time.Minute)
		wantHome(t, b, want)
		b.unplug()
		settle(time.Hour)
		b.plug()
		settle(9 * time.Minute)
		wantHome(t, b, want)
		settle(3 * time.Minute)
		wantStranded(t, b, elseOffer)
	})
}

// TestStrandedOverReboots, and over leases: a power cut leaves it on DHCP.
func TestStrandedOverReboots(t *testing.T) {
	fixed(t, "", func(t *testing.T, _ *home, b *box, want model.Settings) {
		b.world(elsewhere, elseOffer)
		settle(12 * time.Minute)
		wantStranded(t, b, elseOffer)
		for range 3 {
			b.stop()
			b.dev.PowerCut()
			b.start(t.Context(), t)
			settle(5 * time.Second)
			wantStranded(t, b, elseOffer)
			settle(3 * time.Hour) // the lease is renewed
			wantStranded(t, b, elseOffer)
		}
		// The server takes its address back, and has another one.
		other := elseOffer
		other.Address = netip.MustParsePrefix("10.0.0.78/24")
		b.dev.Change(func(m *system.Memory, _ *model.Settings) {
			m.Offer = other
			m.Fail = func(op string) error {
				if op == "renew" {
					return system.ErrLeaseEnded
				}
				return nil
			}
		})
		settle(time.Hour)
		wantStranded(t, b, other)
		b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Fail = nil })
		// Home again, at both layers: at once, and nobody is asked.
		b.world(netip.MustParsePrefix("192.168.1.1/24"), offer)
		b.stop()
		b.dev.PowerCut()
		b.seg.Heal()
		b.start(t.Context(), t)
		settle(time.Minute)
		wantHome(t, b, want)
	})
}

// TestHomeIsBack: by its session, while the lease is another's.
func TestHomeIsBack(t *testing.T) {
	fixed(t, "", func(t *testing.T, h *home, b *box, want model.Settings) {
		b.world(netip.MustParsePrefix("192.168.1.2/24"), system.Lease{Address: offer.Address, Gateway: netip.MustParseAddr("192.168.1.2"),
			Server: netip.MustParseAddr("192.168.1.2"), For: time.Hour})
		settle(12 * time.Minute)
		b.world(netip.MustParsePrefix("192.168.1.1/24"), offer)
		b.seg.Heal()
		settle(32 * time.Second) // asked for every half a minute by then
		wantHome(t, b, want)
	})
}

// TestGatewayIsBack: at Layer 3 only.
func TestGatewayIsBack(t *testing.T) {
	fixed(t, "", func(t *testing.T, _ *home, b *box, want model.Settings) {
		b.world(netip.Prefix{}, offer) // something lends, and the gateway is dead
		settle(12 * time.Minute)
		wantStranded(t, b, offer)
		settle(time.Hour)
		wantStranded(t, b, offer)
		b.world(netip.MustParsePrefix("192.168.1.1/24"), offer)
		settle(2 * time.Minute)
		wantHome(t, b, want)
	})
}

// TestHomeIsBackElsewhere: the home comes back on another network. The fixed
// settings are not even tried, and what it asks for instead is done.
func TestHomeIsBackElsewhere(t *testing.T) {
	fixed(t, "", func(t *testing.T, h *home, b *box, _ model.Settings) {
		b.world(elsewhere, elseOffer)
		settle(12 * time.Minute)
		wantStranded(t, b, elseOffer)
		want := model.Settings{Generation: 2, AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("10.0.0.250/24"), Gateway: netip.MustParseAddr("10.0.0.1")}
		h.wants(want)
		b.seg.Heal()
		settle(40 * time.Second)
		wantHome(t, b, want)
	})
}

// TestBackInVain: home is heard, and its gateway isn't: the lease stays.
func TestBackInVain(t *testing.T) {
	fixed(t, "", func(t *testing.T, h *home, b *box, want model.Settings) {
		b.world(netip.Prefix{}, offer)
		settle(12 * time.Minute)
		h.wants(want)
		b.seg.Heal()
		settle(2 * time.Minute)
		wantStranded(t, b, offer)
	})
}

// TestUndoneWhileStranded: a change that fails goes back to the lease.
func TestUndoneWhileStranded(t *testing.T) {
	fixed(t, "", func(t *testing.T, h *home, b *box, _ model.Settings) {
		b.world(elsewhere, elseOffer)
		settle(12 * time.Minute)
		h.mu.Lock()
		h.on = nil
		h.mu.Unlock()
		b.seg.Heal()
		settle(40 * time.Second)
		h.say(t, configure(static(2, "192.168.1.251/24"))) // leads nowhere
		settle(30 * time.Second)
		wantStranded(t, b, elseOffer)
		b.noPending(t)
	})
}

// TestStrandedDiskFull: what can't be kept is not done.
func TestStrandedDiskFull(t *testing.T) {
	fixed(t, "", func(t *testing.T, _ *home, b *box, want model.Settings) {
		b.world(elsewhere, elseOffer)
		block(t, b.state("agent.json.tmp"))
		settle(15 * time.Minute)
		if b.dev.Leased() {
			t.Errorf("a lease is left:\n%v", b.dev)
		}
		wantIn(t, b, want)
	})
}

// TestStrandedCrash kills the agent, and cuts the power, at each step there and
// back.
func TestStrandedCrash(t *testing.T) {
	for _, step := range []string{"strand.begin", "strand.stored", "stranded", "home.back", "home.applied", "home.stored"} {
		for _, power := range []string{"", " and power"} {
			t.Run(step+power, func(t *testing.T) {
				fixed(t, "", func(t *testing.T, h *home, b *box, want model.Settings) {
					crash := func() {
						if !b.crashed() {
							return
						}
						b.stop()
						if power != "" {
							b.dev.PowerCut()
						}
						b.start(t.Context(), t)
					}
					b.world(netip.Prefix{}, offer)
					b.mu.Lock()
					b.crashAt, b.crashIn = step, 1
					b.mu.Unlock()
					settle(13 * time.Minute)
					crash()
					settle(13 * time.Minute)
					wantStranded(t, b, offer)
					b.world(netip.MustParsePrefix("192.168.1.1/24"), offer)
					h.wants(want)
					b.seg.Heal()
					settle(2 * time.Minute)
					crash()
					settle(3 * time.Minute)
					if b.crashAt != "" {
						t.Fatalf("not reached: %v", b.steps)
					}
					if step == "home.stored" {
						// In memory a device that uses another address does not
						// know of its lease any more: it runs out by itself.
						b.dev.Release(t.Context(), offer)
					}
					wantHome(t, b, want)
				})
			})
		}
	}
}

// TestResetWhileStranded leaves a stranger.
func TestResetWhileStranded(t *testing.T) {
	fixed(t, "", func(t *testing.T, _ *home, b *box, _ model.Settings) {
		b.world(elsewhere, elseOffer)
		settle(12 * time.Minute)
		if _, err := b.a.Call(t.Context(), "agent_reset", nil); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		if k, _, err := load(b.state("agent.json"), checkKept); err != nil || k != nil {
			t.Errorf("kept: %+v, %v", k, err)
		}
		if s := b.status(t); s.Problem != "" || s.Settings != nil {
			t.Errorf("status: %+v", s)
		}
	})
}

var errLease = errors.New("the server says no")

// TestUseFails: the lease can't be put on the interface; it is tried again.
func TestUseFails(t *testing.T) {
	fixed(t, "", func(t *testing.T, _ *home, b *box, _ model.Settings) {
		b.world(elsewhere, elseOffer)
		b.dev.Change(func(m *system.Memory, _ *model.Settings) {
			m.Fail = func(op string) error {
				if op == "use" {
					return errLease
				}
				return nil
			}
		})
		settle(12 * time.Minute)
		b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Fail = nil })
		settle(3 * time.Minute)
		wantIn(t, b, leased(elseOffer))
	})
}
