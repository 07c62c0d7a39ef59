package configurator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
)

// story is what happened, by kinds, from an event on.
func (s *sim) story(t *testing.T, after uint64) (lines []string, last uint64) {
	t.Helper()
	v, err := s.call("event_list", calls.Args{"limit": int64(1000)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range v.(calls.EventsResult).Events {
		if last = e.Seq; e.Seq > after {
			lines = append(lines, strings.TrimSpace(e.Kind+" "+e.Cause))
		}
	}
	return lines, last
}

func wantStory(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("what happened:\n%s\nwant:\n%s", g, w)
	}
}

func (s *sim) retire(t *testing.T, id model.DeviceID) string {
	t.Helper()
	v, err := s.call("device_retire", calls.Args{"id": string(id)})
	if err != nil {
		t.Fatal(err)
	}
	return v.(calls.DoneResult).Text
}

func (s *sim) state(t *testing.T, id model.DeviceID) model.DeviceState {
	t.Helper()
	var state model.DeviceState
	if err := s.c.box.ask(t.Context(), func() {
		if r, ok := s.c.store.Get(id); ok {
			state = r.State
		}
	}); err != nil {
		t.Fatal(err)
	}
	return state
}

func TestRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := configured(t, ctx, 2)
		defer s.end()
		gone, stays := s.box[0], s.box[1]
		id := gone.id(t)
		_, since := s.story(t, 0)
		if text := s.retire(t, id); !strings.Contains(text, "goes back to DHCP") {
			t.Error(text)
		}
		time.Sleep(2 * time.Second)
		got, _ := s.story(t, since)
		got = slices.DeleteFunc(got, func(l string) bool { return l == "pairing.waiting agent" }) // comes when it likes
		wantStory(t, got, "device.letgo person", "device.planned plan", "gateway.changed plan", "device.asked plan", "device.applied agent", "device.configured agent",
			"device.retired configurator", "gateway.changed plan")
		if in := gone.dev.In(); in.AddressingType != model.AddressingDHCP || !in.Address.IsValid() {
			t.Errorf("in force on the device: %+v", in)
		}
		if in := stays.dev.In(); in.AddressingType != model.AddressingStatic {
			t.Errorf("in force on the other device: %+v", in)
		}
		if g := s.gw.String(); strings.Contains(g, string(id)) || !strings.Contains(g, string(stays.id(t))) {
			t.Errorf("the gateway has:\n%s", g)
		}
		if s.state(t, id) != model.DeviceRetired || gone.id(t) == id {
			t.Errorf("%s is %q, and the device calls itself %s", id, s.state(t, id), gone.id(t))
		}
		// It is a stranger, which a person may let in again; nothing is remembered of it.
		if _, err := s.call("device_adopt", calls.Args{"id": string(gone.id(t)), "code": gone.digits(t)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if in := gone.dev.In(); in.AddressingType != model.AddressingStatic {
			t.Errorf("let in again: %+v", in)
		}
		if _, err := s.call("device_retire", calls.Args{"id": string(id)}); calls.CodeOf(err) != calls.InvalidArgument {
			t.Errorf("retired twice: %v", err)
		}
	})
}

// TestRetireUnplugged: one that is not there keeps its address for a while, and
// is told when it comes, before or after.
func TestRetireUnplugged(t *testing.T) {
	for _, away := range []time.Duration{5 * time.Minute, time.Hour} {
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				s := configured(t, ctx, 1)
				defer s.end()
				b := s.box[0]
				id := b.id(t)
				b.stop()
				time.Sleep(5 * time.Minute)
				if text := s.retire(t, id); !strings.Contains(text, "not here") {
					t.Error(text)
				}
				time.Sleep(retireGrace - time.Minute)
				if g := s.gw.String(); !strings.Contains(g, "reservation "+string(id)) || strings.Contains(g, "mark "+string(id)) {
					t.Errorf("while it may come back the gateway has:\n%s", g)
				}
				if !s.c.findings.has("device.leaving", id) {
					t.Error("nobody is told that it leaves")
				}
				if away > retireGrace {
					time.Sleep(away - retireGrace)
					if g := s.gw.String(); strings.Contains(g, string(id)) || s.state(t, id) != model.DeviceRetired {
						t.Errorf("%q; the gateway has:\n%s", s.state(t, id), g)
					}
				}
				s.startBox(ctx, b)
				time.Sleep(20 * time.Second)
				if in := b.dev.In(); in.AddressingType != model.AddressingDHCP || !in.Address.IsValid() || b.id(t) == id {
					t.Errorf("when it came back: %+v, %s", in, b.id(t))
				}
				if g := s.gw.String(); strings.Contains(g, string(id)) || s.state(t, id) != model.DeviceRetired {
					t.Errorf("%q; the gateway has:\n%s", s.state(t, id), g)
				}
				if n := len(s.c.findings.of(id)); n > 0 {
					t.Errorf("%d findings are left", n)
				}
			})
		})
	}
}

