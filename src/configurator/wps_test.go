package configurator

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/options"
)

// The WPS button opens the window only where its owner allows it, and a person's
// own yes is never asked for that option.
func TestWPSButton(t *testing.T) {
	for _, tt := range []struct {
		text string
		open bool
	}{
		{"config configurator\n\toption pairing 'window'\n", false},
		{"config configurator\n\toption pairing 'window'\n\toption wps '1'\n", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
			conf := filepath.Join(s.dir, "config")
			if err := os.MkdirAll(conf, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(conf, options.Package), []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			s.startHome(t.Context())
			defer s.end()
			v, err := s.call("pair", calls.Args{"for": 2 * time.Minute, "wps": true})
			if !tt.open {
				if calls.CodeOf(err) != calls.PermissionDenied {
					t.Fatalf("%v, %v", v, err)
				}
				if st, err := s.call("status", calls.Args{}); err != nil || st.(calls.StatusResult).Pairing.Open {
					t.Fatalf("the window is open, or %v", err)
				}
				if v, err := s.call("pair", calls.Args{"for": 2 * time.Minute}); err != nil || !v.(calls.PairResult).Open {
					t.Fatalf("a person's own: %v, %v", v, err)
				}
				return
			}
			if err != nil || !v.(calls.PairResult).Open {
				t.Fatalf("%v, %v", v, err)
			}
		})
	}
}

// A reload that changes nothing is not worth a line of history: the firewall's
// include and netifd's triggers ask for one whenever something moved.
func TestReloadWithoutChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reload := make(chan struct{})
		s := newSim(t, link.SegmentOptions{Seed: 1})
		conf := filepath.Join(s.dir, "config")
		if err := os.MkdirAll(conf, 0o755); err != nil {
			t.Fatal(err)
		}
		s.reload = reload
		s.startHome(t.Context())
		defer s.end()
		said := func() int {
			n := 0
			for _, e := range s.c.store.Events(model.DeviceID(""), 100) {
				if e.Kind == "options.read" {
					n++
				}
			}
			return n
		}
		time.Sleep(time.Second)
		reload <- struct{}{}
		time.Sleep(time.Second)
		if said() != 0 {
			t.Errorf("said %d times", said())
		}
		if err := os.WriteFile(filepath.Join(conf, options.Package), []byte("config configurator\n\toption wps '1'\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		reload <- struct{}{}
		time.Sleep(time.Second)
		if said() != 1 {
			t.Errorf("said %d times", said())
		}
	})
}
