package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/calls"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/system"
	"homeconf/src/wire"
)

var (
	homeMAC = link.MAC{2, 0, 0, 0, 0, 1}
	boxMAC  = link.MAC{2, 0, 0, 1, 0, 1}
)

// home is a configurator that does what the test says. It takes everybody in.
type home struct {
	key       session.PrivateKey
	discovery [32]byte

	mu      sync.Mutex
	members map[session.PublicKey]bool
	shy     bool // it says yes only when the test does
	waiting []func()
	peer    *session.Peer
	opened  int
	got     []wire.Message
	// on is asked for an answer to each message, and when a session opens (nil).
	on func(wire.Message) []wire.Message
}

func newHome(t *testing.T) *home {
	key, err := session.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return &home{key: key, discovery: [32]byte{1}, members: map[session.PublicKey]bool{}}
}

func (h *home) start(ctx context.Context, t *testing.T, port link.Port) (stop func()) {
	r, err := session.NewResponder(session.ResponderConfig{Key: h.key, DiscoveryKey: h.discovery, Instance: [16]byte{2}, Term: 1, Handler: h,
		Member: func(k session.PublicKey) bool { h.mu.Lock(); defer h.mu.Unlock(); return h.members[k] }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx, port) }()
	return func() { cancel(); <-done }
}

func (h *home) Waiting(p *session.Peer, w session.Waiting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	yes := func() {
		h.mu.Lock()
		h.members[p.Key()] = true
		h.mu.Unlock()
		p.Admit(w.Hash)
	}
	if h.shy {
		h.waiting = append(h.waiting, yes)
		return
	}
	h.members[p.Key()] = true
	p.Admit(w.Hash)
}

func (h *home) Open(p *session.Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peer = p
	h.opened++
	h.answer(p, nil)
}

func (h *home) Receive(p *session.Peer, m wire.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, m)
	h.answer(p, m)
}

func (h *home) answer(p *session.Peer, m wire.Message) {
	if h.on == nil {
		return
	}
	for _, a := range h.on(m) {
		p.Send(a)
	}
}

func (h *home) Closed(p *session.Peer, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.peer == p {
		h.peer = nil
	}
}

// say sends a message to the agent, and gives it time to act.
func (h *home) say(t *testing.T, m wire.Message) {
	t.Helper()
	h.mu.Lock()
	p := h.peer
	h.mu.Unlock()
	if p == nil {
		t.Fatal("no agent is there")
	}
	if err := p.Send(m); err != nil {
		t.Fatal(err)
	}
	settle(100 * time.Millisecond)
}

// heard takes what the agent said since the last time, without its reports.
func (h *home) heard() (out []wire.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var rest []wire.Message
	for _, m := range h.got {
		if m.Type() == wire.TypeReport {
			rest = append(rest, m)
		} else {
			out = append(out, m)
		}
	}
	h.got = rest
	return out
}

// reports takes the agent's reports since the last time.
func (h *home) reports() (out []wire.Report) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = slices.DeleteFunc(h.got, func(m wire.Message) bool {
		r, ok := m.(wire.Report)
		if ok {
			out = append(out, r)
		}
		return ok
	})
	return out
}

func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// box is a device: what survives its agent, and the agent.
type box struct {
	dir  string
	dev  *system.Memory
	seg  *link.Segment
	port *link.SegmentPort
	a    *Agent
	stop func()

	mu        sync.Mutex
	cable     chan struct{} // closed: plugged in
	crashAt   string
	crashIn   int // the how manieth time
	down      bool
	steps     []string
	announced []netip.Addr
	announce  error
}

func newBox(t *testing.T, seg *link.Segment, uci string) *box {
	in := make(chan struct{})
	close(in)
	b := &box{dir: t.TempDir(), seg: seg, cable: in, dev: &system.Memory{Home: netip.MustParsePrefix("192.168.1.1/24"), Base: model.Report{HostName: "box", Managed: "eth0",
		Interfaces: []model.Interface{{Name: "eth0", MAC: model.MAC(boxMAC), Medium: model.MediumEthernet, Up: true, SpeedMbps: 1000}}}}}
	if err := os.MkdirAll(filepath.Join(b.dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.conf(t, uci)
	return b
}

func (b *box) conf(t *testing.T, uci string) {
	text := "config agent 'agent'\n\toption category 'AV_STB'\n\toption model 'Box'\n" + uci
	if err := os.WriteFile(filepath.Join(b.dir, "config", "homeconf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (b *box) state(name string) string { return filepath.Join(b.dir, "state", name) }

// step stops the whole agent at a step as a crash would: nothing is sent any
// more, and no line is carried out behind it.
func (b *box) step(name string, crash func()) {
	b.mu.Lock()
	dead := b.down
	if !dead {
		b.steps = append(b.steps, name)
	}
	if name == b.crashAt && !dead {
		if b.crashIn--; b.crashIn <= 0 {
			b.down, dead = true, true
			b.crashAt = ""
		}
	}
	b.mu.Unlock()
	if dead {
		crash()
		runtime.Goexit()
	}
}

func (b *box) crashed() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.down }

func (b *box) start(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	b.mu.Lock()
	b.down = false
	b.mu.Unlock()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("SIM_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	a, err := New(Config{ConfigDir: filepath.Join(b.dir, "config"), StateDir: filepath.Join(b.dir, "state"), Interface: "eth0", Device: b.dev, Log: log,
		Version: "test", Link: b.link,
		Step: func(name string) {
			b.step(name, func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				if b.port != nil {
					b.port.Close()
				}
				cancel()
			})
		},
		Announce: func(_ context.Context, a netip.Addr) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.announced = append(b.announced, a)
			return b.announce
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.a = a
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A port that a crash closed is no failure of the agent's.
		if err := a.Run(ctx); err != nil && !b.crashed() {
			t.Errorf("agent: %v", err)
		}
	}()
	b.stop = func() { cancel(); <-done }
}

// link gives the agent a port while the cable is in, as link.Keep does.
func (b *box) link(ctx context.Context, use func(context.Context, link.Port) error) error {
	for {
		b.mu.Lock()
		in := b.cable
		b.mu.Unlock()
		select {
		case <-in:
		case <-ctx.Done():
			return nil
		}
		b.mu.Lock()
		port := b.seg.Attach(boxMAC)
		b.port = port
		b.mu.Unlock()
		if err := use(ctx, port); ctx.Err() != nil || !errors.Is(err, link.ErrDown) {
			return err
		}
	}
}

// unplug pulls the cable.
func (b *box) unplug() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cable = make(chan struct{})
	b.port.SetDown(true)
}

// plug puts it in again.
func (b *box) plug() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.cable)
}

