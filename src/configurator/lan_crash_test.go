package configurator

import (
	"net/netip"
	"testing"
	"time"

	"homeconf/src/model"
)

// TestRestoreLANCrash kills the home while it gives the gateway its subnet back:
// the next start ends what was begun.
func TestRestoreLANCrash(t *testing.T) {
	for _, step := range []string{"lan.restoring", "lan.restored"} {
		play(t, quiet("on_subnet_change 'restore'"), func(t *testing.T, s *story) {
			s.gw.OnLAN = func(p netip.Prefix) { s.home(p); s.gw.Change(func(n *model.Network) { onLAN(n, p) }) }
			b, id := s.member()
			before, applied := s.gw.String(), b.dev.String()
			s.crashAt(step)
			s.moves(newLAN)
			s.gw.Lose()
			time.Sleep(2 * time.Second)
			s.crashed(t.Context(), step)
			time.Sleep(time.Minute)
			s.settled(id, "192.168.1.250")
			if now := s.gw.String(); now != before {
				t.Errorf("%s: gateway:\n%s\nwant:\n%s", step, now, before)
			}
			if l := b.dev.String(); l != applied {
				t.Errorf("%s: the device was changed:\n%s", step, l)
			}
		})
	}
}
