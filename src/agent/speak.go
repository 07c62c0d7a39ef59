package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/options"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// speaking is who speaks for this device at Layer 2. A reset puts another, with
// another key, in its place.
type speaking struct {
	mu   sync.Mutex
	init *session.Initiator
	end  context.CancelFunc // of the one that serves a port now
}

func (s *speaking) who() *session.Initiator {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.init
}

// renewSession makes who speaks for this device's present key and home; the
// one before falls silent.
func (a *Agent) renewSession() error {
	pin, err := a.keep.pin()
	if err != nil {
		return fmt.Errorf("reading the home: %w", err)
	}
	c := session.InitiatorConfig{Key: a.key, Pin: pin, Way: way(a.opts.Agent.Pairing), Handler: told{a, a.life}, Log: a.log, Counters: a.count}
	if a.opts.Agent.Code != "" {
		if c.Code, err = session.ParseSetupCode(a.opts.Agent.Code); err != nil {
			return fmt.Errorf("reading the set-up code: %w", err)
		}
	}
	init, err := session.NewInitiator(c)
	if err != nil {
		return fmt.Errorf("making the initiator: %w", err)
	}
	a.speak.mu.Lock()
	defer a.speak.mu.Unlock()
	a.speak.init = init
	if a.speak.end != nil {
		a.speak.end()
	}
	return nil
}

func way(p options.Pairing) wire.Way {
	switch p {
	case options.PairingWindow:
		return wire.WayWindow
	case options.PairingCode:
		return wire.WayCode
	}
	return wire.WayApprove
}

// serveLink speaks over a port until it goes, or until another is to speak:
// then a new port is asked for.
func (a *Agent) serveLink(ctx context.Context, p link.Port) error {
	own, end := context.WithCancel(ctx)
	defer end()
	a.speak.mu.Lock()
	init := a.speak.init
	a.speak.end = end
	a.speak.mu.Unlock()
	mac := model.MAC(p.MAC())
	a.surely(func() { a.linkCame(mac) })
	defer a.surely(func() { a.linkUp = false })
	err := init.Run(own, p)
	if err == nil && own.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("another session begins: %w", link.ErrDown)
	}
	return err
}

// announce tells everybody where an address is. The second announcement, which
// stands in for a lost first one, is not waited for.
func (a *Agent) announce(_ context.Context, addr netip.Addr) error {
	rest, err := link.Announcing(a.cfg.Interface, addr)
	if err != nil {
		return err
	}
	a.wg.Go(func() {
		if err := rest(a.ctx); err != nil && a.ctx.Err() == nil {
			a.log.Info("the address was announced once only", "err", err)
		}
	})
	return nil
}

// told turns what the session layer tells into things for the loop. What the
// session of an earlier life tells is passed over.
type told struct {
	a    *Agent
	life uint64
}

var errVoid = errors.New("this device was reset")

func (t told) now(f func()) func() {
	return func() {
		if t.a.life == t.life {
			f()
		}
	}
}

func (t told) Silent() { t.a.tell(t.now(t.a.nobodyAnswers)) }
func (t told) Digits(d session.Digits) {
	t.a.tell(t.now(func() {
		t.a.digits = d
		if d.Code != "" {
			t.a.log.Info("a home asks to be approved", "digits", d.Code, "homes", d.Homes)
		}
	}))
}

// Pinned stores the home before anything is said to it: it is called by the
// session's goroutine and waits for the loop.
func (t told) Pinned(p session.Pin) error {
	done := make(chan error, 1)
	if !t.a.tell(func() {
		if t.a.life != t.life {
			done <- errVoid
			return
		}
		done <- t.a.pinned(p)
	}) {
		return errBusy
	}
	select {
	case err := <-done:
		return err
	case <-t.a.ctx.Done():
		return t.a.ctx.Err()
	}
}
func (t told) Open(p *session.Peer) { t.or(p, func() { t.a.opened(p) }) }
func (t told) Receive(p *session.Peer, m wire.Message) {
	t.or(p, func() { t.a.received(p, m) })
}
func (t told) Closed(p *session.Peer, err error) { t.a.surely(t.now(func() { t.a.closed(p, err) })) }

func (t told) or(p *session.Peer, f func()) {
	if !t.a.tell(t.now(f)) {
		p.Close(errBusy)
	}
}
