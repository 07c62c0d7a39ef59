package configurator

import (
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/link"
)

// TestLostIsPutBack: what somebody else takes away on the gateway, as a restart
// of the firewall does, is there again within two seconds.
func TestLostIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
		s.startHome(ctx)
		b := s.plug(ctx, 1)
		defer s.end()
		time.Sleep(2500 * time.Millisecond)
		if _, err := s.call("device_adopt", calls.Args{"id": string(b.id(t)), "code": b.digits(t)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		before := s.gw.String()
		if before == "" {
			t.Fatal("nothing was written")
		}
		sets := s.gw.Sets()
		for range 3 {
			s.gw.Lose()
			time.Sleep(2 * time.Second)
			if now := s.gw.String(); now != before {
				t.Errorf("gateway\n%s\nwant\n%s", now, before)
			}
		}
		if n := s.gw.Sets() - sets; n != 3 {
			t.Errorf("written %d times", n)
		}
	})
}
