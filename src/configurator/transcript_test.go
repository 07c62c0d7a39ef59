package configurator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/gateway"
	"homeconf/src/inventory"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/sighting"
	"homeconf/src/system"
)

// A story is a home that prints what it tells: tests compare all of it.
type story struct {
	*sim
	ctx  context.Context
	told int // events that were compared already
}

// play makes a home with options in its UCI file, lets f play in it, and ends it.
func play(t *testing.T, conf string, f func(t *testing.T, s *story)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &story{sim: newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond}), ctx: t.Context()}
		s.options(conf)
		s.startHome(s.ctx)
		time.Sleep(10 * time.Second) // it has said hello by then
		s.told = len(s.events())
		defer s.end()
		f(t, s)
	})
}

// options writes the UCI file.
func (s *story) options(conf string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "config")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "homeconf"), []byte(conf), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// configurator is a UCI file with options of the configurator.
func configurator(lines ...string) string {
	return "config configurator 'configurator'\n\toption " + strings.Join(lines, "\n\toption ") + "\n"
}

func (s *story) events() []model.Event {
	v, err := s.call("event_list", calls.Args{"limit": int64(1000)})
	if err != nil {
		s.t.Fatal(err)
	}
	return v.(calls.EventsResult).Events
}

// tells compares all that was told since the last time. Boxes are called box1
// and so on; an event's details follow it with a "-".
func (s *story) tells(want string) {
	s.t.Helper()
	synctest.Wait()
	all := s.events()
	var b strings.Builder
	for _, e := range all[s.told:] {
		b.WriteString(e.Kind)
		if e.Device != "" {
			b.WriteString(" " + string(e.Device))
		}
		b.WriteString(": " + e.Text + "\n")
		for _, ch := range e.Changes {
			e.Detail = append(e.Detail, ch.What+": "+ch.After)
		}
		for _, d := range e.Detail {
			b.WriteString("- " + d + "\n")
		}
	}
	s.told = len(all)
	s.same("told", b.String(), want)
}

func (s *story) same(what, got, want string) {
	s.t.Helper()
	for n, b := range s.box {
		got = strings.ReplaceAll(got, string(b.id(s.t)), fmt.Sprintf("box%d", n+1))
	}
	if got, want = strings.TrimSpace(got), strings.TrimSpace(want); got != want {
		s.t.Errorf("%s:\n%s\n\nwant:\n%s", what, got, want)
	}
}

// must makes a call that has to succeed.
func (s *story) must(name string, args calls.Args) any {
	s.t.Helper()
	v, err := s.call(name, args)
	if err != nil {
		s.t.Fatalf("%s %v: %v", name, args, err)
	}
	return v
}

// fails makes a call that has to fail so.
func (s *story) fails(name string, args calls.Args, want string) {
	s.t.Helper()
	if v, err := s.call(name, args); err == nil {
		s.t.Errorf("%s %v: %+v", name, args, v)
	} else {
		s.same(name, err.Error(), want)
	}
}

// stranger plugs a box in that shows its digits.
func (s *story) stranger() (b *simBox, id string) {
	s.t.Helper()
	b = s.plug(s.ctx, len(s.box)+1)
	time.Sleep(2500 * time.Millisecond)
	synctest.Wait()
	if b.digits(s.t) == "" {
		s.t.Fatal("no digits are shown")
	}
	return b, string(b.id(s.t))
}

func (b *simBox) wrong(t *testing.T) string {
	if b.digits(t) == "000000" {
		return "000001"
	}
	return "000000"
}

// member plugs a box in, lets it in and waits until it is configured.
func (s *story) member() (b *simBox, id string) {
	s.t.Helper()
	b, id = s.stranger()
	s.must("device_adopt", calls.Args{"id": id, "code": b.digits(s.t)})
	time.Sleep(2 * time.Second)
	synctest.Wait()
	if p := s.device(id).Progress; p != "configured" {
		s.t.Fatalf("%s is %s", id, p)
	}
	s.told = len(s.events())
	return b, id
}

func (s *story) device(id string) calls.DeviceDetail {
	s.t.Helper()
	return s.must("device_show", calls.Args{"id": id}).(calls.DeviceDetail)
}

// wrongs are all findings now, a line each.
func (s *story) wrongs() string {
	s.t.Helper()
	var b strings.Builder
	for _, f := range s.must("finding_list", calls.Args{}).(calls.FindingsResult).Findings {
		fmt.Fprintf(&b, "%s: %s -> %s\n", f.Kind, f.Text, f.Step)
	}
	return b.String()
}

