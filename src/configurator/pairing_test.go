package configurator

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/wire"
)

// onBoth runs a test on the simulated segment, in virtual time, and on packet
// sockets in namespaces that a bridge joins.
func onBoth(t *testing.T, body func(t *testing.T, s *sim)) {
	t.Run("segment", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { body(t, newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})) })
	})
	t.Run("veth", func(t *testing.T) {
		lab.Need(t)
		t.Parallel()
		l, err := lab.New("pairing")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		sw, err := l.Switch("switch")
		if err != nil {
			t.Fatal(err)
		}
		s := newSim(t, link.SegmentOptions{})
		s.port = func(mac link.MAC) (port link.Port) {
			h, err := sw.Join(mac)
			if err == nil {
				err = h.Do(func() error {
					port, err = link.Open("eth0", link.Options{EtherType: wire.EtherType, Groups: []link.MAC{link.MAC(wire.Group)}})
					return err
				})
			}
			if err != nil {
				panic(err) // not the test's goroutine: it would wait for ever
			}
			return port
		}
		body(t, s)
	})
}

func (s *sim) options(text string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "config")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "homeconf"), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) eventually(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(40 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("after 40 s: not %s; events:\n%s", what, s.json("event_list", calls.Args{"limit": int64(100)}))
		}
	}
}

func (s *sim) must(name string, args calls.Args) any {
	s.t.Helper()
	v, err := s.call(name, args)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return v
}

func (s *sim) json(name string, args calls.Args) string {
	s.t.Helper()
	b, err := json.Marshal(s.must(name, args))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *sim) status() calls.StatusResult { return s.must("status", nil).(calls.StatusResult) }

func (s *sim) adopted() int { return s.status().Devices[model.DeviceAdopted] }

func (s *sim) happened(kind string) bool {
	return strings.Contains(s.json("event_list", calls.Args{"limit": int64(1000)}), `"`+kind+`"`)
}

func (b *simBox) status(t *testing.T) *calls.AgentStatusResult {
	t.Helper()
	v, err := b.a.Call(t.Context(), "agent_status", calls.Args{})
	if err != nil {
		t.Fatal(err)
	}
	return v.(*calls.AgentStatusResult)
}

func TestWindowLetsExactlyOneIn(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sim) {
		s.startHome(t.Context())
		defer s.end()
		s.must("pair", calls.Args{"for": 2 * time.Minute})
		b := s.plug(t.Context(), 1)
		s.eventually("let in", func() bool { return b.status(t).State == calls.AgentConnected })
		if s.adopted() != 1 || s.status().Pairing.Open {
			t.Fatalf("%d let in, window open: %v", s.adopted(), s.status().Pairing.Open)
		}
		// The next one finds it closed.
		late := s.plug(t.Context(), 2)
		s.eventually("waiting", func() bool { return len(s.status().Waiting) == 1 && late.digits(t) != "" })
		time.Sleep(4 * time.Second)
		if s.adopted() != 1 {
			t.Fatalf("%d let in by one window", s.adopted())
		}
	})
}

func TestWindowLetsNoneOfTwoIn(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sim) {
		s.startHome(t.Context())
		defer s.end()
		one, two := s.plug(t.Context(), 1), s.plug(t.Context(), 2)
		s.eventually("waiting", func() bool { return len(s.status().Waiting) == 2 })
		s.must("pair", calls.Args{"for": 2 * time.Minute})
		s.eventually("told of two", func() bool { return s.happened("pairing.overlap") })
		time.Sleep(4 * time.Second)
		if s.adopted() != 0 || s.status().Pairing.Open {
			t.Fatalf("%d let in, window open: %v", s.adopted(), s.status().Pairing.Open)
		}
		// Digits still do.
		s.must("device_adopt", calls.Args{"id": string(one.id(t)), "code": one.digits(t)})
		s.eventually("let in by digits", func() bool { return one.status(t).State == calls.AgentConnected })
		if two.status(t).State == calls.AgentConnected {
			t.Error("the other one is in, too")
		}
	})
}

// logged is a log of everything, to be searched for what must not be in it.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

