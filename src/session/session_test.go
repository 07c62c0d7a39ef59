package session

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

// homeSide is a configurator that remembers what it was told.
type homeSide struct {
	mu      sync.Mutex
	c       ResponderConfig
	r       *Responder
	members map[PublicKey]bool
	waiting map[PublicKey]Waiting
	peers   map[PublicKey]*Peer
	opened  map[PublicKey]int
	got     map[PublicKey][]string
	closed  []error
	yes, no bool // to everybody who waits
	asked   int
}

func newHomeSide(t testing.TB) *homeSide {
	key, err := GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	h := &homeSide{members: map[PublicKey]bool{}, waiting: map[PublicKey]Waiting{}, peers: map[PublicKey]*Peer{},
		opened: map[PublicKey]int{}, got: map[PublicKey][]string{}}
	h.c = ResponderConfig{Key: key, DiscoveryKey: [32]byte{1}, Instance: [16]byte{byte(len(t.Name())), 2}, Term: 1, Handler: h, Counters: &Counters{},
		Member: func(k PublicKey) bool { h.mu.Lock(); defer h.mu.Unlock(); return h.members[k] }}
	return h
}

func (h *homeSide) start(ctx context.Context, t testing.TB, port link.Port) {
	r, err := NewResponder(h.c)
	if err != nil {
		t.Fatal(err)
	}
	h.r = r
	go r.Run(ctx, port)
}

func (h *homeSide) Waiting(p *Peer, w Waiting) {
	h.mu.Lock()
	h.waiting[p.Key()], h.peers[p.Key()] = w, p
	if h.yes {
		h.members[p.Key()] = true
	}
	h.asked++
	h.mu.Unlock()
	if h.no {
		p.Refuse()
	}
	if h.yes {
		p.Admit(w.Hash)
	}
}
func (h *homeSide) Open(p *Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opened[p.Key()]++
	h.peers[p.Key()] = p
}
func (h *homeSide) Receive(p *Peer, m wire.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e, ok := m.(wire.Event); ok {
		h.got[p.Key()] = append(h.got[p.Key()], e.Text)
	}
}
func (h *homeSide) Closed(p *Peer, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, p.Key())
	h.closed = append(h.closed, err)
}

// agentSide is an agent that says three things when its session opens.
type agentSide struct {
	mu     sync.Mutex
	c      InitiatorConfig
	i      *Initiator
	digits Digits
	pin    *Pin
	peer   *Peer
	opened int
	closed []error
	silent int
	says   int
	shown  int
	got    []string
}

func newAgentSide(t testing.TB) *agentSide {
	key, err := GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	a := &agentSide{says: 3}
	a.c = InitiatorConfig{Key: key, Handler: a, Counters: &Counters{}}
	return a
}

func (a *agentSide) start(ctx context.Context, t testing.TB, port link.Port) {
	a.c.Pin = a.pin
	i, err := NewInitiator(a.c)
	if err != nil {
		t.Fatal(err)
	}
	a.i = i
	go i.Run(ctx, port)
}

func (a *agentSide) Silent() { a.mu.Lock(); a.silent++; a.mu.Unlock() }
func (a *agentSide) Digits(d Digits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d.Code != "" && d.Code != a.digits.Code {
		a.shown++
	}
	a.digits = d
}
func (a *agentSide) Pinned(p Pin) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pin = &p
	return nil
}
func (a *agentSide) Open(p *Peer) {
	a.mu.Lock()
	a.opened++
	a.peer = p
	n := a.says
	a.mu.Unlock()
	for i := range n {
		p.Send(wire.Event{Kind: "test.said", Text: fmt.Sprint(i)})
	}
}
func (a *agentSide) Receive(_ *Peer, m wire.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := m.(wire.Event); ok {
		a.got = append(a.got, e.Text)
	}
}
func (a *agentSide) Closed(_ *Peer, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = append(a.closed, err)
}

// pass orders what the test has read before what the sides write next.
func pass(h *homeSide, agents ...*agentSide) {
	through := func(mu *sync.Mutex) { mu.Lock(); defer mu.Unlock() }
	through(&h.mu)
	for _, a := range agents {
		through(&a.mu)
	}
}

func (a *agentSide) key() PublicKey { return a.c.Key.Public() }

var homeMAC = link.MAC{2, 0, 0, 0, 0, 1}

func agentMAC(n int) link.MAC { return link.MAC{2, 0, 0, 1, byte(n >> 8), byte(n)} }

// seeds is how many to try: n, and a tenth where each takes long.
func seeds(n int) int {
	if raceEnabled || testing.Short() {
		return n / 10
	}
	return n
}

