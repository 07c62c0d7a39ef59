package model

import "testing"

func TestParsePort(t *testing.T) {
	for s, want := range map[string]string{"443/tcp": "443/tcp", "1/udp": "1/udp", "65535/tcp": "65535/tcp"} {
		if p, err := ParsePort(s); err != nil || p.String() != want {
			t.Errorf("%q: %v, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "443", "443/", "/tcp", "0/tcp", "65536/tcp", "+443/tcp", "0443/tcp", "443/TCP", "443/sctp", "443/tcp ", "-1/udp", "4 43/tcp"} {
		if p, err := ParsePort(s); err == nil {
			t.Errorf("%q: %v", s, p)
		}
	}
}

func FuzzParsePort(f *testing.F) {
	f.Add("443/tcp")
	f.Add("65535/udp")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePort(s); err == nil && (p.String() != s || !p.Valid()) {
			t.Errorf("%q was read as %v", s, p)
		}
	})
}

func TestOpeningIDs(t *testing.T) {
	a := OpeningID("d0123456789", Port{TCP, 443}, 443)
	if !ValidOpeningID(a) {
		t.Errorf("%q is no id", a)
	}
	for _, b := range []string{OpeningID("d0123456788", Port{TCP, 443}, 443), OpeningID("d0123456789", Port{UDP, 443}, 443),
		OpeningID("d0123456789", Port{TCP, 443}, 8443), OpeningID("d0123456789", Port{TCP, 444}, 443)} {
		if a == b {
			t.Errorf("%q names two openings", a)
		}
	}
	for _, s := range []string{"", "p", "p012345678", "x0123456789", "p012345678X", "p0123456789a"} {
		if ValidOpeningID(s) {
			t.Errorf("%q is an id", s)
		}
	}
}
