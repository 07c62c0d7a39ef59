package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"homeconf/src/model"
	"homeconf/src/system"
	"homeconf/src/wire"
)

const (
	// applyTime bounds applying and undoing settings, proveTime proving them.
	applyTime = 10 * time.Second
	proveTime = 3 * time.Second
	// shortest deadline that is taken: below it no Confirm could come in time.
	shortest = 500 * time.Millisecond
)

// change is the change under way, and what came of the last one.
type change struct {
	found    *pending // at start: left by a crash or a reboot
	failed   bool     // the start's restoring did not work yet
	now      *pending
	busy     bool // being applied or undone
	next     *wire.Configure
	deadline *time.Timer
	last     *model.Outcome // of the last change asked for, repeated when asked again
	state    model.CommitState
}

// restore puts the device right after a start: a change that nobody confirmed
// is undone, and the last known good settings are put back, for plain Linux
// forgets them at a reboot.
func (a *Agent) restore(ctx context.Context) {
	c := &a.change
	c.state = model.CommitNone
	if a.keep.Good != nil {
		c.state = model.CommitConfirmed
	}
	p := c.found
	if p != nil && a.keep.Good != nil && p.Want.Generation <= a.keep.Good.Generation {
		// Confirmed; only the removing was cut short.
		if err := system.RemoveFile(a.files.pending()); err != nil {
			a.note("a finished change can't be put away: " + err.Error())
		}
		p, c.found = nil, nil
	}
	var want *model.Settings
	switch {
	case p != nil:
		want = &p.Before
	case a.keep.Good != nil:
		want = a.keep.Good
	default:
		return
	}
	a.cfg.Step("revert.begin")
	ctx, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	if err := a.apply(ctx, *want); err != nil {
		c.failed = true
		a.log.Info("settings are not put back yet", "err", err)
		return
	}
	c.failed = false
	a.cfg.Step("reverted")
	if p != nil {
		a.undone(p, "the device started again before the change was confirmed")
	}
}

// retryRestore tries again when the interface is there.
func (a *Agent) retryRestore() {
	if a.change.failed {
		a.restore(a.ctx)
	}
}

// configure takes a Configure: the same one again gets the same answer, and an
// older one is refused.
func (a *Agent) configure(m wire.Configure) {
	c := &a.change
	g := m.Settings.Generation
	good := uint64(0)
	if a.keep.Good != nil {
		good = a.keep.Good.Generation
	}
	switch {
	case c.now != nil && c.now.Want.Generation == g, c.next != nil && c.next.Settings.Generation == g:
		if c.last != nil && c.last.Generation == g {
			a.send(wire.Outcome{Outcome: *c.last})
		}
		return // or under way: its answer comes
	case g == good && a.keep.Good.Same(m.Settings):
		a.send(wire.Confirmed{Generation: g})
		return
	case g <= good, c.now != nil && g < c.now.Want.Generation:
		a.send(wire.Outcome{Outcome: model.Outcome{Generation: g, Code: model.OutcomeRefused,
			Reason: fmt.Sprintf("generation %d is older than what is in force", g)}})
		return
	}
	a.cfg.Step("configure.received")
	if c.busy {
		c.next = &m
		return
	}
	if c.now != nil { // unconfirmed, and overtaken by a newer one: first back, then on
		c.next = &m
		a.revert("a newer change took its place")
		return
	}
	a.begin(m)
}

// begin carries a change out: on disk first, so that whatever happens from here
// on is undone.
func (a *Agent) begin(m wire.Configure) {
	c := &a.change
	c.busy = true
	wait := max(m.Deadline, shortest)
	a.beside(func(ctx context.Context) func() {
		began := time.Now()
		p, err := a.carryOut(ctx, m.Settings, wait)
		return func() {
			c.busy = false
			c.now, c.last = p, &model.Outcome{Generation: m.Settings.Generation, Code: model.OutcomeApplied}
			if p == nil {
				c.now = nil
				c.last.Code, c.last.Reason = model.OutcomeRefused, shortened(err)
				a.send(wire.Outcome{Outcome: *c.last})
				a.goOn()
				return
			}
			c.state = model.CommitPending
			if err != nil {
				a.revert(shortened(err))
				return
			}
			c.deadline = a.after(max(wait-time.Since(began), 0), func() {
				if c.now == p && !c.busy {
					a.revert("nobody confirmed it in time")
				}
			})
			a.send(wire.Outcome{Outcome: *c.last})
			a.cfg.Step("outcome.sent")
		}
	})
}

