package uci

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

const othersFile = `config zone
	option name 'wan'
	list network 'wan'
	option input 'REJECT'

config rule
	option name 'ssh'
	option src 'wan'
	option proto 'tcp'
	option dest_port '22'
	option target 'ACCEPT'

config rule
	option src 'wan'
	option dest 'lan'
	option proto 'tcp'
	option dest_port '25'
	option target 'ACCEPT'

config redirect 'web'
	option name 'web "x"'
	option src 'wan'
	option src_dport '8000-8010 9000'
	option dest_ip '192.168.1.9'

config redirect
	option src 'lan'
	option src_dport '53'
	option proto 'udp'

config redirect
	option src 'wan'
	option target 'SNAT'
`

func TestSetRedirects(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "firewall")
	if err := os.WriteFile(path, []byte(othersFile), 0o644); err != nil {
		t.Fatal(err)
	}
	d := file.Dir{Path: dir, RunPath: filepath.Join(dir, "run")}
	want := []model.Redirect{{Device: "d0123456789", Protocol: model.TCP, External: 8443, Address: netip.MustParseAddr("192.168.1.50"), Port: 443,
		Start: time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC), Stop: time.Date(2026, 12, 24, 15, 0, 0, 0, time.UTC), Reason: "it's \"$(me)\"; }\n"}}
	set := func(list []model.Redirect) []Done {
		t.Helper()
		done, _, _, err := SetRedirects(context.Background(), d, nil, time.FixedZone("", 3600), func(*file.File) ([]model.Redirect, Zones) { return list, Zones{"wan", "lan"} })
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	if done := set(want); len(done) != 1 || done[0].Op != Added {
		t.Errorf("%+v", done)
	}
	b, _ := os.ReadFile(path)
	ours := strings.TrimPrefix(string(b), othersFile)
	wantText := `
config redirect 'hc_d0123456789_0'
	option name 'homeconf d0123456789: it_s __(me)__ __'
	option target 'DNAT'
	option family 'ipv4'
	option src 'wan'
	option dest 'lan'
	option proto 'tcp'
	option src_dport '8443'
	option dest_ip '192.168.1.50'
	option dest_port '443'
	option start_date '2026-11-24T16:00:00'
	option stop_date '2026-12-24T16:00:00'
`
	if strings.TrimSpace(ours) != strings.TrimSpace(wantText) {
		t.Errorf("%s\nwant\n%s", ours, wantText)
	}
	if done := set(want); len(done) != 0 {
		t.Errorf("again: %+v", done)
	}
	// What a person switched off stays off, and its address is followed.
	if _, err := d.Edit(context.Background(), "firewall", func(f *file.File) error {
		s, _ := f.Section("hc_d0123456789_0")
		return s.Set("enabled", "0")
	}); err != nil {
		t.Fatal(err)
	}
	want[0].Address = netip.MustParseAddr("192.168.1.51")
	set(want)
	f, err := d.Load("firewall")
	if err != nil {
		t.Fatal(err)
	}
	list, off := Redirects(f)
	if r := list["hc_d0123456789_0"]; len(list) != 1 || !off["hc_d0123456789_0"] || r.Address != want[0].Address || r.Device != "d0123456789" {
		t.Errorf("%+v %v", list, off)
	}
	if done := set(nil); len(done) != 1 || done[0].Op != Removed {
		t.Errorf("%+v", done)
	}
	if b, _ := os.ReadFile(path); strings.TrimSpace(string(b)) != strings.TrimSpace(othersFile) {
		t.Errorf("others' sections changed:\n%s", b)
	}
}

func TestPortsOfOthers(t *testing.T) {
	f, err := file.Parse("firewall", []byte(othersFile))
	if err != nil {
		t.Fatal(err)
	}
	has := func(l []model.Occupied, p string) (by string) {
		port, err := model.ParsePort(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range l {
			if o.Has(port) {
				by = o.By
			}
		}
		return by
	}
	taken, open := PortsTaken(f, "wan"), PortsOpen(f, "wan")
	for p, want := range map[string]bool{"8000/tcp": true, "8005/udp": true, "8010/tcp": true, "8011/tcp": false, "9000/udp": true, "53/udp": false, "22/tcp": false} {
		if by := has(taken, p); (by != "") != want {
			t.Errorf("%s: taken by %q", p, by)
		}
	}
	for p, want := range map[string]bool{"22/tcp": true, "22/udp": false, "25/tcp": false, "443/tcp": false} {
		if by := has(open, p); (by != "") != want {
			t.Errorf("%s: open by %q", p, by)
		}
	}
}
