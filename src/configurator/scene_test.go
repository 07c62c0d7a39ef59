package configurator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/agent"
	"homeconf/src/calls"
	"homeconf/src/gateway"
	"homeconf/src/inventory"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/sighting"
	"homeconf/src/system"
)

// quietLAN answers no probe and finds every device where it says it is.
type quietLAN struct {
	busy   map[netip.Addr]model.MAC
	owners func(netip.Addr) (model.MAC, bool)
	speaks <-chan arpPair // what is heard on it
}

func (q quietLAN) Probe(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]model.MAC, error) {
	select {
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := map[netip.Addr]model.MAC{}
	for _, a := range addrs {
		if m, ok := q.busy[a]; ok {
			out[a] = m
		}
	}
	return out, nil
}

func (q quietLAN) Resolve(_ context.Context, a netip.Addr) (model.MAC, error) {
	if m, ok := q.owners(a); ok {
		return m, nil
	}
	return model.MAC{}, fmt.Errorf("nobody answers for %s", a)
}

func (q quietLAN) Watch(ctx context.Context, heard func(netip.Addr, model.MAC)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-q.speaks:
			heard(p.addr, p.mac)
		}
	}
}

func facts() model.Network {
	return model.Network{
		LAN:  model.LAN{Network: "lan", Device: "br-lan", Prefix: netip.MustParsePrefix("192.168.1.1/24"), MAC: model.MAC{2, 0, 0, 0, 0, 1}},
		WAN:  model.WAN{Network: "wan", Device: "wan", Up: true, SpeedMbps: 1000},
		Pool: model.AddressRange{First: netip.MustParseAddr("192.168.1.100"), Last: netip.MustParseAddr("192.168.1.249")},
		Multicast: model.MulticastFact{Installed: true, Running: true, Configured: true, Upstream: "wan",
			Downstream: []string{"lan"}},
	}
}

// sim is a home in one process: a real configurator, real agents, real
// sessions; the gateway, the devices and the segment are in memory.
type sim struct {
	t    *testing.T
	dir  string
	run  string // empty: nobody can reach it
	bus  string
	seg  *link.Segment
	port func(link.MAC) link.Port // plugs in
	gw   *gateway.Memory
	fs   inventory.FS
	lan  quietLAN
	log  *slog.Logger
	step func(string) // nil: stepped
	dead crash
	c    *Configurator
	stop func()
	mu   sync.Mutex // of box, where it is written
	box  []*simBox

	reload chan struct{}
	speaks chan arpPair
	see    chan []sighting.Evidence
	plugs  atomic.Pointer[link.SegmentPort] // the gateway's
}

type simBox struct {
	mac   link.MAC
	dev   *system.Memory
	a     *agent.Agent
	stop  func()
	dir   string
	known model.DeviceID // where a test noted it
}

func newSim(t *testing.T, o link.SegmentOptions) *sim {
	dir := t.TempDir()
	s := &sim{t: t, dir: dir, seg: link.NewSegment(o), gw: gateway.NewMemory(facts()), fs: inventory.InMemory(), log: slog.New(slog.DiscardHandler),
		reload: make(chan struct{}), speaks: make(chan arpPair), see: make(chan []sighting.Evidence)}
	s.lan.speaks, s.lan.busy = s.speaks, map[netip.Addr]model.MAC{}
	s.port = func(mac link.MAC) link.Port { return s.seg.Attach(mac) }
	if os.Getenv("SIM_LOG") != "" {
		s.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	s.lan.owners = func(a netip.Addr) (model.MAC, bool) {
		s.mu.Lock()
		box := s.box
		s.mu.Unlock()
		for _, b := range box {
			if b.dev.In().Address.Addr() == a {
				return model.MAC(b.mac), true
			}
		}
		return model.MAC{}, false
	}
	return s
}

func (s *sim) startHome(ctx context.Context) {
	s.t.Helper()
	step := s.step
	if step == nil {
		step = s.stepped
	}
	c, err := tryNew(Config{ConfigDir: filepath.Join(s.dir, "config"), StateDir: filepath.Join(s.dir, "home"), RunDir: s.run, Bus: s.bus, Log: s.log, FS: s.fs, RollbackFile: filepath.Join(s.dir, "snapshot"), Step: step, Gateway: s.gw, Prober: s.lan,
		Reload: s.reload,
		Link: func(ctx context.Context, use func(context.Context, link.Port) error) error {
			for { // as link.Keep does
				port := s.port(link.MAC{2, 0, 0, 0, 0, 1})
				if p, ok := port.(*link.SegmentPort); ok {
					s.plugs.Store(p)
				}
				if err := use(ctx, port); ctx.Err() != nil || !errors.Is(err, link.ErrDown) {
					return err
				}
				time.Sleep(500 * time.Millisecond)
			}
		},
		Sightings: func(ctx context.Context, tell func([]sighting.Evidence)) error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case e := <-s.see:
					tell(e)
				}
			}
		}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.c = c
	if c == nil { // killed on its way up
		s.stop = func() {}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	s.dead.kill = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil && !errors.Is(err, errAgain) && !s.down() {
			s.t.Errorf("configurator: %v", err)
		}
	}()
	s.stop = func() { cancel(); <-done }
}

