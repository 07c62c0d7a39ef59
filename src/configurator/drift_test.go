package configurator

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/system"
)

// byHand changes what is in force on a box, as somebody at the device does.
func (b *simBox) byHand(f func(*model.Settings)) {
	b.dev.Change(func(_ *system.Memory, in *model.Settings) { f(in) })
}

func addressTo(text string) func(*model.Settings) {
	return func(in *model.Settings) { in.Address = netip.MustParsePrefix(text) }
}

func (s *sim) option(t *testing.T, line string) {
	t.Helper()
	dir := filepath.Join(s.dir, "config")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "homeconf"), []byte("config configurator 'configurator'\n\t"+line+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.reload <- struct{}{}
	time.Sleep(time.Second)
}

func TestDriftIsAskedAbout(t *testing.T) {
	for _, answer := range []string{"drift_keep", "drift_revert"} {
		t.Run(answer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := configured(t, t.Context(), 2)
				defer s.end()
				b := s.box[0]
				id := b.id(t)
				was := b.dev.In()
				if _, err := s.call(answer, calls.Args{"id": string(id)}); calls.CodeOf(err) != calls.InvalidArgument {
					t.Errorf("nothing was changed, and: %v", err)
				}
				_, since := s.story(t, 0)
				b.byHand(func(in *model.Settings) {
					in.Address = netip.MustParsePrefix("192.168.1.77/24")
					in.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
				})
				now := b.dev.In()
				time.Sleep(time.Hour)
				got, last := s.story(t, since)
				wantStory(t, got, "device.drifted device", "finding.raised drift:"+string(id))
				if e := s.lastEvent(t, "device.drifted"); changes(e) != "[{address "+was.Address.String()+" 192.168.1.77/24, DNS 192.168.1.1 192.0.2.53}]" {
					t.Errorf("%+v", e)
				}
				if in := b.dev.In(); !in.Same(now) {
					t.Errorf("without an answer it is changed: %+v", in)
				}
				f := s.c.findings.of(id)
				if len(f) != 1 || !strings.Contains(f[0].Step, "homeconf drift keep "+string(id)) || !strings.Contains(f[0].Step, "homeconf drift revert "+string(id)) {
					t.Errorf("%+v", f)
				}
				// The question outlives a new start.
				s.stop()
				s.startHome(t.Context())
				time.Sleep(20 * time.Second)
				if !s.c.findings.has("device.drifted", id) || !b.dev.In().Same(now) {
					t.Errorf("after a new start: %+v, %+v", s.c.findings.of(id), b.dev.In())
				}
				if _, err := s.call(answer, calls.Args{"id": string(id)}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				want := now
				if answer == "drift_revert" {
					want = was
				}
				if in := b.dev.In(); !in.Same(want) || len(s.c.findings.of(id)) > 0 || !strings.Contains(s.gw.String(), want.Address.Addr().String()+" for") {
					t.Errorf("in force %+v, want %+v; %+v; the gateway has\n%s", in, want, s.c.findings.of(id), s.gw)
				}
				if answer == "drift_keep" {
					if text := s.undo(t, s.lastEvent(t, "drift.kept").Seq); !strings.HasPrefix(text, "Event ") {
						t.Error(text)
					}
					time.Sleep(5 * time.Second)
					if in := b.dev.In(); in.DNS[0] != was.DNS[0] {
						t.Errorf("taken back: %+v", in)
					}
				}
				_ = last
			})
		})
	}
}

func TestDriftByOption(t *testing.T) {
	for how, want := range map[string]string{"revert": "192.168.1.250/24", "accept": "192.168.1.77/24"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := configured(t, t.Context(), 1)
				defer s.end()
				s.option(t, "option on_drift '"+how+"'")
				b := s.box[0]
				b.byHand(addressTo("192.168.1.77/24"))
				time.Sleep(10 * time.Second)
				r, _ := s.c.store.Get(b.id(t))
				if in := b.dev.In(); in.Address.String() != want || len(s.c.findings.of(r.ID)) > 0 || r.Confirmed != r.Desired.Generation {
					t.Errorf("in force %+v; %+v; %+v", in, s.c.findings.of(r.ID), r)
				}
			})
		})
	}
}

// TestDriftThatIsMended: what can't be meant is set right whatever the option.
func TestDriftThatIsMended(t *testing.T) {
	for what, f := range map[string]func(*model.Settings){
		"another device's address": addressTo("192.168.1.251/24"),
		"the gateway's address":    addressTo("192.168.1.1/24"),
		"outside the LAN":          addressTo("10.9.9.9/24"),
		"no gateway":               func(in *model.Settings) { in.Gateway = netip.Addr{} },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := configured(t, t.Context(), 2)
				defer s.end()
				s.option(t, "option on_drift 'accept'")
				var b *simBox
				for _, x := range s.box {
					if x.dev.In().Address.Addr().String() == "192.168.1.250" {
						b = x
					}
				}
				was := b.dev.In()
				b.byHand(f)
				time.Sleep(time.Minute)
				if in := b.dev.In(); !in.Same(was) {
					t.Errorf("in force %+v, want %+v", in, was)
				}
			})
		})
	}
}

// TestDriftWithoutEnd: who sets a device back again and again gets a finding,
// and is not fought for ever.
func TestDriftWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := configured(t, t.Context(), 1)
		defer s.end()
		s.option(t, "option on_drift 'revert'")
		b := s.box[0]
		_, since := s.story(t, 0)
		for range 720 {
			time.Sleep(5 * time.Second)
			b.byHand(addressTo("192.168.1.77/24"))
		}
		n := 0
		got, _ := s.story(t, since)
		for _, l := range got {
			if l == "drift.reverted configurator" {
				n++
			}
		}
		if n < 3 || n > 12 || !s.c.findings.has("device.drifts", b.id(t)) {
			t.Errorf("set right %d times in an hour; %+v", n, s.c.findings.of(b.id(t)))
		}
	})
}
