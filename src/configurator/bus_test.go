package configurator

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/sighting"
	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

// TestOnTheBus: what a script sees of a device that comes and is let in, by
// calls and by notifications, also after ubusd has restarted.
func TestOnTheBus(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, server *ubustest.Server) {
		s := newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
		s.bus, s.run = server.Path, filepath.Join(t.TempDir(), "run")
		s.startHome(t.Context())
		defer s.end()
		script, err := ubus.Dial(t.Context(), server.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer script.Close()
		told := make(chan string, 100)
		up := make(chan struct{}, 10)
		if _, err := script.Subscribe(t.Context(), "homeconf", ubus.Subscriber{
			Notify: func(_, method string, data ubus.Table) { told <- method + " " + data.Text("device") },
			Up:     func(string) { up <- struct{}{} },
		}); err != nil {
			t.Fatal(err)
		}
		const long = 30 * time.Second
		hear := func(want string) {
			t.Helper()
			var got []string
			for end := time.After(long); ; {
				select {
				case n := <-told:
					if got = append(got, n); n == want {
						return
					}
				case <-end:
					t.Fatalf("told of %q, and never of %q", got, want)
				}
			}
		}
		call := func(method, args string) ubus.Table {
			t.Helper()
			a, err := ubus.ParseJSON([]byte(args))
			if err != nil {
				t.Fatal(err)
			}
			var r ubus.Table
			for end := time.Now().Add(long); ; {
				// Between two ubusds there is nobody to answer.
				if r, err = script.Call(t.Context(), "homeconf", method, a); err == nil || time.Now().After(end) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err != nil {
				t.Fatalf("%s %s: %v %s", method, args, err, r.JSON())
			}
			return r
		}
		<-up
		if _, err := script.Call(t.Context(), "homeconf", "pair", new(ubus.Builder).String("for", "2m").String("ubus_rpc_session", "x").Table()); err != nil {
			t.Error(err)
		}
		hear("pairing.opened ")
		call("pair_close", `{}`)

		// Its agent comes after the device itself.
		s.see <- []sighting.Evidence{{MAC: model.MAC{2, 0, 0, 1, 0, 1}, Active: true, Source: sighting.DHCP}}
		hear("device.added m020000010001")
		b := s.plug(t.Context(), 1)
		id := string(b.id(t))
		hear("device.removed m020000010001")
		hear("pairing.waiting " + id)
		if m := call("metrics", `{}`); m.Int("devices_waiting") != 1 || !m.Has("frames_cookie") {
			t.Errorf("metrics %s", m.JSON())
		}
		wrong, err := script.Call(t.Context(), "homeconf", "device_adopt", new(ubus.Builder).String("id", id).String("code", "00000x").Table())
		if ubus.StatusOf(err) != ubus.StatusInvalidArgument || wrong.Text("message") == "" {
			t.Errorf("%v %s", err, wrong.JSON())
		}
		call("device_adopt", `{"id":"`+id+`","code":"`+b.digits(t)+`"}`)
		hear("device.added " + id)
		hear("device.changed " + id)

		server.Stop()
		server.Start(t)
		<-up
		if got := call("device_show", `{"id":"`+id+`"}`); got.Text("id") != id || got.Text("state") != "adopted" {
			t.Errorf("device_show %s", got.JSON())
		}
	})
}

// TestNotificationsHaveTheirNames: every name that scripts were promised is told,
// and no other.
func TestNotificationsHaveTheirNames(t *testing.T) {
	promised := []string{"device.added", "device.changed", "device.removed", "finding.raised", "finding.cleared", "pairing.opened", "pairing.waiting"}
	for kind, name := range notifications {
		if !slices.Contains(promised, name) {
			t.Errorf("%s is told as %s", kind, name)
		}
	}
	for _, p := range promised {
		found := false
		for _, name := range notifications {
			found = found || name == p
		}
		if !found {
			t.Errorf("%s is never told", p)
		}
	}
}