// TestRetireWithoutAgent: nothing is remembered of a device without an agent.
func TestRetireWithoutAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := configured(t, ctx, 1)
		defer s.end()
		id := s.manage(t)
		if g := s.gw.String(); !strings.Contains(g, string(id)) {
			t.Fatalf("not set up:\n%s", g)
		}
		s.retire(t, id)
		time.Sleep(time.Second)
		if g := s.gw.String(); strings.Contains(g, string(id)) || s.state(t, id) != "" {
			t.Errorf("%q; the gateway has:\n%s", s.state(t, id), g)
		}
	})
}

// manage sets a device without an agent up.
func (s *sim) manage(t *testing.T) model.DeviceID {
	t.Helper()
	mac := model.MAC{2, 0, 0, 9, 0, 1}
	id := model.IDOfMAC(mac)
	if err := s.c.box.ask(t.Context(), func() {
		s.c.seen[id] = &model.Record{ID: id, MACs: []model.MAC{mac}, State: model.DeviceSeen, FirstSeen: time.Now()}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.call("device_set", calls.Args{"id": string(id), "category": "AV_STB"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	return id
}

func TestRetireHostile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := configured(t, t.Context(), 1)
		defer s.end()
		for _, id := range []string{"", "../../home", "d0123456789", "m001122334455", "hc_", strings.Repeat("d", 4000), "d1a2b3c4d5e\n"} {
			if v, err := s.call("device_retire", calls.Args{"id": id}); err == nil {
				t.Errorf("%.40q: %v", id, v)
			}
		}
	})
}

// TestAbsent: who is away for too long goes after a warning, but for what a
// person has named, and for who is here.
func TestAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := configured(t, ctx, 3)
		defer s.end()
		away, named, here := s.box[0].id(t), s.box[1].id(t), s.box[2].id(t)
		if _, err := s.call("device_set", calls.Args{"id": string(named), "name": "Bedroom"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, b := range s.box[:2] {
			b.stop()
			b.stop = func() {}
		}
		time.Sleep(2 * absentLook) // past the first looks
		day := 24 * time.Hour
		var told []string
		for _, days := range []int{50, 96, 97, 103, 104, 200} {
			if err := s.c.box.ask(ctx, func() {
				for _, r := range s.c.store.All() {
					r.Here = time.Now().Add(-time.Duration(days)*day - time.Minute)
					s.c.put(r)
				}
				s.c.lookForAbsent()
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(retireGrace + time.Minute)
			for what, id := range map[string]model.DeviceID{"away": away, "named": named, "here": here} {
				if s.c.findings.has("device.absent", id) {
					told = append(told, fmt.Sprint(what, " ", days))
				}
				if s.state(t, id) == model.DeviceRetired {
					told = append(told, fmt.Sprint(what, " let go ", days))
				}
			}
		}
		if got, want := strings.Join(told, ", "), "away 97, away 103, away let go 104, away let go 200"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		time.Sleep(time.Minute)
		if g := s.gw.String(); strings.Contains(g, string(away)) || !strings.Contains(g, string(named)) || !strings.Contains(g, string(here)) {
			t.Errorf("the gateway has:\n%s", g)
		}
	})
}
