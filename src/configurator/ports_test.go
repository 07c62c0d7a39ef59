package configurator

import (
	"errors"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"testing"
	"time"

	"homeconf/src/calls"
	"homeconf/src/gateway"
	"homeconf/src/model"
	"homeconf/src/sighting"
	"homeconf/src/system"
)

// exposing is a device's option for a service that asks to be reached.
func exposing(ports ...string) string {
	var b strings.Builder
	for i := 0; i < len(ports); i += 4 {
		fmt.Fprintf(&b, "config service 's%d'\n\toption expose '%s'\n", i, strings.Join(ports[i:min(i+4, len(ports))], " "))
	}
	return b.String()
}

// joins plugs a box with more options in, lets it in and waits for it.
func (s *story) joins(options string) (*simBox, string) {
	s.t.Helper()
	b := s.plugWith(s.ctx, len(s.box)+1, options)
	time.Sleep(2500 * time.Millisecond)
	id := string(b.id(s.t))
	s.must("device_adopt", calls.Args{"id": id, "code": b.digits(s.t)})
	time.Sleep(2 * time.Second)
	if p := s.device(id).Progress; p != "configured" {
		s.t.Fatalf("%s is %s", id, p)
	}
	s.told = len(s.events())
	return b, id
}

// ports compares what is listed, a line each.
func (s *story) ports(want string) []calls.Port {
	s.t.Helper()
	var b strings.Builder
	list := s.must("port_list", calls.Args{}).(calls.PortsResult).Ports
	for _, p := range list {
		fmt.Fprintf(&b, "%s %d/%s to %v:%d %s", p.Device, p.External, p.Protocol, p.Address, p.Internal, p.State)
		if p.Why != "" {
			b.WriteString(": " + p.Why)
		}
		b.WriteString("\n")
	}
	got := b.String()
	for _, p := range list {
		if !p.Device.Agentless() { // the tests that list have one box; it may be stopped
			got = strings.ReplaceAll(got, string(p.Device), "box1")
		}
	}
	if got = strings.TrimSpace(got); got != want {
		s.t.Errorf("ports:\n%s\n\nwant:\n%s", got, want)
	}
	return list
}

// redirects are what the gateway has in force.
func (s *story) redirects(want string) {
	s.t.Helper()
	var b strings.Builder
	in := s.gw.State().Redirects
	sort.Slice(in, func(i, j int) bool { return in[i].Outer().String() < in[j].Outer().String() })
	for _, r := range in {
		fmt.Fprintf(&b, "%s to %s:%d\n", r.Outer(), r.Address, r.Port)
	}
	if got := strings.TrimSpace(b.String()); got != want {
		s.t.Errorf("redirects:\n%s\n\nwant:\n%s", got, want)
	}
}

func TestStoryPortOpened(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		_, id := s.member()
		p := s.must("port_open", calls.Args{"id": id, "port": "443/tcp", "reason": "web", "for": "5m"}).(calls.Port)
		if p.State != "open" || p.Address.String() != "192.168.1.250" || p.Renewed || time.Until(p.Until) > 5*time.Minute {
			t.Errorf("%+v", p)
		}
		end := p.Until.Format("2006-01-02 15:04")
		full := p.Until.Format("2006-01-02 15:04:05")
		s.tells(`
port.opened box1: A person opened port 443/tcp to 443/tcp of box until ` + end + ` UTC.
- reason: web
gateway.changed: The gateway was changed: 2 steps.
- added opening of box1: 443/tcp to 192.168.1.250:443 until ` + full + `
- reloaded service: firewall`)
		s.redirects("443/tcp to 192.168.1.250:443")

		// It ends to the second, and is never renewed: a person said so.
		time.Sleep(time.Until(p.Until) - time.Second)
		s.redirects("443/tcp to 192.168.1.250:443")
		time.Sleep(1100 * time.Millisecond)
		s.redirects("")
		s.ports("")
		s.tells(`
port.closed box1: Port 443/tcp to box was closed: its time is up.
gateway.changed: The gateway was changed: 2 steps.
- removed opening of box1: 443/tcp to 192.168.1.250:443 until ` + full + `
- reloaded service: firewall`)

		// For ever is what the lock can hold.
		p = s.must("port_open", calls.Args{"id": id, "port": "51820/udp", "external": int64(1194), "for": "ever"}).(calls.Port)
		if r := s.gw.State().Redirects; len(r) != 1 || !r[0].Stop.Equal(model.LastStop) || !p.Until.IsZero() {
			t.Errorf("%+v, %+v", r, p)
		}
		s.must("port_close", calls.Args{"id": p.ID})
		s.redirects("")
		s.fails("port_close", calls.Args{"id": p.ID}, "no port "+p.ID+"; `homeconf port list` shows those there are")
	})
}