func (b *box) status(t *testing.T) calls.AgentStatusResult {
	t.Helper()
	v, err := b.a.Call(t.Context(), "agent_status", calls.Args{})
	if err != nil {
		t.Fatal(err)
	}
	return *v.(*calls.AgentStatusResult)
}

// noPending fails when a change is still on its way on disk.
func (b *box) noPending(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(b.state("agent-pending.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a pending change is left: %v", err)
	}
}

// good is the last known good on disk.
func (b *box) good(t *testing.T) *model.Settings {
	t.Helper()
	k, said, err := load(b.state("agent.json"), checkKept)
	if err != nil || said != "" {
		t.Fatalf("%v %s", err, said)
	}
	if k == nil {
		return nil
	}
	return k.Good
}

func static(generation uint64, a string) model.Settings {
	return model.Settings{Generation: generation, AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix(a),
		Gateway: netip.MustParseAddr("192.168.1.1"), DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1")}}
}

func configure(s model.Settings) wire.Configure {
	return wire.Configure{Settings: s, Deadline: 5 * time.Second}
}

func confirm(s model.Settings) wire.Confirm {
	return wire.Confirm{Generation: s.Generation, Digest: wire.SettingsDigest(s)}
}

// wants has the home configure a box as a configurator does: it asks whoever
// reports something else, and confirms what was applied.
func (h *home) wants(s model.Settings) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.on = func(m wire.Message) []wire.Message {
		switch m := m.(type) {
		case wire.Report:
			switch r := m.Report; {
			case r.Generation == s.Generation && r.State == model.CommitPending:
				return []wire.Message{confirm(s)}
			case r.Generation != s.Generation || r.State != model.CommitConfirmed:
				return []wire.Message{configure(s)}
			}
		case wire.Outcome:
			if m.Generation == s.Generation && m.Code == model.OutcomeApplied {
				return []wire.Message{confirm(s)}
			}
		}
		return nil
	}
}

// words says what was heard in one line.
func words(ms []wire.Message) string {
	var out []string
	for _, m := range ms {
		switch m := m.(type) {
		case wire.Outcome:
			out = append(out, fmt.Sprintf("%s %d", m.Code, m.Generation))
		case wire.Confirmed:
			out = append(out, fmt.Sprintf("confirmed %d", m.Generation))
		default:
			out = append(out, m.Type().String())
		}
	}
	return strings.Join(out, ", ")
}

func wantHeard(t *testing.T, h *home, want string) []wire.Message {
	t.Helper()
	got := h.heard()
	if words(got) != want {
		t.Errorf("the agent said %q, want %q", words(got), want)
	}
	return got
}

func wantIn(t *testing.T, b *box, want model.Settings) {
	t.Helper()
	want.Generation = 0
	if got := b.dev.In(); !got.Same(want) {
		t.Errorf("in force: %+v, want %+v\n%v", got, want, b.dev)
	}
}

// scene runs f with a home and a box on a segment, in virtual time, paired.
func scene(t *testing.T, uci string, f func(t *testing.T, h *home, b *box)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		seg := link.NewSegment(link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
		h := newHome(t)
		stop := h.start(t.Context(), t, seg.Attach(homeMAC))
		defer stop()
		b := newBox(t, seg, uci)
		b.start(t.Context(), t)
		defer func() { b.stop() }()
		settle(4 * time.Second)
		if b.status(t).State != calls.AgentConnected {
			t.Fatalf("not connected: %+v", b.status(t))
		}
		f(t, h, b)
	})
}

// block keeps a file from being written: a folder that isn't empty stands there.
func block(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
}
