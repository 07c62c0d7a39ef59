package plan

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"homeconf/src/model"
)

// stranger is a MAC address that no record has.
var stranger = model.MAC{2, 0, 0, 9, 9, 9}

func reason(p Plan, id model.DeviceID, what string) string {
	for _, l := range p.Lines {
		if l.Device == id && l.What == what {
			return l.Reason
		}
	}
	return ""
}

// byID puts two boxes in the order in which the plan looks at them.
func byID(a, b *model.Record) (first, second *model.Record) {
	if a.ID < b.ID {
		return a, b
	}
	return b, a
}

func TestEntryByHandThatGivesNoAddressDoesNotLeaveTheDeviceWithout(t *testing.T) {
	for name, a := range map[string]netip.Addr{"none": {}, "outside": addr("10.9.9.9"), "the gateway's": addr("192.168.1.1")} {
		b := box(1, model.CategorySTB)
		in := Input{Records: []*model.Record{b}, Network: home()}
		in.Network.Reservations = []model.HostEntry{{Section: "cfg01", Name: "box", MACs: b.MACs, Address: a, Enabled: true}}
		p := Make(in)
		if r := p.Gateway.Reservations; len(r) != 1 || r[0].Address != p.Addresses[b.ID] || r[0].Name == "box" {
			t.Errorf("%s: address %v, reservations %+v", name, p.Addresses[b.ID], r)
		}
		if a.IsValid() && !strings.Contains(kinds(p), KindByHand) {
			t.Errorf("%s: findings %s", name, kinds(p))
		}
	}
}

func TestEntryByHandIsNotUsedOnTopOfSomebodyElse(t *testing.T) {
	a := addr("192.168.1.20")
	for name, set := range map[string]func(*Input){
		"live":    func(in *Input) { in.Network.Neighbors = []model.Neighbor{{MAC: stranger, Address: a, Reachable: true}} },
		"leased":  func(in *Input) { in.Network.Leases = []model.Lease{{MAC: stranger, Address: a}} },
		"answers": func(in *Input) { in.Busy = map[netip.Addr]model.MAC{a: stranger} },
	} {
		b := box(1, model.CategorySTB)
		in := Input{Records: []*model.Record{b}, Network: home()}
		in.Network.Reservations = []model.HostEntry{{Section: "cfg01", MACs: b.MACs, Address: a, Enabled: true}}
		set(&in)
		p := Make(in)
		if len(p.Addresses) != 0 || len(p.Settings) != 0 || len(p.Gateway.Reservations) != 0 || !strings.Contains(kinds(p), KindByHand) {
			t.Errorf("%s: %v, %v, findings %s", name, p.Addresses, p.Settings, kinds(p))
		}
	}
}

func TestChoiceAgainstAnEntryByHandIsSaid(t *testing.T) {
	b := box(1, model.CategorySTB)
	b.Choice.Address = addr("192.168.1.30")
	in := Input{Records: []*model.Record{b}, Network: home()}
	in.Network.Reservations = []model.HostEntry{{Section: "cfg01", MACs: b.MACs, Address: addr("192.168.1.20"), Enabled: true}}
	if p := Make(in); p.Addresses[b.ID] != addr("192.168.1.20") || !strings.Contains(kinds(p), KindChoice) {
		t.Errorf("%v, findings %s", p.Addresses, kinds(p))
	}
}

func TestNobodyLosesAnAddressToAChoice(t *testing.T) {
	first, second := byID(box(1, model.CategorySTB), box(2, model.CategorySTB))
	second.Address = addr("192.168.1.20")
	first.Choice.Address = second.Address
	first.Address = addr("192.168.1.21")
	p := Make(Input{Records: []*model.Record{first, second}, Network: home()})
	if p.Addresses[second.ID] != second.Address || p.Addresses[first.ID] != first.Address || !strings.Contains(kinds(p), KindChoice) {
		t.Errorf("%v, findings %s", p.Addresses, kinds(p))
	}
}

func TestChoosersDoNotSwapOnTopOfEachOther(t *testing.T) {
	first, second := byID(box(1, model.CategorySTB), box(2, model.CategorySTB))
	first.Address, first.Choice.Address = addr("192.168.1.20"), addr("192.168.1.21")
	second.Address, second.Choice.Address = addr("192.168.1.21"), addr("192.168.1.20")
	p := Make(Input{Records: []*model.Record{first, second}, Network: home()})
	if p.Addresses[first.ID] != first.Address || p.Addresses[second.ID] != second.Address {
		t.Errorf("%v", p.Addresses)
	}
}

func TestMoveSaysWhy(t *testing.T) {
	b := box(1, model.CategorySTB)
	b.Address = addr("192.168.1.77")
	in := Input{Records: []*model.Record{b}, Network: home(), Busy: map[netip.Addr]model.MAC{b.Address: stranger}}
	p := Make(in)
	if why := reason(p, b.ID, WhatAddress); !strings.Contains(why, "192.168.1.77") || !strings.Contains(why, "answers there") {
		t.Errorf("reason: %s", why)
	}
}

