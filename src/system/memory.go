package system

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"homeconf/src/model"
)

// Memory is a device in memory, for tests. It behaves as a real one does: what
// is applied is there, a gateway answers only where it lives, a lease comes
// from a server that is there. The exported fields are set before use, or
// through Change.
type Memory struct {
	// Home is the network that the device is plugged into: its gateway
	// answers a proof at this address, with this prefix. Zero: nobody answers.
	Home netip.Prefix
	// Offer is what the DHCP server lends. A zero address: there is none, and
	// Lease waits until its context ends.
	Offer Lease
	// LeaseTakes is how long the server takes.
	LeaseTakes time.Duration
	// Fail is asked before each operation ("apply", "apply.half", "prove",
	// "current", "report", "lease", "use", "renew", "release") and makes it
	// fail. "apply.half" fails after the address was set and before the rest
	// was.
	Fail func(op string) error
	// Delay is how long an operation takes.
	Delay func(op string) time.Duration
	// Base is what Report starts from.
	Base model.Report

	mu       sync.Mutex
	in       model.Settings // in force
	lease    *Lease
	watchers map[chan struct{}]struct{}
	lines    []string
}

var (
	_ Device = (*Memory)(nil)
	_ Leaser = (*Memory)(nil)
)

// String prints what happened to the device, a line for each change.
func (m *Memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.lines, "\n")
}

// Change changes the device under its own lock, as a person's hand would, and
// wakes the watchers.
func (m *Memory) Change(f func(m *Memory, in *model.Settings)) {
	m.mu.Lock()
	f(m, &m.in)
	m.mu.Unlock()
	m.changed()
}

// In is what is in force, with the generation left out.
func (m *Memory) In() model.Settings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.in
}

// Leased says whether the server has lent an address that was not given back.
func (m *Memory) Leased() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lease != nil
}

// PowerCut takes everything away that does not survive a reboot.
func (m *Memory) PowerCut() {
	m.mu.Lock()
	m.in = model.Settings{}
	m.say("power cut")
	m.mu.Unlock()
}

func (m *Memory) say(format string, a ...any) { m.lines = append(m.lines, fmt.Sprintf(format, a...)) }

