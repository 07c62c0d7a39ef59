package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"homeconf/src/model"
)

func TestBodyRoundTrip(t *testing.T) {
	for _, s := range sampleBodies() {
		t.Run(s.name, func(t *testing.T) {
			b, err := AppendBody([]byte("before"), 77, s.body)
			if err != nil {
				t.Fatal(err)
			}
			b, found := bytes.CutPrefix(b, []byte("before"))
			if !found {
				t.Fatal("what stood before is gone")
			}
			// What a NIC pads a short payload with is no part of the body.
			for _, payload := range [][]byte{b, pad(b, 46), pad(b, 64)} {
				f, err := ParseFrame(payload)
				if err != nil {
					t.Fatal(err)
				}
				if f.Type != s.body.Frame() || f.Receiver != 77 {
					t.Errorf("frame %v to %d", f.Type, f.Receiver)
				}
				got, err := ParseBody(f)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, s.body) {
					t.Errorf("got\n%+v, want\n%+v", got, s.body)
				}
			}
			// No prefix of it is taken for the whole, as a frame or as a body.
			for n := range b {
				if _, err := ParseFrame(b[:n]); !errors.Is(err, ErrTruncated) {
					t.Errorf("frame of the first %d bytes: %v", n, err)
				}
			}
			body := b[HeaderLen:]
			for n := range body {
				if _, err := ParseBody(Frame{Type: s.body.Frame(), Body: body[:n]}); !errors.Is(err, ErrTruncated) {
					t.Errorf("body of the first %d bytes: %v", n, err)
				}
			}
		})
	}
}

func pad(b []byte, n int) []byte {
	out := bytes.Clone(b)
	for len(out) < n {
		out = append(out, 0)
	}
	return out
}

