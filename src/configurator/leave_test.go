package configurator

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/system"
)

// configured is a home of n set-top boxes with fixed addresses, all of which
// could take a lease as well.
func configured(t *testing.T, ctx context.Context, n int) *sim {
	t.Helper()
	s := newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
	s.startHome(ctx)
	for i := range n {
		b := s.plug(ctx, i+1)
		b.dev.Change(func(m *system.Memory, _ *model.Settings) {
			addr := netip.AddrFrom4([4]byte{192, 168, 1, byte(101 + i)})
			m.Offer = system.Lease{Address: netip.PrefixFrom(addr, 24), Gateway: netip.MustParseAddr("192.168.1.1"), For: time.Hour}
		})
	}
	time.Sleep(2500 * time.Millisecond)
	for _, b := range s.box {
		if _, err := s.call("device_adopt", calls.Args{"id": string(b.id(t)), "code": b.digits(t)}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Second)
	for _, b := range s.box {
		if b.dev.In().AddressingType != model.AddressingStatic {
			t.Fatalf("not configured: %+v\n%v", b.dev.In(), b.dev)
		}
	}
	if !strings.Contains(s.gw.String(), "192.168.1.250") {
		t.Fatalf("gateway: %v", s.gw)
	}
	return s
}

func (s *sim) leave(t *testing.T) (map[model.DeviceID]calls.LeftDevice, time.Duration) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	v, err := s.c.Call(ctx, "home_leave", calls.Args{"yes": true})
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	out := map[model.DeviceID]calls.LeftDevice{}
	for _, d := range v.(calls.LeaveResult).Devices {
		out[d.ID] = d
	}
	return out, time.Since(began)
}

func TestLeaveWhenAllAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := configured(t, ctx, 3)
		defer s.end()
		time.Sleep(10 * time.Second) // nobody is waited for who is not here
		left, took := s.leave(t)
		if took > 2*time.Second || len(left) != 3 {
			t.Errorf("%d devices in %v", len(left), took)
		}
		for _, b := range s.box {
			d := left[b.id(t)]
			if in := b.dev.In(); in.AddressingType != model.AddressingDHCP || !d.DHCP || d.Kept || d.Said != "gets its address by DHCP" {
				t.Errorf("%+v, in force %+v", d, in)
			}
		}
		want := s.gw.String()
		for _, of := range []string{"192.168.1.25", "DSCP", "mark "} {
			if strings.Contains(want, of) {
				t.Errorf("the gateway has %q:\n%s", of, want)
			}
		}
		// Nothing puts anything back: neither time, nor new settings, nor asking again.
		s.c.box.tell(s.c.touch)
		time.Sleep(time.Minute)
		if again, _ := s.leave(t); len(again) != 3 || s.gw.String() != want {
			t.Errorf("%v\n%s", again, s.gw)
		}
		v, err := s.call("status", calls.Args{})
		if err != nil || !strings.Contains(v.(calls.StatusResult).Problem, "left") {
			t.Errorf("status: %+v, %v", v, err)
		}
		// A new start sets everything up again, with nobody asked, and the same addresses.
		s.stop()
		s.startHome(ctx)
		time.Sleep(10 * time.Second)
		for _, b := range s.box {
			if in := b.dev.In(); in.AddressingType != model.AddressingStatic || in.Address.Addr() != left[b.id(t)].Address {
				t.Errorf("after a new start: %+v, had %v", in, left[b.id(t)].Address)
			}
		}
	})
}

func TestLeaveWhenOneDoesNotAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		hinder func(s *sim, b *simBox)
		said   string
		within time.Duration
	}{
		"unplugged long ago": {func(_ *sim, b *simBox) { b.stop(); time.Sleep(10 * time.Minute); b.stop = func() {} },
			"did not answer", 3 * time.Second},
		"unplugged just now": {func(_ *sim, b *simBox) { b.stop(); b.stop = func() {} },
			"did not answer", 15 * time.Second},
		"has no lease to be had": {func(_ *sim, b *simBox) {
			b.dev.Change(func(m *system.Memory, _ *model.Settings) {
				m.Fail = func(op string) error {
					if op == "lease" {
						return errors.New("no server answers")
					}
					return nil
				}
			})
		}, "could not go back to DHCP", 5 * time.Second},
		"can do no DHCP": {func(s *sim, b *simBox) {
			id := b.id(s.t)
			if err := s.c.box.ask(s.t.Context(), func() {
				r, _ := s.c.store.Get(id)
				r.Report.Capabilities = []model.Capability{model.CanStaticIPv4}
				if err := s.c.put(r); err != nil {
					s.t.Error(err)
				}
			}); err != nil {
				s.t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}, "can't be switched to DHCP by its agent", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := configured(t, t.Context(), 3)
				defer s.end()
				ids := []model.DeviceID{s.box[0].id(t), s.box[1].id(t), s.box[2].id(t)}
				bad := ids[1]
				fixed := s.box[1].dev.In()
				tt.hinder(s, s.box[1])
				left, took := s.leave(t)
				if took > tt.within {
					t.Errorf("took %v", took)
				}
				if d := left[bad]; d.DHCP || !d.Kept || !strings.Contains(d.Said, tt.said) || !strings.Contains(d.Said, "its reservation of "+fixed.Address.Addr().String()+" stays") {
					t.Errorf("%+v", d)
				}
				for _, i := range []int{0, 2} {
					if d := left[ids[i]]; !d.DHCP || d.Kept || s.box[i].dev.In().AddressingType != model.AddressingDHCP {
						t.Errorf("%+v, in force %+v", d, s.box[i].dev.In())
					}
				}
				if in := s.box[1].dev.In(); in.AddressingType != fixed.AddressingType || in.Address != fixed.Address {
					t.Errorf("the one that did not answer has %+v", in)
				}
				gw := s.gw.String()
				if !strings.Contains(gw, fixed.Address.Addr().String()) || strings.Count(gw, "192.168.1.25") != 1 {
					t.Errorf("only the reservation of %s should stay:\n%s", fixed.Address, gw)
				}
			})
		})
	}
}

// What comes back late is asked too, and its reservation goes then.
func TestLeaveLateComer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := configured(t, ctx, 1)
		defer s.end()
		b := s.box[0]
		b.stop()
		time.Sleep(10 * time.Minute)
		if left, _ := s.leave(t); len(left) != 1 || !strings.Contains(s.gw.String(), "192.168.1.250") {
			t.Fatalf("%v\n%v", left, s.gw)
		}
		s.startBox(ctx, b)
		time.Sleep(10 * time.Second)
		if in := b.dev.In(); in.AddressingType != model.AddressingDHCP || strings.Contains(s.gw.String(), "192.168.1.250") {
			t.Errorf("in force %+v\n%v", in, s.gw)
		}
	})
}

func TestLeaveIsRefusedInDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, link.SegmentOptions{Seed: 1})
		conf := filepath.Join(s.dir, "config")
		if err := os.MkdirAll(conf, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(conf, "homeconf"), []byte("config configurator\n\toption dry_run '1'\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		s.startHome(t.Context())
		defer s.end()
		if _, err := s.call("home_leave", calls.Args{"yes": true}); err == nil || !strings.Contains(err.Error(), "dry_run") {
			t.Errorf("got %v", err)
		}
	})
}
