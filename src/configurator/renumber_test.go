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

var (
	oldLAN = netip.MustParsePrefix("192.168.1.1/24")
	newLAN = netip.MustParsePrefix("10.20.0.1/24")
)

// moves gives the gateway another address, as new firmware or a person does.
func (s *story) moves(lan netip.Prefix) {
	s.home(lan)
	s.gw.Change(func(n *model.Network) { onLAN(n, lan) })
}

func onLAN(n *model.Network, lan netip.Prefix) {
	base := lan.Masked().Addr().As4()
	n.LAN.Prefix = lan
	base[3] = 100
	n.Pool.First = netip.AddrFrom4(base)
	base[3] = 249
	n.Pool.Last = netip.AddrFrom4(base)
}

// home has the boxes find the gateway at an address.
func (s *story) home(lan netip.Prefix) {
	for _, b := range s.box {
		b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Home = lan })
	}
}

// at says where a box is.
func at(b *simBox) string { return b.dev.In().Address.String() }

func (s *story) settled(id, where string) {
	s.t.Helper()
	synctest.Wait()
	if d := s.device(id); d.Progress != "configured" || d.Address.String() != where || len(d.Record.Former) > 0 {
		s.t.Errorf("%+v, formerly %v; want it at %s", d.DeviceSummary, d.Record.Former, where)
	}
}

func quiet(lines ...string) string {
	return configurator(append([]string{"download '1000'", "manage_igmpproxy 'always'"}, lines...)...)
}

// TestRenumber: new firmware has put the home into another subnet and taken
// everything of ours away. All devices move at once and keep their host parts.
func TestRenumber(t *testing.T) {
	play(t, quiet(), func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) { n.Rates.Shaper = true })
		_, one := s.member()
		_, two := s.member()
		dhcp := s.gw.Reloads("dhcp")
		s.moves(newLAN)
		s.gw.Lose()
		began := time.Now()
		for time.Since(began) < 5*time.Second && (at(s.box[0]) != "10.20.0.250/24" || at(s.box[1]) != "10.20.0.251/24") {
			time.Sleep(time.Millisecond)
		}
		took := time.Since(began)
		time.Sleep(100 * time.Millisecond)
		if took > 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		s.settled(one, "10.20.0.250")
		s.settled(two, "10.20.0.251")
		if n := s.gw.Reloads("dhcp") - dhcp; n != 1 {
			t.Errorf("the DHCP server was reloaded %d times", n)
		}
		for _, b := range s.box {
			if in := b.dev.In(); in.Gateway != newLAN.Addr() || len(in.DNS) != 1 || in.DNS[0] != newLAN.Addr() {
				t.Errorf("in force: %+v", in)
			}
		}
		if g := s.gw.String(); strings.Contains(g, "192.168") || strings.Count(g, "10.20.0.25") != 4 {
			t.Errorf("gateway:\n%s", g)
		}
		if f := s.wrongs(); f != "" {
			t.Errorf("findings:\n%s", f)
		}
	})
}

// TestRestore: the same, but the owner wants his subnet back. No device moves.
func TestRestore(t *testing.T) {
	play(t, quiet("on_subnet_change 'restore'"), func(t *testing.T, s *story) {
		s.gw.OnLAN = func(p netip.Prefix) { s.home(p); s.gw.Change(func(n *model.Network) { onLAN(n, p) }) }
		b, id := s.member()
		before, applied := s.gw.String(), b.dev.String()
		s.moves(newLAN)
		s.gw.Lose()
		time.Sleep(time.Second)
		s.settled(id, "192.168.1.250")
		if now := s.gw.String(); now != before {
			t.Errorf("gateway:\n%s\nwant:\n%s", now, before)
		}
		if n := s.gw.Reloads("network"); n != 1 {
			t.Errorf("the network was reloaded %d times", n)
		}
		if l := b.dev.String(); l != applied {
			t.Errorf("the device was changed:\n%s", l)
		}
	})
}

// TestRestoreIsFought: who changes the address again and again is not fought
// for ever.
func TestRestoreIsFought(t *testing.T) {
	play(t, quiet("on_subnet_change 'restore'"), func(t *testing.T, s *story) {
		s.member()
		s.gw.OnLAN = func(netip.Prefix) { s.gw.Change(func(n *model.Network) { onLAN(n, newLAN) }) }
		s.moves(newLAN)
		time.Sleep(3 * time.Hour)
		if n := s.gw.Reloads("network"); n < 4 || n > 6 {
			t.Errorf("put back %d times", n)
		}
		if f := s.wrongs(); !strings.Contains(f, "lan.not-restored: The gateway does not keep its address 192.168.1.1/24") {
			t.Errorf("findings:\n%s", f)
		}
		// It is tried again some hours later.
		n := s.gw.Reloads("network")
		time.Sleep(8 * time.Hour)
		if again := s.gw.Reloads("network") - n; again < 1 || again > 2 {
			t.Errorf("put back %d times more", again)
		}
	})
}