func TestStoryLetIn(t *testing.T) {
	play(t, configurator("download '100'", "manage_igmpproxy 'always'"), func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) {
			n.Multicast = model.MulticastFact{Installed: true}
			n.Rates.Shaper = true
		})
		b, id := s.stranger()
		s.tells(`pairing.waiting box1: A device at 02:00:00:01:00:01 asks to be let in.`)
		s.fails("device_set", calls.Args{"id": id, "name": "x"}, "box1 is not let in yet: homeconf device adopt box1 --code NNNNNN")
		s.must("device_adopt", calls.Args{"id": id, "code": b.digits(t)})
		time.Sleep(100 * time.Millisecond)
		s.tells(`
device.adopted box1: A device was let in.
device.connected box1: box1 is here, at 02:00:00:01:00:01.
device.reported box1: box reports: AV_STB, Example, Box.
device.planned box1: box shall have the address 192.168.1.250.
- profile set_top_box: its agent says it is AV_STB
- address 192.168.1.250: the first free one outside the DHCP pool
- reservation 192.168.1.250 for 02:00:00:01:00:01: so that DHCP gives this address to this device and to no other
- settings fixed address 192.168.1.250/24 via 192.168.1.1: its profile wants an address that holds even when DHCP does not answer
- class broadcast-video (DSCP 24): devices of this kind receive such traffic (RFC 4594)
gateway.changed: The gateway was changed: 5 steps.
- added igmp-proxy: wan to lan 0.0.0.0/0
- added mark of box1: 192.168.1.250 DSCP 24 (broadcast-video)
- added reservation of box1: 192.168.1.250 for 02:00:00:01:00:01
- reloaded service: dhcp
- reloaded service: igmpproxy
gateway.verified box1: The gateway was looked at: the DHCP server gives 192.168.1.250 to this device.
- reservation: the DHCP server offers 192.168.1.250 to 02:00:00:01:00:01
- mark: 192.168.1.250 DSCP 24 (broadcast-video)
device.asked box1: box was asked to use the fixed address 192.168.1.250/24.
device.applied box1: box uses the fixed address 192.168.1.250/24 and reaches the gateway.
device.configured box1: box is configured: the fixed address 192.168.1.250/24.`)
		s.fails("device_adopt", calls.Args{"id": id, "code": "123456"}, "box1 was let in already")
		s.same("findings", s.wrongs(), "")
	})
}

func TestStoryRefused(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		_, id := s.stranger()
		s.must("device_refuse", calls.Args{"id": id})
		time.Sleep(time.Second)
		s.tells(`
pairing.waiting box1: A device at 02:00:00:01:00:01 asks to be let in.
pairing.refused box1: A device that asked to be let in was turned away: a person said no.`)
		s.fails("device_adopt", calls.Args{"id": id, "code": "000000"}, "no device box1 asks to be let in")
		s.fails("device_refuse", calls.Args{"id": id}, "no device box1 asks to be let in")
		// It may ask again, but not at once.
		time.Sleep(40 * time.Second)
		s.tells(`pairing.waiting box1: A device at 02:00:00:01:00:01 asks to be let in.`)
	})
}

func TestStoryWrongDigits(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		b, id := s.stranger()
		digits := b.digits(t)
		for range maxWrong {
			s.fails("device_adopt", calls.Args{"id": id, "code": b.wrong(t)}, "these are not the digits that the device shows")
		}
		// Now not even the right ones.
		s.fails("device_adopt", calls.Args{"id": id, "code": digits}, "no device box1 asks to be let in")
		s.tells(`
pairing.waiting box1: A device at 02:00:00:01:00:01 asks to be let in.
pairing.wrong-digits box1: Wrong digits for a waiting device (1 of 5).
pairing.wrong-digits box1: Wrong digits for a waiting device (2 of 5).
pairing.wrong-digits box1: Wrong digits for a waiting device (3 of 5).
pairing.wrong-digits box1: Wrong digits for a waiting device (4 of 5).
pairing.wrong-digits box1: Wrong digits for a waiting device (5 of 5).
pairing.refused box1: A device that asked to be let in was turned away: wrong digits were typed in too often.`)
		time.Sleep(40 * time.Second)
		if again := b.digits(t); again == digits || again == "" {
			t.Errorf("digits %s, and then %s", digits, again)
		}
	})
}

