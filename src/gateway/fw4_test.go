package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
	"homeconf/src/uci"
)

// fw4Like loads our rules as fw4 does when it is asked to reload: it prints them
// into its own table.
type fw4Like struct{ dir string }

func (f fw4Like) Reload(_ context.Context, pkg string) error {
	if pkg != "firewall" {
		return nil
	}
	file, err := uci.Dir{Path: f.dir}.Load("firewall")
	if err != nil {
		return err
	}
	rules := ""
	for _, m := range gwuci.Marks(file) {
		chain, out := "mangle_forward", ""
		if m.Zone != "" {
			chain, out = "mangle_postrouting", `oifname "br-lan" `
		}
		rules += fmt.Sprintf("add rule inet fw4 %s %smeta nfproto ipv4 ip daddr %s counter ip dscp set %d comment \"!fw4: %s\"\n", chain, out, m.Dst, m.DSCP, m.Name)
	}
	return load("table inet fw4\ndelete table inet fw4\ntable inet fw4 {\n" +
		"chain mangle_forward { type filter hook forward priority mangle; }\n" +
		"chain mangle_postrouting { type filter hook postrouting priority mangle; }\n}\n" + rules)
}

// TestMarksWithoutIPTablesOnFW4: where fw4 rules and no iptables program is
// there, marks are sections of the firewall package, and are read back from what
// the kernel has.
func TestMarksWithoutIPTablesOnFW4(t *testing.T) {
	if !inNamespace(t, "dnsmasq", "nft") {
		return
	}
	r, d := home(t, "iptables-nobody-has")
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "sbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "sbin/fw4"), "")
	write(t, filepath.Join(d.config, "firewall"), "# a person's\nconfig zone\n\toption name 'home'\n\tlist network 'lan'\n")
	r.cfg.Root, r.cfg.Reloader = root, fw4Like{d.config}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()

	if n, err := r.Facts(ctx); err != nil || n.Firewall != model.FirewallFW4 {
		t.Fatalf("firewall %q: %v", n.Firewall, err)
	}
	want := scene(t)
	want.Multicast, want.Reservations = nil, nil
	c, err := r.Set(ctx, want)
	if err != nil || len(c.Findings) > 0 {
		t.Fatalf("%v: %v", err, c)
	}
	check := func(ok bool) {
		t.Helper()
		checks, err := r.VerifyMarks(ctx, want)
		if err != nil || len(checks) == 0 {
			t.Fatalf("%v: %v", err, checks)
		}
		for _, k := range checks {
			if k.OK != ok {
				t.Errorf("%+v", k)
			}
		}
	}
	check(true)
	if c, err = r.Set(ctx, want); err != nil || !c.Empty() {
		t.Errorf("again: %v: %v", err, c)
	}
	text := read(t, filepath.Join(d.config, "firewall"))
	if !strings.Contains(text, "# a person's") || !strings.Contains(text, "option dest 'home'") || !strings.Contains(text, "option set_dscp '24'") {
		t.Errorf("firewall\n%s", text)
	}

	// Somebody's iptables comes: the marks go there, and leave UCI.
	r.cfg.IPTables = "iptables-nft"
	if c, err = r.Set(ctx, want); err != nil {
		t.Fatalf("%v: %v", err, c)
	}
	if left := read(t, filepath.Join(d.config, "firewall")); strings.Contains(left, "hc_") {
		t.Errorf("firewall\n%s", left)
	}
	check(true)
	// Nothing of ours stays.
	r.marks, r.cfg.IPTables = nil, "iptables-nobody-has"
	if _, err = r.Set(ctx, want); err != nil {
		t.Fatal(err)
	}
	if _, err = r.Set(ctx, model.GatewayState{}); err != nil {
		t.Fatal(err)
	}
	if left := read(t, filepath.Join(d.config, "firewall")); strings.Contains(left, "hc_") {
		t.Errorf("firewall\n%s", left)
	}
}

// TestMarkNamesAreBounded: nft refuses a ruleset with a long comment, and with it
// the home's whole firewall.
func TestMarkNamesAreBounded(t *testing.T) {
	r, err := New(Config{ConfigDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	group := netip.MustParseAddr("239.1.2.3")
	var s model.GatewayState
	for i := range 50 {
		s.Marks = append(s.Marks, model.Mark{Device: model.DeviceID(fmt.Sprintf("d%010d", i)), Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}),
			Groups: []netip.Addr{group}, Class: model.ClassBroadcastVideo})
	}
	for _, m := range r.uciMarks(s) {
		if len(m.Name) > maxRuleName {
			t.Errorf("%d bytes: %s", len(m.Name), m.Name)
		}
	}
}

func FuzzParseMarks(f *testing.F) {
	f.Add("\t\tip daddr 192.168.1.50 counter packets 0 bytes 0 ip dscp set 0x18 comment \"!fw4: homeconf\"\n")
	f.Add("ip daddr { 10.0.0.1, 10.0.0.2 } ip dscp set cs3\nip dscp set 64 ip daddr 1.2.3.4")
	f.Fuzz(func(t *testing.T, s string) {
		for dst, m := range parseMarks(s) {
			if !dst.IsValid() || m.dscp > 63 || len(m.text) > 200 {
				t.Errorf("%v %+v", dst, m)
			}
		}
	})
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// load gives nft a script.
func load(script string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

func writeMode(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