// TestRollbackMayCome: LuCI undoes a change that nobody confirms in 90 s, so
// nobody moves before that.
func TestRollbackMayCome(t *testing.T) {
	for _, rolled := range []bool{true, false} {
		play(t, quiet(), func(t *testing.T, s *story) {
			b, id := s.member()
			if err := os.WriteFile(s.rollback(), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(s.rollback(), time.Now(), time.Now()); err != nil {
				t.Fatal(err)
			}
			s.moves(newLAN)
			time.Sleep(80 * time.Second)
			if at(b) != "192.168.1.250/24" || !strings.Contains(s.wrongs(), "lan.rollback-awaited") {
				t.Errorf("it is at %s; findings:\n%s", at(b), s.wrongs())
			}
			if rolled {
				s.moves(oldLAN)
				time.Sleep(20 * time.Second)
				s.settled(id, "192.168.1.250")
			} else {
				time.Sleep(20 * time.Second)
				s.settled(id, "10.20.0.250")
			}
			if f := s.wrongs(); strings.Contains(f, "rollback") {
				t.Errorf("findings:\n%s", f)
			}
		})
	}
}

func (s *sim) rollback() string { return filepath.Join(s.dir, "snapshot") }

// TestHostPartsCollide: two devices can't have one host part in a smaller
// subnet, nor one that somebody answers for.
func TestHostPartsCollide(t *testing.T) {
	play(t, quiet(), func(t *testing.T, s *story) {
		_, one := s.member()
		_, two := s.member()
		s.moves(netip.MustParsePrefix("172.16.0.1/16"))
		time.Sleep(time.Second)
		s.must("device_set", calls.Args{"id": one, "address": "172.16.1.77"})
		s.must("device_set", calls.Args{"id": two, "address": "172.16.2.77"})
		time.Sleep(time.Second)
		s.settled(one, "172.16.1.77")
		s.settled(two, "172.16.2.77")
		s.moves(newLAN)
		time.Sleep(time.Second)
		a, b := s.device(one), s.device(two)
		if a.Progress != "configured" || b.Progress != "configured" || a.Address == b.Address ||
			!newLAN.Contains(a.Address) || !newLAN.Contains(b.Address) || a.Address != netip.MustParseAddr("10.20.0.77") && b.Address != netip.MustParseAddr("10.20.0.77") {
			t.Errorf("%s %s and %s %s", a.Address, a.Progress, b.Address, b.Progress)
		}
	})
}

// TestAbsentDuringChange: who was off when the home moved follows when it is
// back.
func TestAbsentDuringChange(t *testing.T) {
	play(t, quiet(), func(t *testing.T, s *story) {
		b, id := s.member()
		_, other := s.member()
		b.stop()
		s.moves(newLAN)
		time.Sleep(30 * time.Minute)
		s.settled(other, "10.20.0.251")
		if at(b) != "192.168.1.250/24" {
			t.Fatal(at(b))
		}
		s.startBox(s.ctx, b)
		time.Sleep(10 * time.Second)
		s.settled(id, "10.20.0.250")
	})
}

// TestLeftBehind: a device without an agent that speaks with an address of the
// earlier subnet is named, and restore as the way to have it back.
func TestLeftBehind(t *testing.T) {
	play(t, quiet(), func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) { n.Rates.Shaper = true })
		s.gw.OnLAN = func(p netip.Prefix) { s.home(p); s.gw.Change(func(n *model.Network) { onLAN(n, p) }) }
		_, id := s.member()
		s.moves(newLAN)
		time.Sleep(time.Second)
		s.speaks <- arpPair{netip.MustParseAddr("192.168.1.20"), model.MAC{2, 9, 9, 9, 9, 9}}
		s.speaks <- arpPair{netip.MustParseAddr("192.168.1.21"), model.MAC{2, 9, 9, 9, 9, 8}}
		s.speaks <- arpPair{netip.MustParseAddr("10.20.0.101"), model.MAC{2, 9, 9, 9, 9, 8}}
		time.Sleep(time.Second)
		synctest.Wait()
		if f := s.wrongs(); strings.Count(f, "lan.left-behind") != 1 || !strings.Contains(f, "02:09:09:09:09:09 (192.168.1.20)") ||
			strings.Contains(f, "192.168.1.21") || !strings.Contains(f, "on_subnet_change=restore") {
			t.Errorf("findings:\n%s", f)
		}
		s.options(quiet("on_subnet_change 'restore'"))
		s.reload <- struct{}{}
		time.Sleep(5 * time.Second)
		s.settled(id, "192.168.1.250")
		time.Sleep(time.Hour)
		if f := s.wrongs(); f != "" {
			t.Errorf("findings:\n%s", f)
		}
	})
}
