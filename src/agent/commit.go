package agent

import (
	"context"
	"fmt"
	"os"
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
	// An undoing that fails is tried again after retryFirst, and then less
	// and less often.
	retryFirst, retryLast = time.Second, time.Minute
)

// change is the change under way, and what came of the last one.
type change struct {
	found    *pending // at start: left by a crash or a reboot
	failed   bool     // the start's restoring did not work yet
	now      *pending
	busy     bool            // the device is being changed
	undoing  bool            // now is being undone, or will be again
	late     bool            // now's deadline has passed
	doing    *wire.Configure // being carried out
	next     *wire.Configure
	retry    time.Duration  // of an undoing that failed, 0: none did
	deadline *time.Timer    // for the Confirm, or for the next try to undo
	last     *model.Outcome // of the last change asked for, repeated when asked again
	state    model.CommitState
}

// configure takes a Configure: the same one again gets the same answer, and an
// older one is refused. After a change was undone its generation may be tried
// again; nothing of it is left.
func (a *Agent) configure(m wire.Configure) {
	c := &a.change
	g := m.Settings.Generation
	switch why := a.refusal(m.Settings); {
	case why != "":
		a.log.Info("settings were refused", "generation", g, "why", why)
		a.send(wire.Outcome{Outcome: model.Outcome{Generation: g, Code: model.OutcomeRefused, Reason: why}})
		return
	case a.keep.Good != nil && a.keep.Good.Generation == g:
		a.send(wire.Confirmed{Generation: g})
		return
	case c.doing != nil && c.doing.Settings.Generation == g, c.next != nil && c.next.Settings.Generation == g:
		return // under way: its answer comes
	case c.now != nil && c.now.Want.Generation == g:
		if !c.undoing && c.last != nil { // else it is being undone, and that will be said
			a.send(wire.Outcome{Outcome: *c.last})
		}
		return
	}
	a.cfg.Step("configure.received")
	if c.busy {
		c.next = &m
		return
	}
	if c.now != nil { // unconfirmed, and overtaken by a newer one: first back, then on
		c.next = &m
		a.revert(overtaken)
		return
	}
	a.begin(m)
}

const overtaken = "a newer change took its place"

// wanted are the settings that await their Confirm.
func (c *change) wanted() *model.Settings {
	if c.now == nil {
		return nil
	}
	return &c.now.Want
}

func settingsOf(m *wire.Configure) *model.Settings {
	if m == nil {
		return nil
	}
	return &m.Settings
}

// begin carries a change out: on disk first, so that whatever happens from here
// on is undone.
func (a *Agent) begin(m wire.Configure) {
	c := &a.change
	c.doing = &m
	a.lease.stopAsking()
	wait := max(m.Deadline, shortest)
	back := a.lastGood()
	began := time.Now()
	a.changing(func(ctx context.Context) func() {
		p, err := a.carryOut(ctx, m.Settings, back, wait)
		return func() {
			c.doing = nil
			c.now, c.late, c.last = p, false, &model.Outcome{Generation: m.Settings.Generation, Code: model.OutcomeApplied}
			if p == nil {
				c.last.Code, c.last.Reason = model.OutcomeRefused, shortened(err)
				a.send(wire.Outcome{Outcome: *c.last})
				a.goOn()
				return
			}
			c.found, c.failed = nil, false
			c.state = model.CommitPending
			switch {
			case err != nil:
				a.revert(shortened(err))
				return
			case c.next != nil:
				a.revert(overtaken)
				return
			}
			c.deadline = a.after(max(wait-time.Since(began), 0), func() {
				if c.now == p {
					c.late = true
					a.goOn()
				}
			})
			a.send(wire.Outcome{Outcome: *c.last})
			a.cfg.Step("outcome.sent")
			a.reportSoon()
		}
	})
}

