package plan

import (
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
