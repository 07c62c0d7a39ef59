package gateway

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homeconf/src/gateway/iptables"
	"homeconf/src/model"
)

func TestPosixZone(t *testing.T) {
	summer := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	winter := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for tz, want := range map[string]string{
		"UTC": "12 12", "GMT0": "12 12", "CET-1CEST,M3.5.0,M10.5.0/3": "14 13", "JST-9": "21 21", "<+0545>-5:45": "17 17",
		"EST5EDT,M3.2.0,M11.1.0": "08 07", "": "12 12", "rubbish\n\n": "12 12",
	} {
		z := posixZone(tz)
		if got := summer.In(z).Format("15") + " " + winter.In(z).Format("15"); got != want {
			t.Errorf("%q: %s, want %s", tz, got, want)
		}
	}
}

func FuzzPosixZone(f *testing.F) {
	f.Add("CET-1CEST,M3.5.0,M10.5.0/3")
	f.Fuzz(func(t *testing.T, s string) { time.Unix(1800000000, 0).In(posixZone(s)).Format(time.RFC3339) })
}

const tcpList = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
	"   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n" +
	"   1: 0100007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0\n" +
	"   2: 00000000:01BB 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0\n" +
	"   3: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A\n" +
	"   4: 0000000000000000FFFF0000020071CB:1F90 00000000000000000000000000000000:0000 0A\n" +
	"   5: 020071CB:0051 00000000:0000 0A\n"

func TestParseSockets(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the list is of a little-endian processor")
	}
	got := parseSockets(tcpList, "0A", []netip.Addr{netip.MustParseAddr("203.113.0.2")})
	if want := []uint16{22, 80, 8080, 81}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func FuzzParseSockets(f *testing.F) {
	f.Add(tcpList)
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range parseSockets(s, "0A", nil) {
			if p == 0 {
				t.Error("port 0")
			}
		}
	})
}

func TestParseUPnP(t *testing.T) {
	got := parseUPnP("TCP:8080:192.168.1.5:80:1700000000:web\nUDP:70000:192.168.1.5:80\nrubbish\nudp:53:\x1b[31m:1\n")
	if len(got) != 2 || got[0].First != 8080 || got[0].By != "a mapping that 192.168.1.5 made by UPnP" || got[1].By != "a mapping that somebody made by UPnP" {
		t.Errorf("%+v", got)
	}
}

const dnatList = "\t\tip saddr 192.168.1.0/24 ip daddr 203.0.113.154 tcp dport 443 meta time \"2026-11-24 15:00:00\"-\"2026-12-24 15:00:00\" dnat ip to 192.168.1.50:443 comment \"!fw4: x (reflection)\"\n" +
	"\t\tmeta nfproto 2 tcp dport 8443 meta time \"2026-11-24 15:00:00\"-\"2026-12-24 15:00:00\" counter packets 0 bytes 0 dnat ip to 192.168.1.50:443 comment \"!fw4: homeconf d0123456789: x\"\n" +
	"\t\tmeta nfproto 2 udp dport 8000-8100 counter packets 0 bytes 0 dnat ip to 192.168.1.51 comment \"!fw4: range\"\n"

func TestParseRedirects(t *testing.T) {
	got := parseRedirects(dnatList)
	if len(got) != 1 || got[0].Outer().String() != "8443/tcp" || got[0].Address.String() != "192.168.1.50" || got[0].Port != 443 ||
		!got[0].Stop.Equal(time.Date(2026, 12, 24, 15, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", got)
	}
}

func FuzzParseRedirects(f *testing.F) {
	f.Add(dnatList)
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range parseRedirects(s) {
			if !r.Outer().Valid() || !r.Address.Is4() || len(r.text) > 240 {
				t.Errorf("%+v", r)
			}
		}
	})
}

// attr makes an attribute of netlink's.
func attr(typ uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func tupleBytes(src, dst string, srcPort, dstPort uint16) []byte {
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	ip := append(attr(ctaSrc, s[:]), attr(ctaDst, d[:])...)
	proto := slices.Concat(attr(ctaProtoNum, []byte{unix.IPPROTO_TCP}), attr(ctaSrcPort, binary.BigEndian.AppendUint16(nil, srcPort)), attr(ctaDstPort, binary.BigEndian.AppendUint16(nil, dstPort)))
	return append(attr(ctaTupleIP|unix.NLA_F_NESTED, ip), attr(ctaTupleProto|unix.NLA_F_NESTED, proto)...)
}

func flowBytes(orig, reply []byte) []byte {
	return append(attr(ctaOrig|unix.NLA_F_NESTED, orig), attr(ctaReply|unix.NLA_F_NESTED, reply)...)
}

func TestWhichFlowsAreCut(t *testing.T) {
	gone := []model.Redirect{{Protocol: model.TCP, External: 8443, Address: netip.MustParseAddr("192.168.1.50"), Port: 443}}
	peers := map[peer]bool{}
	for _, tt := range []struct {
		name        string
		orig, reply []byte
		cut         bool
	}{
		{"the device's own to the same peer, before", tupleBytes("192.168.1.50", "198.51.100.7", 443, 5000), tupleBytes("198.51.100.7", "203.0.113.2", 5000, 443), false},
		{"through it", tupleBytes("198.51.100.7", "203.0.113.2", 5000, 8443), tupleBytes("192.168.1.50", "198.51.100.7", 443, 5000), true},
		{"picked up in its middle", tupleBytes("192.168.1.50", "198.51.100.7", 443, 5000), tupleBytes("198.51.100.7", "203.0.113.2", 5000, 443), true},
		{"another port outside", tupleBytes("198.51.100.7", "203.0.113.2", 5000, 8444), tupleBytes("192.168.1.50", "198.51.100.7", 443, 5000), false},
		{"another host", tupleBytes("198.51.100.7", "203.0.113.2", 5000, 8443), tupleBytes("192.168.1.51", "198.51.100.7", 443, 5000), false},
		{"the device's own to somebody else", tupleBytes("192.168.1.50", "198.51.100.8", 443, 5000), tupleBytes("198.51.100.8", "203.0.113.2", 5000, 443), false},
	} {
		orig, reply, raw := parseFlow(flowBytes(tt.orig, tt.reply))
		if raw == nil || through(gone, peers, orig, reply) != tt.cut {
			t.Errorf("%s: cut is not %v: %+v", tt.name, tt.cut, orig)
		}
	}
}

func FuzzParseFlow(f *testing.F) {
	f.Add(flowBytes(tupleBytes("198.51.100.7", "203.0.113.2", 5000, 8443), tupleBytes("192.168.1.50", "198.51.100.7", 443, 5000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, raw := parseFlow(b)
		if len(raw) > len(b) {
			t.Error("more came out than went in")
		}
		answer(b, ctGet, func([]byte) {})
	})
}

func TestHostileReasonStaysAComment(t *testing.T) {
	w, err := iptablesWant(t, "a\"; }' $(reboot) `x` \\ {#\n-j ACCEPT")
	if err != nil || strings.ContainsAny(w, "$`\\\n'") || strings.Count(w, `"`) != 2 {
		t.Errorf("%v: %s", err, w)
	}
}

func iptablesWant(t *testing.T, reason string) (string, error) {
	t.Helper()
	o, err := iptables.WantOpenings([]model.Redirect{{Device: "d0123456789", Protocol: model.TCP, External: 8443, Address: netip.MustParseAddr("192.168.1.50"), Port: 443,
		Start: time.Unix(1800000000, 0), Stop: time.Unix(1900000000, 0), Reason: reason}}, "eth1")
	if err != nil {
		return "", err
	}
	return o[1].Rules[0], nil
}
