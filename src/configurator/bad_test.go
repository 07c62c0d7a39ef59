package configurator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/gateway"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/sighting"
	"homeconf/src/wire"
)

type cb = map[int]any

// bad is one thing that is thrown at a running home, and what must be seen.
type bad struct {
	name  string
	throw func(s *story, h *hacked)
	// sees names what must be seen: "dropped REASON" is a counter, "finding
	// KIND" and "told KIND" what they say, "closed" the end of the thrower's
	// session. Nothing: it does no harm, and needs no word.
	sees string
}

var homeMAC = link.MAC{2, 0, 0, 0, 0, 1}

func frameOf(version, typ byte, length uint16, body ...byte) []byte {
	return append(append(binary.BigEndian.AppendUint16([]byte{version, typ}, length), 0, 0, 0, 0), body...)
}

// injects makes a throw of frames by a stranger.
func injects(frames ...[]byte) func(*story, *hacked) {
	return func(s *story, _ *hacked) {
		for _, f := range frames {
			s.seg.Inject(link.MAC{2, 0, 0, 9, 9, 9}, homeMAC, f)
		}
	}
}

// sealed makes a throw of records within a live session.
func sealed(records ...[]byte) func(*story, *hacked) {
	return func(_ *story, h *hacked) {
		for _, r := range records {
			h.sealed(r)
		}
	}
}

func data(message uint32, fragment, fragments uint16, b ...byte) []byte {
	r := binary.BigEndian.AppendUint32([]byte{byte(wire.RecordData)}, message)
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(r, fragment), fragments), b...)
}

func messages(t wire.MessageType, bodies ...any) func(*story, *hacked) {
	return func(_ *story, h *hacked) {
		for _, b := range bodies {
			h.cbor(t, b)
		}
	}
}

func reports(change func(*model.Report)) func(*story, *hacked) {
	return func(_ *story, h *hacked) { h.says(h.report(change)) }
}

// reportWith is a report that is right but for one field.
func reportWith(key int, v any) cb {
	r := cb{1: cb{}, 3: []any{cb{1: "eth0", 4: true}}, 4: "eth0"}
	r[key] = v
	return cb{1: 1, 2: true, 5: r}
}

