package sighting

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"homeconf/src/model"
)

func mac(t testing.TB, s string) model.MAC {
	t.Helper()
	m, err := model.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMerge(t *testing.T) {
	one, two := mac(t, "02:00:00:00:00:01"), mac(t, "02:00:00:00:00:02")
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	got := Merge([]Evidence{
		{MAC: one, Addr: a("fe80::1"), Source: Neighbor, Active: true},
		{MAC: one, Addr: a("fd00::1"), Source: Neighbor},
		{MAC: one, Addr: a("192.168.1.5"), HostName: "PS5-4F2", Source: DHCP},
		{MAC: one, Addr: a("192.168.1.5"), Source: Neighbor},
		{MAC: one, Port: "lan1", Source: Bridge},
		{MAC: two, Addr: a("192.168.1.6"), Source: DHCP},
	})
	want := `02:00:00:00:00:01 {PS5-4F2 [192.168.1.5 fd00::1 fe80::1] lan1 true [bridge dhcp neighbor] AV_Game its DHCP host name is "PS5-4F2"}
02:00:00:00:00:02 { [192.168.1.6]  false [dhcp]  }
`
	var b strings.Builder
	for _, m := range []model.MAC{one, two} {
		fmt.Fprintf(&b, "%s %v\n", m, got[m])
	}
	if len(got) != 2 || b.String() != want {
		t.Errorf("%d devices:\n%swant\n%s", len(got), &b, want)
	}
}

func TestMergeBoundsAddresses(t *testing.T) {
	one := mac(t, "02:00:00:00:00:01")
	var all []Evidence
	for i := range 200 {
		all = append(all, Evidence{MAC: one, Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Source: Neighbor})
	}
	if n := len(Merge(all)[one].Addrs); n != maxAddresses {
		t.Errorf("%d addresses, want %d", n, maxAddresses)
	}
}

func TestArrange(t *testing.T) {
	own, group := mac(t, "02:00:00:00:00:aa"), mac(t, "01:00:5e:00:00:01")
	one := mac(t, "02:00:00:00:00:01")
	all := []Evidence{{MAC: own, Source: Bridge}, {MAC: group, Source: Bridge}, {Source: Bridge},
		{MAC: one, Source: Bridge, age: 7}, {MAC: one, Source: Bridge, age: 9}}
	got := arrange(all, map[model.MAC]bool{own: true})
	if !slices.Equal(got, []Evidence{{MAC: one, Source: Bridge}}) {
		t.Errorf("got %+v", got)
	}
}

// Made-up MAC addresses at a port must not push out the devices of the home.
func TestFloodKeepsDevicesWithAnAddress(t *testing.T) {
	var all []Evidence
	for i := range 5000 {
		m := model.MAC{2, 0xff}
		binary.BigEndian.PutUint32(m[2:], uint32(i))
		all = append(all, Evidence{MAC: m, Port: "lan1", Active: true, Source: Bridge, age: uint32(i)})
	}
	leased, heard := mac(t, "02:00:00:00:00:01"), mac(t, "02:00:00:00:00:02")
	all = append(all, Evidence{MAC: leased, Addr: netip.MustParseAddr("192.168.1.5"), Source: DHCP},
		Evidence{MAC: heard, Addr: netip.MustParseAddr("192.168.1.6"), Source: Neighbor, age: 100000})
	got := Merge(arrange(all, nil))
	if len(got) != maxDevices {
		t.Errorf("%d devices, want %d", len(got), maxDevices)
	}
	for _, m := range []model.MAC{leased, heard, {2, 0xff}} {
		if _, ok := got[m]; !ok {
			t.Errorf("%s was dropped", m)
		}
	}
	if _, ok := got[model.MAC{2, 0xff, 0, 0, 0x13, 0x87}]; ok {
		t.Error("the oldest was kept")
	}
}

func TestKernelEntries(t *testing.T) {
	hw, _ := net.ParseMAC("02:00:00:00:00:01")
	v4 := net.IPv4(192, 168, 1, 5).To4()
	neighbours := []struct {
		name   string
		in     netlink.Neigh
		ok, on bool
	}{
		{"reachable", netlink.Neigh{IP: v4, HardwareAddr: hw, State: netlink.NUD_REACHABLE}, true, true},
		{"stale", netlink.Neigh{IP: v4, HardwareAddr: hw, State: netlink.NUD_STALE}, true, false},
		{"failed", netlink.Neigh{IP: v4, HardwareAddr: hw, State: netlink.NUD_FAILED}, false, false},
		{"incomplete", netlink.Neigh{IP: v4, State: netlink.NUD_INCOMPLETE}, false, false},
		{"multicast", netlink.Neigh{IP: net.ParseIP("ff02::1"), HardwareAddr: hw, State: netlink.NUD_REACHABLE}, false, false},
		{"no address", netlink.Neigh{HardwareAddr: hw, State: netlink.NUD_REACHABLE}, false, false},
		{"long MAC", netlink.Neigh{IP: v4, HardwareAddr: make([]byte, 8), State: netlink.NUD_REACHABLE}, false, false},
	}
	for _, tt := range neighbours {
		if e, ok := neighbor(tt.in); ok != tt.ok || e.Active != tt.on {
			t.Errorf("neighbour %s: %+v, %v", tt.name, e, ok)
		}
	}
	names := map[int]string{3: "br-lan", 4: "lan1"}
	stations := []struct {
		name string
		in   netlink.Neigh
		ok   bool
	}{
		{"learned", netlink.Neigh{LinkIndex: 4, MasterIndex: 3, HardwareAddr: hw, State: netlink.NUD_REACHABLE}, true},
		{"the port's own", netlink.Neigh{LinkIndex: 4, MasterIndex: 3, HardwareAddr: hw, State: netlink.NUD_PERMANENT}, false},
		{"the bridge's own", netlink.Neigh{LinkIndex: 3, MasterIndex: 3, HardwareAddr: hw, State: netlink.NUD_REACHABLE}, false},
		{"another bridge", netlink.Neigh{LinkIndex: 4, MasterIndex: 9, HardwareAddr: hw, State: netlink.NUD_REACHABLE}, false},
	}
	for _, tt := range stations {
		if e, ok := station(tt.in, 3, names); ok != tt.ok || ok && e.Port != "lan1" {
			t.Errorf("station %s: %+v, %v", tt.name, e, ok)
		}
	}
}

func TestGuess(t *testing.T) {
	tests := map[string]model.Category{
		"":                               "",
		"PS5-4F2":                        model.CategoryGame,
		"XBOX":                           model.CategoryGame,
		"LGwebOSTV":                      model.CategoryTV,
		"BRAVIA-4K":                      model.CategoryTV,
		"Samsung-TV":                     model.CategoryTV,
		"Apple-TV":                       model.CategoryPlayer,
		"Living-Room-Apple-TV":           model.CategoryPlayer,
		"Chromecast-Ultra":               model.CategoryPlayer,
		"DiskStation":                    model.CategoryNAS,
		"my-nas":                         model.CategoryNAS,
		"NPI3A4B5C":                      model.CategoryPrinter,
		"BRWD85DE2112233":                model.CategoryPrinter,
		"SonosZP":                        model.CategoryAudio,
		"HomePod-mini":                   model.CategoryAudio,
		"reolink-garage":                 model.CategoryCamera,
		"SIP-T46S":                       model.CategoryPhone,
		"DESKTOP-7H3K2":                  model.CategoryComputer,
		"Bobs-MacBook-Pro":               model.CategoryComputer,
		"STB-ISP":                        model.CategorySTB,
		"uap-ac-lite":                    model.CategoryAccessPoint,
		"pcelectronics":                  "", // "pc" is a word, not a beginning
		"hostapd":                        "",
		"scapegoat":                      "",
		"tvguide":                        "",
		"phone":                          "",
		"android-dhcp-13":                "",
		strings.Repeat("a-", 500) + "tv": model.CategoryTV,
	}
	for name, want := range tests {
		got, why := Guess(name)
		if got != want || (got != "") != (why != "") {
			t.Errorf("%.40q: %q (%s), want %q", name, got, why, want)
		}
		if _, err := model.ParseCategory(string(got)); err != nil {
			t.Error(err)
		}
	}
}

func FuzzGuess(f *testing.F) {
	f.Add("Apple-TV")
	f.Add("\xff\u202e--")
	f.Fuzz(func(t *testing.T, s string) {
		if c, why := Guess(s); (c == "") != (why == "") {
			t.Errorf("%q: %q, %q", s, c, why)
		}
	})
}

// inotify's records, as a kernel of this machine writes them.
func record(mask uint32, name string) []byte {
	size := 0
	if name != "" {
		size = (len(name)/16 + 1) * 16
	}
	b := make([]byte, unix.SizeofInotifyEvent+size)
	binary.NativeEndian.PutUint32(b[4:], mask)
	binary.NativeEndian.PutUint32(b[12:], uint32(size))
	copy(b[unix.SizeofInotifyEvent:], name)
	return b
}

func TestEvents(t *testing.T) {
	tests := []struct {
		name           string
		in             []byte
		ours, replaced bool
	}{
		{"nothing", nil, false, false},
		{"written", record(unix.IN_MODIFY, ""), true, false},
		{"moved here", record(unix.IN_MOVED_TO, "dhcp.leases"), true, true},
		{"another", record(unix.IN_MOVED_TO, "dhcp.leases.old"), false, false},
		{"another, then ours", append(record(unix.IN_CREATE, "x"), record(unix.IN_CREATE, "dhcp.leases")...), true, true},
		{"overflow", record(unix.IN_Q_OVERFLOW, ""), true, true},
		{"watch ended", record(unix.IN_IGNORED, ""), false, false},
		{"torn", record(unix.IN_MOVED_TO, "dhcp.leases")[:20], false, false},
	}
	for _, tt := range tests {
		if ours, replaced := events(tt.in, []byte("dhcp.leases")); ours != tt.ours || replaced != tt.replaced {
			t.Errorf("%s: %v, %v", tt.name, ours, replaced)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(record(unix.IN_MOVED_TO, "dhcp.leases"))
	f.Add(record(unix.IN_MODIFY, ""))
	f.Fuzz(func(t *testing.T, b []byte) { events(b, []byte("dhcp.leases")) })
}
