package configurator

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
)

// lastEvent is the last event of a kind.
func (s *sim) lastEvent(t *testing.T, kind string) model.Event {
	t.Helper()
	all := s.c.store.Events("", 0)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Kind == kind {
			return all[i]
		}
	}
	t.Fatalf("no event %s", kind)
	return model.Event{}
}

func (s *sim) undo(t *testing.T, seq uint64) string {
	t.Helper()
	v, err := s.call("undo", calls.Args{"event": int64(seq)})
	time.Sleep(time.Second)
	if err != nil {
		return err.Error()
	}
	return v.(calls.DoneResult).Text
}

// changes is what an event decided, as text.
func changes(e model.Event) string { return strings.ReplaceAll(fmt.Sprint(e.Changes), "} {", ", ") }

func TestUndoChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := configured(t, t.Context(), 1)
		defer s.end()
		b := s.box[0]
		id := b.id(t)
		set := func(args calls.Args) uint64 {
			t.Helper()
			args["id"] = string(id)
			if _, err := s.call("device_set", args); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			return s.lastEvent(t, "device.chosen").Seq
		}
		first := set(calls.Args{"name": "Bedroom", "address": "192.168.1.60"})
		e := s.lastEvent(t, "device.chosen")
		if got := changes(e); got != "[{name  Bedroom, address  192.168.1.60}]" || e.Cause != "person" {
			t.Errorf("%s by %s", got, e.Cause)
		}
		second := set(calls.Args{"name": "Kitchen"})
		if got := s.undo(t, first); !strings.Contains(got, `was overtaken: name is "Kitchen" now`) {
			t.Error(got)
		}
		if in := b.dev.In(); in.Address.Addr().String() != "192.168.1.60" {
			t.Errorf("a refused undoing did something: %+v", in)
		}
		s.undo(t, second)
		if got := s.undo(t, second); !strings.Contains(got, "taken back already, by event") {
			t.Error(got)
		}
		if got := s.undo(t, first); !strings.HasPrefix(got, "Event ") {
			t.Error(got)
		}
		r, _ := s.c.store.Get(id)
		if in := b.dev.In(); r.Choice != (model.Choice{}) || !strings.Contains(s.gw.String(), in.Address.Addr().String()) {
			t.Errorf("%+v; in force %+v; the gateway has\n%s", r.Choice, in, s.gw)
		}
		// Taking back is taken back as well, over a new start.
		e = s.lastEvent(t, "device.chosen")
		if e.Undoes != first || changes(e) != "[{name Bedroom , address 192.168.1.60 }]" {
			t.Errorf("%+v", e)
		}
		s.stop()
		s.startHome(t.Context())
		time.Sleep(10 * time.Second)
		if got := s.undo(t, e.Seq); !strings.HasPrefix(got, "Event ") {
			t.Error(got)
		}
		time.Sleep(5 * time.Second)
		if in := b.dev.In(); in.Address.Addr().String() != "192.168.1.60" {
			t.Errorf("in force %+v", in)
		}
	})
}

func TestUndoRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := configured(t, t.Context(), 1)
		defer s.end()
		for what, seq := range map[string]uint64{
			"can be let go: homeconf device retire": s.lastEvent(t, "device.adopted").Seq,
			"is nothing that was decided":           s.lastEvent(t, "device.configured").Seq,
			"there is no event":                     1 << 40,
		} {
			if got := s.undo(t, seq); !strings.Contains(got, what) {
				t.Errorf("%d: %s", seq, got)
			}
		}
		// One that the history has forgotten.
		for range 3000 {
			s.c.store.Append(model.Event{Kind: "test", Text: strings.Repeat("x", 200)})
		}
		if got := s.undo(t, 1); !strings.Contains(got, "not remembered any more") {
			t.Error(got)
		}
	})
}

func TestUndoRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := configured(t, t.Context(), 1)
		defer s.end()
		b := s.box[0]
		id := b.id(t)
		b.stop()
		time.Sleep(5 * time.Minute)
		s.retire(t, id)
		time.Sleep(5 * time.Minute)
		if got := s.undo(t, s.lastEvent(t, "device.letgo").Seq); !strings.HasPrefix(got, "Event ") {
			t.Error(got)
		}
		time.Sleep(time.Hour)
		s.startBox(t.Context(), b)
		time.Sleep(20 * time.Second)
		if in := b.dev.In(); in.AddressingType != model.AddressingStatic || b.id(t) != id || len(s.c.findings.of(id)) > 0 || !strings.Contains(s.gw.String(), "mark "+string(id)) {
			t.Errorf("%+v, %v, the gateway has\n%s", in, s.c.findings.of(id), s.gw)
		}
		s.retire(t, id)
		time.Sleep(5 * time.Second)
		if got := s.undo(t, s.lastEvent(t, "device.letgo").Seq); !strings.Contains(got, "has left already") {
			t.Error(got)
		}
	})
}

func TestUndoAgentlessAndMulticast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := configured(t, t.Context(), 1)
		defer s.end()
		id := s.manage(t)
		e := s.lastEvent(t, "device.chosen")
		if changes(e) != "[{category  AV_STB, state seen managed}]" {
			t.Error(changes(e))
		}
		s.undo(t, e.Seq)
		if s.state(t, id) != "" || strings.Contains(s.gw.String(), string(id)) {
			t.Errorf("%q; the gateway has\n%s", s.state(t, id), s.gw)
		}
		s.undo(t, s.lastEvent(t, "device.chosen").Seq)
		if s.state(t, id) != model.DeviceManaged || !strings.Contains(s.gw.String(), string(id)) {
			t.Errorf("%q; the gateway has\n%s", s.state(t, id), s.gw)
		}

		s.gw.Change(func(n *model.Network) { n.Multicast = model.MulticastFact{Installed: true} })
		for range 2 {
			if _, err := s.call("multicast_allow", calls.Args{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if !strings.Contains(s.gw.String(), "igmp-proxy") {
				t.Errorf("the gateway has\n%s", s.gw)
			}
			s.undo(t, s.lastEvent(t, "multicast.allowed").Seq)
			if strings.Contains(s.gw.String(), "igmp-proxy") {
				t.Errorf("taken back, the gateway has\n%s", s.gw)
			}
		}
	})
}