func (s *sim) plug(ctx context.Context, n int) *simBox { return s.plugWith(ctx, n, "") }

// plugWith plugs in a box that has more options.
func (s *sim) plugWith(ctx context.Context, n int, options string) *simBox {
	s.t.Helper()
	b := &simBox{mac: link.MAC{2, 0, 0, 1, 0, byte(n)}, dir: filepath.Join(s.dir, fmt.Sprintf("box%d", n))}
	b.dev = &system.Memory{Home: netip.MustParsePrefix("192.168.1.1/24"), Base: model.Report{HostName: "box", Managed: "eth0", Backend: "memory",
		Interfaces:   []model.Interface{{Name: "eth0", MAC: model.MAC(b.mac), Medium: model.MediumEthernet, Up: true, SpeedMbps: 1000}},
		Capabilities: []model.Capability{model.CanStaticIPv4, model.CanDNS}}}
	conf := filepath.Join(b.dir, "config")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf("config agent 'agent'\n\toption category 'AV_STB'\n\toption manufacturer 'Example'\n\toption model 'Box'\n\toption serial '%d'\n%s", n, options)
	if err := os.WriteFile(filepath.Join(conf, "homeconf"), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.box = append(s.box, b)
	s.mu.Unlock()
	s.startBox(ctx, b)
	return b
}

func (s *sim) startBox(ctx context.Context, b *simBox) {
	port := s.port(b.mac)
	a, err := agent.New(agent.Config{ConfigDir: filepath.Join(b.dir, "config"), StateDir: filepath.Join(b.dir, "state"), Interface: "eth0", Log: s.log, Device: b.dev,
		Link: func(ctx context.Context, use func(context.Context, link.Port) error) error {
			for {
				if err := use(ctx, port); ctx.Err() != nil || !errors.Is(err, link.ErrDown) {
					return err
				}
				port.Close()
				port = s.port(b.mac)
			}
		},
		Announce: func(context.Context, netip.Addr) error { return nil }})
	if err != nil {
		s.t.Fatal(err)
	}
	b.a = a
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			s.t.Errorf("agent: %v", err)
		}
	}()
	b.stop = func() { cancel(); <-done }
}

func (s *sim) end() {
	for _, b := range s.box {
		b.stop()
	}
	s.stop()
}

func (s *sim) call(name string, args calls.Args) (any, error) {
	return s.c.Call(s.t.Context(), name, args)
}

func (b *simBox) digits(t *testing.T) string {
	v, err := b.a.Call(t.Context(), "agent_status", calls.Args{})
	if err != nil {
		t.Fatal(err)
	}
	return v.(*calls.AgentStatusResult).Digits
}

func (b *simBox) id(t *testing.T) model.DeviceID {
	v, err := b.a.Call(t.Context(), "agent_status", calls.Args{})
	if err != nil {
		t.Fatal(err)
	}
	return v.(*calls.AgentStatusResult).Device
}

func TestSceneOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := newSim(t, link.SegmentOptions{Seed: 1, Delay: 50 * time.Microsecond})
		s.startHome(ctx)
		b := s.plug(ctx, 1)
		defer s.end()
		time.Sleep(2500 * time.Millisecond)
		id, digits := b.id(t), b.digits(t)
		if digits == "" {
			t.Fatal("no digits are shown")
		}
		wrong := "000000"
		if digits == wrong {
			wrong = "000001"
		}
		if _, err := s.call("device_adopt", calls.Args{"id": string(id), "code": wrong}); err == nil {
			t.Fatal("wrong digits let the device in")
		}
		began := time.Now()
		if _, err := s.call("device_adopt", calls.Args{"id": string(id), "code": digits}); err != nil {
			t.Fatal(err)
		}
		for b.dev.In().AddressingType != model.AddressingStatic && time.Since(began) < 5*time.Second {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		v, err := s.call("device_show", calls.Args{"id": string(id)})
		if err != nil {
			t.Fatal(err)
		}
		d := v.(calls.DeviceDetail)
		if d.Progress != "configured" || d.Address != netip.MustParseAddr("192.168.1.250") || d.Class != model.ClassBroadcastVideo || d.State != model.DeviceAdopted {
			ev, _ := s.call("event_list", calls.Args{"limit": int64(100)})
			t.Fatalf("device: %+v\nin force: %+v\ngateway: %v\nevents: %+v", d.DeviceSummary, b.dev.In(), s.gw, ev)
		}
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("from the yes on it took %v", took)
		}
		if !strings.Contains(s.gw.String(), "192.168.1.250") {
			t.Errorf("gateway: %v", s.gw)
		}
	})
}

// TestBadSegment: over a segment that loses a fifth of all frames, doubles and
// reorders them, every device ends configured, none twice, none torn.
func TestBadSegment(t *testing.T) {
	seeds := 1000
	if testing.Short() || raceEnabled {
		seeds = 60
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			s := newSim(t, link.SegmentOptions{Seed: uint64(seed), Loss: 0.2, Duplicate: 0.1, Reorder: 0.2, Delay: 100 * time.Microsecond, Jitter: time.Millisecond})
			s.startHome(ctx)
			const boxes = 3
			for n := range boxes {
				s.plug(ctx, n+1)
			}
			defer s.end()
			for n, b := range s.box {
				digits := ""
				for range 200 {
					if digits = b.digits(t); digits != "" {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				// The digits reach the other side a little later, and a lost
				// session means new ones.
				var err error
				for range 50 {
					if _, err = s.call("device_adopt", calls.Args{"id": string(b.id(t)), "code": b.digits(t)}); err == nil {
						break
					}
					time.Sleep(200 * time.Millisecond)
				}
				if err != nil {
					t.Fatalf("seed %d box %d: %v", seed, n, err)
				}
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			seen := map[netip.Addr]bool{}
			v, err := s.call("device_list", calls.Args{})
			if err != nil {
				t.Fatal(err)
			}
			list := v.(calls.DevicesResult).Devices
			if len(list) != boxes {
				t.Errorf("seed %d: %d devices", seed, len(list))
			}
			for _, d := range list {
				if d.Progress != "configured" || !d.Address.IsValid() || seen[d.Address] {
					t.Errorf("seed %d: %+v", seed, d)
				}
				seen[d.Address] = true
			}
			for _, b := range s.box {
				in := b.dev.In()
				if in.AddressingType != model.AddressingStatic || !seen[in.Address.Addr()] {
					t.Errorf("seed %d: in force on a device: %+v", seed, in)
				}
				if left, _ := filepath.Glob(filepath.Join(b.dir, "state", "*pending*")); len(left) > 0 {
					t.Errorf("seed %d: left pending: %v", seed, left)
				}
			}
			if t.Failed() {
				ev, _ := s.call("event_list", calls.Args{"limit": int64(1000)})
				for _, e := range ev.(calls.EventsResult).Events {
					t.Log(e.Time.Format("05.000"), e.Kind, e.Device, e.Text)
				}
				t.Log(s.gw)
			}
		})
		if t.Failed() {
			t.FailNow()
		}
	}
}