func TestMessageRoundTrip(t *testing.T) {
	seen := map[MessageType]bool{}
	for _, s := range sampleMessages() {
		t.Run(s.name, func(t *testing.T) {
			b, err := EncodeMessage(s.m)
			if err != nil {
				t.Fatal(err)
			}
			seen[s.m.Type()] = true
			if MessageType(b[0]) != s.m.Type() {
				t.Errorf("type %d, want %d", b[0], s.m.Type())
			}
			clear := bytes.Clone(b)
			got, err := DecodeMessage(b)
			if err != nil {
				t.Fatal(err)
			}
			for i := range b { // the answer shares no memory with its input
				b[i] = 0xff
			}
			if !reflect.DeepEqual(got, s.m) {
				t.Errorf("got\n%+v, want\n%+v", got, s.m)
			}
			again, err := EncodeMessage(got)
			if err != nil || !bytes.Equal(again, clear) {
				t.Errorf("encoded again: %x, %v, want %x", again, err, clear)
			}
			for n := range clear {
				if _, err := DecodeMessage(clear[:n]); !errors.Is(err, ErrTruncated) {
					t.Errorf("the first %d bytes: %v", n, err)
				}
			}
		})
	}
	for mt := TypeReport; mt <= TypeRotated; mt++ {
		if !seen[mt] && mt != TypeReplicate {
			t.Errorf("no sample of %v", mt)
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for _, s := range sampleRecords() {
		t.Run(s.name, func(t *testing.T) {
			b, err := s.r.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseRecord(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, s.r) {
				t.Errorf("got\n%+v, want\n%+v", got, s.r)
			}
			for n := range b {
				// A DATA record fills its frame: a shorter one is another.
				if _, err := ParseRecord(b[:n]); !errors.Is(err, ErrTruncated) && (s.r.Kind != RecordData || n <= DataLen) {
					t.Errorf("the first %d bytes: %v", n, err)
				}
			}
		})
	}
}

func TestTransportRoundTrip(t *testing.T) {
	const record = 20
	b := AppendTransportHeader(nil, 5, 1<<63+1, record)
	if len(b) != HeaderLen+CounterLen {
		t.Fatalf("header of %d bytes", len(b))
	}
	sealed := fill(record+TagLen, 1)
	f, err := ParseFrame(append(b, sealed...))
	if err != nil {
		t.Fatal(err)
	}
	counter, got, err := ParseTransport(f.Body)
	if err != nil || counter != 1<<63+1 || !bytes.Equal(got, sealed) || f.Receiver != 5 || f.Type != FrameTransport {
		t.Errorf("counter %d, ciphertext %x, frame %+v, error %v", counter, got, f, err)
	}
	if n := len(b) + record + TagLen; n != TransportOverhead+record {
		t.Errorf("frame of %d bytes, overhead %d", n, TransportOverhead)
	}
	if _, err := ParseBody(f); !errors.Is(err, ErrMalformed) {
		t.Errorf("CBOR body of a TRANSPORT frame: %v", err)
	}
}

// TestLargestReport: a device at all limits still fits a message.
func TestLargestReport(t *testing.T) {
	long := strings.Repeat("x", MaxText)
	r := model.Report{Info: model.DeviceInfo{Manufacturer: long, ManufacturerOUI: long, ModelName: long, ModelNumber: long,
		SerialNumber: long, SoftwareVersion: long, FriendlyName: long}, HostName: long, Managed: long, Backend: long, Gateway: addr("1.2.3.4")}
	for i := range MaxInterfaces {
		f := model.Interface{Name: long, MAC: model.MAC{2, 0, 0, 0, 0, byte(i)}, Medium: model.MediumEthernet, SpeedMbps: 1<<32 - 1}
		for j := range MaxAddresses {
			f.Addresses = append(f.Addresses, model.Address{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, byte(j)}), 24),
				Type: model.AddressingStatic})
		}
		r.Interfaces = append(r.Interfaces, f)
	}
	for i := range MaxServices {
		r.Services = append(r.Services, model.Service{Name: long, Kind: long, State: model.ServiceUnknown,
			Expose: []model.Port{{Protocol: model.UDP, Number: 65535}, {Protocol: model.UDP, Number: 65534}, {Protocol: model.UDP, Number: 65533}, {Protocol: model.UDP, Number: 65532}}})
		r.Groups = append(r.Groups, netip.AddrFrom4([4]byte{239, 1, 1, byte(i)}))
	}
	for range MaxDNS {
		r.DNS = append(r.DNS, addr("2001:db8::1"))
	}
	for range MaxCapabilities {
		r.Capabilities = append(r.Capabilities, model.Capability(long))
	}
	b, err := EncodeMessage(Report{Report: r})
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeMessage(b)
	if err != nil || !reflect.DeepEqual(got, Report{Report: r}) {
		t.Errorf("of %d bytes: %v", len(b), err)
	}
	per := MaxFrame - TransportOverhead - DataLen
	if n := (MaxMessage + per - 1) / per; n > MaxFragments {
		t.Errorf("the longest message takes %d fragments of full frames", n)
	}
	per = MinFrame - TransportOverhead - DataLen
	if n := (MaxMessage + per - 1) / per; n > MaxFragments {
		t.Errorf("the longest message takes %d fragments of short frames", n)
	}
}

