package iptables

import (
	"net/netip"
	"strings"
	"testing"

	"homeconf/src/model"
)

const (
	stb model.DeviceID = "d0123456789"
	tv  model.DeviceID = "d9876543210"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestRules(t *testing.T) {
	marks := []model.Mark{
		{Device: tv, Address: addr("192.168.1.51"), Groups: []netip.Addr{addr("239.1.1.1"), addr("239.1.1.2")}, Class: model.ClassStreaming, Reason: "TV"},
		{Device: stb, Address: addr("192.168.1.50"), Groups: []netip.Addr{addr("239.1.1.1")}, Class: model.ClassBroadcastVideo, Reason: `Bob's "box" \ $(reboot)` + "\nCOMMIT\n"},
		{Device: "m020000000001", Address: addr("192.168.1.9"), Class: model.ClassNone},
	}
	// Streaming is the more urgent of the two, so it marks the shared group.
	want := `-A HOMECONF_MARK -d 192.168.1.50/32 -m comment --comment "homeconf d0123456789: Bob_s _box_ _ _(reboot)_COMMIT_" -j DSCP --set-dscp 0x18
-A HOMECONF_MARK -d 192.168.1.51/32 -m comment --comment "homeconf d9876543210: TV" -j DSCP --set-dscp 0x1a
-A HOMECONF_MARK -d 239.1.1.1/32 -o br-lan -m comment --comment "homeconf d9876543210 d0123456789: TV" -j DSCP --set-dscp 0x1a
-A HOMECONF_MARK -d 239.1.1.2/32 -o br-lan -m comment --comment "homeconf d9876543210: TV" -j DSCP --set-dscp 0x1a`
	var got []string
	for _, r := range Rules(marks, "br-lan") {
		got = append(got, r.String())
	}
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	// The order of the marks doesn't matter.
	marks[0], marks[1] = marks[1], marks[0]
	for i, r := range Rules(marks, "br-lan") {
		if r.String() != got[i] {
			t.Errorf("other order: %s", r)
		}
	}
}

func TestCommentIsBounded(t *testing.T) {
	r := Rule{Dst: addr("192.168.1.5"), Reason: strings.Repeat("é\x00", 4000)}
	for range 100 {
		r.Devices = append(r.Devices, stb)
	}
	if c := r.comment(); len(c) > maxComment || !strings.Contains(c, "+92") {
		t.Errorf("%d bytes: %s", len(c), c)
	}
}

func TestCanonicalIgnoresOrder(t *testing.T) {
	r := Rule{Dst: addr("239.1.1.1"), Out: "br-lan", DSCP: 1, Devices: []model.DeviceID{stb}, Reason: "x"}
	same := []string{
		r.String(),
		`-A HOMECONF_MARK -o br-lan -d 239.1.1.1/32 -m comment --comment "homeconf d0123456789: x" -j DSCP --set-dscp 1`,
	}
	for _, l := range same {
		if canonical(l) != r.String() {
			t.Errorf("%s became %s", l, canonical(l))
		}
	}
	other := []string{"", "-N HOMECONF_MARK", "-A FORWARD -j HOMECONF_MARK", `-A HOMECONF_MARK -d 1.2.3.4/32 ! -o x -m comment --comment y -j DSCP --set-dscp 1`,
		`-A HOMECONF_MARK -j ACCEPT`, `-A HOMECONF_MARK -d 1.2.3.4/32 -d 1.2.3.4/32`, `-A HOMECONF_MARK -d 1.2.3.4/32 -m comment --comment "open`,
		`-A HOMECONF_MARK -d 1.2.3.4/32 -m comment --comment y -j DSCP --set-dscp 64`}
	for _, l := range other {
		if _, ok := Parse(l); ok || canonical(l) != l {
			t.Errorf("%q was taken for ours", l)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`-A HOMECONF_MARK -d 239.1.1.1/32 -o br-lan -m comment --comment "homeconf d0123456789: x" -j DSCP --set-dscp 0x01`)
	f.Add(`-A HOMECONF_MARK "\"`)
	f.Fuzz(func(t *testing.T, s string) {
		if c := canonical(s); canonical(c) != c && !strings.ContainsAny(s, `"\`) {
			t.Errorf("%q became %q, and that %q", s, c, canonical(c))
		}
	})
}

func TestScripts(t *testing.T) {
	r := []Rule{{Dst: addr("192.168.1.5"), DSCP: 24, Devices: []model.DeviceID{stb}, Reason: "x"}}
	set, err := Want(r)
	if err != nil {
		t.Fatal(err)
	}
	rule := `-A HOMECONF_MARK -d 192.168.1.5/32 -m comment --comment "homeconf d0123456789: x" -j DSCP --set-dscp 0x18` + "\n"
	tests := []struct {
		name     string
		from, to State
		want     string
	}{
		{"first", State{}, set, "*mangle\n:HOMECONF_MARK - [0:0]\n" + rule + "-I FORWARD 1 -j HOMECONF_MARK\nCOMMIT\n"},
		{"jump lost", State{Chain: true, Rules: set.Rules}, set, "*mangle\n:HOMECONF_MARK - [0:0]\n" + rule + "-I FORWARD 1 -j HOMECONF_MARK\nCOMMIT\n"},
		{"jumps too many", State{Jumps: 3, Chain: true, Rules: set.Rules}, set,
			"*mangle\n:HOMECONF_MARK - [0:0]\n" + rule + "-D FORWARD -j HOMECONF_MARK\n-D FORWARD -j HOMECONF_MARK\nCOMMIT\n"},
		{"away", set, State{}, "*mangle\n:HOMECONF_MARK - [0:0]\n-D FORWARD -j HOMECONF_MARK\n-X HOMECONF_MARK\nCOMMIT\n"},
	}
	for _, tt := range tests {
		if got := script(tt.from, tt.to, true); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	for _, dev := range []string{"br lan", "x\ny", "$(x)", "-j", "0123456789abcdef", "a;b", "a/b"} {
		if _, err := Want([]Rule{{Dst: addr("239.1.1.1"), Out: dev}}); err == nil {
			t.Errorf("device %q was accepted", dev)
		}
	}
}
