package configurator

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/gateway"
	"homeconf/src/inventory"
	"homeconf/src/link"
	"homeconf/src/model"
)

// adopt lets a box in that shows its digits.
func (s *sim) adopt(b *simBox) {
	s.t.Helper()
	if _, err := s.call("device_adopt", calls.Args{"id": string(b.id(s.t)), "code": b.digits(s.t)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) restart(ctx context.Context) {
	s.t.Helper()
	s.stop()
	s.startHome(ctx)
}

// newRouter puts another router in the home's place: it has nothing of it.
func (s *sim) newRouter(ctx context.Context) {
	s.t.Helper()
	s.stop()
	if err := os.Rename(filepath.Join(s.dir, "home"), filepath.Join(s.dir, "home-of-before")); err != nil {
		s.t.Fatal(err)
	}
	s.fs, s.gw = inventory.InMemory(), gateway.NewMemory(facts())
	s.startHome(ctx)
}

func (s *sim) restore(ctx context.Context, file, passphrase string) {
	s.t.Helper()
	if _, err := s.call("restore", calls.Args{"file": file, "passphrase": passphrase}); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Second)
	s.restart(ctx)
}

func (s *sim) key() calls.KeyResult {
	s.t.Helper()
	v, err := s.call("key_status", calls.Args{})
	if err != nil {
		s.t.Fatal(err)
	}
	return v.(calls.KeyResult)
}

func (s *sim) record(id model.DeviceID) model.Record {
	s.t.Helper()
	v, err := s.call("device_show", calls.Args{"id": string(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	return v.(calls.DeviceDetail).Record
}

func (b *simBox) agentStatus(t *testing.T) calls.AgentStatusResult {
	t.Helper()
	v, err := b.a.Call(t.Context(), "agent_status", calls.Args{})
	if err != nil {
		t.Fatal(err)
	}
	return *v.(*calls.AgentStatusResult)
}

// kinds are the findings there are, in one line.
func (s *sim) kinds() string {
	s.t.Helper()
	v, err := s.call("finding_list", calls.Args{})
	if err != nil {
		s.t.Fatal(err)
	}
	var l []string
	for _, f := range v.(calls.FindingsResult).Findings {
		l = append(l, f.Kind)
	}
	return strings.Join(l, " ")
}

func (s *sim) events(kind string) (n int) {
	s.t.Helper()
	v, err := s.call("event_list", calls.Args{"limit": int64(1000)})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range v.(calls.EventsResult).Events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// three is a home with three boxes, named and configured.
func three(t *testing.T, f func(t *testing.T, ctx context.Context, s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
		s.startHome(ctx)
		defer s.end()
		for n := range 3 {
			s.plug(ctx, n+1)
		}
		time.Sleep(4 * time.Second)
		for n, b := range s.box {
			s.adopt(b)
			b.known = b.id(t)
			s.name(b, "Box "+string(rune('A'+n)))
		}
		time.Sleep(time.Minute)
		f(t, ctx, s)
	})
}

func (s *sim) name(b *simBox, name string) {
	s.t.Helper()
	if _, err := s.call("device_set", calls.Args{"id": string(b.id(s.t)), "name": name}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) backup() (file, passphrase string) {
	s.t.Helper()
	v, err := s.call("backup", calls.Args{"file": filepath.Join(s.dir, "home.recovery")})
	if err != nil {
		s.t.Fatal(err)
	}
	r := v.(calls.BackupResult)
	return r.File, r.Passphrase
}

// wantAll holds every box to be here, configured, and called what it was.
func (s *sim) wantAll(names map[model.DeviceID]string, addresses map[model.DeviceID]string) {
	s.t.Helper()
	for _, b := range s.box {
		id := b.id(s.t)
		r := s.record(id)
		st := b.agentStatus(s.t)
		if st.State != calls.AgentConnected || r.Desired == nil || r.Confirmed != r.Desired.Generation {
			s.t.Errorf("%s: %s, asked %+v, confirmed %d", id, st.State, r.Desired, r.Confirmed)
		}
		if r.Choice.Name != names[id] || r.Address.String() != addresses[id] || b.dev.In().Address.Addr() != r.Address {
			s.t.Errorf("%s: %q at %s (has %s), want %q at %s", id, r.Choice.Name, r.Address, b.dev.In().Address, names[id], addresses[id])
		}
	}
}

func (s *sim) now() (names, addresses map[model.DeviceID]string) {
	names, addresses = map[model.DeviceID]string{}, map[model.DeviceID]string{}
	for _, b := range s.box {
		r := s.record(b.id(s.t))
		names[r.ID], addresses[r.ID] = r.Choice.Name, r.Address.String()
	}
	return names, addresses
}

// TestRecovery: a router dies that had a recovery file of before its last device
// and the last names. Another router can't have the devices; with the file they
// come back as they were, and nobody is asked.
func TestRecovery(t *testing.T) {
	three(t, func(t *testing.T, ctx context.Context, s *sim) {
		file, passphrase := s.backup()
		s.name(s.box[0], "Renamed")
		if err := s.c.box.ask(ctx, func() {
			r, _ := s.c.store.Get(s.box[0].known)
			r.Openings = []model.Opening{{ID: model.OpeningID(r.ID, model.Port{Protocol: model.TCP, Number: 443}, 443), Protocol: model.TCP, Port: 443, External: 443,
				Origin: "person", Start: time.Now(), Expires: time.Now().Add(time.Hour), Lease: time.Hour}}
			s.c.put(r)
		}); err != nil {
			t.Fatal(err)
		}
		s.plug(ctx, 4)
		time.Sleep(4 * time.Second)
		s.adopt(s.box[3])
		s.name(s.box[3], "Late")
		time.Sleep(time.Minute)
		names, addresses := s.now()
		before := s.gw.String()
		generation := s.box[0].agentStatus(t).Settings.Generation
		home := s.key().Home

		s.newRouter(ctx)
		time.Sleep(20 * time.Minute)
		for _, b := range s.box {
			if st := b.agentStatus(t); st.State != calls.AgentAway || st.Home != home || b.dev.In().Address.Addr().String() != addresses[st.Device] {
				t.Errorf("another home has it: %+v, %v", st, b.dev.In())
			}
		}
		if v, err := s.call("device_list", calls.Args{}); err != nil || len(v.(calls.DevicesResult).Devices) != 0 {
			t.Errorf("the other home lists %+v, %v", v, err)
		}

		if _, err := s.call("restore", calls.Args{"file": file, "passphrase": "not the passphrase"}); err == nil || strings.Contains(err.Error(), "not the") {
			t.Errorf("wrong passphrase: %v", err)
		}
		s.restore(ctx, file, passphrase)
		time.Sleep(3 * time.Minute)
		s.wantAll(names, addresses)
		if s.gw.String() != before {
			t.Errorf("gateway\n%s\nwant\n%s", s.gw, before)
		}
		if n := s.events("pairing.waiting"); n != 0 {
			t.Errorf("%d were asked", n)
		}
		k := s.key()
		if k.Home != home || k.Term != 2 || len(k.Missing) > 0 {
			t.Errorf("key: %+v", k)
		}
		if g := s.box[0].agentStatus(t).Settings.Generation; g < generation {
			t.Errorf("generation %d after %d", g, generation)
		}
		for _, b := range s.box {
			r := s.record(b.id(t))
			if !r.Restored || len(r.Openings) != map[bool]int{true: 1}[b == s.box[0]] {
				t.Errorf("%s: not marked: %+v", b.id(t), r)
			}
			for _, o := range r.Openings {
				if !o.Unasked {
					t.Errorf("open without a yes: %+v", o)
				}
			}
		}
		if got := s.kinds(); strings.Contains(got, "device.") {
			t.Errorf("findings: %s", got)
		}
		// An hour later it is a home like any other, also over a restart.
		time.Sleep(2 * time.Hour)
		if s.key().Restored {
			t.Error("restored for ever")
		}
		s.restart(ctx)
		time.Sleep(time.Minute)
		s.wantAll(names, addresses)
		// The old router is switched on again: its term is the lower one.
		now := filepath.Join(s.dir, "home-now")
		s.stop()
		os.Rename(filepath.Join(s.dir, "home"), now)
		os.Rename(filepath.Join(s.dir, "home-of-before"), filepath.Join(s.dir, "home"))
		s.fs = inventory.InMemory()
		s.startHome(ctx)
		time.Sleep(10 * time.Minute)
		for _, b := range s.box {
			if st := b.agentStatus(t); b.dev.In().Address.Addr().String() != addresses[st.Device] {
				t.Errorf("changed by a router of before: %v", b.dev.In())
			}
		}
	})
}

// TestRestoreOverMembers: a restore refuses a home with members, without a yes; and with one it forgets
// them.
func TestRestoreOverMembers(t *testing.T) {
	three(t, func(t *testing.T, ctx context.Context, s *sim) {
		file, passphrase := s.backup()
		names, addresses := s.now()
		s.newRouter(ctx)
		for _, b := range s.box {
			s.lan.busy[b.dev.In().Address.Addr()] = model.MAC(b.mac)
		}
		stranger := s.plug(ctx, 9)
		time.Sleep(4 * time.Second)
		s.adopt(stranger)
		time.Sleep(time.Minute)
		if _, err := s.call("restore", calls.Args{"file": file, "passphrase": passphrase}); calls.CodeOf(err) != calls.InvalidArgument {
			t.Fatalf("over a home with a device: %v", err)
		}
		if _, err := s.call("restore", calls.Args{"file": file, "passphrase": passphrase, "yes": true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.restart(ctx)
		time.Sleep(3 * time.Minute)
		if _, err := s.call("device_show", calls.Args{"id": string(stranger.id(t))}); calls.CodeOf(err) != calls.NotFound {
			t.Errorf("the other home's device: %v", err)
		}
		s.box[3].stop()
		s.box = s.box[:3]
		s.wantAll(names, addresses)
	})
}

// TestOldCopy: a device hands back an old copy of its record, and another's newer
// roster exposes it, whichever comes first.
func TestOldCopy(t *testing.T) {
	for _, first := range []int{0, 1} {
		three(t, func(t *testing.T, ctx context.Context, s *sim) {
			file, passphrase := s.backup()
			path := filepath.Join(s.box[0].dir, "state", "agent-sealed.bin")
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s.name(s.box[0], "Renamed")
			time.Sleep(time.Minute)
			for _, b := range s.box {
				b.stop()
			}
			if err := os.WriteFile(path, old, 0o600); err != nil {
				t.Fatal(err)
			}
			s.newRouter(ctx)
			s.restore(ctx, file, passphrase)
			for i := range 2 {
				s.startBox(ctx, s.box[(first+i)%2])
				time.Sleep(time.Minute)
				if i == 0 && first == 0 && s.record(s.box[0].id(t)).Choice.Name != "Box A" {
					t.Error("nobody could know better yet")
				}
			}
			if got := s.kinds(); !strings.Contains(got, "device.old-copy") {
				t.Errorf("not exposed: %s", got)
			}
			if r := s.record(s.box[0].id(t)); r.Choice.Name != "" || r.State != model.DeviceAdopted {
				t.Errorf("used all the same: %+v", r)
			}
			if r := s.record(s.box[1].id(t)); r.Choice.Name != "Box B" {
				t.Errorf("the honest one: %+v", r)
			}
			s.startBox(ctx, s.box[2])
			time.Sleep(time.Minute)
			for _, b := range s.box {
				if b.agentStatus(t).State != calls.AgentConnected {
					t.Errorf("%s is away", b.id(t))
				}
			}
		})
	}
}

// TestOldSettings: the router's settings were put back to those of before, as a
// settings backup does. What the devices keep is newer.
func TestOldSettings(t *testing.T) {
	three(t, func(t *testing.T, ctx context.Context, s *sim) {
		s.stop()
		old := inventory.InMemory()
		for _, dir := range []string{"devices", "."} {
			dir = filepath.Join(s.dir, "home", dir)
			names, err := s.fs.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				b, err := s.fs.ReadFile(filepath.Join(dir, n), 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				old.WriteSynced(filepath.Join(dir, n), b, 0o600)
			}
		}
		s.startHome(ctx)
		time.Sleep(time.Minute)
		s.name(s.box[0], "Renamed")
		time.Sleep(time.Minute)
		names, addresses := s.now()
		s.stop()
		s.fs = old
		s.startHome(ctx)
		time.Sleep(2 * time.Minute)
		s.wantAll(names, addresses)
	})
}

// TestDamagedRecord: a record that was lost comes back from its device.
func TestDamagedRecord(t *testing.T) {
	three(t, func(t *testing.T, ctx context.Context, s *sim) {
		names, addresses := s.now()
		s.stop()
		path := filepath.Join(s.dir, "home", "devices", string(s.box[1].id(t))+".json")
		if err := s.fs.WriteSynced(path, []byte("{torn"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.startHome(ctx)
		time.Sleep(2 * time.Minute)
		s.wantAll(names, addresses)
	})
}

// TestIdleKeeps: a day in which nothing happens costs no agent a write.
func TestIdleKeeps(t *testing.T) {
	three(t, func(t *testing.T, ctx context.Context, s *sim) {
		stamp := func() (all string) {
			for _, b := range s.box {
				data, err := os.ReadFile(filepath.Join(b.dir, "state", "agent-sealed.bin"))
				if err != nil {
					t.Fatal(err)
				}
				all += string(data)
			}
			return all
		}
		before := stamp()
		time.Sleep(24 * time.Hour)
		s.restart(ctx)
		time.Sleep(time.Hour)
		if stamp() != before {
			t.Error("copies were written anew")
		}
	})
}