// TestEncodeRefuses: what the other side would refuse is never sent.
func TestEncodeRefuses(t *testing.T) {
	report := func(f func(*model.Report)) Message {
		r := sampleReport()
		f(&r)
		return Report{Report: r}
	}
	settings := func(f func(*model.Settings)) Message {
		s := sampleSettings()
		f(&s)
		return Configure{Settings: s, Deadline: time.Second}
	}
	for _, c := range []struct {
		name string
		m    Message
		want error
	}{
		{"long text", Event{Kind: "a.b", Text: strings.Repeat("x", MaxText+1)}, ErrTooLong},
		{"no kind", Event{Text: "x"}, ErrMalformed},
		{"bad UTF-8", Event{Kind: "a.b", Text: "\xff"}, ErrMalformed},
		{"line break", Retire{Reason: "a\nb"}, ErrMalformed},
		{"line separator", Retire{Reason: "a\u2028b"}, ErrMalformed},
		{"C1 control", Retire{Reason: "a\u0085b"}, ErrMalformed},
		{"unknown outcome", Outcome{model.Outcome{Code: "done"}}, ErrMalformed},
		{"no deadline", Configure{Settings: sampleSettings()}, ErrMalformed},
		{"long deadline", Configure{Settings: sampleSettings(), Deadline: MaxDeadline + time.Millisecond}, ErrTooLong},
		{"unknown step", Pair{Step: 7}, ErrMalformed},
		{"settings of no type", settings(func(s *model.Settings) { s.AddressingType = "" }), ErrMalformed},
		{"static without address", settings(func(s *model.Settings) { s.Address = netip.Prefix{} }), ErrMalformed},
		{"DHCP with address", settings(func(s *model.Settings) { s.AddressingType = model.AddressingDHCP }), ErrMalformed},
		{"IPv6 address", settings(func(s *model.Settings) { s.Address = netip.MustParsePrefix("2001:db8::1/64") }), ErrMalformed},
		{"broadcast address", settings(func(s *model.Settings) { s.Address = netip.MustParsePrefix("255.255.255.255/24") }), ErrMalformed},
		{"prefix length 0", settings(func(s *model.Settings) { s.Address = netip.MustParsePrefix("10.0.0.1/0") }), ErrMalformed},
		{"multicast gateway", settings(func(s *model.Settings) { s.Gateway = addr("224.0.0.1") }), ErrMalformed},
		{"invalid DNS", settings(func(s *model.Settings) { s.DNS = []netip.Addr{{}} }), ErrMalformed},
		{"IPv6 DNS", settings(func(s *model.Settings) { s.DNS = []netip.Addr{addr("2001:db8::1")} }), ErrMalformed},
		{"nine DNS", settings(func(s *model.Settings) { s.DNS = make9(addr("1.1.1.1")) }), ErrTooLong},
		{"nine DNS reported", report(func(r *model.Report) { r.DNS = make9(addr("1.1.1.1")) }), ErrTooLong},
		{"group of one", report(func(r *model.Report) { r.Groups = []netip.Addr{addr("10.0.0.1")} }), ErrMalformed},
		{"interface without name", report(func(r *model.Report) { r.Interfaces[0].Name = "" }), ErrMalformed},
		{"group MAC", report(func(r *model.Report) { r.Interfaces[0].MAC = model.MAC{1} }), ErrMalformed},
		{"empty address", report(func(r *model.Report) { r.Interfaces[0].Addresses[0].Prefix = netip.Prefix{} }), ErrMalformed},
		{"unknown medium", report(func(r *model.Report) { r.Interfaces[0].Medium = "string" }), ErrMalformed},
		{"unknown state", report(func(r *model.Report) { r.State = "odd" }), ErrMalformed},
		{"bad category", report(func(r *model.Report) { r.Info.DeviceCategory = "tv set" }), ErrMalformed},
		{"bad service state", report(func(r *model.Report) { r.Services[0].State = "odd" }), ErrMalformed},
		{"17 interfaces", report(func(r *model.Report) { r.Interfaces = slices.Repeat(r.Interfaces[:1], 17) }), ErrTooLong},
		{"foreign message", foreign{}, ErrUnknown},
	} {
		b, err := EncodeMessage(c.m)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %x, %v, want %v", c.name, b, err, c.want)
		}
	}
	for _, c := range []struct {
		name string
		b    Body
	}{
		{"way 0 with XX", Handshake1{Pattern: PatternXX, Sender: 1, Noise: []byte{1}}},
		{"code with XX", Handshake1{Pattern: PatternXX, Way: WayCode, Sender: 1, Noise: []byte{1}}},
		{"approve with XXpsk3", Handshake1{Pattern: PatternXXpsk3, Way: WayApprove, Sender: 1, Noise: []byte{1}}},
		{"sender 0", Handshake1{Pattern: PatternXX, Way: WayApprove, Noise: []byte{1}}},
		{"pattern 4", Handshake1{Pattern: 4, Way: WayApprove, Sender: 1, Noise: []byte{1}}},
		{"ticket without MAC", Handshake1{Pattern: PatternIK, Sender: 1, Ticket: fill(16, 0), Noise: []byte{1}}},
		{"discriminator", Handshake1{Pattern: PatternXXpsk3, Way: WayCode, Sender: 1, Discriminator: 4096, Noise: []byte{1}}},
		{"no noise", Handshake3{}},
		{"long noise", Handshake3{Noise: make([]byte, MaxNoise+1)}},
		{"sender 0 of 2", Handshake2{Noise: []byte{1}}},
		{"short tag", Advertise{Tag: []byte{1}}},
		{"long cookie", Advertise{Cookie: make([]byte, MaxCookie+1)}},
		{"unknown way", Advertise{Ways: []Way{4}}},
		{"nine ways", Advertise{Ways: make([]Way, 9)}},
	} {
		if b, err := AppendBody(nil, 0, c.b); err == nil || Reason(err) == "other" || len(b) != 0 {
			t.Errorf("%s: %x, %v", c.name, b, err)
		}
	}
	if b, err := (Frame{Type: FrameTransport, Body: make([]byte, MaxFrame-HeaderLen+1)}).Append(nil); !errors.Is(err, ErrTooLong) || b != nil {
		t.Errorf("frame over the limit: %v", err)
	}
}

