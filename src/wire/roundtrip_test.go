package wire

import (
	"bytes"
	"reflect"
	"testing"

	"homeconf/src/model"
)

func TestBodiesComeBack(t *testing.T) {
	for _, c := range sampleBodies() {
		p, err := AppendBody(nil, c.receiver, c.b)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, padded := range [][]byte{p, append(bytes.Clone(p), make([]byte, max(0, 46-len(p)))...)} {
			f, err := ParseFrame(padded)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			b, err := ParseBody(f)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if f.Receiver != c.receiver || !reflect.DeepEqual(b, c.b) {
				t.Errorf("%s: sent %+v to %d, got %+v to %d", c.name, c.b, c.receiver, b, f.Receiver)
			}
		}
	}
}

func TestRecordsComeBack(t *testing.T) {
	for _, c := range sampleRecords() {
		b, err := c.r.Append(nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		r, err := ParseRecord(b)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !reflect.DeepEqual(r, c.r) {
			t.Errorf("%s: sent %+v, got %+v", c.name, c.r, r)
		}
	}
}

func TestMessagesComeBack(t *testing.T) {
	cases := append(sampleMessages(),
		namedMessage{"largest report", Report{Full: true, Report: largestReport()}},
	)
	for _, c := range cases {
		b, err := EncodeMessage(c.m)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		m, err := DecodeMessage(b)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !reflect.DeepEqual(m, c.m) {
			t.Errorf("%s:\nsent %+v\n got %+v", c.name, c.m, m)
		}
	}
}

func TestLargestReportFitsAMessage(t *testing.T) {
	b, err := EncodeMessage(Report{Full: true, Base: seq32(0), Digest: seq32(1), Report: largestReport()})
	if err != nil || len(b) > MaxMessage {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
	t.Logf("the largest report has %d bytes, a set-top box's", len(b))
}

func TestDigests(t *testing.T) {
	s := sampleSettings()
	seen := map[[32]byte]string{SettingsDigest(s): "itself", SettingsDigest(model.Settings{}): "the zero value"}
	for name, change := range map[string]func(*model.Settings){
		"generation": func(s *model.Settings) { s.Generation++ },
		"type":       func(s *model.Settings) { s.AddressingType = model.AddressingDHCP },
		"address":    func(s *model.Settings) { s.Address = prefix("192.168.1.20/25") },
		"no address": func(s *model.Settings) { s.Address = prefix("0.0.0.0/0") },
		"gateway":    func(s *model.Settings) { s.Gateway = addr("192.168.1.2") },
		"DNS":        func(s *model.Settings) { s.DNS = s.DNS[:1] },
		"IPv6":       func(s *model.Settings) { s.Gateway = addr("2001:db8::1") },
	} {
		v := sampleSettings()
		change(&v)
		d := SettingsDigest(v)
		if other, ok := seen[d]; ok {
			t.Errorf("%s: the digest is that of %s", name, other)
		}
		seen[d] = name
	}
	if SettingsDigest(sampleSettings()) != SettingsDigest(sampleSettings()) {
		t.Error("two digests of the same settings")
	}
	a, err := ReportDigest(sampleReport())
	if err != nil {
		t.Fatal(err)
	}
	r := sampleReport()
	r.Groups = r.Groups[:1]
	if b, err := ReportDigest(r); err != nil || a == b {
		t.Errorf("a report without a group has the same digest: %v", err)
	}
}
