package iptables

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"homeconf/src/model"
)

var opened = []model.Redirect{
	{Device: "d0123456789", Protocol: model.TCP, External: 8443, Address: netip.MustParseAddr("192.168.1.50"), Port: 443,
		Start: time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC), Stop: time.Date(2026, 12, 24, 15, 0, 0, 0, time.UTC), Reason: "web"},
	{Device: "m020000000001", Protocol: model.UDP, External: 1194, Address: netip.MustParseAddr("192.168.1.51"), Port: 1194,
		Start: time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), Stop: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), Reason: "vpn"},
}

func TestOpeningRules(t *testing.T) {
	o, err := WantOpenings(opened, "eth1")
	if err != nil {
		t.Fatal(err)
	}
	want := `*filter
:HOMECONF_OPEN - [0:0]
-A HOMECONF_OPEN -d 192.168.1.50/32 -i eth1 -p tcp -m tcp --dport 443 -m conntrack --ctstate DNAT -m time --datestart 2026-11-24T15:00:00 --datestop 2026-12-24T15:00:00 -m comment --comment "homeconf d0123456789: web" -j ACCEPT
-A HOMECONF_OPEN -d 192.168.1.51/32 -i eth1 -p udp -m udp --dport 1194 -m conntrack --ctstate DNAT -m time --datestart 1970-01-01T00:00:00 --datestop 2038-01-19T00:00:00 -m comment --comment "homeconf m020000000001: vpn" -j ACCEPT
-I FORWARD 1 -j HOMECONF_OPEN
COMMIT
*nat
:HOMECONF_NAT - [0:0]
-A HOMECONF_NAT -i eth1 -p tcp -m tcp --dport 8443 -m time --datestart 2026-11-24T15:00:00 --datestop 2026-12-24T15:00:00 -m comment --comment "homeconf d0123456789: web" -j DNAT --to-destination 192.168.1.50:443
-A HOMECONF_NAT -i eth1 -p udp -m udp --dport 1194 -m time --datestart 1970-01-01T00:00:00 --datestop 2038-01-19T00:00:00 -m comment --comment "homeconf m020000000001: vpn" -j DNAT --to-destination 192.168.1.51:1194
-I PREROUTING 1 -j HOMECONF_NAT
COMMIT
`
	if got := openings[0].script(State{}, o[0], true) + openings[1].script(State{}, o[1], true); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for i, rule := range o[1].Rules {
		r, ok := ParseOpening(rule)
		if !ok || r.Device != opened[i].Device || r.Outer() != opened[i].Outer() || r.Address != opened[i].Address || r.Port != opened[i].Port || r.Reason != opened[i].Reason {
			t.Errorf("%s was read as %+v", rule, r)
		}
	}
	if !o.Has(opened[0], "eth1") || o.Has(opened[0], "eth2") {
		t.Error("what is in force is not known")
	}
	for _, bad := range []model.Redirect{{}, {Protocol: "sctp", External: 1, Port: 1, Address: opened[0].Address}, {Protocol: model.TCP, External: 1, Address: opened[0].Address}} {
		if _, err := WantOpenings([]model.Redirect{bad}, "eth1"); err == nil {
			t.Errorf("%+v can be written", bad)
		}
	}
	if _, err := WantOpenings(opened, "eth1 -j ACCEPT"); err == nil {
		t.Error("any device can be written")
	}
}

func TestPortsLedElsewhere(t *testing.T) {
	for line, want := range map[string]string{
		"-A PREROUTING -i eth1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80":      "[{tcp 80 80}]",
		"-A PREROUTING -p udp -m udp --dport 5000:5010 -j DNAT --to-destination 10.0.0.1":          "[{udp 5000 5010}]",
		"-A X -p tcp -m multiport --dports 80,443,8000:8010 -j REDIRECT --to-ports 1":              "[{tcp 80 80} {tcp 443 443} {tcp 8000 8010}]",
		"-A PREROUTING -d 203.0.113.2/32 -j DNAT --to-destination 10.0.0.1":                        "[{ 1 65535}]",
		"-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80": "[{tcp 8080 8080}]",
		"-A PREROUTING -i br-lan -p udp -m udp --dport 53 -j REDIRECT --to-ports 53":               "[]",
		"-A PREROUTING -p tcp -m tcp --dport 80 -j ACCEPT":                                         "[]",
		"-A PREROUTING -p gre -j DNAT --to-destination 10.0.0.1":                                   "[]",
		"-A PREROUTING -p tcp --dport 99999 -j DNAT":                                               "[]",
		"-A \"": "[]",
	} {
		got := []string{}
		for _, o := range ledBy(line, "br-lan") {
			got = append(got, fmt.Sprintf("{%s %d %d}", o.Protocol, o.First, o.Last))
		}
		if s := fmt.Sprint(got); s != want {
			t.Errorf("%s: %s, want %s", line, s, want)
		}
	}
}

func FuzzOpeningRule(f *testing.F) {
	o, _ := WantOpenings(opened, "eth1")
	for _, s := range o {
		for _, r := range s.Rules {
			f.Add(r)
		}
	}
	f.Add("-A PREROUTING -p tcp -m multiport --dports 80,443 -j DNAT --to-destination 10.0.0.1")
	f.Fuzz(func(t *testing.T, line string) {
		c := canonicalOpening(line)
		if again := canonicalOpening(c); again != c {
			t.Errorf("%q became %q and then %q", line, c, again)
		}
		if r, ok := ParseOpening(line); ok && (!r.Outer().Valid() || !r.Address.Is4()) {
			t.Errorf("%q was read as %+v", line, r)
		}
		for _, o := range ledBy(line, "br-lan") {
			if o.First > o.Last {
				t.Errorf("%q: %+v", line, o)
			}
		}
	})
}