// lastGood is what an undoing goes back to: the last known good settings, else
// what stood there before a change that a start found and could not undo yet.
// Nil: what is in force now.
func (a *Agent) lastGood() *model.Settings {
	switch {
	case a.keep.Good != nil:
		return a.keep.inForce()
	case a.change.found != nil:
		return &a.change.found.Before
	}
	return nil
}

// carryOut makes settings pending, applies, announces and proves them. Without
// a pending change nothing was touched.
func (a *Agent) carryOut(ctx context.Context, want model.Settings, back *model.Settings, deadline time.Duration) (*pending, error) {
	ctx, cancel := context.WithTimeout(ctx, min(applyTime, deadline))
	defer cancel()
	p := &pending{Version: stateVersion, Want: want}
	if back != nil {
		p.Before = *back
	} else {
		before, err := a.cfg.Device.Current(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the settings in force: %w", err)
		}
		if l := a.lease.temporary(); l.Address.IsValid() && before.Address == l.Address {
			before = model.Settings{} // borrowed, and given back: nothing to go back to
		}
		p.Before = before
	}
	stored := false
	err := a.hands.use(ctx, func() error {
		if err := store(a.files.pending(), p); err != nil {
			return err
		}
		stored = true
		a.cfg.Step("pending.stored")
		if err := a.apply(ctx, want); err != nil {
			return fmt.Errorf("applying: %w", err)
		}
		a.cfg.Step("applied")
		return nil
	})
	switch {
	case !stored:
		return nil, err
	case err != nil:
		return p, err
	}
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

// apply puts settings in force; those by DHCP take a lease first. Its caller
// has the hands.
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
		a.giveLeaseBack()
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
	if c.now == nil || c.undoing || c.now.Want.Generation != m.Generation || m.Digest != wire.SettingsDigest(c.now.Want) {
		a.log.Info("confirm of something else was passed over", "generation", m.Generation)
		return
	}
	a.cfg.Step("confirm.received")
	k := a.keep
	good := c.now.Want
	k.Good, k.Stranded = &good, false
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
	// Should it come back after a power cut, its generation tells that it is
	// done: no fsync, the home waits.
	if err := os.Remove(a.files.pending()); err != nil {
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
	c.undoing = true
	a.cfg.Step("revert.begin")
	a.changing(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		err := a.hands.use(ctx, func() error { return a.apply(ctx, p.Before) })
		if err == nil && p.Before.Address.IsValid() {
			if err := a.cfg.Announce(ctx, p.Before.Address.Addr()); err != nil {
				a.log.Info("the address was not announced", "err", err) // the link is down: nobody is there to hear it
			}
		}
		return func() {
			if err != nil {
				// What is pending stays on disk, so it is not forgotten.
				a.note(fmt.Sprintf("a change can't be undone yet: %v", err))
				c.retry = min(max(2*c.retry, retryFirst), retryLast)
				c.deadline = a.after(c.retry, func() {
					if c.now == p {
						a.revert(why)
					}
				})
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
	c.now, c.found, c.undoing, c.late, c.retry = nil, nil, false, false, 0
	c.state = model.CommitReverted
	c.last = &model.Outcome{Generation: p.Want.Generation, Code: model.OutcomeReverted, Reason: why}
	if err := system.RemoveFile(a.files.pending()); err != nil {
		a.note("an undone change can't be put away: " + err.Error())
	}
	a.cfg.Step("revert.removed")
	a.log.Info("settings were undone", "generation", p.Want.Generation, "why", why)
	a.send(wire.Outcome{Outcome: *c.last})
}

// goOn does what came while the device was being changed.
func (a *Agent) goOn() {
	c := &a.change
	switch {
	case c.busy:
	case c.now == nil && c.next != nil:
		n := *c.next
		c.next = nil
		a.configure(n)
	case c.now != nil && c.next != nil:
		a.revert(overtaken)
	case c.now != nil && c.late:
		a.revert("nobody confirmed it in time")
	}
}