type foreign struct{}

func (foreign) Type() MessageType { return 99 }

func make9(a netip.Addr) []netip.Addr { return []netip.Addr{a, a, a, a, a, a, a, a, a} }

func TestSettingsDigest(t *testing.T) {
	s := sampleSettings()
	d := SettingsDigest(s)
	if d != SettingsDigest(sampleSettings()) {
		t.Error("not the same twice")
	}
	// It is that of the settings as they are in the message.
	m, err := EncodeMessage(Configure{Settings: s, Deadline: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	in := m[3 : len(m)-len("\x02\x19\x03\xe8")] // a2 01 SETTINGS 02 1903e8
	if sha256.Sum256(in) != d {
		t.Errorf("not the digest of %x", in)
	}
	for name, f := range map[string]func(*model.Settings){
		"generation": func(s *model.Settings) { s.Generation++ },
		"type":       func(s *model.Settings) { s.AddressingType = model.AddressingDHCP },
		"address":    func(s *model.Settings) { s.Address = netip.MustParsePrefix("192.168.1.251/24") },
		"length":     func(s *model.Settings) { s.Address = netip.MustParsePrefix("192.168.1.250/25") },
		"gateway":    func(s *model.Settings) { s.Gateway = netip.Addr{} },
		"DNS":        func(s *model.Settings) { s.DNS = s.DNS[:1] },
		"DNS order":  func(s *model.Settings) { s.DNS[0], s.DNS[1] = s.DNS[1], s.DNS[0] },
	} {
		s := sampleSettings()
		f(&s)
		if SettingsDigest(s) == d {
			t.Errorf("%s makes no difference", name)
		}
	}
	SettingsDigest(model.Settings{AddressingType: "\xff"}) // any settings have one
}

func TestReportDigest(t *testing.T) {
	a, err := ReportDigest(sampleReport())
	if err != nil {
		t.Fatal(err)
	}
	r := sampleReport()
	r.HostName = "other"
	if b, err := ReportDigest(r); err != nil || a == b {
		t.Errorf("another report has the same digest, error %v", err)
	}
	r.HostName = "\xff"
	if _, err := ReportDigest(r); !errors.Is(err, ErrMalformed) {
		t.Errorf("of a report that can't be sent: %v", err)
	}
}

// TestNames: nothing prints as a number that has a name, nor panics without one.
func TestNames(t *testing.T) {
	for _, v := range []fmt.Stringer{FrameSolicit, FrameTransport, FrameType(9), PatternXX, PatternIK, PatternXXpsk3, Pattern(9), WayNone,
		WayCode, Way(9), TypeReport, TypeTicket, TypeRotated, MessageType(99), RecordData, RecordClose, RecordKind(9), PairCommit, PairRefused, PairStep(9)} {
		if v.String() == "" {
			t.Errorf("%T(%d) has no name", v, v)
		}
	}
	for _, err := range []error{ErrTruncated, ErrVersion, ErrType, ErrTooLong, ErrMalformed, ErrUnknown} {
		if r := Reason(fmt.Errorf("x: %w", err)); r == "other" || r == "" {
			t.Errorf("%v has the reason %q", err, r)
		}
	}
	if Reason(errors.New("x")) != "other" {
		t.Error("a foreign error has a reason")
	}
}
