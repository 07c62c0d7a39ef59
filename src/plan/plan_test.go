package plan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"homeconf/src/model"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func home() model.Network {
	return model.Network{
		LAN:       model.LAN{Network: "lan", Device: "br-lan", Prefix: netip.MustParsePrefix("192.168.1.1/24"), MAC: model.MAC{2, 0, 0, 0, 0, 1}},
		WAN:       model.WAN{Network: "wan", Device: "wan", Up: true, SpeedMbps: 1000},
		Pool:      model.AddressRange{First: addr("192.168.1.100"), Last: addr("192.168.1.249")},
		Rates:     model.Rates{DownMbps: 100, UpMbps: 40, Source: "sqm", Shaper: true},
		Multicast: model.MulticastFact{Installed: true, Running: true, Configured: true},
	}
}

// box is an adopted device with an agent.
func box(n byte, c model.Category) *model.Record {
	k := model.DeviceKey{n}
	mac := model.MAC{2, 0, 0, 1, 0, n}
	return &model.Record{ID: model.IDOfKey(k), Key: &k, MACs: []model.MAC{mac}, State: model.DeviceAdopted, Report: &model.Report{
		Info: model.DeviceInfo{DeviceCategory: c}, Managed: "eth0", Interfaces: []model.Interface{{Name: "eth0", MAC: mac, Up: true, SpeedMbps: 1000}},
		Capabilities: []model.Capability{model.CanStaticIPv4, model.CanDHCPv4, model.CanDNS}}}
}

func kinds(p Plan) string {
	var k []string
	for _, f := range p.Findings {
		k = append(k, f.Kind)
	}
	return strings.Join(k, " ")
}

func TestSetTopBox(t *testing.T) {
	b := box(1, model.CategorySTB)
	b.Report.Groups = []netip.Addr{addr("239.1.2.3"), addr("224.0.0.251"), addr("239.255.255.250")}
	p := Make(Input{Records: []*model.Record{b}, Network: home(), Probed: map[netip.Addr]bool{addr("192.168.1.250"): true}})
	want := model.Settings{AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("192.168.1.250/24"), Gateway: addr("192.168.1.1"), DNS: []netip.Addr{addr("192.168.1.1")}}
	if !p.Settings[b.ID].Same(want) || len(p.Probe) != 0 || len(p.Findings) != 0 {
		t.Errorf("settings %+v, probe %v, findings %+v", p.Settings[b.ID], p.Probe, p.Findings)
	}
	if r := p.Gateway.Reservations; len(r) != 1 || r[0].Address != addr("192.168.1.250") || r[0].MACs[0] != b.MACs[0] || r[0].Reason == "" {
		t.Errorf("reservations: %+v", r)
	}
	if m := p.Gateway.Marks; len(m) != 1 || m[0].Class != model.ClassBroadcastVideo || !slices.Equal(m[0].Groups, []netip.Addr{addr("239.1.2.3")}) {
		t.Errorf("marks: %+v", m)
	}
	if p.Gateway.Multicast != nil {
		t.Error("a proxy that somebody has set up is touched")
	}
	for _, l := range p.Lines {
		if l.Reason == "" || l.Value == "" {
			t.Errorf("line without a reason: %+v", l)
		}
	}
}

func TestAddressCollidesWithNothing(t *testing.T) {
	other := model.MAC{2, 0, 0, 9, 9, 9}
	first, second := addr("192.168.1.250"), addr("192.168.1.251")
	for name, c := range map[string]func(*Input){
		"lease": func(in *Input) { in.Network.Leases = []model.Lease{{MAC: other, Address: first}} },
		"reservation": func(in *Input) {
			in.Network.Reservations = []model.HostEntry{{Section: "x", MACs: []model.MAC{other}, Address: first, Enabled: true}}
		},
		"reservation off": func(in *Input) {
			in.Network.Reservations = []model.HostEntry{{Section: "x", MACs: []model.MAC{other}, Address: first}}
		},
		"reservation of nobody": func(in *Input) {
			in.Network.Reservations = []model.HostEntry{{Section: "x", Address: first, Enabled: true}}
		},
		"neighbour": func(in *Input) {
			in.Network.Neighbors = []model.Neighbor{{MAC: other, Address: first, Reachable: true}}
		},
		"old neighbour":     func(in *Input) { in.Network.Neighbors = []model.Neighbor{{MAC: other, Address: first}} },
		"answer to a probe": func(in *Input) { in.Busy = map[netip.Addr]model.MAC{first: other} },
		"gateway":           func(in *Input) { in.Network.LAN.Prefix = netip.PrefixFrom(first, 24) },
		"kept free":         func(in *Input) { in.Policy.Exclude = []netip.Prefix{netip.PrefixFrom(first, 32)} },
	} {
		b := box(1, model.CategorySTB)
		in := Input{Records: []*model.Record{b}, Network: home()}
		c(&in)
		if got := Make(in).Addresses[b.ID]; got != second {
			t.Errorf("%s: %v, want %v", name, got, second)
		}
		b.Choice.Address = first
		if p := Make(in); !strings.Contains(kinds(p), KindChoice) || p.Addresses[b.ID] == first {
			t.Errorf("%s: the chosen address: %v, findings %s", name, p.Addresses[b.ID], kinds(p))
		}
	}
	b := box(1, model.CategorySTB)
	in := Input{Records: []*model.Record{b}, Network: home(), Busy: map[netip.Addr]model.MAC{first: b.MACs[0]}}
	in.Network.Leases = []model.Lease{{MAC: b.MACs[0], Address: first}}
	if got := Make(in).Addresses[b.ID]; got != first {
		t.Errorf("its own lease and its own answer keep it from %v: got %v", first, got)
	}
}