func TestStoryPortOfAnAbsentDevice(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		b, id := s.member()
		p := s.must("port_open", calls.Args{"id": id, "port": "443/tcp"}).(calls.Port)
		s.told = len(s.events())
		b.stop()
		time.Sleep(9 * time.Minute)
		s.redirects("443/tcp to 192.168.1.250:443")
		time.Sleep(2 * time.Minute)
		s.redirects("")
		s.ports("box1 443/tcp to invalid IP:443 suspended: the device is not at home")
		full := p.Until.Format("2006-01-02 15:04:05")
		var told []string
		for _, e := range s.events()[s.told:] {
			if e.Kind != "device.disconnected" {
				told = append(told, e.Kind+": "+e.Text, strings.Join(e.Detail, "; "))
			}
		}
		want := "port.suspended: Port 443/tcp to box is suspended: the device is not at home.\n\n" +
			"gateway.changed: The gateway was changed: 2 steps.\nremoved opening of " + id + ": 443/tcp to 192.168.1.250:443 until " + full + "; reloaded service: firewall"
		if got := strings.Join(told, "\n"); got != want {
			t.Errorf("told:\n%s\n\nwant:\n%s", got, want)
		}
		s.startBox(s.ctx, b)
		time.Sleep(3 * time.Second)
		s.redirects("443/tcp to 192.168.1.250:443")
		s.ports("box1 443/tcp to 192.168.1.250:443 open")
	})
}

func TestStoryPortFollowsTheAddress(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		_, id := s.member()
		s.must("port_open", calls.Args{"id": id, "port": "443/tcp"})
		s.must("device_set", calls.Args{"id": id, "address": "192.168.1.50"})
		time.Sleep(time.Second)
		s.redirects("443/tcp to 192.168.1.50:443")
		// At every moment it led to the device or nowhere: to no third address.
		for _, l := range s.gw.Transcript() {
			if strings.Contains(l, "opening") && !strings.Contains(l, "192.168.1.250:443") && !strings.Contains(l, "192.168.1.50:443") {
				t.Error(l)
			}
		}
	})
}

// An agent's word alone moves an opening nowhere: it could name any host.
func TestStoryPortDoesNotFollowALie(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		b, id := s.member()
		s.must("port_open", calls.Args{"id": id, "port": "443/tcp"})
		victim := model.Settings{AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("192.168.1.66/24"), Gateway: netip.MustParsePrefix("192.168.1.1/24").Addr()}
		b.dev.Change(func(_ *system.Memory, in *model.Settings) { *in = victim })
		time.Sleep(5 * time.Second)
		for _, r := range s.gw.State().Redirects {
			if r.Address.String() != "192.168.1.250" {
				t.Errorf("leads to %s", r.Address)
			}
		}
		for _, l := range s.gw.Transcript() {
			if strings.Contains(l, "192.168.1.66") {
				t.Error(l)
			}
		}
	})
}

func TestStoryPortCollisions(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		_, one := s.member()
		_, two := s.member()
		s.gw.Occupy(model.Occupied{Protocol: model.TCP, First: 8000, Last: 8100, By: `the redirect "web" of /etc/config/firewall`},
			model.Occupied{First: 22, Last: 22, By: "a service of the gateway's own"})
		s.must("port_open", calls.Args{"id": one, "port": "443/tcp"})
		s.must("port_open", calls.Args{"id": two, "port": "443/udp"})
		s.fails("port_open", calls.Args{"id": two, "port": "443/tcp"}, `port 443/tcp can't be opened to box: "box" (box1) has that port`)
		s.fails("port_open", calls.Args{"id": two, "port": "80/tcp", "external": int64(8050)}, `port 8050/tcp can't be opened to box: the redirect "web" of /etc/config/firewall has that port`)
		s.fails("port_open", calls.Args{"id": two, "port": "22/udp"}, `port 22/udp can't be opened to box: a service of the gateway's own has that port`)
		s.fails("port_open", calls.Args{"id": "m020000000077", "port": "80/tcp"}, "no device m020000000077; `homeconf device list` shows those there are")
		s.must("port_open", calls.Args{"id": two, "port": "443/tcp", "external": int64(8443)})
		s.redirects("443/tcp to 192.168.1.250:443\n443/udp to 192.168.1.251:443\n8443/tcp to 192.168.1.251:443")

		// Somebody takes a port that was ours: his stays, ours gives way, and a
		// finding says so.
		s.gw.Occupy(model.Occupied{Protocol: model.TCP, First: 443, Last: 443, By: `the redirect "mine" of /etc/config/firewall`})
		time.Sleep(time.Second)
		s.redirects("443/udp to 192.168.1.251:443\n8443/tcp to 192.168.1.251:443")
		if w := s.wrongs(); !strings.Contains(w, `can't stay open: the redirect "mine" of /etc/config/firewall has it now`) {
			t.Error(w)
		}
		s.gw.Occupy()
		time.Sleep(time.Second)
		s.redirects("443/tcp to 192.168.1.250:443\n443/udp to 192.168.1.251:443\n8443/tcp to 192.168.1.251:443")
	})
}