func TestStoryWindow(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		play(t, "", func(t *testing.T, s *story) {
			s.must("pair", calls.Args{"for": 2 * time.Minute})
			s.plug(s.ctx, 1)
			time.Sleep(6 * time.Second)
			all := s.events()
			var kinds []string
			for _, e := range all[s.told:] {
				kinds = append(kinds, e.Kind)
			}
			if got := strings.Join(kinds, " "); !strings.HasPrefix(got, "pairing.opened pairing.waiting device.adopted device.connected") {
				t.Error(got)
			}
			if p := s.must("status", calls.Args{}).(calls.StatusResult).Pairing; p.Open {
				t.Error("the window is still open")
			}
			// The next one is not let in any more.
			_, id := s.stranger()
			if st := s.device(id).State; st != model.DeviceWaiting {
				t.Errorf("the second device is %s", st)
			}
		})
	})
	t.Run("two", func(t *testing.T) {
		play(t, "", func(t *testing.T, s *story) {
			s.must("pair", calls.Args{"for": 2 * time.Minute})
			s.plug(s.ctx, 1)
			time.Sleep(time.Second)
			s.plug(s.ctx, 2)
			time.Sleep(10 * time.Second)
			s.tells(`
pairing.opened: The pairing window is open for 2m0s.
pairing.waiting box1: A device at 02:00:00:01:00:01 asks to be let in.
pairing.waiting box2: A device at 02:00:00:01:00:02 asks to be let in.
pairing.overlap: 2 devices asked while the pairing window was open, so none was let in.
- Let them in one by one with their digits, or unplug all but one and open the window again.`)
		})
	})
	t.Run("none", func(t *testing.T) {
		play(t, "", func(t *testing.T, s *story) {
			s.must("pair", calls.Args{"for": time.Minute})
			time.Sleep(61 * time.Second)
			s.must("pair", calls.Args{"for": time.Minute})
			s.must("pair_close", calls.Args{})
			time.Sleep(time.Hour)
			s.tells(`
pairing.opened: The pairing window is open for 1m0s.
pairing.closed: The pairing window closed; nobody was let in.
pairing.opened: The pairing window is open for 1m0s.
pairing.closed: The pairing window was closed.`)
		})
	})
	t.Run("one leaves, another comes", func(t *testing.T) {
		play(t, "", func(t *testing.T, s *story) {
			s.must("pair", calls.Args{"for": 2 * time.Minute})
			b := s.plug(s.ctx, 1)
			time.Sleep(time.Second)
			b.stop()
			b.stop = func() {}
			time.Sleep(30 * time.Second)
			s.plug(s.ctx, 2)
			time.Sleep(6 * time.Second)
			if id := string(s.box[1].id(t)); s.device(id).State != model.DeviceAdopted {
				t.Errorf("%+v", s.device(id).DeviceSummary)
			}
		})
	})
}

func TestStoryDryRun(t *testing.T) {
	play(t, configurator("dry_run '1'"), func(t *testing.T, s *story) {
		b, id := s.stranger()
		s.must("device_adopt", calls.Args{"id": id, "code": b.digits(t)})
		time.Sleep(time.Minute)
		p := s.must("plan", calls.Args{}).(calls.PlanResult)
		var lines strings.Builder
		for _, l := range p.Lines {
			fmt.Fprintf(&lines, "%s %s %s: %s\n", l.Name, l.What, l.Value, l.Reason)
		}
		s.same("plan", lines.String(), `
box profile set_top_box: its agent says it is AV_STB
box address 192.168.1.250: the first free one outside the DHCP pool
box reservation 192.168.1.250 for 02:00:00:01:00:01: so that DHCP gives this address to this device and to no other
box settings fixed address 192.168.1.250/24 via 192.168.1.1: its profile wants an address that holds even when DHCP does not answer
box class broadcast-video (DSCP 24): devices of this kind receive such traffic (RFC 4594)
 multicast as it is: IPTV for "box" (box1) comes by multicast, and somebody has set the IGMP proxy up already`)
		if !p.DryRun || s.gw.Sets() != 0 || b.dev.In().Address.IsValid() {
			t.Errorf("dry run %v, %d writes, in force %+v", p.DryRun, s.gw.Sets(), b.dev.In())
		}
		// The yes stays, and is enough when it is meant.
		s.options("")
		s.reload <- struct{}{}
		time.Sleep(time.Second)
		if s.device(id).Progress != "configured" || s.gw.Sets() != 1 {
			t.Errorf("%+v", s.device(id).DeviceSummary)
		}
	})
}

func TestStoryProxyIsAskedFor(t *testing.T) {
	play(t, configurator("download '100'"), func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) { n.Multicast, n.Rates.Shaper = model.MulticastFact{Installed: true}, true })
		s.member()
		s.same("findings", s.wrongs(), `igmpproxy.needed: IPTV needs an IGMP proxy on the gateway, and none is set up. -> Let homeconf do it: homeconf multicast allow`)
		if s.gw.Reloads("igmpproxy") != 0 {
			t.Error("set up without a yes")
		}
		s.must("multicast_allow", calls.Args{})
		s.must("multicast_allow", calls.Args{}) // a second yes is no other
		time.Sleep(time.Second)
		s.tells(`
multicast.allowed: A person allowed homeconf to set up the IGMP proxy.
- igmpproxy: allowed
finding.cleared: No longer so: IPTV needs an IGMP proxy on the gateway, and none is set up.
gateway.changed: The gateway was changed: 2 steps.
- added igmp-proxy: wan to lan 0.0.0.0/0
- reloaded service: igmpproxy`)
		// The yes outlives the daemon.
		s.stop()
		s.gw.Lose()
		s.startHome(s.ctx)
		time.Sleep(5 * time.Second)
		if s.gw.State().Multicast == nil {
			t.Errorf("after a restart: %v", s.gw)
		}
	})
}

