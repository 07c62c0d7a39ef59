package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"homeconf/src/model"
)

func TestDeviceThatLosesItsFixedAddressIsAskedToLetItGo(t *testing.T) {
	b := box(1, model.CategoryTV)
	b.Desired = &model.Settings{AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("192.168.1.250/24")}
	own := model.Profile{Address: model.AddressDynamic, Class: model.ClassNone, Categories: []model.Category{model.CategoryTV}}
	p := Make(Input{Records: []*model.Record{b}, Network: home(), Profiles: map[string]model.Profile{"loose": own}})
	if p.Settings[b.ID].AddressingType != model.AddressingDHCP || len(p.Addresses) != 0 {
		t.Errorf("%+v, %v", p.Settings, p.Addresses)
	}
}

func TestGroupHasOneClass(t *testing.T) {
	stb, tv := box(1, model.CategorySTB), box(2, model.CategoryPhone)
	g := []netip.Addr{addr("239.1.2.3")}
	stb.Report.Groups, tv.Report.Groups = g, g
	phone := BuiltinProfiles()[ProfilePhone]
	phone.Multicast = true
	p := Make(Input{Records: []*model.Record{stb, tv}, Network: home(), Profiles: map[string]model.Profile{ProfilePhone: phone}})
	for _, m := range p.Gateway.Marks {
		if want := m.Device == tv.ID; (len(m.Groups) == 1) != want { // telephony is the more urgent class
			t.Errorf("%s marks %v", m.Class, m.Groups)
		}
	}
}

func TestProxyOfTheOwnerThatDoesNotServeTheLAN(t *testing.T) {
	in := Input{Records: []*model.Record{box(1, model.CategorySTB)}, Network: home()}
	in.Network.Multicast.Upstream, in.Network.Multicast.Downstream = "wan", []string{"guest"}
	if p := Make(in); !strings.Contains(kinds(p), KindProxyLAN) || p.Gateway.Multicast != nil {
		t.Errorf("findings %s", kinds(p))
	}
}

// TestSendersOfTheOwnersProxy: igmpproxy's package comes with an example that no
// provider sends from.
func TestSendersOfTheOwnersProxy(t *testing.T) {
	net := netip.MustParsePrefix
	for name, c := range map[string]struct {
		have, option []netip.Prefix
		policy       ManageProxy
		allowed      bool
		finding      bool
		add          string
	}{
		"the package's, no yes":        {have: []netip.Prefix{net("192.168.1.0/24")}, finding: true},
		"the package's, never":         {have: []netip.Prefix{net("192.168.1.0/24")}, policy: ProxyNever, allowed: true, finding: true},
		"the package's, yes":           {have: []netip.Prefix{net("192.168.1.0/24")}, allowed: true, add: "[0.0.0.0/0]"},
		"the package's, always":        {have: []netip.Prefix{net("192.168.1.0/24")}, policy: ProxyAlways, add: "[0.0.0.0/0]"},
		"the package's and a real one": {have: []netip.Prefix{net("192.168.1.0/24"), net("10.0.0.0/8")}, allowed: true, finding: true},
		"the owner's":                  {have: []netip.Prefix{net("10.0.0.0/8")}, allowed: true},
		"none":                         {allowed: true},
		"option says more":             {have: []netip.Prefix{net("10.0.0.0/8")}, option: []netip.Prefix{net("10.9.0.0/16"), net("172.20.0.0/16")}, allowed: true, add: "[10.9.0.0/16 172.20.0.0/16]"},
		"option says less":             {have: []netip.Prefix{net("10.0.0.0/8")}, option: []netip.Prefix{net("10.9.0.0/16")}, allowed: true},
		"option, and none there":       {option: []netip.Prefix{net("10.9.0.0/16")}, finding: true},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Records: []*model.Record{box(1, model.CategorySTB)}, Network: home()}
			in.Network.Multicast.Upstream, in.Network.Multicast.Downstream, in.Network.Multicast.AltNets = "wan", []string{"lan"}, c.have
			in.Policy.ManageIGMPProxy, in.Policy.IGMPAllowed, in.Policy.AltNets = cmp.Or(c.policy, ProxyAsk), c.allowed, c.option
			p := Make(in)
			if got := strings.Contains(kinds(p), KindProxySenders); got != c.finding {
				t.Errorf("findings %s", kinds(p))
			}
			if got := p.Gateway.Multicast; (got == nil) != (c.add == "") || got != nil && fmt.Sprint(got.AltNets) != c.add {
				t.Errorf("path %+v, want senders %s", got, c.add)
			}
		})
	}
}

func TestDeviceOutsideThatCanNotBeMovedIsSaid(t *testing.T) {
	b := box(1, model.CategorySTB)
	b.Report.Interfaces[0].Addresses = []model.Address{{Prefix: netip.MustParsePrefix("10.9.9.9/24"), Type: model.AddressingStatic}}
	in := Input{Records: []*model.Record{b}, Network: home()}
	if p := Make(in); strings.Contains(kinds(p), KindOutside) {
		t.Error("a finding for what the plan mends")
	}
	b.Report.Capabilities = nil
	if p := Make(in); !strings.Contains(kinds(p), KindOutside) || !strings.Contains(kinds(p), KindCapability) {
		t.Errorf("findings %s", kinds(p))
	}
}

func TestDuplicatesAreToldTheSameInAnyOrder(t *testing.T) {
	in := Input{Network: home()}
	for i := range 4 {
		in.Network.Reservations = append(in.Network.Reservations,
			model.HostEntry{Section: fmt.Sprint("s", i), Address: addr(fmt.Sprintf("192.168.1.%d", 9+i/2)), Enabled: true})
	}
	want := Make(in).String()
	slices.Reverse(in.Network.Reservations)
	if got := Make(in).String(); got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

func TestTranscript(t *testing.T) {
	b := box(1, model.CategorySTB)
	b.Choice.Name = "Living room \x1b[31m"
	mac := model.MAC{2, 0, 0, 5, 5, 5}
	r := &model.Record{ID: model.IDOfMAC(mac), MACs: []model.MAC{mac}, State: model.DeviceSeen,
		Sighting: &model.Sighting{HostName: "my-nas", Guess: model.CategoryNAS, GuessReason: "its host name contains \"nas\""}}
	in := Input{Records: []*model.Record{r, b}, Network: home()}
	in.Network.Multicast = model.MulticastFact{Installed: true}
	want := strings.TrimPrefix(`
`+string(b.ID)+`
  profile     set_top_box
              its agent says it is AV_STB
  address     192.168.1.250
              the first free one outside the DHCP pool
  reservation 192.168.1.250 for 02:00:00:01:00:01
              so that DHCP gives this address to this device and to no other
  settings    fixed address 192.168.1.250/24 via 192.168.1.1
              its profile wants an address that holds even when DHCP does not answer
  class       broadcast-video (DSCP 24)
              devices of this kind receive such traffic (RFC 4594)
findings
  igmpproxy.needed
    IPTV needs an IGMP proxy on the gateway, and none is set up.
    → Let homeconf do it: homeconf multicast allow
  device.suggested:m020000050505
    "my-nas" (m020000050505) looks like PC_NAS (a guess, as its host name contains "nas").
    → If so, say: homeconf device set m020000050505 --category PC_NAS
`, "\n")
	if got := Make(in).String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