func TestStoryPortWishes(t *testing.T) {
	for policy, want := range map[string]string{
		"never":  "box1 443/tcp to invalid IP:443 refused: profile set_top_box allows none",
		"ask":    "box1 443/tcp to invalid IP:443 wish: a person's yes is awaited",
		"always": "box1 443/tcp to 192.168.1.250:443 open",
	} {
		t.Run(policy, func(t *testing.T) {
			play(t, "config profile 'set_top_box'\n\toption allow_ports '"+policy+"'\n", func(t *testing.T, s *story) {
				s.joins(exposing("443/tcp"))
				list := s.ports(want)
				switch policy {
				case "never":
					s.redirects("")
					s.fails("port_allow", calls.Args{"id": "p0000000000"}, "no port p0000000000; `homeconf port list` shows those there are")
				case "ask":
					s.redirects("")
					if w := s.wrongs(); !strings.Contains(w, "asks to be reached from outside at 443/tcp.") || !strings.Contains(w, "homeconf port allow "+list[0].ID) {
						t.Error(w)
					}
					s.must("port_allow", calls.Args{"id": list[0].ID})
					s.redirects("443/tcp to 192.168.1.250:443")
					if w := s.wrongs(); strings.Contains(w, "port-wish") {
						t.Error(w)
					}
				}
				if policy == "never" {
					return
				}
				// A no is remembered, though the device asks on.
				s.must("port_close", calls.Args{"id": list[0].ID})
				s.redirects("")
				time.Sleep(time.Minute)
				s.ports("box1 443/tcp to invalid IP:443 refused: a person said no")
				s.must("port_allow", calls.Args{"id": list[0].ID})
				s.redirects("443/tcp to 192.168.1.250:443")
			})
		})
	}
}

// A device that is taken over and asks for everything gets little: of wishes, a
// bounded list and one finding; of grants, no more than the bound.
func TestStoryPortsOfAHackedAgent(t *testing.T) {
	for _, policy := range []string{"ask", "always"} {
		t.Run(policy, func(t *testing.T) {
			play(t, "config profile 'set_top_box'\n\toption allow_ports '"+policy+"'\n", func(t *testing.T, s *story) {
				var all []string
				for n := range 64 * 4 { // as many as a report holds
					all = append(all, fmt.Sprintf("%d/tcp", 1000+n))
				}
				s.joins(exposing(all...))
				time.Sleep(time.Minute)
				list := s.must("port_list", calls.Args{}).(calls.PortsResult).Ports
				open := len(s.gw.State().Redirects)
				if policy == "ask" && (len(list) != 16 || open != 0) || policy == "always" && (open != 32 || len(list) > 48) {
					t.Errorf("%d listed, %d open", len(list), open)
				}
				wishes := 0
				for _, f := range s.must("finding_list", calls.Args{}).(calls.FindingsResult).Findings {
					if f.Kind == "port-wish" {
						wishes++
					}
				}
				if wishes > 1 {
					t.Errorf("%d findings", wishes)
				}
			})
		})
	}
}

// A device without an agent is seen by the gateway, or it is not.
func TestStoryPortOfAnAgentlessDevice(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		mac := model.MAC{2, 0, 0, 0, 0, 0x77}
		at := func(a string, active bool) {
			e := sighting.Evidence{MAC: mac, Source: sighting.Neighbor, Active: active}
			if a != "" {
				e.Addr = netip.MustParsePrefix(a + "/24").Addr()
			}
			s.see <- []sighting.Evidence{e}
			time.Sleep(time.Second)
		}
		at("192.168.1.120", true)
		id := string(model.IDOfMAC(mac))
		s.must("device_set", calls.Args{"id": id, "category": "PC_NAS", "address": "192.168.1.40"})
		time.Sleep(time.Second)
		s.must("port_open", calls.Args{"id": id, "port": "443/tcp"})
		s.ports(id + " 443/tcp to invalid IP:443 suspended: the device is not known to use its address 192.168.1.40")
		at("192.168.1.40", true)
		s.redirects("443/tcp to 192.168.1.40:443")
		s.see <- nil
		time.Sleep(11 * time.Minute)
		s.redirects("")
		at("192.168.1.40", true)
		s.redirects("443/tcp to 192.168.1.40:443")
	})
}

// What is noted while the gateway can't be written is done later, and a restart
// keeps it.
func TestStoryPortOverFailureAndRestart(t *testing.T) {
	play(t, "", func(t *testing.T, s *story) {
		_, id := s.member()
		s.gw.Fail(gateway.PointOpenings, errors.New("no room"))
		if _, err := s.call("port_open", calls.Args{"id": id, "port": "443/tcp"}); err == nil || !strings.Contains(err.Error(), "no room") {
			t.Errorf("error %v", err)
		}
		time.Sleep(5 * time.Second)
		s.redirects("443/tcp to 192.168.1.250:443")

		s.stop()
		s.gw.Lose()
		s.startHome(s.ctx)
		time.Sleep(5 * time.Second)
		s.redirects("443/tcp to 192.168.1.250:443")
		reloads := s.gw.Reloads("firewall")
		time.Sleep(11 * time.Minute)
		if n := s.gw.Reloads("firewall"); n != reloads {
			t.Errorf("%d reloads while nothing happened", n-reloads)
		}
	})
}
