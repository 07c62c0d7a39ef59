package configurator

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/link"
	"homeconf/src/model"
)

// TestOrphans: what is ours by its name and has no owner that we know is taken
// away at the start and after each reconcile, and told; what is not ours stays.
func TestOrphans(t *testing.T) {
	const orphan = model.DeviceID("d0123456789")
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
		leave := func() {
			state := s.gw.State()
			addr := netip.MustParseAddr("192.168.1.44")
			state.Reservations = append(state.Reservations, model.Reservation{Device: orphan, MACs: []model.MAC{{2, 0, 0, 8, 0, 1}}, Address: addr})
			state.Marks = append(state.Marks, model.Mark{Device: orphan, Address: addr, Class: model.ClassBroadcastVideo})
			if _, err := s.gw.Set(t.Context(), state); err != nil {
				t.Fatal(err)
			}
		}
		s.gw.Change(func(n *model.Network) {
			n.Reservations = append(n.Reservations, model.HostEntry{Section: "printer", MACs: []model.MAC{{2, 0, 0, 8, 0, 2}}, Address: netip.MustParseAddr("192.168.1.45"), Enabled: true})
		})
		leave()
		s.startHome(t.Context())
		defer s.end()
		for _, when := range []string{"at the start", "after a reconcile"} {
			time.Sleep(2 * time.Second)
			if g := s.gw.String(); strings.Contains(g, string(orphan)) {
				t.Errorf("%s is left:\n%s", when, g)
			}
			if e := s.lastEvent(t, "gateway.changed"); !strings.Contains(strings.Join(e.Detail, "\n"), "removed reservation of "+string(orphan)) ||
				!strings.Contains(strings.Join(e.Detail, "\n"), "removed mark of "+string(orphan)) {
				t.Errorf("%s is told: %+v", when, e)
			}
			n, err := s.gw.Facts(t.Context())
			if err != nil || len(n.Reservations) != 1 || n.Reservations[0].Section != "printer" {
				t.Errorf("%s there are %+v, %v", when, n.Reservations, err)
			}
			leave()
			s.c.box.tell(s.c.touch)
		}
	})
}
