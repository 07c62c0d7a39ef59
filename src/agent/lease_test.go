package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/system"
)

var offer = system.Lease{Address: netip.MustParsePrefix("192.168.1.100/24"), Gateway: netip.MustParseAddr("192.168.1.1"), Server: netip.MustParseAddr("192.168.1.1"), For: time.Hour}

// alone runs f with a box on a segment where no home is yet; come brings one.
func alone(t *testing.T, uci string, f func(t *testing.T, b *box, come func() *home)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		seg := link.NewSegment(link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
		b := newBox(t, seg, uci)
		b.dev.Offer = offer
		defer func() { b.stop() }()
		f(t, b, func() *home {
			h := newHome(t)
			stop := h.start(t.Context(), t, seg.Attach(homeMAC))
			context.AfterFunc(t.Context(), func() { stop() })
			return h
		})
	})
}

// TestTemporaryAddress: asked for after one second of silence and not before,
// and given back once the device is configured.
func TestTemporaryAddress(t *testing.T) {
	alone(t, "", func(t *testing.T, b *box, come func() *home) {
		b.start(t.Context(), t)
		settle(990 * time.Millisecond)
		if b.dev.Leased() {
			t.Error("asked before a second had passed")
		}
		settle(20 * time.Millisecond)
		if !b.dev.Leased() || b.dev.In().Address != offer.Address || b.status(t).Temporary != offer.Address {
			t.Fatalf("no temporary address: %+v\n%v", b.status(t), b.dev)
		}
		settle(time.Minute)
		want := static(1, "192.168.1.250/24")
		h := come()
		h.wants(want)
		settle(time.Minute)
		wantIn(t, b, want)
		if b.dev.Leased() || b.status(t).Temporary.IsValid() {
			t.Errorf("not given back:\n%v", b.dev)
		}
		// The borrowed address is nothing to go back to.
		if got, want := b.dev.String(), "lease 192.168.1.100/24\nuse DHCP 192.168.1.100/24 via 192.168.1.1\n"+
			"apply Static 192.168.1.250/24 via 192.168.1.1 dns 192.168.1.1\nrelease 192.168.1.100/24"; got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		settle(3 * time.Hour) // and no timer of the lease's is left
		if strings.Contains(b.dev.String(), "renew") {
			t.Error(b.dev)
		}
	})
}

func TestNoTemporaryAddress(t *testing.T) {
	for why, prepare := range map[string]func(t *testing.T, b *box, come func() *home){
		"the home answers":  func(t *testing.T, b *box, come func() *home) { come() },
		"it may not":        func(t *testing.T, b *box, _ func() *home) { b.conf(t, "\toption dhcp '0'\n") },
		"it has an address": func(t *testing.T, b *box, _ func() *home) { b.dev.Apply(t.Context(), static(0, "10.0.0.9/24")) },
		"the cable is out":  func(t *testing.T, b *box, _ func() *home) { b.cable = make(chan struct{}) },
		"it was configured": func(t *testing.T, b *box, _ func() *home) {
			good := static(1, "192.168.1.250/24")
			if err := system.WriteFile(b.state("agent.json"), nil, 0o600); err == nil {
				t.Fatal("there is a state folder")
			}
			b.start(t.Context(), t)
			b.stop()
			if err := store(b.state("agent.json"), kept{Version: stateVersion, Good: &good}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(why, func(t *testing.T) {
			alone(t, "", func(t *testing.T, b *box, come func() *home) {
				prepare(t, b, come)
				b.start(t.Context(), t)
				settle(time.Hour)
				if strings.Contains(b.dev.String(), "lease") {
					t.Error(b.dev)
				}
			})
		})
	}
}

// TestLeaseComesTooLate: an address that arrives after Configure is given back,
// and holds nothing up.
func TestLeaseComesTooLate(t *testing.T) {
	alone(t, "", func(t *testing.T, b *box, come func() *home) {
		b.dev.LeaseTakes = 4 * time.Second // dnsmasq's ping check
		b.start(t.Context(), t)
		settle(1200 * time.Millisecond)
		h := come()
		want := static(1, "192.168.1.250/24")
		h.wants(want)
		settle(3 * time.Second)
		wantIn(t, b, want)
		if b.good(t) == nil {
			t.Error("held up")
		}
		settle(10 * time.Second)
		wantIn(t, b, want)
		if s := b.dev.String(); b.dev.Leased() || !strings.HasSuffix(s, "lease 192.168.1.100/24\nrelease 192.168.1.100/24") {
			t.Errorf("not given back:\n%s", s)
		}
	})
}

// TestNoServer: a server is asked again now and then, as a router may take
// longer to start than a box.
func TestNoServer(t *testing.T) {
	alone(t, "", func(t *testing.T, b *box, come func() *home) {
		b.dev.Offer = system.Lease{}
		b.start(t.Context(), t)
		settle(time.Minute)
		b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Offer = offer })
		settle(2 * time.Minute)
		if b.dev.In().Address != offer.Address {
			t.Errorf("%v", b.dev)
		}
	})
}