func TestReservationMadeByHandIsRespected(t *testing.T) {
	b := box(1, model.CategorySTB)
	in := Input{Records: []*model.Record{b}, Network: home()}
	in.Network.Reservations = []model.HostEntry{{Section: "cfg01", Name: "box", MACs: b.MACs, Address: addr("192.168.1.20"), Enabled: true}}
	p := Make(in)
	if p.Addresses[b.ID] != addr("192.168.1.20") || len(p.Gateway.Reservations) != 0 || p.Settings[b.ID].Address.Addr() != addr("192.168.1.20") {
		t.Errorf("address %v, reservations %v, settings %v", p.Addresses[b.ID], p.Gateway.Reservations, p.Settings[b.ID])
	}
}

func TestWhatIsThereStays(t *testing.T) {
	b := box(1, model.CategorySTB)
	b.Address = addr("192.168.1.77")
	p := Make(Input{Records: []*model.Record{b}, Network: home()})
	if p.Addresses[b.ID] != b.Address || len(p.Probe) != 0 {
		t.Errorf("address %v, probe %v", p.Addresses[b.ID], p.Probe)
	}
	b.Choice.Address = addr("192.168.1.78")
	p = Make(Input{Records: []*model.Record{b}, Network: home()})
	if p.Addresses[b.ID] != b.Choice.Address || !slices.Contains(p.Probe, b.Choice.Address) {
		t.Errorf("a person's choice: %v, probe %v", p.Addresses[b.ID], p.Probe)
	}
}

func TestProfilesOfThePolicies(t *testing.T) {
	for c, want := range map[model.Category]struct {
		kind  model.AddressingType
		class model.TrafficClass
	}{
		model.CategorySTB: {model.AddressingStatic, model.ClassBroadcastVideo}, model.CategoryNAS: {model.AddressingStatic, model.ClassThroughput},
		model.CategoryRecorder: {model.AddressingStatic, model.ClassStreaming}, model.CategoryPlayer: {model.AddressingStatic, model.ClassStreaming},
		model.CategoryTV: {model.AddressingDHCP, model.ClassStreaming}, model.CategoryPhone: {model.AddressingDHCP, model.ClassTelephony},
		model.CategoryCamera: {model.AddressingDHCP, model.ClassNone}, model.CategoryUnknown: {model.AddressingDHCP, model.ClassNone},
	} {
		b := box(1, c)
		p := Make(Input{Records: []*model.Record{b}, Network: home()})
		class := model.ClassNone
		if len(p.Gateway.Marks) > 0 {
			class = p.Gateway.Marks[0].Class
		}
		if p.Settings[b.ID].AddressingType != want.kind || class != want.class {
			t.Errorf("%q: %v and %v", c, p.Settings[b.ID].AddressingType, class)
		}
	}
	own := model.Profile{Name: "cinema", Categories: []model.Category{model.CategoryTV}, Address: model.AddressDynamic, Class: model.ClassNone}
	b := box(1, model.CategoryTV)
	p := Make(Input{Records: []*model.Record{b}, Network: home(), Profiles: map[string]model.Profile{"cinema": own}})
	if p.Profiles[b.ID] != "cinema" || len(p.Addresses) != 0 || len(p.Settings) != 0 {
		t.Errorf("own profile: %v, %v", p.Profiles[b.ID], p.Addresses)
	}
	b.Choice.Category = model.CategorySTB
	if p := Make(Input{Records: []*model.Record{b}, Network: home()}); p.Profiles[b.ID] != ProfileSTB {
		t.Errorf("a person's category: %v", p.Profiles[b.ID])
	}
}