// plain is a device without an agent.
func plain(n byte, host string, addr string) sighting.Evidence {
	return sighting.Evidence{MAC: model.MAC{2, 0, 0, 2, 0, n}, Addr: netip.MustParseAddr(addr), HostName: host, Active: true, Source: sighting.DHCP}
}

func TestStoryWithoutAgent(t *testing.T) {
	play(t, configurator("download '100'"), func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) { n.Rates.Shaper = true })
		s.see <- []sighting.Evidence{plain(1, "old-box", "192.168.1.120"), plain(2, "vip1200", "192.168.1.121")}
		time.Sleep(time.Second)
		s.tells("") // seen, and no more than that
		s.must("device_set", calls.Args{"id": "m020000020001", "category": "AV_STB", "name": "Old box"})
		time.Sleep(time.Second)
		s.tells(`
device.chosen m020000020001: A person chose for Old box.
- name: Old box
- category: AV_STB
- state: managed
device.planned m020000020001: Old box shall have the address 192.168.1.250.
- profile set_top_box: a person says it is AV_STB
- address 192.168.1.250: the first free one outside the DHCP pool
- reservation 192.168.1.250 for 02:00:00:02:00:01: so that DHCP gives this address to this device and to no other
- class broadcast-video (DSCP 24): devices of this kind receive such traffic (RFC 4594)
gateway.changed: The gateway was changed: 3 steps.
- added mark of m020000020001: 192.168.1.250 DSCP 24 (broadcast-video)
- added reservation of m020000020001: 192.168.1.250 for 02:00:00:02:00:01
- reloaded service: dhcp
gateway.verified m020000020001: The gateway was looked at: the DHCP server gives 192.168.1.250 to this device.
- reservation: the DHCP server offers 192.168.1.250 to 02:00:00:02:00:01
- mark: 192.168.1.250 DSCP 24 (broadcast-video)`)
		s.must("device_set", calls.Args{"id": "m020000020001", "address": "192.168.1.77"})
		time.Sleep(time.Second)
		if a := s.gw.State().Reservations[0].Address; a != netip.MustParseAddr("192.168.1.77") {
			t.Errorf("a person's choice gives %s", a)
		}
		s.fails("device_set", calls.Args{"id": "m020000020001", "address": "10.0.0.1"}, "10.0.0.1 lies outside the LAN, which is 192.168.1.0/24")
		s.fails("device_set", calls.Args{"id": "m020000020001", "profile": "none"}, `no profile "none"`)
		s.fails("device_set", calls.Args{"id": "m0200000200ff", "name": "x"}, "no device m0200000200ff; `homeconf device list` shows those there are")
	})
}