// TestCrashWithTemporaryAddress: whoever took it, it is given back.
func TestCrashWithTemporaryAddress(t *testing.T) {
	alone(t, "", func(t *testing.T, b *box, come func() *home) {
		b.start(t.Context(), t)
		settle(2 * time.Second)
		b.stop()
		b.start(t.Context(), t)
		settle(2 * time.Second)
		if b.status(t).Temporary != offer.Address {
			t.Errorf("status: %+v", b.status(t))
		}
		come().wants(static(1, "192.168.1.250/24"))
		settle(time.Minute)
		wantIn(t, b, static(1, "192.168.1.250/24"))
		if b.dev.Leased() {
			t.Errorf("not given back:\n%v", b.dev)
		}
	})
}

// TestRenew: half of the time, then half of what is left, and at the end the
// address is let go of and another one taken.
func TestRenew(t *testing.T) {
	alone(t, "", func(t *testing.T, b *box, come func() *home) {
		fail := error(nil)
		tries := 0
		b.dev.Fail = func(op string) error {
			if op == "renew" {
				tries++
				return fail
			}
			return nil
		}
		b.start(t.Context(), t)
		settle(2 * time.Second)
		settle(90 * time.Minute)
		if n := strings.Count(b.dev.String(), "renew"); n != 3 {
			t.Errorf("renewed %d times\n%v", n, b.dev)
		}
		b.dev.Change(func(*system.Memory, *model.Settings) { fail, tries = errors.New("no server"), 0 })
		settle(time.Hour)
		if tries < 5 || tries > 15 {
			t.Errorf("%d tries", tries)
		}
		if got := b.dev.String(); !strings.Contains(got, "release 192.168.1.100/24\nlease 192.168.1.100/24\nuse ") {
			t.Errorf("nothing new was taken:\n%s", got)
		}
		// A server's no counts at once.
		b.dev.Change(func(*system.Memory, *model.Settings) {
			fail, tries = fmt.Errorf("renewing: %w", system.ErrLeaseEnded), 0
		})
		before := strings.Count(b.dev.String(), "release")
		settle(time.Hour)
		if got := strings.Count(b.dev.String(), "release") - before; tries != got || got == 0 {
			t.Errorf("%d refusals, released %d times\n%v", tries, got, b.dev)
		}
	})
}

