package uci

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

const stb model.DeviceID = "d0123456789"

func parse(t *testing.T, pkg, s string) *file.File {
	t.Helper()
	f, err := file.Parse(pkg, []byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNetworks(t *testing.T) {
	f := parse(t, "network", `
config interface 'lan'
	option device 'br-lan'
	option ipaddr '192.168.1.1'
	option netmask '255.255.255.0'
config interface 'new'
	option device 'br-new'
	list ipaddr '192.168.2.1/24'
	list ipaddr '10.0.0.1/8'
config interface 'bare'
	option ifname 'eth0.3 eth0.4'
	option ipaddr '192.168.3.1'
config interface 'old'
	option type 'bridge'
	option ifname 'eth0.1'
	option netmask '255.0.255.0'
	option ipaddr '192.168.4.1'
config interface 'wan'
	option proto 'pppoe'
	option device 'eth1.7'
config device
	option name 'br-lan'
`)
	want := `{lan br-lan  [192.168.1.1/24]}
{new br-new  [192.168.2.1/24 10.0.0.1/8]}
{bare eth0.3  [192.168.3.1/32]}
{old br-old  []}
{wan eth1.7 pppoe []}
`
	var b strings.Builder
	for _, n := range Networks(f) {
		fmt.Fprintln(&b, n)
	}
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

func TestPool(t *testing.T) {
	tests := []struct{ dhcp, lan, want string }{
		{"config dhcp lan\n option interface lan\n", "192.168.1.1/24", "192.168.1.100-192.168.1.249"},
		{"config dhcp lan\n option interface lan\n option start 10\n option limit 20\n", "192.168.1.1/24", "192.168.1.10-192.168.1.29"},
		{"config dhcp lan\n option interface lan\n option start 200\n option limit 150\n", "192.168.1.1/24", "192.168.1.200-192.168.1.254"},
		{"config dhcp lan\n option interface lan\n", "192.168.1.1/28", ""},
		{"config dhcp lan\n option interface lan\n option limit 0\n", "192.168.1.1/24", ""},
		{"config dhcp lan\n option interface lan\n option ignore 1\n", "192.168.1.1/24", ""},
		{"config dhcp lan\n option interface lan\n option dhcpv4 disabled\n", "192.168.1.1/24", ""},
		{"config dhcp lan\n option interface lan\n option start 4000000000\n option limit 4000000000\n", "10.0.0.1/8", ""},
		{"config dhcp guest\n option interface guest\n", "192.168.1.1/24", ""},
		{"config dhcp lan\n option interface lan\n", "192.168.1.1/32", ""},
		{"config dhcp lan\n option interface lan\n option start x\n", "10.1.2.3/8", "10.0.0.100-10.0.0.249"},
	}
	for _, tt := range tests {
		got := ""
		if r := Pool(parse(t, "dhcp", tt.dhcp), "lan", netip.MustParsePrefix(tt.lan)); r.First.IsValid() {
			got = r.First.String() + "-" + r.Last.String()
		}
		if got != tt.want {
			t.Errorf("%q in %s: %q, want %q", tt.dhcp, tt.lan, got, tt.want)
		}
	}
}

func TestOtherFacts(t *testing.T) {
	sqm := parse(t, "sqm", "config queue\n option enabled 0\n option interface eth1\n option download 1\nconfig queue\n option enabled 1\n option interface eth1\n option download 50000\n option upload 900\n")
	if d, u, ok := Queue(sqm, "eth1", "wan"); d != 50000 || u != 900 || !ok {
		t.Errorf("queue %d %d %v", d, u, ok)
	}
	if _, _, ok := Queue(sqm, "eth2", ""); ok {
		t.Error("another device's queue")
	}
	fw := parse(t, "firewall", "config defaults\n option flow_offloading 1\nconfig zone\n option name outside\n list network 'wan'\n list network wan6\nconfig zone\n option name x\n option network 'iptv other'\n")
	if !Offloading(fw) || Offloading(nil) || Offloading(sqm) {
		t.Error("offloading")
	}
	for network, want := range map[string]string{"wan": "outside", "wan6": "outside", "iptv": "x", "lan": "lan"} {
		if got := Zone(fw, network); got != want {
			t.Errorf("zone of %s: %s, want %s", network, got, want)
		}
	}
	if got := LeaseFile(parse(t, "dhcp", "config dnsmasq\n option leasefile /x/y\n")); got != "/x/y" || LeaseFile(nil) != "/tmp/dhcp.leases" {
		t.Errorf("lease file %s", got)
	}
}

const others = `# The owner's own words
config dnsmasq
	option leasefile '/tmp/dhcp.leases'   # keep

config host
	option name 'Bob'\''s TV'
	option mac '02:00:00:00:00:AA 02:00:00:00:00:ab'
	option ip   "192.168.1.9"

config host 'ws'
	list mac '02:00:00:00:00:0a'
	option enable '0'
	option ip '192.168.1.10'
`

func TestHosts(t *testing.T) {
	var b strings.Builder
	for _, h := range Hosts(parse(t, "dhcp", others+"config host 'hc_d0123456789_0'\n list mac 02:00:00:00:00:01\n option ip 192.168.1.50\n")) {
		fmt.Fprintf(&b, "%s %q %q %v %s %v\n", h.Section, h.Owner, h.Name, h.MACs, h.Address, h.Enabled)
	}
	want := `cfg02fe63 "" "Bob's TV" [02:00:00:00:00:aa 02:00:00:00:00:ab] 192.168.1.9 true
ws "" "" [02:00:00:00:00:0a] 192.168.1.10 false
hc_d0123456789_0 "d0123456789" "" [02:00:00:00:00:01] 192.168.1.50 true
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

func folder(t *testing.T, files map[string]string) file.Dir {
	dir := file.Dir{Path: t.TempDir(), RunPath: t.TempDir(), StagePath: t.TempDir()}
	for name, s := range files {
		if err := os.WriteFile(filepath.Join(dir.Path, name), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func content(t *testing.T, dir file.Dir, pkg string) string {
	b, err := os.ReadFile(filepath.Join(dir.Path, pkg))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func reservation(a string, macs ...byte) model.Reservation {
	r := model.Reservation{Device: stb, Name: "box", Address: netip.MustParseAddr(a)}
	for _, m := range macs {
		r.MACs = append(r.MACs, model.MAC{2, 0, 0, 0, 0, m})
	}
	return r
}

func TestSetHosts(t *testing.T) {
	ctx := context.Background()
	dir := folder(t, map[string]string{"dhcp": others})
	begun := 0
	set := func(want ...model.Reservation) string {
		t.Helper()
		begun = 0
		done, _, err := SetHosts(ctx, dir, func() error { begun++; return nil }, func([]model.HostEntry) []model.Reservation { return want })
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, d := range done {
			s = append(s, fmt.Sprintf("%s %s %s", d.Op, d.Section, d.Address))
		}
		if (begun == 1) != (len(done) > 0) {
			t.Errorf("%v: told %d times that a write begins", s, begun)
		}
		return strings.Join(s, ", ")
	}
	steps := []struct {
		want []model.Reservation
		did  string
		tail string
	}{
		{[]model.Reservation{reservation("192.168.1.50", 1)}, "added hc_d0123456789_0 192.168.1.50",
			"\nconfig host 'hc_d0123456789_0'\n\toption name 'box'\n\tlist mac '02:00:00:00:00:01'\n\toption ip '192.168.1.50'\n"},
		{[]model.Reservation{reservation("192.168.1.50", 1)}, "", ""},
		{[]model.Reservation{reservation("192.168.1.50", 1), reservation("192.168.1.51", 1)}, "added hc_d0123456789_1 192.168.1.51", ""},
		{[]model.Reservation{reservation("192.168.1.51", 1)}, "removed hc_d0123456789_0 192.168.1.50",
			"\nconfig host 'hc_d0123456789_1'\n\toption name 'box'\n\tlist mac '02:00:00:00:00:01'\n\toption ip '192.168.1.51'\n"},
		{[]model.Reservation{reservation("192.168.1.52", 2, 1)}, "changed hc_d0123456789_1 192.168.1.52",
			"\tlist mac '02:00:00:00:00:01'\n\tlist mac '02:00:00:00:00:02'\n\toption ip '192.168.1.52'\n"},
	}
	for i, s := range steps {
		if did := set(s.want...); did != s.did {
			t.Errorf("step %d did %q, want %q", i, did, s.did)
		}
		if got := content(t, dir, "dhcp"); !strings.HasPrefix(got, others) || !strings.HasSuffix(got, s.tail) {
			t.Errorf("step %d left\n%s", i, got)
		}
	}
	// What a person adds to our section, or switches off in it, stays.
	if _, err := dir.Edit(ctx, "dhcp", func(f *file.File) error {
		s, _ := f.Section("hc_d0123456789_1")
		return errors.Join(s.Set("enable", "0"), s.Set("leasetime", "1h"))
	}); err != nil {
		t.Fatal(err)
	}
	if did := set(reservation("192.168.1.52", 1, 2)); did != "" {
		t.Errorf("a disabled section: %s", did)
	}
	if did := set(); did != "removed hc_d0123456789_1 192.168.1.52" {
		t.Errorf("removal did %s", did)
	}
	if got := content(t, dir, "dhcp"); strings.TrimRight(got, "\n") != strings.TrimRight(others, "\n") {
		t.Errorf("afterwards\n%s", got)
	}
}

func TestSetHostsUndone(t *testing.T) {
	ctx := context.Background()
	for _, to := range [][]model.Reservation{nil, {reservation("192.168.1.60", 9)}, {reservation("192.168.1.50", 1), reservation("192.168.1.61", 1)}} {
		dir := folder(t, map[string]string{"dhcp": others + "\nconfig host 'hc_d0123456789_0'\n\toption name 'box'\n\tlist mac '02:00:00:00:00:01'\n\toption ip '192.168.1.50'\n\toption leasetime '1h'\n"})
		before := content(t, dir, "dhcp")
		_, saved, err := SetHosts(ctx, dir, nil, func([]model.HostEntry) []model.Reservation { return to })
		if err != nil {
			t.Fatal(err)
		}
		if content(t, dir, "dhcp") == before {
			t.Fatal("nothing was written")
		}
		if err := saved.Restore(ctx, dir); err != nil {
			t.Fatal(err)
		}
		now, was := parse(t, "dhcp", content(t, dir, "dhcp")), parse(t, "dhcp", before)
		if string(now.Show(false)) != string(was.Show(false)) {
			t.Errorf("restored to\n%s\nwant\n%s", now.Show(false), was.Show(false))
		}
	}
}

func TestSetProxy(t *testing.T) {
	ctx := context.Background()
	path := &model.MulticastPath{Upstream: "wan", Downstream: "lan", AltNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	zones := func(n string) string { return "z" + n }
	set := func(dir file.Dir, p *model.MulticastPath) int {
		t.Helper()
		done, _, err := SetProxy(ctx, dir, nil, p, zones)
		if err != nil {
			t.Fatal(err)
		}
		return len(done)
	}
	dir := folder(t, nil)
	if n := set(dir, nil); n != 0 || content(t, dir, "igmpproxy") != "" {
		t.Errorf("nothing wanted: %d steps", n)
	}
	if n := set(dir, path); n != 3 {
		t.Errorf("first: %d steps", n)
	}
	want := `config igmpproxy 'hc_igmpproxy'
	option quickleave '1'

config phyint 'hc_igmpproxy_up'
	option network 'wan'
	option zone 'zwan'
	option direction 'upstream'
	list altnet '10.0.0.0/8'

config phyint 'hc_igmpproxy_down'
	option network 'lan'
	option zone 'zlan'
	option direction 'downstream'
`
	if got := content(t, dir, "igmpproxy"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if n := set(dir, path); n != 0 {
		t.Errorf("again: %d steps", n)
	}
	if ours, others := Proxies(parse(t, "igmpproxy", want)); !ours.Covers(*path) || others.Complete() {
		t.Errorf("read as %+v and %+v", ours, others)
	}
	// A person adds his own: ours goes, his stays.
	theirs := "config phyint\n\toption network 'vlan'\n\toption direction 'upstream'\n"
	os.WriteFile(filepath.Join(dir.Path, "igmpproxy"), []byte(theirs+want), 0o600)
	if n := set(dir, path); n != 3 {
		t.Errorf("beside another's: %d steps", n)
	}
	if got := content(t, dir, "igmpproxy"); strings.TrimRight(got, "\n") != strings.TrimRight(theirs, "\n") {
		t.Errorf("beside another's\n%s", got)
	}
	// Without altnets any sender will do.
	dir = folder(t, map[string]string{"igmpproxy": "config igmpproxy\n\toption quickleave '0'\n"})
	if n := set(dir, &model.MulticastPath{Upstream: "wan", Downstream: "lan"}); n != 2 {
		t.Errorf("beside another's header: %d steps", n)
	}
	if got := content(t, dir, "igmpproxy"); !strings.Contains(got, "list altnet '0.0.0.0/0'") || strings.Contains(got, "hc_igmpproxy'") {
		t.Errorf("without altnets\n%s", got)
	}
}

// TestSendersAreAddedToAnothers: our senders stand in for the package's example, or
// behind what somebody else has; without them, and after an undoing, it is what
// it was.
func TestSendersAreAddedToAnothers(t *testing.T) {
	ctx := context.Background()
	const stock = "config igmpproxy\n\toption quickleave 1\n\nconfig phyint\n\toption network wan\n\toption zone wan\n\toption direction upstream\n\tlist altnet '192.168.1.0/24'\n\n" +
		"config phyint\n\toption network lan\n\toption zone lan\n\toption direction downstream\n"
	path := &model.MulticastPath{Upstream: "wan", Downstream: "lan"}
	dir := folder(t, map[string]string{"igmpproxy": stock})
	set := func(p *model.MulticastPath, steps int) Saved {
		t.Helper()
		done, saved, err := SetProxy(ctx, dir, nil, p, func(n string) string { return n })
		if err != nil || len(done) != steps {
			t.Errorf("%v: %v, want %d steps", err, done, steps)
		}
		return saved
	}
	altnets := func(want string) {
		t.Helper()
		f, err := dir.Load("igmpproxy")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(f.Sections("phyint")[0].List("altnet")); got != want || len(f.Sections("phyint")) != 2 {
			t.Errorf("altnets %s, want %s in\n%s", got, want, content(t, dir, "igmpproxy"))
		}
		if _, others := Proxies(f); fmt.Sprint(others.AltNets) != "[192.168.1.0/24]" {
			t.Errorf("read as %+v", others)
		}
	}
	saved := set(path, 1)
	altnets("[0.0.0.0/0]")
	with := content(t, dir, "igmpproxy")
	set(path, 0)
	if content(t, dir, "igmpproxy") != with {
		t.Error("written again")
	}
	if err := saved.Restore(ctx, dir); err != nil || strings.TrimSpace(content(t, dir, "igmpproxy")) != strings.TrimSpace(stock) {
		t.Errorf("%v: undone to\n%s", err, content(t, dir, "igmpproxy"))
	}
	set(path, 1)
	path.AltNets = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}
	saved = set(path, 1)
	altnets("[10.0.0.0/8]")
	if err := saved.Restore(ctx, dir); err != nil || content(t, dir, "igmpproxy") != with {
		t.Errorf("%v: undone to\n%s", err, content(t, dir, "igmpproxy"))
	}
	set(nil, 1)
	altnets("[192.168.1.0/24]")
	if got := content(t, dir, "igmpproxy"); strings.TrimSpace(got) != strings.TrimSpace(stock) {
		t.Errorf("left\n%s", got)
	}
	// What the owner lists stays, but for what ours have in them.
	os.WriteFile(filepath.Join(dir.Path, "igmpproxy"), []byte(strings.Replace(stock, "list altnet '192.168.1.0/24'", "list altnet 172.20.0.0/16\n\tlist altnet 10.9.0.0/16", 1)), 0o600)
	set(path, 1)
	if got := content(t, dir, "igmpproxy"); !strings.Contains(got, "\tlist altnet 172.20.0.0/16\n\tlist altnet '10.0.0.0/8'\n") {
		t.Errorf("beside the owner's\n%s", got)
	}
	set(nil, 1)
	if got := content(t, dir, "igmpproxy"); !strings.Contains(got, "172.20.0.0/16") || !strings.Contains(got, "10.9.0.0/16") || strings.Contains(got, "10.0.0.0/8") {
		t.Errorf("without ours\n%s", got)
	}
	// One that leads elsewhere is not touched.
	os.WriteFile(filepath.Join(dir.Path, "igmpproxy"), []byte(stock), 0o600)
	path.Upstream = "iptv"
	set(path, 0)
	altnets("[192.168.1.0/24]")
}

func TestCovers(t *testing.T) {
	stock := parse(t, "igmpproxy", "config phyint\n option network wan\n option direction upstream\n list altnet 192.168.1.0/24\nconfig phyint\n option network lan\n option direction downstream\n")
	_, p := Proxies(stock)
	for nets, want := range map[string]bool{"": false, "192.168.1.0/25": true, "192.168.0.0/16": false, "10.0.0.0/8": false} {
		path := model.MulticastPath{Upstream: "wan", Downstream: "lan"}
		if nets != "" {
			path.AltNets = []netip.Prefix{netip.MustParsePrefix(nets)}
		}
		if got := p.Covers(path); got != want {
			t.Errorf("%q: %v, want %v", nets, got, want)
		}
	}
}
