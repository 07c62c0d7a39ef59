package uci

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	file "homeconf/src/uci"
)

// TestSetLAN: an address is written in the form that stands there, never
// without a mask, and can be taken back.
func TestSetLAN(t *testing.T) {
	for _, c := range []struct{ name, have, want string }{
		{"option and netmask", "\toption ipaddr '10.20.0.1'\n\toption netmask '255.255.255.0'\n", "\toption ipaddr '192.168.0.1'\n\toption netmask '255.255.252.0'\n"},
		{"no netmask", "\toption ipaddr '10.20.0.1'\n", "\toption ipaddr '192.168.0.1'\n\toption netmask '255.255.252.0'\n"},
		{"netmask as length", "\toption netmask '24'\n\toption ipaddr '10.20.0.1'\n", "\toption netmask '255.255.252.0'\n\toption ipaddr '192.168.0.1'\n"},
		{"list", "\tlist ipaddr '10.20.0.1/24'\n", "\tlist ipaddr '192.168.0.1/22'\n"},
		{"list of two", "\tlist ipaddr '10.20.0.1/24'\n\tlist ipaddr '10.30.0.1/16'\n", "\tlist ipaddr '192.168.0.1/22'\n\tlist ipaddr '10.30.0.1/16'\n"},
		{"list with a common mask", "\tlist ipaddr '10.20.0.1'\n\tlist ipaddr '10.30.0.1'\n\toption netmask '255.255.0.0'\n", "\tlist ipaddr '192.168.0.1/22'\n\tlist ipaddr '10.30.0.1/16'\n\toption netmask '255.255.0.0'\n"},
		{"prefix in an option", "\toption ipaddr '10.20.0.1/24'\n", "\toption ipaddr '192.168.0.1/22'\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := file.Dir{Path: t.TempDir(), RunPath: "/nonexistent"}
			head := "\nconfig interface 'lan'\n\toption proto 'static'\n"
			tail := "\toption ip6assign '60'\n\nconfig interface 'wan'\n\toption proto 'dhcp'\n"
			path := filepath.Join(dir.Path, "network")
			if err := os.WriteFile(path, []byte(head+c.have+tail), 0o644); err != nil {
				t.Fatal(err)
			}
			was, err := SetLAN(t.Context(), dir, "lan", netip.MustParsePrefix("192.168.0.1/22"))
			if err != nil {
				t.Fatal(err)
			}
			f, err := dir.Load("network")
			if err != nil {
				t.Fatal(err)
			}
			want, err := file.Parse("network", []byte(head+c.want+tail))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := f.Section("lan")
			wanted, _ := want.Section("lan")
			ok := len(got.Options()) == len(wanted.Options())
			for _, o := range wanted.Options() {
				ok = ok && slices.ContainsFunc(got.Options(), func(h file.Option) bool { return sameOption(h, o) })
			}
			if !ok {
				t.Errorf("written:\n%s", f.Bytes())
			}
			if p := Networks(f)[0].Prefixes[0]; p != netip.MustParsePrefix("192.168.0.1/22") {
				t.Errorf("read back: %s", p)
			}
			if err := was.Restore(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
			if f, err = dir.Load("network"); err != nil {
				t.Fatal(err)
			}
			before, err := file.Parse("network", []byte(head+c.have+tail))
			if err != nil {
				t.Fatal(err)
			}
			if a, b := Networks(f), Networks(before); len(a[0].Prefixes) != len(b[0].Prefixes) || a[0].Prefixes[0] != b[0].Prefixes[0] {
				t.Errorf("put back:\n%s", f.Bytes())
			}
		})
	}
	for _, c := range []struct{ network, text string }{
		{"lan", "\nconfig interface 'wan'\n\toption proto 'static'\n"},
		{"lan", "\nconfig interface 'lan'\n\toption proto 'dhcp'\n"},
		{"lan", ""},
	} {
		dir := file.Dir{Path: t.TempDir(), RunPath: "/nonexistent"}
		path := filepath.Join(dir.Path, "network")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := SetLAN(t.Context(), dir, c.network, netip.MustParsePrefix("192.168.0.1/22")); err == nil {
			t.Errorf("%q was taken", c.text)
		}
		if b, _ := os.ReadFile(path); string(b) != c.text {
			t.Errorf("written: %q", b)
		}
	}
}