func TestSparesAreFree(t *testing.T) {
	b := box(1, model.CategorySTB)
	in := Input{Records: []*model.Record{b}, Network: home()}
	in.Network.Leases = []model.Lease{{MAC: stranger, Address: addr("192.168.1.251")}}
	for name, got := range map[string][]netip.Addr{"probe": Make(in).Probe, "candidates": Candidates(in, b.ID)} {
		if slices.Contains(got, addr("192.168.1.251")) || len(got) != 1+spares {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestNamesAreNobodyElses(t *testing.T) {
	b := box(1, model.CategorySTB)
	in := Input{Records: []*model.Record{b}, Network: home()}
	in.Network.Leases = []model.Lease{{MAC: stranger, Address: addr("192.168.1.110"), HostName: "NAS"}}
	for name, want := range map[string]string{"wpad": "wpad-2", "localhost": "localhost-2", "nas": "nas-2", "Bob's TV": "bob-s-tv", "\x00é": string(b.ID)} {
		b.Choice.Name = name
		if got := Make(in).Gateway.Reservations[0].Name; got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestNewcomerDoesNotTakeAName(t *testing.T) {
	first, second := byID(box(1, model.CategorySTB), box(2, model.CategorySTB))
	first.Choice.Name, second.Choice.Name = "box", "box"
	in := Input{Records: []*model.Record{first, second}, Network: home()}
	in.Network.Reservations = []model.HostEntry{{Section: model.SectionName(second.ID, 1), Owner: second.ID, Name: "box",
		MACs: second.MACs, Address: addr("192.168.1.250"), Enabled: true}}
	second.Address = addr("192.168.1.250")
	for _, r := range Make(in).Gateway.Reservations {
		if want := map[model.DeviceID]string{first.ID: "box-2", second.ID: "box"}[r.Device]; r.Name != want {
			t.Errorf("%s: %q, want %q", r.Device, r.Name, want)
		}
	}
}

func TestHostileNetworksEndSoonAndPanicNowhere(t *testing.T) {
	v6, mapped := netip.MustParsePrefix("2001:db8::1/64"), netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 120)
	for _, lan := range []netip.Prefix{{}, v6, mapped, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.1/8"),
		netip.MustParsePrefix("255.255.255.254/31"), netip.MustParsePrefix("255.255.255.1/24"), netip.MustParsePrefix("192.168.1.1/32")} {
		for _, pool := range []model.AddressRange{{}, {First: addr("0.0.0.0"), Last: addr("255.255.255.255")}, {First: lan.Addr(), Last: lan.Addr()},
			{First: addr("255.255.255.0"), Last: addr("255.255.255.255")}} {
			b := box(1, model.CategorySTB)
			b.Choice.Address, b.Address = netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:192.168.1.7")
			in := Input{Records: []*model.Record{nil, b, b, {}, {ID: "m000000000000"}}, Network: home(),
				Policy: Policy{Exclude: []netip.Prefix{{}, v6, netip.MustParsePrefix("10.0.0.0/8")}}}
			in.Network.LAN.Prefix, in.Network.Pool = lan, pool
			p := Make(in)
			for id, a := range p.Addresses {
				if !lan.Contains(a) || !a.Is4() {
					t.Errorf("LAN %v: %s gets %v", lan, id, a)
				}
			}
			_ = p.String()
			Candidates(in, b.ID)
		}
	}
	var none Identity
	if none = Identify(nil, nil); none.Profile.Name != ProfileUnknown {
		t.Errorf("%+v", none)
	}
}

// TestGivenToNobodyElse looks at what TestRandomHomes leaves out: whom the wire,
// the leases and the entries say an address belongs to.
func TestGivenToNobodyElse(t *testing.T) {
	for seed := range uint64(1000) {
		in := random(rand.New(rand.NewPCG(seed, 7)))
		p := Make(in)
		owner := newPlanner(in).owner
		for id, a := range p.Addresses {
			at := func(what string, macs ...model.MAC) {
				if !slices.ContainsFunc(macs, func(m model.MAC) bool { return owner[m] == id }) {
					t.Errorf("seed %d: %s gets %v, which is %s's (%v)\n%s", seed, id, a, what, macs, p)
				}
			}
			for _, l := range in.Network.Leases {
				if l.Address == a {
					at("a lease", l.MAC)
				}
			}
			for _, n := range in.Network.Neighbors {
				if n.Address == a && n.Reachable {
					at("a neighbour", n.MAC)
				}
			}
			for _, h := range in.Network.Reservations {
				if h.Address == a {
					at("a reservation", h.MACs...)
				}
			}
			if m, ok := in.Busy[a]; ok {
				at("a probe", m)
			}
		}
		for id, s := range p.Settings {
			if s.AddressingType == model.AddressingStatic && s.Address.Addr() != p.Addresses[id] {
				t.Errorf("seed %d: %s is set to %v and given %v", seed, id, s.Address, p.Addresses[id])
			}
		}
		for _, m := range p.Gateway.Marks {
			if m.Address != p.Addresses[m.Device] {
				t.Errorf("seed %d: %+v", seed, m)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// The plan as people read it.
