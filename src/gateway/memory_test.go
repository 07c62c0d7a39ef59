package gateway

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"homeconf/src/model"
)

const (
	stb model.DeviceID = "d0123456789"
	nas model.DeviceID = "m0200000000aa"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(t testing.TB, s string) model.MAC {
	t.Helper()
	m, err := model.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func scene(t testing.TB) model.GatewayState {
	return model.GatewayState{
		Reservations: []model.Reservation{{Device: stb, Name: "box", MACs: []model.MAC{mac(t, "02:00:00:00:00:01")}, Address: addr("192.168.1.50"), Reason: "set-top box"}},
		Marks: []model.Mark{{Device: stb, Address: addr("192.168.1.50"), Groups: []netip.Addr{addr("239.1.1.1")},
			Class: model.ClassBroadcastVideo, Reason: "set-top box"}},
		Multicast: &model.MulticastPath{Upstream: "wan", Downstream: "lan", AltNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
	}
}

func TestMemoryStory(t *testing.T) {
	ctx := context.Background()
	m := NewMemory(model.Network{LAN: model.LAN{Device: "br-lan"}, WAN: model.WAN{Device: "eth0"}, Multicast: model.MulticastFact{Installed: true}})
	want := scene(t)
	c, err := m.Set(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	golden := `added igmp-proxy: wan to lan 10.0.0.0/8
added mark of d0123456789: 192.168.1.50 DSCP 24 (broadcast-video)
added mark of d0123456789: 239.1.1.1 DSCP 24 (broadcast-video)
added reservation of d0123456789: 192.168.1.50 for 02:00:00:00:00:01
reloaded service: dhcp
reloaded service: igmpproxy`
	if c.String() != golden {
		t.Errorf("first Set did\n%s\nwant\n%s", c, golden)
	}
	if c, err := m.Set(ctx, want); err != nil || !c.Empty() {
		t.Errorf("second Set: %v, %v", c, err)
	}
	m.Join(addr("239.1.1.1"))
	m.Stream(addr("10.0.0.9"), addr("239.1.1.1"))
	checks, err := m.Verify(ctx, want)
	if err != nil || len(checks) != 6 || slices.ContainsFunc(checks, func(c model.Check) bool { return !c.OK }) {
		t.Errorf("Verify: %+v, %v", checks, err)
	}
	m.Lose()
	checks, _ = m.VerifyMarks(ctx, want, stb)
	if len(checks) != 2 || checks[0].OK {
		t.Errorf("VerifyMarks after Lose: %+v", checks)
	}
	if _, err := m.Set(ctx, want); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("disk full")
	for _, p := range []Point{PointSet, PointDHCP, PointMarks, PointProxy, PointReload} {
		before := m.String()
		m.Fail(p, boom)
		if _, err := m.Set(ctx, model.GatewayState{}); !errors.Is(err, boom) {
			t.Errorf("%s: %v", p, err)
		}
		if m.String() != before {
			t.Errorf("%s: a failed Set left\n%s\nwant\n%s", p, m, before)
		}
	}
	if _, err := m.Set(ctx, model.GatewayState{}); err != nil || m.String() != "" {
		t.Errorf("zero state: %v, left %q", err, m)
	}
	if m.Reloads("dhcp") != 3 || m.Reloads("igmpproxy") != 3 {
		t.Errorf("reloads: dhcp %d, igmpproxy %d, want 3 and 3", m.Reloads("dhcp"), m.Reloads("igmpproxy"))
	}
}

func TestAdmit(t *testing.T) {
	one := mac(t, "02:00:00:00:00:01")
	two := mac(t, "02:00:00:00:00:02")
	res := func(d model.DeviceID, a string, m ...model.MAC) model.Reservation {
		return model.Reservation{Device: d, MACs: m, Address: addr(a)}
	}
	tests := []struct {
		name  string
		want  []model.Reservation
		hosts []model.HostEntry
		kept  []string
		why   string
	}{
		{name: "nothing in the way", want: []model.Reservation{res(stb, "192.168.1.50", one)}, kept: []string{"192.168.1.50"}},
		{name: "ours already", want: []model.Reservation{res(stb, "192.168.1.50", one)}, kept: []string{"192.168.1.50"},
			hosts: []model.HostEntry{{Section: "hc_d0123456789_0", Owner: stb, Address: addr("192.168.1.50"), MACs: []model.MAC{one}}}},
		{name: "another's address", want: []model.Reservation{res(stb, "192.168.1.50", one)},
			hosts: []model.HostEntry{{Section: "cfg02ab", Address: addr("192.168.1.50"), Name: "Bob's TV"}}, why: `"Bob's TV"`},
		{name: "another's address, switched off", want: []model.Reservation{res(stb, "192.168.1.50", one)},
			hosts: []model.HostEntry{{Section: "x", Address: addr("192.168.1.50"), Enabled: false}}, why: `"x"`},
		{name: "another's MAC", want: []model.Reservation{res(stb, "192.168.1.50", one)},
			hosts: []model.HostEntry{{Section: "x", Address: addr("192.168.1.9"), MACs: []model.MAC{one}}}, why: "already has a reservation"},
		{name: "one address twice", want: []model.Reservation{res(stb, "192.168.1.50", one), res(nas, "192.168.1.50", two)},
			kept: []string{"192.168.1.50"}, why: "too"},
		{name: "one MAC in two devices", want: []model.Reservation{res(stb, "192.168.1.50", one), res(nas, "192.168.1.51", one)},
			kept: []string{"192.168.1.50"}, why: "is a MAC address of"},
		{name: "both states while unconfirmed", want: []model.Reservation{res(stb, "192.168.1.50", one), res(stb, "192.168.1.51", one)},
			kept: []string{"192.168.1.50", "192.168.1.51"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := model.GatewayState{Reservations: tt.want}
			for _, r := range tt.want {
				want.Marks = append(want.Marks, model.Mark{Device: r.Device, Address: r.Address, Class: model.ClassStreaming})
			}
			got, findings := admit(want, tt.hosts)
			var kept []string
			for _, r := range got.Reservations {
				kept = append(kept, r.Address.String())
			}
			if !slices.Equal(kept, tt.kept) {
				t.Errorf("kept %v, want %v", kept, tt.kept)
			}
			if len(got.Marks) != len(got.Reservations) {
				t.Errorf("%d marks for %d reservations", len(got.Marks), len(got.Reservations))
			}
			if (tt.why != "") != (len(findings) == 1) || len(findings) == 1 && !strings.Contains(findings[0].Text, tt.why) {
				t.Errorf("findings %+v, want one with %q", findings, tt.why)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	ok := scene(t)
	if err := check(ok); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*model.GatewayState){
		"device id":      func(s *model.GatewayState) { s.Reservations[0].Device = "d0123456789;reboot" },
		"no MAC":         func(s *model.GatewayState) { s.Reservations[0].MACs = nil },
		"group MAC":      func(s *model.GatewayState) { s.Reservations[0].MACs[0] = mac(t, "01:00:5e:00:00:01") },
		"zero MAC":       func(s *model.GatewayState) { s.Reservations[0].MACs[0] = model.MAC{} },
		"name":           func(s *model.GatewayState) { s.Reservations[0].Name = "a\n option x" },
		"no address":     func(s *model.GatewayState) { s.Reservations[0].Address = netip.Addr{} },
		"IPv6 address":   func(s *model.GatewayState) { s.Reservations[0].Address = addr("fd00::1") },
		"mark of group":  func(s *model.GatewayState) { s.Marks[0].Address = addr("239.1.1.1") },
		"unicast group":  func(s *model.GatewayState) { s.Marks[0].Groups[0] = addr("10.0.0.1") },
		"class":          func(s *model.GatewayState) { s.Marks[0].Class = "best" },
		"network":        func(s *model.GatewayState) { s.Multicast.Upstream = "wan; x" },
		"same network":   func(s *model.GatewayState) { s.Multicast.Upstream = "lan" },
		"IPv6 alt net":   func(s *model.GatewayState) { s.Multicast.AltNets[0] = netip.MustParsePrefix("fd00::/8") },
		"unset alt net":  func(s *model.GatewayState) { s.Multicast.AltNets[0] = netip.Prefix{} },
		"mark device id": func(s *model.GatewayState) { s.Marks[0].Device = "" },
	}
	for name, breakIt := range tests {
		s := cloneState(ok)
		breakIt(&s)
		if err := check(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