func TestPairByDigitsThenComeBackByIK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := link.NewSegment(link.SegmentOptions{Seed: 1, Delay: 100 * time.Microsecond})
		home, a := newHomeSide(t), newAgentSide(t)
		home.start(ctx, t, s.Attach(homeMAC))
		actx, stop := context.WithCancel(ctx)
		a.start(actx, t, s.Attach(agentMAC(1)))
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		w, ok := home.waiting[a.key()]
		if !ok {
			t.Fatalf("nobody waits; home %v, agent %v", home.c.Counters.Snapshot(), a.c.Counters.Snapshot())
		}
		if w.Digits == "" || w.Digits != a.digits.Code || a.digits.Homes != 1 {
			t.Fatalf("digits %q and %+v", w.Digits, a.digits)
		}
		p := home.peers[a.key()]
		pass(home, a)
		if err := p.Admit(w.Hash); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if a.pin != nil {
			t.Fatal("let in although it is no member")
		}
		home.mu.Lock()
		home.members[a.key()] = true
		home.mu.Unlock()
		pass(home, a)
		if err := p.Admit([32]byte{9}); err == nil {
			t.Fatal("a yes to another session was taken")
		}
		if err := p.Admit(w.Hash); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if a.pin == nil || a.pin.Home != home.c.Key.Public() || a.opened != 1 || home.opened[a.key()] != 1 || a.digits.Code != "" {
			t.Fatalf("pin %v, opened %d and %d, digits %q", a.pin, a.opened, home.opened[a.key()], a.digits.Code)
		}
		if got := fmt.Sprint(home.got[a.key()]); got != "[0 1 2]" {
			t.Fatalf("heard %s", got)
		}
		pass(home, a)
		stop()
		time.Sleep(100 * time.Millisecond)
		home.mu.Lock()
		clear(home.waiting)
		home.mu.Unlock()
		begin := time.Now()
		a.start(ctx, t, s.Attach(agentMAC(1)))
		for again := 1; again < 2 && time.Since(begin) < 10*time.Second; {
			time.Sleep(time.Millisecond)
			home.mu.Lock()
			again = home.opened[a.key()]
			home.mu.Unlock()
		}
		synctest.Wait()
		if home.opened[a.key()] != 2 || a.opened != 2 || len(home.waiting) != 0 || time.Since(begin) > 100*time.Millisecond {
			t.Fatalf("back by IK: %d and %d after %v; %v", home.opened[a.key()], a.opened, time.Since(begin), home.c.Counters.Snapshot())
		}
	})
}

func TestEveryAgentPairsOverABadSegment(t *testing.T) {
	for seed := range seeds(1000) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := link.NewSegment(link.SegmentOptions{Seed: uint64(seed), Loss: 0.2, Duplicate: 0.1, Reorder: 0.2, Delay: 200 * time.Microsecond, Jitter: time.Millisecond})
			home := newHomeSide(t)
			home.yes = true
			home.start(ctx, t, s.Attach(homeMAC))
			var agents []*agentSide
			for n := range 4 {
				a := newAgentSide(t)
				a.says = 20
				a.start(ctx, t, s.Attach(agentMAC(n)))
				agents = append(agents, a)
			}
			time.Sleep(15 * time.Second)
			synctest.Wait()
			for n, a := range agents {
				want := ""
				for i := range a.says {
					want += fmt.Sprint(i, " ")
				}
				got := ""
				for _, s := range home.got[a.key()] {
					got += s + " "
				}
				if a.pin == nil || a.opened != 1 || home.opened[a.key()] != 1 || got != want {
					t.Errorf("seed %d agent %d: pinned %v, opened %d and %d, heard %q; home %v agent %v", seed, n, a.pin != nil, a.opened,
						home.opened[a.key()], got, home.c.Counters.Snapshot(), a.c.Counters.Snapshot())
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

func TestMemberThatComesAsAStrangerIsLetInAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := link.NewSegment(link.SegmentOptions{Seed: 1})
		home, a := newHomeSide(t), newAgentSide(t)
		home.members[a.key()] = true
		home.start(ctx, t, s.Attach(homeMAC))
		a.start(ctx, t, s.Attach(agentMAC(1)))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if a.pin == nil || home.opened[a.key()] != 1 || len(home.waiting) != 0 {
			t.Fatalf("pin %v, opened %d, waiting %d", a.pin, home.opened[a.key()], len(home.waiting))
		}
	})
}

func TestTwoHomesTakeNoneWithoutAYesAtTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := link.NewSegment(link.SegmentOptions{Seed: 1})
		home, other, a := newHomeSide(t), newHomeSide(t), newAgentSide(t)
		other.c.Instance = [16]byte{77}
		home.yes, other.yes = true, true
		home.start(ctx, t, s.Attach(homeMAC))
		other.start(ctx, t, s.Attach(link.MAC{2, 0, 0, 0, 0, 2}))
		a.start(ctx, t, s.Attach(agentMAC(1)))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		a.mu.Lock()
		shown, pin := a.digits, a.pin
		a.mu.Unlock()
		if pin != nil || shown.Homes != 2 {
			t.Fatalf("pin %v, digits %+v", pin, shown)
		}
		wrong := "000000"
		if shown.Code == wrong {
			wrong = "000001"
		}
		if a.i.Approve(wrong) == nil {
			t.Error("wrong digits were taken")
		}
		if err := a.i.Approve(shown.Code); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a.pin == nil || a.pin.Home != shown.Home {
			t.Fatalf("pin %v, shown %v", a.pin, shown.Home)
		}
	})
}

func TestSilentIsToldOnceAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := newAgentSide(t)
		a.start(ctx, t, link.NewSegment(link.SegmentOptions{}).Attach(agentMAC(1)))
		time.Sleep(990 * time.Millisecond)
		synctest.Wait()
		told := func() int { a.mu.Lock(); defer a.mu.Unlock(); return a.silent }
		if told() != 0 {
			t.Fatal("told too early")
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if told() != 1 {
			t.Fatalf("told %d times after a second", told())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if told() != 1 {
			t.Fatalf("told %d times", told())
		}
	})
}