func TestAgentlessIsSetUpOnTheGatewaysSide(t *testing.T) {
	mac := model.MAC{2, 0, 0, 5, 5, 5}
	r := &model.Record{ID: model.IDOfMAC(mac), MACs: []model.MAC{mac}, State: model.DeviceManaged, Choice: model.Choice{Category: model.CategorySTB}}
	p := Make(Input{Records: []*model.Record{r}, Network: home()})
	if len(p.Settings) != 0 || len(p.Gateway.Reservations) != 1 || len(p.Gateway.Marks) != 1 {
		t.Errorf("%+v", p)
	}
	r.State = model.DeviceSeen
	if p := Make(Input{Records: []*model.Record{r}, Network: home()}); !reflect.DeepEqual(p.Gateway, model.GatewayState{}) {
		t.Errorf("nobody said yes: %+v", p.Gateway)
	}
}

func TestTheHomesConditionsAreFindings(t *testing.T) {
	for kind, c := range map[string]func(*Input){
		KindBandwidth:    func(in *Input) { in.Network.Rates.DownMbps = 20 },
		KindRates:        func(in *Input) { in.Network.Rates.DownMbps = 0 },
		KindShaper:       func(in *Input) { in.Network.Rates.Shaper = false },
		KindOffloading:   func(in *Input) { in.Network.Offloading = true },
		KindProxyMissing: func(in *Input) { in.Network.Multicast = model.MulticastFact{} },
		KindProxy:        func(in *Input) { in.Network.Multicast = model.MulticastFact{Installed: true} },
		KindProxyStopped: func(in *Input) { in.Network.Multicast.Running = false },
		KindLink:         func(in *Input) { in.Records[0].Report.Interfaces[0].SpeedMbps = 10 },
		KindDuplicate: func(in *Input) {
			in.Network.Reservations = []model.HostEntry{{Section: "a", Address: addr("192.168.1.9"), Enabled: true}, {Section: "b", Address: addr("192.168.1.9"), Enabled: true}}
		},
		KindCapability: func(in *Input) { in.Records[0].Report.Capabilities = []model.Capability{model.CanDHCPv4} },
		KindNoAddress: func(in *Input) {
			in.Network.LAN.Prefix = netip.MustParsePrefix("192.168.1.1/30")
			in.Network.Pool = model.AddressRange{}
			in.Busy = map[netip.Addr]model.MAC{addr("192.168.1.2"): {2, 9, 9, 9, 9, 9}}
		},
		KindNoLAN: func(in *Input) { in.Network.LAN.Prefix = netip.Prefix{} },
	} {
		in := Input{Records: []*model.Record{box(1, model.CategorySTB)}, Network: home()}
		c(&in)
		p := Make(in)
		if !strings.Contains(kinds(p), kind) {
			t.Errorf("%s: only %s", kind, kinds(p))
		}
		for _, f := range p.Findings {
			if f.Text == "" || f.Step == "" || f.ID == "" {
				t.Errorf("%s: without words: %+v", kind, f)
			}
		}
	}
}

func TestProxyIsSetUpWithAYes(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		want   bool
	}{
		{Policy{}, false}, {Policy{ManageIGMPProxy: ProxyNever, IGMPAllowed: true}, false},
		{Policy{IGMPAllowed: true}, true}, {Policy{ManageIGMPProxy: ProxyAlways}, true},
	} {
		in := Input{Records: []*model.Record{box(1, model.CategorySTB)}, Network: home(), Policy: c.policy}
		in.Network.Multicast = model.MulticastFact{Installed: true}
		m := Make(in).Gateway.Multicast
		if (m != nil) != c.want {
			t.Errorf("%+v: %+v", c.policy, m)
		}
		if m != nil && (m.Upstream != "wan" || m.Downstream != "lan" || len(m.AltNets) == 0) {
			t.Errorf("%+v", m)
		}
	}
	in := Input{Records: []*model.Record{box(1, model.CategorySTB)}, Network: home()}
	in.Network.Multicast = model.MulticastFact{Installed: true, Configured: true, Ours: true, Upstream: "wan"}
	if Make(in).Gateway.Multicast == nil {
		t.Error("our own proxy is given up")
	}
}

