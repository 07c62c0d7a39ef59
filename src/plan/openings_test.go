package plan

import (
	"net/netip"
	"testing"
	"time"

	"homeconf/src/model"
)

// openHome is a home with a NAS that has these openings, at its address.
func openHome(now time.Time, list ...model.Opening) Input {
	id := model.DeviceID("d0123456789")
	key := model.DeviceKey{1}
	mac := model.MAC{2, 0, 0, 0, 0, 9}
	a := netip.MustParseAddr("192.168.1.50")
	return Input{
		Records: []*model.Record{{ID: id, Key: &key, MACs: []model.MAC{mac}, State: model.DeviceAdopted, Address: a, Openings: list,
			Report: &model.Report{Info: model.DeviceInfo{DeviceCategory: model.CategoryNAS}, Managed: "eth0",
				Interfaces: []model.Interface{{Name: "eth0", MAC: mac, Up: true, Addresses: []model.Address{{Prefix: netip.PrefixFrom(a, 24)}}}}}}},
		Network:  model.Network{LAN: model.LAN{Network: "lan", Device: "br-lan", Prefix: netip.MustParsePrefix("192.168.1.1/24")}, WAN: model.WAN{Network: "wan", Device: "wan"}},
		Presence: Presence{Now: now, Here: map[model.DeviceID]bool{id: true}},
	}
}

func TestOpeningsOverTime(t *testing.T) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	base := model.Opening{ID: "p0123456789", Protocol: model.TCP, Port: 443, External: 443, Origin: "person"}
	renewed := Opened(base, begin, Lease, Lease)
	week := Opened(base, begin, 7*24*time.Hour, 0)
	ever := Opened(base, begin, 0, 0)
	restored := renewed
	restored.Unasked = true
	day := 24 * time.Hour
	for _, tt := range []struct {
		name    string
		opening model.Opening
		after   time.Duration
		away    bool
		ends    time.Duration // after begin; 0: it is gone, -1: never
		open    bool
	}{
		{"fresh", renewed, 0, false, 30 * day, true},
		{"not yet renewed", renewed, 14 * day, false, 30 * day, true},
		{"renewed", renewed, 16 * day, false, 46 * day, true},
		{"not renewed while away", renewed, 16 * day, true, 30 * day, true},
		{"expired", renewed, 30 * day, false, 0, false},
		{"a week is a week", week, 6 * day, false, 7 * day, true},
		{"and over", week, 7 * day, false, 0, false},
		{"for ever", ever, 4000 * day, false, -1, true},
		{"clock not set", renewed, -9000 * day, false, 30 * day, false},
		{"from a backup", restored, day, false, 30 * day, false},
	} {
		in := openHome(begin.Add(tt.after), tt.opening)
		if tt.away {
			in.Presence.Here = nil
		}
		p := Make(in)
		kept := p.Openings["d0123456789"]
		switch {
		case tt.ends == 0 && len(kept) != 0, tt.ends != 0 && len(kept) != 1:
			t.Errorf("%s: kept %+v", tt.name, kept)
		case tt.ends > 0 && !kept[0].Expires.Equal(begin.Add(tt.ends)), tt.ends < 0 && !kept[0].Expires.IsZero():
			t.Errorf("%s: ends %s", tt.name, kept[0].Expires)
		}
		if n := len(p.Gateway.Redirects); (n == 1) != tt.open {
			t.Errorf("%s: %d in force", tt.name, n)
		}
		for _, r := range p.Gateway.Redirects {
			if !r.Stop.After(r.Start) || r.Stop.After(model.LastStop) || tt.ends > 0 && !r.Stop.Equal(kept[0].Expires) {
				t.Errorf("%s: locked at %s", tt.name, r.Stop)
			}
		}
	}
}

func TestOpeningsLeadToTheDeviceOrNowhere(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	o := Opened(model.Opening{ID: "p0123456789", Protocol: model.TCP, Port: 443, External: 443, Origin: "person"}, now, Lease, Lease)
	at := func(s string) func(*Input) {
		return func(in *Input) {
			in.Records[0].Report.Interfaces[0].Addresses[0].Prefix = netip.PrefixFrom(netip.MustParseAddr(s), 24)
		}
	}
	for name, change := range map[string]func(*Input){
		"at another's": at("192.168.1.66"),
		"at the gateway's": func(in *Input) {
			at("192.168.1.1")(in)
			in.Records[0].Address = netip.MustParseAddr("192.168.1.1")
		},
		"outside":        at("10.0.0.5"),
		"no address":     func(in *Input) { in.Records[0].Report.Interfaces[0].Addresses = nil },
		"gone":           func(in *Input) { in.Presence.Gone = map[model.DeviceID]bool{"d0123456789": true} },
		"doubtful":       func(in *Input) { in.Presence.Doubtful = map[netip.Addr]bool{netip.MustParseAddr("192.168.1.50"): true} },
		"retired":        func(in *Input) { in.Records[0].State = model.DeviceRetired },
		"port taken":     func(in *Input) { in.Presence.Taken = []model.Occupied{{First: 400, Last: 500, By: "x"}} },
		"another subnet": func(in *Input) { in.Network.LAN.Prefix = netip.MustParsePrefix("10.20.0.1/24") },
	} {
		in := openHome(now, o)
		change(&in)
		p := Make(in)
		if len(p.Gateway.Redirects) != 0 {
			t.Errorf("%s: %+v", name, p.Gateway.Redirects)
		}
		if name != "retired" && (len(p.Openings["d0123456789"]) != 1 || len(p.Ports) != 1 || p.Ports[0].State != PortSuspended || p.Ports[0].Why == "") {
			t.Errorf("%s: not kept, suspended: %+v", name, p.Ports)
		}
	}
	if p := Make(openHome(now, o)); len(p.Gateway.Redirects) != 1 || p.Gateway.Redirects[0].Address.String() != "192.168.1.50" {
		t.Errorf("%+v", p.Gateway.Redirects)
	}
}
