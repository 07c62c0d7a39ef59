package model

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestMAC(t *testing.T) {
	for _, c := range []struct {
		in, out string
		bad     bool
	}{
		{in: "02:00:5E:AA:00:0f", out: "02:00:5e:aa:00:0f"},
		{in: "02-00-5e-aa-00-0f", out: "02:00:5e:aa:00:0f"},
		{in: "", bad: true},
		{in: "02:00:5e:aa:00", bad: true},
		{in: "02:00:5e:aa:00:0g", bad: true},
		{in: "02005eaa000f00000", bad: true},
		{in: "+2:00:5e:aa:00:0f", bad: true},
		{in: strings.Repeat("00:", 1000), bad: true},
	} {
		m, err := ParseMAC(c.in)
		if (err != nil) != c.bad {
			t.Errorf("ParseMAC(%.30q): error %v, want one: %v", c.in, err, c.bad)
		}
		if err == nil && m.String() != c.out {
			t.Errorf("ParseMAC(%q) = %s, want %s", c.in, m, c.out)
		}
	}
	if m := (MAC{0x03}); !m.IsGroup() || !m.IsLocal() {
		t.Error("03:… is a locally administered group address")
	}
}

func TestIDs(t *testing.T) {
	var k DeviceKey
	id := IDOfKey(k)
	if !id.Valid() || id.Agentless() {
		t.Errorf("id of a key: %q", id)
	}
	mid := IDOfMAC(MAC{2, 0, 0x5e, 0xaa, 0, 1})
	if mid != "m02005eaa0001" || !mid.Valid() || !mid.Agentless() {
		t.Errorf("id of a MAC: %q", mid)
	}
	for _, id := range []DeviceID{id, mid} {
		if owner, ok := SectionOwner(SectionName(id, 12)); !ok || owner != id {
			t.Errorf("owner of %s: %q, %v", SectionName(id, 12), owner, ok)
		}
	}
	for _, s := range []string{"", "hc_", "hc_tv_1", "hc_d123_1", "hc_" + string(id), "hc_" + string(id) + "_", "hc_" + string(id) + "_1x", "cfg01abcd", "hc_../../etc_1"} {
		if _, ok := SectionOwner(s); ok {
			t.Errorf("%q taken for a section of ours", s)
		}
	}
	for _, id := range []DeviceID{"", "d", "d0123456789a", "m0", "x0123456789", "../../etc/passwd", "D0123456789"} {
		if id.Valid() {
			t.Errorf("%q is valid", id)
		}
	}
}

func TestCategory(t *testing.T) {
	for _, c := range KnownCategories() {
		if got, err := ParseCategory(string(c)); err != nil || got != c {
			t.Errorf("ParseCategory(%q): %v", c, err)
		}
	}
	for _, s := range []string{"AV", "av_tv", "AV_", "_TV", "AV_TV\n", "AV_<b>", "AV_" + strings.Repeat("x", 40)} {
		if _, err := ParseCategory(s); err == nil {
			t.Errorf("ParseCategory(%.20q) accepted it", s)
		}
	}
}

func TestTrafficClassesAreThoseOfRFC4594(t *testing.T) {
	want := map[TrafficClass]uint8{ // RFC 4594, figure 3; LE is RFC 8622's
		"telephony": 46, "multimedia-conferencing": 34, "real-time-interactive": 32, "multimedia-streaming": 26,
		"broadcast-video": 24, "low-latency-data": 18, "high-throughput-data": 10, "low-priority-data": 1,
	}
	for _, c := range TrafficClasses() {
		if got, err := ParseTrafficClass(string(c)); err != nil || got != c {
			t.Errorf("ParseTrafficClass(%q): %v", c, err)
		}
		v, ok := c.DSCP()
		if w, marked := want[c]; v != w || ok != marked {
			t.Errorf("%s: DSCP %d, %v; want %d, %v", c, v, ok, w, marked)
		}
	}
	if _, err := ParseTrafficClass("gold"); err == nil {
		t.Error("class gold accepted")
	}
}