// carryOut makes settings pending, applies, announces and proves them. Without
// a pending change nothing was touched.
func (a *Agent) carryOut(ctx context.Context, want model.Settings, deadline time.Duration) (*pending, error) {
	ctx, cancel := context.WithTimeout(ctx, min(applyTime, deadline))
	defer cancel()
	before, err := a.cfg.Device.Current(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the settings in force: %w", err)
	}
	if l := a.lease.temporary(); l.Address.IsValid() && before.Address == l.Address {
		before = model.Settings{} // borrowed, and given back: nothing to go back to
	}
	p := &pending{Version: stateVersion, Want: want, Before: before}
	if err := store(a.files.pending(), p); err != nil {
		return nil, err
	}
	a.cfg.Step("pending.stored")
	if err := a.apply(ctx, want); err != nil {
		return p, fmt.Errorf("applying: %w", err)
	}
	a.cfg.Step("applied")
	if want.Address.IsValid() {
		if err := a.cfg.Announce(ctx, want.Address.Addr()); err != nil {
			return p, fmt.Errorf("announcing: %w", err)
		}
	}
	a.cfg.Step("announced")
	prove, stop := context.WithTimeout(ctx, proveTime)
	defer stop()
	proven := want
	if want.AddressingType == model.AddressingDHCP {
		if l := a.lease.held(); l.Address.IsValid() {
			proven = l.Settings()
		}
	}
	if err := a.cfg.Device.Prove(prove, proven); err != nil {
		return p, fmt.Errorf("it does not work: %w", err)
	}
	a.cfg.Step("proven")
	return p, nil
}

// apply puts settings in force; those by DHCP take a lease first.
func (a *Agent) apply(ctx context.Context, s model.Settings) error {
	if s.AddressingType == model.AddressingDHCP {
		if err := a.takeLease(ctx); err != nil {
			return err
		}
	}
	if err := a.cfg.Device.Apply(ctx, s); err != nil {
		return err
	}
	if s.AddressingType != model.AddressingDHCP {
		a.giveLeaseBack(ctx)
	}
	return nil
}

// confirm makes the pending settings the last known good ones. On disk the new
// ones are there before the pending change goes: a crash in between leaves
// both, and the generation tells.
func (a *Agent) confirm(m wire.Confirm) {
	c := &a.change
	if a.keep.Good != nil && m.Generation == a.keep.Good.Generation && m.Digest == wire.SettingsDigest(*a.keep.Good) {
		a.send(wire.Confirmed{Generation: m.Generation})
		return
	}
	if c.now == nil || c.busy || c.now.Want.Generation != m.Generation || m.Digest != wire.SettingsDigest(c.now.Want) {
		a.log.Info("confirm of something else was passed over", "generation", m.Generation)
		return
	}
	a.cfg.Step("confirm.received")
	k := a.keep
	good := c.now.Want
	k.Good = &good
	if err := store(a.files.state(), k); err != nil {
		// Not kept, so not confirmed: the deadline undoes it.
		a.note("the settings can't be stored: " + err.Error())
		return
	}
	a.keep = k
	a.cfg.Step("good.stored")
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.now, c.state, c.last = nil, model.CommitConfirmed, nil
	if err := system.RemoveFile(a.files.pending()); err != nil {
		a.note("a finished change can't be put away: " + err.Error())
	}
	a.cfg.Step("pending.removed")
	a.send(wire.Confirmed{Generation: m.Generation})
	a.cfg.Step("confirmed.sent")
	a.log.Info("settings are confirmed", "generation", m.Generation)
	a.reportSoon()
	a.goOn()
}

// revert goes back to what was in force before.
func (a *Agent) revert(why string) {
	c := &a.change
	p := c.now
	if p == nil || c.busy {
		return
	}
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.busy = true
	a.cfg.Step("revert.begin")
	a.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		err := a.apply(ctx, p.Before)
		if err == nil && p.Before.Address.IsValid() {
			err = a.cfg.Announce(ctx, p.Before.Address.Addr())
		}
		return func() {
			c.busy = false
			if err != nil && a.ctx.Err() == nil {
				// What is pending stays on disk, so it is not forgotten.
				a.note(fmt.Sprintf("a change can't be undone yet: %v", err))
				c.deadline = a.after(time.Second, func() { a.revert(why) })
				return
			}
			a.cfg.Step("reverted")
			a.undone(p, why)
			a.reportSoon()
			a.goOn()
		}
	})
}

// undone puts a change away that is not in force any more.
func (a *Agent) undone(p *pending, why string) {
	c := &a.change
	c.now, c.found = nil, nil
	c.state = model.CommitReverted
	c.last = &model.Outcome{Generation: p.Want.Generation, Code: model.OutcomeReverted, Reason: why}
	if err := system.RemoveFile(a.files.pending()); err != nil {
		a.note("an undone change can't be put away: " + err.Error())
	}
	a.cfg.Step("revert.removed")
	a.log.Info("settings were undone", "generation", p.Want.Generation, "why", why)
	a.send(wire.Outcome{Outcome: *c.last})
}

// goOn begins the change that came while another was under way.
func (a *Agent) goOn() {
	if n := a.change.next; n != nil && a.change.now == nil {
		a.change.next = nil
		a.configure(*n)
	}
}

// shortened is an error's text as an Outcome can carry it.
func shortened(err error) string {
	if err == nil {
		return ""
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("not done in time: %w", err)
	}
	s := []rune(err.Error())
	for i, r := range s {
		if r < ' ' || r == 0x7f {
			s[i] = ' '
		}
	}
	if len(s) > wire.MaxText/4 {
		s = s[:wire.MaxText/4]
	}
	return string(s)
}
