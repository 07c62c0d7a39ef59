package link_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"homeconf/src/link"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestProbe(t *testing.T) {
	p := newPair(t)
	ip(t, "-n", p.a, "addr", "add", "10.9.0.1/24", "dev", "eth0")
	for _, a := range []string{"10.9.0.2/24", "10.9.0.3/24"} {
		ip(t, "-n", p.b, "addr", "add", a, "dev", "eth0")
	}
	var many []netip.Addr
	for i := range 300 {
		many = append(many, addr(fmt.Sprintf("10.8.%d.%d", i/250, i%250)))
	}
	within(t, p.a, func() {
		for _, c := range []struct {
			name    string
			ask     []netip.Addr
			exclude []link.MAC
			want    map[netip.Addr]link.MAC
			fails   bool
			early   bool
		}{
			{name: "live and free", ask: []netip.Addr{addr("10.9.0.2"), addr("10.9.0.9"), addr("10.9.0.3")},
				want: map[netip.Addr]link.MAC{addr("10.9.0.2"): macB, addr("10.9.0.3"): macB}},
			{name: "all live", ask: []netip.Addr{addr("10.9.0.2"), addr("::ffff:10.9.0.3")}, early: true,
				want: map[netip.Addr]link.MAC{addr("10.9.0.2"): macB, addr("10.9.0.3"): macB}},
			{name: "our own", ask: []netip.Addr{addr("10.9.0.1")}, want: map[netip.Addr]link.MAC{}},
			{name: "excluded", ask: []netip.Addr{addr("10.9.0.2")}, exclude: []link.MAC{macC, macB}, want: map[netip.Addr]link.MAC{}},
			{name: "nothing", early: true, want: map[netip.Addr]link.MAC{}},
			{name: "250", ask: many[:250], want: map[netip.Addr]link.MAC{}},
			{name: "too many", ask: many, fails: true},
			{name: "IPv6", ask: []netip.Addr{addr("fe80::1")}, fails: true},
			{name: "unspecified", ask: []netip.Addr{addr("0.0.0.0")}, fails: true},
			{name: "invalid", ask: []netip.Addr{{}}, fails: true},
		} {
			start := time.Now()
			got, err := link.Probe(t.Context(), "eth0", c.ask, c.exclude...)
			took := time.Since(start)
			if (err != nil) != c.fails || !maps.Equal(got, c.want) {
				t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
			}
			if limit := 250 * time.Millisecond; took > limit || !c.fails && c.early != (took < 200*time.Millisecond) {
				t.Errorf("%s: took %v", c.name, took)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := link.Probe(ctx, "eth0", many[:1]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := link.Probe(t.Context(), "eth9", many[:1]); !errors.Is(err, link.ErrDown) {
			t.Errorf("no interface: %v", err)
		}
	})
}

// TestProbeEachOther has two hosts probe for one address: both see the other
// (RFC 5227, 2.1.1).
func TestProbeEachOther(t *testing.T) {
	p := newPair(t)
	type answer struct {
		got map[netip.Addr]link.MAC
		err error
	}
	answers := make(map[string]chan answer)
	for _, ns := range []string{p.a, p.b} {
		answers[ns] = make(chan answer, 1)
		go within(t, ns, func() {
			got, err := link.Probe(t.Context(), "eth0", []netip.Addr{addr("10.9.0.7")})
			answers[ns] <- answer{got, err}
		})
	}
	for ns, other := range map[string]link.MAC{p.a: macB, p.b: macA} {
		if a := <-answers[ns]; a.err != nil || a.got[addr("10.9.0.7")] != other {
			t.Errorf("%s: %v, %v, want %x", ns, a.got, a.err, other)
		}
	}
}

// TestAnnounce hears announcements, and has them correct a neighbour's cache.
func TestAnnounce(t *testing.T) {
	p := newPair(t)
	ip(t, "-n", p.a, "addr", "add", "10.9.0.1/24", "dev", "eth0")
	ip(t, "-n", p.a, "neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:0c", "dev", "eth0", "nud", "stale")
	ctx, cancel := context.WithCancel(t.Context())
	type sight struct {
		addr netip.Addr
		mac  link.MAC
	}
	heard, ended, ready := make(chan sight, 16), make(chan error, 1), make(chan struct{})
	go within(t, p.a, func() {
		close(ready)
		ended <- link.WatchConflicts(ctx, "eth0", func(a netip.Addr, m link.MAC) { heard <- sight{a, m} })
	})
	<-ready
	time.Sleep(20 * time.Millisecond)
	within(t, p.b, func() {
		if err := link.Announce(t.Context(), "eth0", addr("10.9.0.2")); err != nil {
			t.Error(err)
		}
		if err := link.Announce(t.Context(), "eth0", addr("fe80::1")); err == nil {
			t.Error("an IPv6 address was announced")
		}
		// Probes claim nothing.
		if _, err := link.Probe(t.Context(), "eth0", []netip.Addr{addr("10.9.0.77")}); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		select {
		case s := <-heard:
			if s != (sight{addr("10.9.0.2"), macB}) {
				t.Errorf("heard %v", s)
			}
		case <-time.After(time.Second):
			t.Fatal("announcement not heard")
		}
	}
	run(t, "sh", "-c", "ip -n "+p.a+" neigh show 10.9.0.2 | grep -q 02:00:00:00:00:0b")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("cancelled: %v", err)
	}
	if len(heard) != 0 {
		t.Errorf("heard %v too", <-heard)
	}
}

func TestWatchConflictsDown(t *testing.T) {
	p := newPair(t)
	ended := make(chan error, 1)
	go within(t, p.a, func() { ended <- link.WatchConflicts(t.Context(), "eth0", func(netip.Addr, link.MAC) {}) })
	time.Sleep(20 * time.Millisecond)
	ip(t, "-n", p.a, "link", "set", "eth0", "down")
	select {
	case err := <-ended:
		if !errors.Is(err, link.ErrDown) {
			t.Errorf("%v, want %v", err, link.ErrDown)
		}
	case <-time.After(time.Second):
		t.Error("still watching")
	}
}

func TestResolve(t *testing.T) {
	p := newPair(t)
	ip(t, "-n", p.a, "addr", "add", "10.9.0.1/24", "dev", "eth0")
	ip(t, "-n", p.b, "addr", "add", "10.9.0.2/24", "dev", "eth0")
	within(t, p.a, func() {
		for _, from := range []netip.Addr{addr("10.9.0.1"), {}} {
			if m, err := link.Resolve(t.Context(), "eth0", from, addr("10.9.0.2")); err != nil || m != macB {
				t.Errorf("from %v: %x, %v", from, m, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if m, err := link.Resolve(ctx, "eth0", addr("10.9.0.1"), addr("10.9.0.99")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody: %x, %v", m, err)
		}
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("nobody: took %v", took)
		}
		if _, err := link.Resolve(t.Context(), "eth0", netip.Addr{}, netip.Addr{}); err == nil {
			t.Error("the zero address was resolved")
		}
	})
}