const (
	labelCode  = "7K3M-Q9TX-4W2B-HD8R"
	otherCode  = "ZZ3M-Q9TX-4W2B-HD8A"
	codeOption = "\toption code '" + labelCode + "'\n"
)

func TestCodeLetsItsDeviceIn(t *testing.T) {
	onBoth(t, func(t *testing.T, s *sim) {
		var log logged
		s.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.startHome(t.Context())
		defer s.end()
		b := s.plugWith(t.Context(), 1, codeOption)
		time.Sleep(4 * time.Second)
		if st := b.status(t); st.State != calls.AgentSearching || st.Digits != "" || !st.NeedsCode || len(s.status().Waiting) > 0 {
			t.Fatalf("without its code: %s with digits %q, %d wait", st.State, st.Digits, len(s.status().Waiting))
		}
		// Neither a window nor another code lets it in.
		s.must("pair", calls.Args{"for": 10 * time.Second})
		if r := s.must("pair_code", calls.Args{"code": otherCode, "for": 10 * time.Minute}).(calls.CodeResult); r.Codes != 1 {
			t.Fatalf("%+v", r)
		}
		time.Sleep(11 * time.Second)
		if s.adopted() != 0 || b.status(t).State != calls.AgentSearching {
			t.Fatal("let in without its code")
		}
		// As a person types it.
		s.must("pair_code", calls.Args{"code": "7k3m q9tx 4w2b hd8r", "for": 10 * time.Minute})
		s.eventually("let in", func() bool { return b.status(t).State == calls.AgentConnected })
		if st := s.status(); st.Devices[model.DeviceAdopted] != 1 || st.Pairing.Codes != 1 {
			t.Fatalf("%d let in, %d codes wait", st.Devices[model.DeviceAdopted], st.Pairing.Codes)
		}
		// Used up: a copy of the label is worth nothing.
		copied := s.plugWith(t.Context(), 2, codeOption)
		time.Sleep(4 * time.Second)
		if s.adopted() != 1 || copied.status(t).State != calls.AgentSearching {
			t.Fatal("one code let two devices in")
		}
		for _, where := range []string{s.json("status", nil), s.json("event_list", calls.Args{"limit": int64(1000)}), s.json("device_list", nil),
			s.json("device_show", calls.Args{"id": string(b.id(t))})} {
			if strings.Contains(where, labelCode) || strings.Contains(where, strings.ReplaceAll(labelCode, "-", "")) {
				t.Errorf("the code is in %s", where)
			}
		}
		for _, secret := range []string{labelCode, strings.ReplaceAll(labelCode, "-", ""), "7k3m"} {
			if log.has(secret) {
				t.Errorf("the code is in the log")
			}
		}
	})
}

func TestCodesAreBoundedAndExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, link.SegmentOptions{Seed: 1})
		s.startHome(t.Context())
		defer s.end()
		for n := range maxCodes {
			s.must("pair_code", calls.Args{"code": "7K3M-Q9TX-4W2B-HD" + string("0123456789ABCDEF"[n]) + "R", "for": time.Duration(10+n) * time.Minute})
		}
		args := calls.Args{"code": labelCode, "for": 10 * time.Minute}
		if r := s.must("pair_code", args).(calls.CodeResult); r.Codes != maxCodes { // one of those above
			t.Fatalf("%d codes wait", r.Codes)
		}
		args["code"] = otherCode
		if _, err := s.call("pair_code", args); calls.CodeOf(err) != calls.Busy || strings.Contains(err.Error(), "ZZ3M") {
			t.Fatalf("one too many: %v", err)
		}
		for _, bad := range []string{"7K3M-Q9TX", strings.Repeat("A", 16), "7K3M-Q9TX-4W2B-HD8!", "1234567890123456"} {
			args["code"] = bad
			if _, err := s.call("pair_code", args); calls.CodeOf(err) != calls.InvalidArgument || strings.Contains(err.Error(), bad) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		time.Sleep(10*time.Minute + time.Second)
		if n := s.status().Pairing.Codes; n != maxCodes-2 || !s.happened("pairing.code-expired") {
			t.Errorf("%d codes wait after 10 minutes", n)
		}
		b := s.plugWith(t.Context(), 1, codeOption)
		time.Sleep(5 * time.Second)
		if s.adopted() != 0 {
			t.Error("let in by a code that has expired")
		}
		s.must("pair_close", nil)
		if n := s.status().Pairing.Codes; n != 0 {
			t.Errorf("%d codes wait after closing", n)
		}
		// It is found again although it asks rarely by now.
		time.Sleep(10 * time.Minute)
		args["code"] = labelCode
		s.must("pair_code", args)
		// Where it has just asked, only a later hello makes it ask again: they
		// come after 50, 200, 650 ms and 2 s.
		time.Sleep(3 * time.Second)
		if b.status(t).State != calls.AgentConnected {
			t.Error("not let in three seconds after its code was entered")
		}
	})
}