func (m *Memory) changed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// enter is what an operation begins with.
func (m *Memory) enter(ctx context.Context, op string) error {
	m.mu.Lock()
	delay, fail := m.Delay, m.Fail
	m.mu.Unlock()
	if delay != nil {
		if d := delay(op); d > 0 {
			if err := sleep(ctx, d); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if fail != nil {
		return fail(op)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Report implements Device.
func (m *Memory) Report(ctx context.Context) (model.Report, error) {
	if err := m.enter(ctx, "report"); err != nil {
		return model.Report{}, fmt.Errorf("memory device: report: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.Base
	if r.Managed == "" {
		r.Managed = "mem0"
	}
	i := model.Interface{Name: r.Managed, Medium: model.MediumEthernet, Up: true}
	if have, ok := r.Interface(); ok {
		i = have
	}
	i.Addresses = nil
	if m.in.Address.IsValid() {
		i.Addresses = []model.Address{{Prefix: m.in.Address, Type: m.in.AddressingType}}
	}
	r.Interfaces = []model.Interface{i}
	r.Gateway, r.DNS = m.in.Gateway, slices.Clone(m.in.DNS)
	r.Capabilities = []model.Capability{model.CanStaticIPv4, model.CanDHCPv4, model.CanDNS}
	r.Backend = "memory"
	return r, nil
}

// Current implements Device.
func (m *Memory) Current(ctx context.Context) (model.Settings, error) {
	if err := m.enter(ctx, "current"); err != nil {
		return model.Settings{}, fmt.Errorf("memory device: current settings: %w", err)
	}
	return m.In(), nil
}

// Apply implements Device.
func (m *Memory) Apply(ctx context.Context, s model.Settings) error {
	if err := m.enter(ctx, "apply"); err != nil {
		return fmt.Errorf("memory device: apply: %w", err)
	}
	defer m.changed()
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Generation = 0
	if s.AddressingType == model.AddressingDHCP {
		if m.in.AddressingType != model.AddressingDHCP && m.lease == nil {
			return errors.New("memory device: apply: no leased address")
		}
		s = m.in
		if m.lease != nil {
			s = m.lease.Settings()
		}
	}
	if m.in.Same(s) {
		return nil
	}
	if m.Fail != nil {
		if err := m.Fail("apply.half"); err != nil {
			m.in.AddressingType, m.in.Address = s.AddressingType, s.Address
			m.say("apply %s, half", words(s))
			return fmt.Errorf("memory device: apply: %w", err)
		}
	}
	m.in = s
	m.say("apply %s", words(s))
	return nil
}

// Prove implements Device.
func (m *Memory) Prove(ctx context.Context, s model.Settings) error {
	for {
		err := m.enter(ctx, "prove")
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("memory device: prove: gateway %s does not answer: %w", s.Gateway, err)
		}
		if err != nil {
			return fmt.Errorf("memory device: prove: %w", err)
		}
		m.mu.Lock()
		in, home := m.in, m.Home
		m.mu.Unlock()
		switch {
		case s.AddressingType == model.AddressingStatic && in.Address != s.Address:
			return fmt.Errorf("memory device: prove: address %s is not there", s.Address)
		case !in.Gateway.IsValid() || in.Gateway == home.Addr() && home.Masked() == in.Address.Masked():
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("memory device: prove: gateway %s does not answer: %w", in.Gateway, err)
		}
	}
}

// Watch implements Device.
func (m *Memory) Watch(ctx context.Context, changed func()) error {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	if m.watchers == nil {
		m.watchers = map[chan struct{}]struct{}{}
	}
	m.watchers[c] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.watchers, c)
		m.mu.Unlock()
	}()
	for {
		select {
		case <-c:
			changed()
		case <-ctx.Done():
			return nil
		}
	}
}

// Lease implements Leaser.
func (m *Memory) Lease(ctx context.Context) (Lease, error) {
	if err := m.enter(ctx, "lease"); err != nil {
		return Lease{}, fmt.Errorf("memory device: lease: %w", err)
	}
	m.mu.Lock()
	l, takes := m.Offer, m.LeaseTakes
	m.mu.Unlock()
	if !l.Address.IsValid() {
		<-ctx.Done()
		return Lease{}, fmt.Errorf("memory device: lease: no server answered: %w", ctx.Err())
	}
	// The server was asked: what it lends is waited for, whatever the context says.
	time.Sleep(takes)
	l.Taken = time.Now()
	m.mu.Lock()
	m.lease = &l
	m.say("lease %s", l.Address)
	m.mu.Unlock()
	return l, nil
}

// Held implements Leaser.
func (m *Memory) Held() (Lease, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lease == nil || m.in.Address != m.lease.Address {
		return Lease{}, false
	}
	return *m.lease, true
}

// Renew implements Leaser.
func (m *Memory) Renew(ctx context.Context, l Lease) (Lease, error) {
	if err := m.enter(ctx, "renew"); err != nil {
		return Lease{}, fmt.Errorf("memory device: renew: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l.Taken = time.Now()
	m.say("renew %s", l.Address)
	return l, nil
}

// Use implements Leaser.
func (m *Memory) Use(ctx context.Context, l Lease) error {
	if err := m.enter(ctx, "use"); err != nil {
		return fmt.Errorf("memory device: use lease: %w", err)
	}
	m.mu.Lock()
	if m.in.AddressingType != model.AddressingStatic && !m.in.Same(l.Settings()) {
		m.in = l.Settings()
		m.say("use %s", words(m.in))
	}
	m.mu.Unlock()
	m.changed()
	return nil
}

// Release implements Leaser.
func (m *Memory) Release(ctx context.Context, l Lease) error {
	if err := m.enter(ctx, "release"); err != nil {
		return fmt.Errorf("memory device: release: %w", err)
	}
	m.mu.Lock()
	m.lease = nil
	m.say("release %s", l.Address)
	if m.in.AddressingType == model.AddressingDHCP && m.in.Address == l.Address {
		m.in = model.Settings{}
	}
	m.mu.Unlock()
	m.changed()
	return nil
}

// words prints settings in one line.
func words(s model.Settings) string {
	if s.AddressingType == model.AddressingUnknown {
		return "nothing"
	}
	var b strings.Builder
	b.WriteString(string(s.AddressingType))
	if s.Address.IsValid() {
		fmt.Fprintf(&b, " %s", s.Address)
	}
	if s.Gateway.IsValid() {
		fmt.Fprintf(&b, " via %s", s.Gateway)
	}
	for _, d := range s.DNS {
		fmt.Fprintf(&b, " dns %s", d)
	}
	return b.String()
}