var badInput = []bad{
	// What anybody on the LAN can send.
	{"frame without a byte", injects([]byte{}), "dropped frame"},
	{"half a header", injects(frameOf(1, 1, 1)[:7]), "dropped body"},                             // padded, as a NIC does,
	{"frame above 1,500 bytes", injects(append(frameOf(1, 6, 1493), make([]byte, 1493)...)), ""}, // above the port's MTU
	{"frame of 9,000 bytes", injects(append(frameOf(1, 6, 8992), make([]byte, 8992)...)), ""},
	{"length beyond the frame", injects(frameOf(1, 6, 0xffff, make([]byte, 100)...)), "dropped frame"},
	{"another version", injects(frameOf(9, 1, 40, make([]byte, 40)...)), "dropped frame"},
	{"another type", injects(frameOf(1, 99, 40, make([]byte, 40)...)), "dropped frame"},
	{"question with text for a nonce", injects(frameOf(1, 1, 6, 0xa1, 0x01, 0x63, 'a', 'b', 'c')), "dropped body"},
	{"question with a map of 2^32 pairs", injects(frameOf(1, 1, 9, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0)), "dropped body"},
	{"question with a byte string of 2^62", injects(frameOf(1, 1, 11, 0xa1, 0x01, 0x5b, 0x40, 0, 0, 0, 0, 0, 0, 0)), "dropped body"},
	{"question of nested lists", injects(frameOf(1, 1, 1000, bytes.Repeat([]byte{0x81}, 1000)...)), "dropped body"},
	{"answer to a configurator", injects(frameOf(1, 2, 1, 0xa0)), "dropped unexpected"},
	{"handshake with a stale cookie", func(s *story, h *hacked) {
		a := h.ask()
		a.Cookie = make([]byte, len(a.Cookie))
		h.first(a)
	}, "dropped cookie"},
	{"handshake with garbage for Noise", func(s *story, h *hacked) {
		a := h.ask()
		h.frame(0, wire.Handshake1{Pattern: wire.PatternIK, Sender: 8, Instance: a.Instance, AgentNonce: a.Asker, HomeNonce: a.Nonce, Cookie: a.Cookie, Noise: make([]byte, 96)})
	}, "dropped handshake"},
	{"third message of no handshake", injects(frameOf(1, 5, 5, 0xa1, 0x01, 0x42, 1, 2)), "dropped index"},
	{"record of no session", injects(frameOf(1, 6, 40, make([]byte, 40)...)), "dropped index"},
	{"forged record of a live session", func(s *story, h *hacked) {
		f := wire.AppendTransportHeader(nil, h.index, 1<<40, 10)
		s.seg.Inject(link.MAC{2, 0, 0, 9, 9, 9}, homeMAC, append(f, make([]byte, 26)...))
	}, "dropped transport"},
	{"record a second time", func(s *story, h *hacked) {
		h.record(&wire.Record{Kind: wire.RecordPing, Token: 2})
		h.raw(h.last)
	}, "dropped transport"},
	{"our own source address", func(s *story, _ *hacked) { s.seg.Inject(homeMAC, homeMAC, frameOf(1, 1, 1, 0xa0)) }, ""},
	{"a group's source address", func(s *story, _ *hacked) { s.seg.Inject(link.Broadcast, homeMAC, frameOf(1, 1, 1, 0xa0)) }, ""},
	{"50,000 questions from one address", func(s *story, _ *hacked) {
		f, _ := wire.AppendBody(nil, 0, wire.Solicit{Nonce: [16]byte{1}})
		flood(s, 50000, func(int) link.MAC { return link.MAC{2, 0, 0, 9, 9, 9} }, f)
	}, "dropped rate_source"},
	{"50,000 questions from as many addresses", func(s *story, _ *hacked) {
		f, _ := wire.AppendBody(nil, 0, wire.Solicit{Nonce: [16]byte{1}})
		flood(s, 50000, func(n int) link.MAC { return link.MAC{2, 9, 0, byte(n >> 16), byte(n >> 8), byte(n)} }, f)
	}, "dropped rate"},
	{"50,000 frames of junk", func(s *story, _ *hacked) {
		flood(s, 50000, func(n int) link.MAC { return link.MAC{2, 9, 0, byte(n >> 16), byte(n >> 8), byte(n)} }, bytes.Repeat([]byte{0xff}, 1400))
	}, "dropped frame"},

	// What a member says in its session when it was taken over.
	{"empty record", sealed([]byte{}), "dropped transport"},
	{"records of unknown kinds", sealed([]byte{0}, []byte{6, 1, 2}, []byte{255}), "dropped transport"},
	{"record cut short", sealed(data(1, 0, 1)[:5], []byte{byte(wire.RecordPing), 1}), "dropped transport"},
	{"fragment beyond the last", sealed(data(1, 5, 2, 1, 2)), "dropped transport"},
	{"message of 65,535 fragments", sealed(data(1, 0, 65535, 1, 2)), "dropped transport"},
	{"message of no fragments", sealed(data(1, 0, 0, 1, 2)), "dropped transport"},
	{"messages far ahead", sealed(data(math.MaxUint32, 0, 1, 1), data(1<<30, 0, 1, 1)), ""},
	{"acknowledgement of 255 entries", sealed([]byte{byte(wire.RecordAck), 0, 0, 0, 1, 255, 0, 0}), "dropped transport"},
	{"acknowledgement of what was never sent", sealed([]byte{byte(wire.RecordAck), 0xff, 0xff, 0xff, 0xff, 0}), ""},
	{"messages that are never whole", func(s *story, h *hacked) {
		for m := range uint32(8) {
			for f := range uint16(100) {
				h.sealed(data(1+m, f, 128, make([]byte, 1400)...))
			}
			time.Sleep(time.Millisecond)
		}
	}, ""},
	{"10,000 pings", func(s *story, h *hacked) {
		for n := range 10000 {
			h.record(&wire.Record{Kind: wire.RecordPing, Token: uint64(n)})
			if n%32 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}, ""},
	{"message of an unknown type", func(_ *story, h *hacked) { h.message([]byte{200, 0xa0}) }, "dropped body"},
	{"message that is no CBOR", func(_ *story, h *hacked) { h.message([]byte{byte(wire.TypeReport), 0xff, 0xff}) }, "dropped body"},
	{"report that is a list", messages(wire.TypeReport, []int{1, 2}), "dropped body"},
	{"report with a map for a name", messages(wire.TypeReport, reportWith(2, cb{1: 1})), "dropped body"},
	{"report with a number for a list", messages(wire.TypeReport, reportWith(3, 7)), "dropped body"},
	{"report with text for an address", messages(wire.TypeReport, reportWith(5, "192.168.1.1")), "dropped body"},
	{"report with a negative generation", messages(wire.TypeReport, reportWith(11, -1)), "dropped body"},
	{"report of 60,000 DNS servers", messages(wire.TypeReport, reportWith(6, make([]int, 60000))), "dropped body"},
	{"report with a list of 2^60", func(_ *story, h *hacked) {
		h.message([]byte{byte(wire.TypeReport), 0xa1, 0x05, 0xa1, 0x03, 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0})
	}, "dropped body"},
	{"report with one key twice", func(_ *story, h *hacked) { h.message([]byte{byte(wire.TypeReport), 0xa2, 0x01, 0x01, 0x01, 0x02}) }, "dropped body"},
	{"report nested without end", func(_ *story, h *hacked) {
		h.message(append([]byte{byte(wire.TypeReport), 0xa1, 0x05}, bytes.Repeat([]byte{0x81}, 5000)...))
	}, "dropped body"},
	{"name with terminal codes", messages(wire.TypeReport, reportWith(2, "\x1b]0;owned\x07\x1b[2J")), "dropped body"},
	{"name with a line break", messages(wire.TypeReport, reportWith(2, "tv'\n\toption ip '10.0.0.1")), "dropped body"},
	{"name that is no UTF-8", messages(wire.TypeReport, reportWith(2, "\xff\xfe")), "dropped body"},
	{"name of 300 bytes", messages(wire.TypeReport, reportWith(2, strings.Repeat("x", 300))), "dropped body"},
	{"name that would break out of UCI", reports(func(r *model.Report) { r.HostName = `tv' option ip '10.0.0.1' #"$(reboot)` }), "told device.reported"},
	{"name that steers the reader's eye", reports(func(r *model.Report) { r.Info.FriendlyName = "\u202egnp.exe\u202c" }), "told device.reported"},
	{"name of the home's own", reports(func(r *model.Report) { r.HostName = "wpad" }), "told device.reported"},
	{"another member's MAC address", func(s *story, h *hacked) {
		h.says(h.report(func(r *model.Report) { r.Interfaces[0].MAC = model.MAC(s.box[0].mac) }))
	}, "finding mac.claimed"},
	{"the gateway's MAC address", reports(func(r *model.Report) { r.Interfaces[0].MAC = model.MAC(homeMAC) }), "finding device.no-mac"},
	{"a group's MAC address", messages(wire.TypeReport, reportWith(3, []any{cb{1: "eth0", 2: []byte{1, 0, 0x5e, 0, 0, 1}, 4: true}})), "dropped body"},
	{"64 groups, of which none is IPTV", reports(func(r *model.Report) {
		for n := range 64 {
			r.Groups = append(r.Groups, netip.AddrFrom4([4]byte{224, 0, 0, byte(n)}))
		}
	}), "told device.reported"},
	{"the highest generation there is", func(s *story, h *hacked) {
		for n := range uint64(4) {
			h.says(h.report(func(r *model.Report) { r.Generation, r.State = math.MaxUint64-n, model.CommitConfirmed }))
			time.Sleep(time.Second)
		}
	}, "told device.reported"},
	{"outcome of nothing", func(_ *story, h *hacked) {
		h.says(h.report(nil))
		h.says(wire.Outcome{Outcome: model.Outcome{Generation: 99, Code: model.OutcomeApplied}})
		h.says(wire.Confirmed{Generation: math.MaxUint64})
	}, "told device.reported"},
	{"outcome that lies", func(_ *story, h *hacked) {
		h.says(h.report(func(r *model.Report) { r.Info.DeviceCategory = model.CategorySTB }))
		time.Sleep(time.Second)
		h.says(wire.Outcome{Outcome: model.Outcome{Generation: 1, Code: model.OutcomeApplied}})
	}, "finding device.unreachable"},
	{"what only a configurator says", func(_ *story, h *hacked) {
		h.says(wire.Configure{Settings: model.Settings{Generation: 1, AddressingType: model.AddressingDHCP}, Deadline: time.Second})
		h.says(wire.Confirm{Generation: 1})
	}, ""},
	{"pairing within an open session", func(_ *story, h *hacked) { h.says(wire.Pair{Step: wire.PairAdopt}) }, "dropped pair"},
	{"10,000 reports", func(s *story, h *hacked) {
		for n := range 10000 {
			h.says(h.report(func(r *model.Report) { r.Info.SoftwareVersion = fmt.Sprint(n) }))
			if n%8 == 0 {
				time.Sleep(2 * time.Millisecond)
			}
		}
	}, "told device.reported"},
	{"10,000 events", func(s *story, h *hacked) {
		for n := range 10000 {
			h.says(wire.Event{Kind: "x", Text: "look at me"})
			if n%8 == 0 {
				time.Sleep(2 * time.Millisecond)
			}
		}
		time.Sleep(eventEvery)
		h.says(wire.Event{Kind: "x", Text: "one more"})
	}, "told agent.too-many"},

	// What is heard of others.
	{"100,000 forged ARP frames", func(s *story, _ *hacked) {
		for n := range 100000 {
			s.speaks <- arpPair{netip.AddrFrom4([4]byte{192, 168, 1, byte(n)}), model.MAC{2, 9, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}}
		}
	}, "finding address.conflict"},
	{"5,000 made-up neighbours", func(s *story, _ *hacked) {
		var all []sighting.Evidence
		for n := range 5000 {
			all = append(all, sighting.Evidence{MAC: model.MAC{2, 9, 0, byte(n >> 16), byte(n >> 8), byte(n)}, Active: true, Source: sighting.Neighbor})
		}
		s.see <- all
	}, ""},
	{"host name that breaks out", func(s *story, _ *hacked) { s.see <- []sighting.Evidence{plain(1, "x\x1b[2J'\n", "192.168.1.130")} }, ""},
	{"everybody answers every probe", func(s *story, h *hacked) {
		for n := range 256 {
			s.lan.busy[netip.AddrFrom4([4]byte{192, 168, 1, byte(n)})] = model.MAC{2, 9, 9, 9, 9, 9}
		}
		h.says(h.report(func(r *model.Report) { r.Info.DeviceCategory = model.CategorySTB }))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		clear(s.lan.busy)
		time.Sleep(2 * busyLife)
	}, "told device.reported"},
	{"a gateway that can't be read for an hour", func(s *story, _ *hacked) {
		for range 100 {
			s.gw.Fail(gateway.PointFacts, errors.New("network:3: unterminated quote"))
		}
		time.Sleep(time.Hour)
		if f := s.wrongs(); !strings.Contains(f, "unterminated quote") {
			s.t.Errorf("findings: %s", f)
		}
		time.Sleep(2 * time.Hour)
	}, "told finding.raised"},
	{"an interface that goes away and comes back, ten times", func(s *story, _ *hacked) {
		for range 10 {
			s.plugs.Load().SetDown(true)
			time.Sleep(2 * time.Second)
		}
		time.Sleep(time.Minute)
	}, "told device.disconnected"},
	{"options with ten errors, read again", func(s *story, _ *hacked) {
		s.options(configurator("enabled 'maybe'", "pairing 'shout'", "manage_igmpproxy 'often'", "download 'much'", "upload '-1'", "lan_network 'l a n'",
			"no_such '1'", "dry_run '2'", "interface 'a/b'", "log_level 'loud'"))
		s.reload <- struct{}{}
		time.Sleep(time.Second)
		f := s.wrongs()
		for _, o := range []string{"enabled", "pairing", "manage_igmpproxy", "download", "upload", "lan_network", "no_such", "dry_run", "interface", "log_level"} {
			if !strings.Contains(f, o) {
				s.t.Errorf("no word of %s in %s", o, f)
			}
		}
	}, "finding options.invalid"},
}

func flood(s *story, n int, src func(int) link.MAC, f []byte) {
	for i := range n {
		s.seg.Inject(src(i), homeMAC, f)
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestBadInput throws each thing at a home in which a box is configured. After
// each, what had to be seen was seen, it has cost what it may, nothing is lost,
// and a fresh box is configured.
func TestBadInput(t *testing.T) {
	if len(badInput) < 40 {
		t.Errorf("%d rows, want 40", len(badInput))
	}
	for _, b := range badInput {
		t.Run(strings.ReplaceAll(b.name, " ", "_"), func(t *testing.T) {
			play(t, "", func(t *testing.T, s *story) { s.bad(b) })
		})
	}
}

// What one row may cost beyond what is kept while the home is at rest.
const (
	mostGoroutines = 30
	mostHeap       = 24 << 20
)

func (s *story) bad(b bad) {
	t := s.t
	member, id := s.member()
	h := s.hack()
	time.Sleep(time.Second)
	synctest.Wait()
	record, reserved, in := s.device(id).Record, s.gw.State().Reservations[0], member.dev.In()
	counters, told := s.c.count.Snapshot(), len(s.events())
	before := footprint()

	b.throw(s, h)
	time.Sleep(5 * time.Second)
	synctest.Wait()
	after := footprint()
	if g := after.goroutines - before.goroutines; g > mostGoroutines {
		t.Errorf("%d goroutines more", g)
	}
	if after.heap > before.heap+mostHeap {
		t.Errorf("%d KB more are held", (after.heap-before.heap)>>10)
	}
	s.seen(b.sees, h, counters, told)

	// Nothing is lost, and nothing of it is the thrower's.
	now := s.device(id).Record
	if now.Address != record.Address || now.Confirmed < record.Confirmed || fmt.Sprint(now.MACs) != fmt.Sprint(record.MACs) || *now.Key != *record.Key {
		if b.sees != "finding address.conflict" { // which moves it on, once
			t.Errorf("its record was %+v and is %+v", record, now)
		}
	}
	if !member.dev.In().Same(in) && b.sees != "finding address.conflict" {
		t.Errorf("it had %+v and has %+v", in, member.dev.In())
	}
	held, mine := map[netip.Addr]int{}, 0
	for _, r := range s.gw.State().Reservations {
		held[r.Address]++
		if r.Device == model.DeviceID(id) {
			mine++
		}
		if strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("a reservation is called %q", r.Name)
		}
	}
	if mine != 1 || held[reserved.Address] > 1 {
		t.Errorf("reservations: %v", s.gw)
	}
	for a, n := range held {
		if n > 1 {
			t.Errorf("%s is reserved %d times", a, n)
		}
	}

	// It lives, and configures a fresh box.
	for s.must("status", calls.Args{}).(calls.StatusResult).LinkUp == false {
		t.Fatal("the link is down")
	}
	fresh, freshID := s.stranger()
	s.must("device_adopt", calls.Args{"id": freshID, "code": fresh.digits(t)})
	time.Sleep(20 * time.Second)
	synctest.Wait()
	if d := s.device(freshID); d.Progress != "configured" || !fresh.dev.In().Address.IsValid() {
		t.Errorf("a fresh box: %+v, in force %+v\n%s", d.DeviceSummary, fresh.dev.In(), s.wrongs())
	}
}

func (s *story) seen(what string, h *hacked, counters map[string]uint64, told int) {
	s.t.Helper()
	kind, name, _ := strings.Cut(what, " ")
	switch kind {
	case "":
		for _, e := range s.events()[told:] {
			s.t.Errorf("told %s: %s", e.Kind, e.Text)
		}
	case "dropped":
		if s.c.count.Snapshot()[name] <= counters[name] {
			s.t.Errorf("nothing was counted as %s: %v", name, s.c.count.Snapshot())
		}
	case "finding":
		if f := s.wrongs(); !strings.Contains(f, name+": ") {
			s.t.Errorf("no finding %s: %s", name, f)
		}
	case "told":
		n := 0
		for _, e := range s.events()[told:] {
			if e.Kind == name {
				n++
			}
		}
		if n == 0 {
			s.t.Errorf("%s was not told", name)
		}
	}
	if n := len(s.events()) - told; n > 120 {
		s.t.Errorf("%d lines of history", n)
	}
}

type cost struct {
	goroutines int
	heap       uint64
}

func footprint() cost {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return cost{runtime.NumGoroutine(), m.HeapAlloc}
}