// random makes a home of strange devices and strange facts.
func random(r *rand.Rand) Input {
	in := Input{Network: home(), Busy: map[netip.Addr]model.MAC{}, Probed: map[netip.Addr]bool{}}
	in.Network.LAN.Prefix = netip.PrefixFrom(in.Network.LAN.Prefix.Addr(), []int{24, 24, 28, 30, 16}[r.IntN(5)])
	ip := func() netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 1, byte(r.IntN(256))}) }
	mac := func() model.MAC { return model.MAC{2, 0, 0, 1, 0, byte(r.IntN(30))} }
	cats := append(model.KnownCategories(), "", "XX_Strange")
	for range r.IntN(12) {
		b := box(byte(r.IntN(20)), cats[r.IntN(len(cats))])
		b.State = []model.DeviceState{model.DeviceAdopted, model.DeviceManaged, model.DeviceSeen, "odd"}[r.IntN(4)]
		b.MACs = []model.MAC{mac()}
		if r.IntN(3) == 0 {
			b.Report = nil
			b.Sighting = &model.Sighting{Addrs: []netip.Addr{ip()}}
		}
		if r.IntN(3) == 0 {
			b.Address = ip()
		}
		if r.IntN(4) == 0 {
			b.Choice.Address = ip()
		}
		if r.IntN(5) == 0 {
			b.Choice.Name = "Bob's\x1b[31m TV " + strings.Repeat("é", r.IntN(90))
		}
		in.Records = append(in.Records, b)
	}
	for n := range r.IntN(8) {
		in.Network.Leases = append(in.Network.Leases, model.Lease{MAC: mac(), Address: ip()})
		in.Network.Reservations = append(in.Network.Reservations, model.HostEntry{Section: fmt.Sprint("s", n), Name: "x", MACs: []model.MAC{mac()}, Address: ip(), Enabled: r.IntN(2) == 0})
		in.Network.Neighbors = append(in.Network.Neighbors, model.Neighbor{MAC: mac(), Address: ip(), Reachable: r.IntN(2) == 0})
		in.Busy[ip()] = mac()
	}
	return in
}

func check(t *testing.T, in Input) {
	p := Make(in)
	seen := map[netip.Addr]model.DeviceID{}
	for id, a := range p.Addresses {
		if other, twice := seen[a]; twice {
			t.Fatalf("%v for %s and %s", a, id, other)
		}
		seen[a] = id
		if !in.Network.LAN.Prefix.Contains(a) || a == in.Network.LAN.Prefix.Addr() {
			t.Fatalf("%v is none of the LAN's for devices", a)
		}
	}
	names := map[string]bool{}
	for _, r := range p.Gateway.Reservations {
		if p.Addresses[r.Device] != r.Address || len(r.MACs) == 0 || names[r.Name] || len(r.Name) > 63 || strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Fatalf("reservation %+v", r)
		}
		names[r.Name] = true
		for _, h := range in.Network.Reservations {
			if h.Address == r.Address && !slices.Contains(h.MACs, r.MACs[0]) {
				t.Fatalf("%+v is in the way of %+v", r, h)
			}
		}
	}
	for i := range in.Records {
		j := (i*7 + 3) % len(in.Records)
		in.Records[i], in.Records[j] = in.Records[j], in.Records[i]
	}
	slices.Reverse(in.Network.Leases)
	slices.Reverse(in.Network.Neighbors)
	slices.Reverse(in.Network.Reservations)
	if q := Make(in); p.String() != q.String() || !reflect.DeepEqual(p.Gateway, q.Gateway) {
		t.Fatalf("in another order it is another plan:\n%s\n%s", p, q)
	}
}

func TestRandomHomes(t *testing.T) {
	for seed := range uint64(3000) {
		in := random(rand.New(rand.NewPCG(seed, 1)))
		t.Run(fmt.Sprint(seed), func(t *testing.T) { check(t, in) })
		if t.Failed() {
			return
		}
	}
}

func FuzzMake(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { check(t, random(rand.New(rand.NewPCG(a, b)))) })
}

func BenchmarkMake250(b *testing.B) {
	in := Input{Network: home()}
	in.Network.LAN.Prefix = netip.MustParsePrefix("10.0.0.1/16")
	in.Network.Pool = model.AddressRange{First: addr("10.0.0.100"), Last: addr("10.0.0.249")}
	for n := range 250 {
		k := model.DeviceKey{byte(n), 1}
		r := box(byte(n), model.CategorySTB)
		r.Key, r.ID = &k, model.IDOfKey(k)
		r.MACs = []model.MAC{{2, 0, 0, 2, 0, byte(n)}}
		r.Report.Interfaces[0].MAC = r.MACs[0]
		in.Records = append(in.Records, r)
	}
	for b.Loop() {
		if p := Make(in); len(p.Addresses) != 250 {
			b.Fatal(len(p.Addresses))
		}
	}
}