// TestStoryFindings: each thing that is wrong with a home is raised once, in
// words, and cleared when it is mended.
func TestStoryFindings(t *testing.T) {
	for _, c := range []struct {
		name   string
		break_ func(s *story, n *model.Network)
		want   string
	}{
		{"no shaper", func(_ *story, n *model.Network) { n.Rates.Shaper = false },
			"qos.no-shaper: Nothing at the WAN keeps other traffic from crowding out the picture: the marks that homeconf sets are there, but no queue heeds them. -> Set up SQM with the rates of your line: opkg install luci-app-sqm"},
		{"slow line", func(_ *story, n *model.Network) { n.Rates.DownMbps = 16 },
			"bandwidth.down: Your devices need 25 Mbit/s from outside, and the line carries 16 Mbit/s. -> When all run at once the picture may stutter: a faster line, or fewer at once."},
		{"slow port", func(_ *story, n *model.Network) { n.Rates.DownMbps, n.WAN.SpeedMbps = 0, 10 },
			"bandwidth.down: Your devices need 25 Mbit/s from outside, and the gateway's WAN port carries 10 Mbit/s. -> Look at the cable and the port between gateway and modem."},
		{"unknown line", func(_ *story, n *model.Network) { n.Rates.DownMbps = 0 },
			"bandwidth.unknown: Your devices need 25 Mbit/s from outside; what the line carries nobody has said. -> Say it: option download in /etc/config/homeconf, in Mbit/s."},
		{"offloading", func(_ *story, n *model.Network) { n.Offloading = true },
			"qos.offloading: Flow offloading is on: most packets pass the gateway without being marked. -> Turn it off where the picture matters more: uci set firewall.@defaults[0].flow_offloading=0"},
		{"no proxy", func(_ *story, n *model.Network) { n.Multicast = model.MulticastFact{} },
			"igmpproxy.not-installed: IPTV needs an IGMP proxy on the gateway, and none is installed. -> Install one: opkg install igmpproxy"},
		{"proxy stopped", func(_ *story, n *model.Network) { n.Multicast.Running = false },
			"igmpproxy.stopped: The IGMP proxy is set up but does not run, so IPTV has no picture. -> Start it: /etc/init.d/igmpproxy restart"},
		{"proxy elsewhere", func(_ *story, n *model.Network) { n.Multicast.Downstream = []string{"guest"} },
			`igmpproxy.not-for-lan: The IGMP proxy that somebody has set up does not send to "lan", so IPTV has no picture there. -> Add the network to /etc/config/igmpproxy as a phyint with direction 'downstream'.`},
		{"slow port at home", func(s *story, n *model.Network) {
			n.Ports = []model.BridgePort{{Device: "lan1", SpeedMbps: 10, MACs: []model.MAC{model.MAC(s.box[0].mac)}}}
		}, `link.slow: "box" (box1) needs 25 Mbit/s, and its port on the gateway (lan1) carries 10 Mbit/s. -> Look at the cable, or move the device to a faster port.`},
		{"reserved twice", func(_ *story, n *model.Network) {
			a := netip.MustParseAddr("192.168.1.9")
			n.Reservations = []model.HostEntry{{Section: "a", MACs: []model.MAC{{2, 9}}, Address: a, Enabled: true}, {Section: "b", MACs: []model.MAC{{2, 8}}, Address: a, Enabled: true}}
		}, `reservation.duplicate: The address 192.168.1.9 is reserved twice, in section "a" and section "b"; the DHCP server may refuse to start. -> Delete one of them.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, "", func(t *testing.T, s *story) {
				well := func(n *model.Network) { n.Rates = model.Rates{DownMbps: 100, UpMbps: 40, Source: "sqm", Shaper: true} }
				s.gw.Change(well)
				s.member()
				s.same("before", s.wrongs(), "")
				s.gw.Change(func(n *model.Network) { c.break_(s, n) })
				time.Sleep(lookEvery + time.Second)
				s.same("raised", s.wrongs(), c.want)
				text, step, _ := strings.Cut(c.want, " -> ")
				_, text, _ = strings.Cut(text, ": ")
				about := ""
				if strings.Contains(text, "(box1)") {
					about = " box1"
				}
				s.tells("finding.raised" + about + ": " + text + "\n- " + step)
				time.Sleep(3 * lookEvery)
				s.tells("") // once is enough
				s.gw.Change(func(n *model.Network) { *n = facts(); well(n) })
				time.Sleep(lookEvery + time.Second)
				s.tells("finding.cleared" + about + ": No longer so: " + text)
				s.same("after", s.wrongs(), "")
			})
		})
	}
}

// TestStoryGatewayFails: whatever the gateway does, nothing is half done, the
// pauses grow, and it ends well.
func TestStoryGatewayFails(t *testing.T) {
	broken := errors.New("no space left on device")
	for _, p := range []gateway.Point{gateway.PointFacts, gateway.PointSet, gateway.PointDHCP, gateway.PointMarks, gateway.PointReload, gateway.PointReservation, gateway.PointVerifyMarks} {
		t.Run(string(p), func(t *testing.T) {
			play(t, "", func(t *testing.T, s *story) {
				b, id := s.stranger()
				s.gw.Fail(p, broken, broken, broken, broken)
				s.must("device_adopt", calls.Args{"id": id, "code": b.digits(t)})
				time.Sleep(5 * time.Second)
				if b.dev.In().Address.IsValid() || s.device(id).Progress == "configured" {
					t.Errorf("asked before the gateway was ready: %+v", b.dev.In())
				}
				if f := s.wrongs(); !strings.Contains(f, "could not be") || !strings.Contains(f, "no space left on device") {
					t.Errorf("findings: %s", f)
				}
				time.Sleep(12 * time.Second) // 1, 2, 4, 8 s
				if s.device(id).Progress != "configured" || strings.Contains(s.wrongs(), "no space left") {
					t.Errorf("%+v\n%s", s.device(id).DeviceSummary, s.wrongs())
				}
				if n := len(s.gw.State().Reservations); n != 1 {
					t.Errorf("%d reservations", n)
				}
			})
		})
	}
}

func TestStoryRestart(t *testing.T) {
	play(t, configurator("download '100'"), func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) { n.Rates.Shaper = true })
		b, id := s.member()
		s.must("device_set", calls.Args{"id": id, "name": "Living room"})
		time.Sleep(time.Second)
		s.told = len(s.events())
		state, sets, in := s.gw.String(), s.gw.Sets(), b.dev.In()
		s.stop()
		time.Sleep(time.Minute)
		s.startHome(s.ctx)
		time.Sleep(40 * time.Second)
		s.tells(`
device.connected box1: Living room is here, at 02:00:00:01:00:01.
gateway.verified box1: The gateway was looked at: the DHCP server gives 192.168.1.250 to this device.
- reservation: the DHCP server offers 192.168.1.250 to 02:00:00:01:00:01
- mark: 192.168.1.250 DSCP 24 (broadcast-video)`)
		if s.gw.String() != state || s.gw.Sets() != sets || !b.dev.In().Same(in) || s.device(id).Progress != "configured" || s.device(id).Name != "Living room" {
			t.Errorf("gateway %v, %d writes, in force %+v, device %+v", s.gw, s.gw.Sets()-sets, b.dev.In(), s.device(id).DeviceSummary)
		}
	})
}

func TestStoryStrangerUsesTheAddress(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) { n.Rates = model.Rates{DownMbps: 100, Shaper: true} })
		b, _ := s.member()
		addr, thief := netip.MustParseAddr("192.168.1.250"), model.MAC{2, 0, 0, 9, 9, 9}
		s.speaks <- arpPair{addr, model.MAC(b.mac)} // its owner
		s.speaks <- arpPair{netip.MustParseAddr("192.168.1.9"), thief}
		s.speaks <- arpPair{netip.MustParseAddr("10.0.0.1"), thief}
		time.Sleep(time.Second)
		s.tells("")
		s.speaks <- arpPair{addr, thief}
		time.Sleep(time.Second)
		s.tells(`
finding.raised box1: box has the address 192.168.1.250, and a device at 02:00:00:09:09:09 uses it too.
- box gets another address. Set the device at 02:00:00:09:09:09 to DHCP.
device.planned box1: box shall have the address 192.168.1.251.
- profile set_top_box: its agent says it is AV_STB
- address 192.168.1.251: the first free one outside the DHCP pool; it had 192.168.1.250, but another device (02:00:00:09:09:09) answers there
- reservation 192.168.1.251 for 02:00:00:01:00:01: so that DHCP gives this address to this device and to no other
- settings fixed address 192.168.1.251/24 via 192.168.1.1: its profile wants an address that holds even when DHCP does not answer
- class broadcast-video (DSCP 24): devices of this kind receive such traffic (RFC 4594)
gateway.changed: The gateway was changed: 5 steps.
- added mark of box1: 192.168.1.251 DSCP 24 (broadcast-video)
- added reservation of box1: 192.168.1.251 for 02:00:00:01:00:01
- removed mark of box1: 192.168.1.250 DSCP 24 (broadcast-video)
- removed reservation of box1: 192.168.1.250 for 02:00:00:01:00:01
- reloaded service: dhcp
gateway.verified box1: The gateway was looked at: the DHCP server gives 192.168.1.251 to this device.
- reservation: the DHCP server offers 192.168.1.251 to 02:00:00:01:00:01
- mark: 192.168.1.251 DSCP 24 (broadcast-video)
device.asked box1: box was asked to use the fixed address 192.168.1.251/24.
device.applied box1: box uses the fixed address 192.168.1.251/24 and reaches the gateway.
device.configured box1: box is configured: the fixed address 192.168.1.251/24.`)
		// Whoever forges ARP drives it no further, and costs no more than this.
		next := netip.MustParseAddr("192.168.1.251")
		for range 8 * 60 {
			s.speaks <- arpPair{next, thief}
			s.speaks <- arpPair{next, model.MAC{2, 0, 0, 9, 9, 10}}
			time.Sleep(time.Second)
		}
		s.tells(`
finding.raised box1: box has the address 192.168.1.251, and a device at 02:00:00:09:09:09 uses it too.
- box had to move a moment ago and stays. Set the device at 02:00:00:09:09:09 to DHCP, or unplug it.`)
		time.Sleep(busyLife + time.Second)
		s.tells(`
finding.cleared box1: No longer so: box has the address 192.168.1.250, and a device at 02:00:00:09:09:09 uses it too.
finding.cleared box1: No longer so: box has the address 192.168.1.251, and a device at 02:00:00:09:09:09 uses it too.`)
		if in := b.dev.In().Address; in != netip.MustParsePrefix("192.168.1.251/24") {
			t.Errorf("in force %s", in)
		}
	})
}

func TestStoryProbedAddressIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &story{sim: newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond}), ctx: t.Context()}
		s.lan.busy = map[netip.Addr]model.MAC{netip.MustParseAddr("192.168.1.250"): {2, 0, 0, 9, 9, 9}, netip.MustParseAddr("192.168.1.251"): {2, 0, 0, 9, 9, 9}}
		s.startHome(s.ctx)
		defer s.end()
		time.Sleep(time.Second)
		_, id := s.member()
		if a := s.device(id).Address; a != netip.MustParseAddr("192.168.1.252") {
			t.Errorf("got %s", a)
		}
	})
}

func TestStoryDeviceRefuses(t *testing.T) {
	t.Run("gateway out of reach", func(t *testing.T) { refuses(t, "prove", "0s 4s 20s 1m24s", "the cable has no end") })
	// A device that can't go back either never gets as far as an answer.
	t.Run("nothing can be set", func(t *testing.T) { refuses(t, "apply", "0s 34s 1m20s 2m54s", "it gave no answer within 30s") })
}

// refuses plays with a device one of whose operations fails.
func refuses(t *testing.T, fails, askedAt, why string) {
	play(t, configurator("download '100'"), func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) { n.Rates.Shaper = true })
		b, id := s.stranger()
		fail := func(op string) error {
			if op == fails {
				return errors.New("the cable has no end")
			}
			return nil
		}
		b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Fail = fail })
		began := time.Now()
		s.must("device_adopt", calls.Args{"id": id, "code": b.digits(t)})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		var asked []string
		for _, e := range s.events() {
			if e.Kind == "device.asked" {
				asked = append(asked, e.Time.Sub(began).Round(time.Second).String())
			}
		}
		if got := strings.Join(asked, " "); got != askedAt {
			t.Errorf("asked at %s", got)
		}
		if d := s.device(id); d.Progress != "failed" {
			t.Errorf("%+v", d.DeviceSummary)
		}
		if f := s.wrongs(); !strings.Contains(f, "device.refuses: box can't be configured: ") || !strings.Contains(f, why) {
			t.Errorf("findings: %s", f)
		}
		// Another choice is asked anew, and then it works.
		b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Fail = nil })
		s.must("device_set", calls.Args{"id": id, "address": "192.168.1.77"})
		time.Sleep(10 * time.Second)
		if d := s.device(id); d.Progress != "configured" || d.Address != netip.MustParseAddr("192.168.1.77") || s.wrongs() != "" {
			t.Errorf("%+v\n%s", d.DeviceSummary, s.wrongs())
		}
	})
}

func TestStoryReload(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		s.member()
		for _, c := range []struct{ conf, want string }{
			{configurator("download '100'", "upload '20'"), `
options.read: The settings were read again.
finding.cleared: No longer so: Your devices need 25 Mbit/s from outside; what the line carries nobody has said.`},
			{configurator("download '1000000'", "dry_run 'maybe'"), fmt.Sprintf(`
finding.raised: The settings can't be taken over, so the earlier ones stay in force: %[1]s:1: config configurator configurator: download: "1000000": want whole Mbit/s, 0 to 100000; %[1]s:1: config configurator configurator: dry_run: "maybe": want 0 or 1
- Correct %[1]s, and have it read again (SIGHUP, or /etc/init.d/homeconf reload).`, filepath.Join(s.dir, "config", "homeconf"))},
			{configurator("download '20'") + "config profile 'set_top_box'\n\toption class 'multimedia-streaming'\n", fmt.Sprintf(`
finding.cleared: No longer so: The settings can't be taken over, so the earlier ones stay in force: %[1]s:1: config configurator configurator: download: "1000000": want whole Mbit/s, 0 to 100000; %[1]s:1: config configurator configurator: dry_run: "maybe": want 0 or 1
options.read: The settings were read again.
finding.raised: Your devices need 25 Mbit/s from outside, and the line carries 20 Mbit/s.
- When all run at once the picture may stutter: a faster line, or fewer at once.
gateway.changed: The gateway was changed: 2 steps.
- added mark of box1: 192.168.1.250 DSCP 26 (multimedia-streaming)
- removed mark of box1: 192.168.1.250 DSCP 24 (broadcast-video)`, filepath.Join(s.dir, "config", "homeconf"))},
		} {
			s.options(c.conf)
			s.reload <- struct{}{}
			time.Sleep(time.Second)
			s.tells(c.want)
		}
	})
}

// fullDisk is a database's disk with a switch.
type fullDisk struct {
	inventory.FS
	full atomic.Bool
}

func (d *fullDisk) WriteSynced(path string, b []byte, mode fs.FileMode) error {
	if d.full.Load() {
		return syscall.ENOSPC
	}
	return d.FS.WriteSynced(path, b, mode)
}

// TestStoryFullDisk: what can't be stored is refused and does not happen later;
// what was decided and can't be stored is not done.
func TestStoryFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &story{sim: newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond}), ctx: t.Context()}
		disk := &fullDisk{FS: s.fs}
		s.fs = disk
		s.options(configurator("download '100'"))
		s.gw.Change(func(n *model.Network) { n.Rates.Shaper = true })
		s.startHome(s.ctx)
		defer s.end()
		b, id := s.stranger()
		s.told = len(s.events())
		disk.full.Store(true)
		refused := fmt.Sprintf("writing %s/home/devices/box1.json: no space left on device", s.dir)
		s.fails("device_adopt", calls.Args{"id": id, "code": b.digits(t)}, "the device can't be let in, for that can't be stored: "+refused)
		s.tells("finding.raised: The database can't be written: " + refused + "\n- Make room on the router's flash; until then what is learned is lost at a restart.")
		time.Sleep(10 * time.Minute)
		if st := s.device(id).State; st != model.DeviceWaiting || s.gw.Sets() != 0 {
			t.Errorf("it is %s, and the gateway was written %d times", st, s.gw.Sets())
		}
		disk.full.Store(false)
		s.must("device_adopt", calls.Args{"id": id, "code": b.digits(t)})
		time.Sleep(time.Second)
		if d := s.device(id); d.Progress != "configured" || s.wrongs() != "" {
			t.Errorf("%+v\n%s", d.DeviceSummary, s.wrongs())
		}
		// A choice that can't be stored is none, and a plan that can't is not carried out.
		disk.full.Store(true)
		if _, err := s.call("device_set", calls.Args{"id": id, "address": "192.168.1.77"}); err == nil || s.device(id).Record.Choice.Address.IsValid() {
			t.Errorf("chosen: %v, %+v", err, s.device(id).Record.Choice)
		}
		sets := s.gw.Sets()
		s.options(configurator("download '100'") + "config profile 'set_top_box'\n\toption address 'reserve'\n")
		s.reload <- struct{}{}
		time.Sleep(10 * time.Minute)
		if in := b.dev.In(); in.AddressingType != model.AddressingStatic || s.gw.Sets() != sets || !strings.Contains(s.wrongs(), "store.full") {
			t.Errorf("done without being stored: %+v\n%s", in, s.wrongs())
		}
		disk.full.Store(false)
		b.dev.Change(func(m *system.Memory, _ *model.Settings) {
			m.Offer = system.Lease{Address: netip.MustParsePrefix("192.168.1.250/24"), Gateway: netip.MustParseAddr("192.168.1.1"), For: time.Hour}
		})
		time.Sleep(3 * time.Minute)
		if in := b.dev.In(); in.AddressingType != model.AddressingDHCP || s.wrongs() != "" || s.device(id).Progress != "configured" {
			t.Errorf("with room again: %+v\n%s", in, s.wrongs())
		}
	})
}

// TestStoryChannel: a box joins a channel and leaves it; what was seen of the
// channel is not shown any longer than it is true.
func TestStoryChannel(t *testing.T) {
	play(t, configurator("download '100'"), func(t *testing.T, s *story) {
		s.gw.Change(func(n *model.Network) { n.Rates.Shaper = true })
		b, id := s.member()
		group := netip.MustParseAddr("239.1.2.3")
		zap := func(groups ...netip.Addr) {
			b.dev.Change(func(m *system.Memory, _ *model.Settings) { m.Base.Groups = groups })
			time.Sleep(time.Second)
		}
		s.gw.Join(group)
		s.gw.Stream(netip.MustParseAddr("203.0.113.1"), group)
		zap(group)
		s.tells(`
gateway.changed: The gateway was changed: 1 step.
- added mark of box1: 239.1.2.3 DSCP 24 (broadcast-video)
multicast.verified box1: The multicast path was looked at, and carries what this device asked for.
- group: 239.1.2.3 joined on wan
- stream: (203.0.113.1, 239.1.2.3) from wan to br-lan`)
		zap()
		for _, k := range s.device(id).Checks {
			if aboutMulticast(k) {
				t.Errorf("still shown: %+v", k)
			}
		}
		// A channel that nobody sends is a finding, after a while.
		zap(netip.MustParseAddr("239.9.9.9"))
		time.Sleep(20 * time.Second)
		if f := s.wrongs(); !strings.Contains(f, "multicast.group: ") || !strings.Contains(f, "multicast.stream: ") {
			t.Errorf("findings: %s", f)
		}
		zap()
		s.same("findings", s.wrongs(), "")
	})
}