func TestRecordPrefersThePersonsChoice(t *testing.T) {
	r := Record{ID: "m02005eaa0001", Report: &Report{HostName: "box", Info: DeviceInfo{DeviceCategory: CategoryTV, FriendlyName: "Telly"}}}
	if r.Category() != CategoryTV || r.Name() != "Telly" {
		t.Errorf("reported: %s %q", r.Category(), r.Name())
	}
	r.Choice = Choice{Name: "Living room", Category: CategorySTB}
	if r.Category() != CategorySTB || r.Name() != "Living room" {
		t.Errorf("chosen: %s %q", r.Category(), r.Name())
	}
	if n := (&Record{ID: "m02005eaa0001"}).Name(); n != "m02005eaa0001" {
		t.Errorf("nothing known: %q", n)
	}
}

func TestRecordKeepsItsShapeInJSON(t *testing.T) {
	k := DeviceKey{1, 2, 3}
	r := Record{ID: IDOfKey(k), Key: &k, MACs: []MAC{{2, 0, 0, 0, 0, 1}}, State: DeviceAdopted, Address: netip.MustParseAddr("192.168.1.200"),
		Report:  &Report{Managed: "eth0", Interfaces: []Interface{{Name: "eth0", Addresses: []Address{{Prefix: netip.MustParsePrefix("192.168.1.5/24")}}}}},
		Desired: &Settings{Generation: 3, AddressingType: AddressingStatic, Address: netip.MustParsePrefix("192.168.1.200/24")}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got Record
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, got) {
		t.Errorf("came back as %+v\nfrom %s", got, b)
	}
	c := r.Clone()
	c.MACs[0] = MAC{}
	c.Report.Managed = "eth1"
	c.Desired.Generation = 9
	if r.MACs[0].IsZero() || r.Report.Managed != "eth0" || r.Desired.Generation != 3 {
		t.Error("a change of the clone shows in the original")
	}
}

func TestSettingsSame(t *testing.T) {
	a := Settings{Generation: 1, AddressingType: AddressingStatic, Address: netip.MustParsePrefix("10.0.0.2/24"), DNS: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	b := a
	b.Generation = 2
	if !a.Same(b) {
		t.Error("another generation is another setting")
	}
	for name, change := range map[string]func(*Settings){
		"type":    func(s *Settings) { s.AddressingType = AddressingDHCP },
		"address": func(s *Settings) { s.Address = netip.MustParsePrefix("10.0.0.3/24") },
		"gateway": func(s *Settings) { s.Gateway = netip.MustParseAddr("10.0.0.1") },
		"dns":     func(s *Settings) { s.DNS = nil },
		"dns 2":   func(s *Settings) { s.DNS = []netip.Addr{netip.MustParseAddr("10.0.0.9")} },
	} {
		c := a
		change(&c)
		if a.Same(c) {
			t.Errorf("%s: no difference seen", name)
		}
	}
}

func TestAddressRange(t *testing.T) {
	r := AddressRange{First: netip.MustParseAddr("10.0.0.100"), Last: netip.MustParseAddr("10.0.0.109")}
	for a, want := range map[string]bool{"10.0.0.99": false, "10.0.0.100": true, "10.0.0.109": true, "10.0.0.110": false} {
		if r.Contains(netip.MustParseAddr(a)) != want {
			t.Errorf("%s in range: want %v", a, want)
		}
	}
	if (AddressRange{}).Contains(netip.MustParseAddr("10.0.0.1")) {
		t.Error("an empty range contains an address")
	}
}

func FuzzParseMAC(f *testing.F) {
	f.Add("02:00:5e:aa:00:01")
	f.Add("02-00-5E-aa-00-01")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			return
		}
		if again, err := ParseMAC(m.String()); err != nil || again != m {
			t.Errorf("%q parsed to %s, which does not parse back: %v", s, m, err)
		}
	})
}

func FuzzSectionOwner(f *testing.F) {
	f.Add("hc_d0123456789_1")
	f.Add("hc_m02005eaa0001_2")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := SectionOwner(s); ok && !id.Valid() {
			t.Errorf("%q is owned by %q, which is no id", s, id)
		}
	})
}