// A device that has lost its home, but not its key, comes back by its code; the
// code is used up by that.
func TestMemberComesBackByItsCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, link.SegmentOptions{Seed: 1})
		s.startHome(t.Context())
		defer s.end()
		b := s.plugWith(t.Context(), 1, codeOption)
		s.must("pair_code", calls.Args{"code": labelCode, "for": 10 * time.Minute})
		time.Sleep(5 * time.Second)
		b.stop()
		state := filepath.Join(b.dir, "state", "agent.json")
		if err := os.Remove(state); err != nil {
			t.Fatal(err)
		}
		s.startBox(t.Context(), b)
		time.Sleep(5 * time.Second)
		if b.status(t).State == calls.AgentConnected {
			t.Fatal("back without its code")
		}
		s.must("pair_code", calls.Args{"code": labelCode, "for": 10 * time.Minute})
		time.Sleep(5 * time.Second)
		if st := s.status(); b.status(t).State != calls.AgentConnected || st.Pairing.Codes != 0 || st.Devices[model.DeviceAdopted] != 1 {
			t.Errorf("state %s, %d codes wait, %v", b.status(t).State, st.Pairing.Codes, st.Devices)
		}
	})
}

// With pairing by code only, the home takes no device another way.
func TestCodeOnlyHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, link.SegmentOptions{Seed: 1})
		s.options("config configurator 'configurator'\n\toption pairing 'code'\n")
		s.startHome(t.Context())
		defer s.end()
		plain, coded := s.plug(t.Context(), 1), s.plugWith(t.Context(), 2, codeOption)
		s.must("pair_code", calls.Args{"code": labelCode, "for": 10 * time.Minute})
		s.must("pair", calls.Args{"for": 2 * time.Minute})
		time.Sleep(30 * time.Second)
		if plain.status(t).State != calls.AgentSearching || coded.status(t).State != calls.AgentConnected || s.adopted() != 1 {
			t.Errorf("without a code %s, with it %s, %d let in", plain.status(t).State, coded.status(t).State, s.adopted())
		}
	})
}

// Five wrong tries turn the device away; it asks anew, with other digits.
func TestFiveWrongTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, link.SegmentOptions{Seed: 1})
		s.startHome(t.Context())
		defer s.end()
		b := s.plug(t.Context(), 1)
		time.Sleep(3 * time.Second)
		id, first := string(b.id(t)), b.digits(t)
		for n := range maxWrong {
			if _, err := s.call("device_adopt", calls.Args{"id": id, "code": b.wrong(t)}); calls.CodeOf(err) != calls.PermissionDenied {
				t.Fatalf("try %d: %v", n, err)
			}
		}
		if _, err := s.call("device_adopt", calls.Args{"id": id, "code": first}); calls.CodeOf(err) != calls.NotFound {
			t.Errorf("the right digits after five wrong ones: %v", err)
		}
		time.Sleep(40 * time.Second)
		if now := b.digits(t); now == "" || now == first {
			t.Fatalf("digits %q, first %q", now, first)
		}
		if _, err := s.call("device_adopt", calls.Args{"id": id, "code": first}); err == nil {
			t.Error("digits of an earlier session were taken")
		}
		s.must("device_adopt", calls.Args{"id": id, "code": b.digits(t)})
		time.Sleep(time.Second)
		if b.status(t).State != calls.AgentConnected {
			t.Error("not let in by the right digits")
		}
	})
}