// TestSettingsByDHCP: the lease is the settings', stays over a restart of the
// agent, and is taken anew after a reboot and when it has run out.
func TestSettingsByDHCP(t *testing.T) {
	alone(t, "", func(t *testing.T, b *box, come func() *home) {
		h := come()
		want := model.Settings{Generation: 1, AddressingType: model.AddressingDHCP}
		h.wants(want)
		b.start(t.Context(), t)
		in := offer.Settings()
		settle(5 * time.Second)
		wantIn(t, b, in)
		if st := b.status(t); st.Commit != model.CommitConfirmed || st.Temporary.IsValid() {
			t.Errorf("status: %+v", st)
		}
		b.stop()
		b.start(t.Context(), t)
		settle(5 * time.Second)
		wantIn(t, b, in)
		if n := strings.Count(b.dev.String(), "lease "); n != 1 {
			t.Errorf("%d leases\n%v", n, b.dev)
		}
		b.stop()
		b.dev.PowerCut()
		offered := b.dev.Offer
		b.dev.Offer = system.Lease{} // the router starts more slowly
		b.start(t.Context(), t)
		settle(30 * time.Second)
		if st := b.status(t); st.State != calls.AgentConnected {
			t.Errorf("the home was not looked for meanwhile: %+v", st)
		}
		b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Offer = offered })
		settle(30 * time.Second)
		wantIn(t, b, in)
		// The server lends it no more.
		refused := false
		b.dev.Change(func(m *system.Memory, _ *model.Settings) {
			m.Fail = func(op string) error {
				if op == "renew" && !refused {
					refused = true
					return system.ErrLeaseEnded
				}
				return nil
			}
			m.Offer.Address = netip.MustParsePrefix("192.168.1.101/24")
		})
		settle(time.Hour)
		in.Address = netip.MustParsePrefix("192.168.1.101/24")
		wantIn(t, b, in)
		// To a fixed address, and the lease goes.
		h.mu.Lock()
		p := h.peer
		h.mu.Unlock()
		next := static(2, "192.168.1.250/24")
		h.wants(next)
		if err := p.Send(configure(next)); err != nil {
			t.Fatal(err)
		}
		settle(5 * time.Second)
		wantIn(t, b, next)
		if b.dev.Leased() {
			t.Errorf("not given back\n%v", b.dev)
		}
	})
}

// TestDHCPFails: no server, so back to what was there, lease and all.
func TestDHCPFails(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		first := static(1, "192.168.1.250/24")
		h.say(t, configure(first))
		h.say(t, confirm(first))
		h.say(t, configure(model.Settings{Generation: 2, AddressingType: model.AddressingDHCP}))
		settle(6 * time.Second)
		wantHeard(t, h, "applied 1, confirmed 1, reverted 2")
		wantIn(t, b, first)
		b.noPending(t)
	})
}

// TestAnotherNetwork: a link that returns may lead elsewhere, and a lease is
// asked for again at once.
func TestAnotherNetwork(t *testing.T) {
	alone(t, "", func(t *testing.T, b *box, _ func() *home) {
		b.start(t.Context(), t)
		settle(2 * time.Second)
		b.unplug()
		settle(time.Second)
		b.plug()
		settle(2 * time.Second)
		if got := b.dev.String(); !strings.HasSuffix(got, "\nrenew 192.168.1.100/24") {
			t.Errorf("the same network:\n%s", got)
		}
		b.unplug()
		settle(time.Second)
		b.dev.Change(func(m *system.Memory, _ *model.Settings) {
			m.Fail = func(op string) error {
				if op == "renew" {
					return system.ErrLeaseEnded
				}
				return nil
			}
			m.Offer.Address = netip.MustParsePrefix("10.0.0.100/24")
		})
		b.plug()
		settle(2 * time.Second)
		if in := b.dev.In(); in.Address != netip.MustParsePrefix("10.0.0.100/24") {
			t.Errorf("another network: %+v\n%v", in, b.dev)
		}
	})
}

// TestLeaseRanOutMeanwhile: what was lent to an earlier run is not used for ever.
func TestLeaseRanOutMeanwhile(t *testing.T) {
	alone(t, "", func(t *testing.T, b *box, _ func() *home) {
		b.start(t.Context(), t)
		settle(2 * time.Second)
		b.stop()
		settle(2 * time.Hour)
		b.dev.Fail = func(op string) error {
			if op == "renew" {
				return errors.New("no answer")
			}
			return nil
		}
		b.start(t.Context(), t)
		settle(10 * time.Second)
		if got := b.dev.String(); !strings.Contains(got, "release 192.168.1.100/24\nlease 192.168.1.100/24\nuse ") {
			t.Errorf("used on:\n%s", got)
		}
	})
}
