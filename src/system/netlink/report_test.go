package netlink_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"homeconf/src/model"
)

// TestReport tells what is there: interfaces, how addresses were got, joined
// groups.
func TestReport(t *testing.T) {
	inBox(t, nil, func(w *world) {
		d := w.open()
		s := static("192.168.1.250/24")
		w.apply(d, s)
		for _, c := range []string{
			"link add eth1 address 02:00:00:00:00:0b type veth peer name eth2 address 02:00:00:00:00:0c", "link set eth1 up",
			"addr add 10.7.0.7/24 dev eth0", "addr add 169.254.3.4/16 dev eth0", "addr add 192.168.1.120/24 dev eth0 valid_lft 3600 preferred_lft 3600",
			"addr add 239.1.1.1/32 dev eth0 autojoin",
		} {
			w.ip(c)
		}
		r, err := d.Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(r.Interfaces, func(a, b model.Interface) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
		want := []model.Interface{
			{Name: "eth0", MAC: model.MAC{2, 0, 0, 0, 0, 10}, Medium: model.MediumEthernet, Up: true, SpeedMbps: 10000, Addresses: []model.Address{
				{Prefix: netip.MustParsePrefix("10.7.0.7/24"), Type: model.AddressingUnknown},
				{Prefix: netip.MustParsePrefix("169.254.3.4/16"), Type: model.AddressingAutoIP},
				{Prefix: netip.MustParsePrefix("192.168.1.120/24"), Type: model.AddressingDHCP},
				{Prefix: netip.MustParsePrefix("192.168.1.250/24"), Type: model.AddressingStatic},
			}},
			{Name: "eth1", MAC: model.MAC{2, 0, 0, 0, 0, 11}, Medium: model.MediumEthernet},
			{Name: "eth2", MAC: model.MAC{2, 0, 0, 0, 0, 12}, Medium: model.MediumEthernet},
		}
		if !reflect.DeepEqual(r.Interfaces, want) {
			t.Errorf("interfaces:\n%+v\nwant\n%+v", r.Interfaces, want)
		}
		if r.Managed != "eth0" || r.Gateway != s.Gateway || !slices.Equal(r.DNS, s.DNS) || !slices.Equal(r.Groups, []netip.Addr{netip.MustParseAddr("239.1.1.1")}) ||
			!r.Can(model.CanStaticIPv4) || !r.Can(model.CanDHCPv4) || !r.Can(model.CanDNS) || r.HostName == "" || r.Backend != "netlink" {
			t.Errorf("report: %+v", r)
		}
	})
}
