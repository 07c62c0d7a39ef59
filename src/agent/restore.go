package agent

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/system"
)

// hands are what changes the device: one at a time.
type hands chan struct{}

// use does f with the hands, unless the context has ended by then.
func (h hands) use(ctx context.Context, f func() error) error {
	select {
	case h <- struct{}{}:
		defer func() { <-h }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f()
}

// restore puts the device right after a start: a change that nobody confirmed
// is undone, and the last known good settings are put back, for plain Linux
// forgets them at a reboot.
func (a *Agent) restore() {
	c := &a.change
	if c.state == "" {
		c.state = model.CommitNone
	}
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
	want := a.lastGood()
	if want == nil {
		return
	}
	a.cfg.Step("revert.begin")
	if want.AddressingType != model.AddressingDHCP {
		a.restored(p, a.putBack(a.work, *want))
		return
	}
	// A DHCP server may take its time: the home is looked for meanwhile.
	a.changing(func(ctx context.Context) func() {
		err := a.putBack(ctx, *want)
		return func() {
			a.restored(p, err)
			a.goOn()
		}
	})
}

func (a *Agent) restored(p *pending, err error) {
	c := &a.change
	c.failed = err != nil
	if err != nil {
		a.log.Info("settings are not put back yet", "err", err)
		if a.linkUp { // else it is tried when the link comes
			a.after(applyTime, a.retryRestore)
		}
		return
	}
	a.cfg.Step("reverted")
	if p != nil {
		a.undone(p, "the device started again before the change was confirmed")
	}
	a.reportSoon()
}

// retryRestore tries again what did not work at the start.
func (a *Agent) retryRestore() {
	if a.change.failed && !a.change.busy && a.linkUp {
		a.restore()
	}
}

// putBack applies settings that were in force before. A lease that is still
// there is used on.
func (a *Agent) putBack(ctx context.Context, s model.Settings) error {
	ctx, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	return a.hands.use(ctx, func() error {
		if s.AddressingType == model.AddressingDHCP {
			now, err := a.cfg.Device.Current(ctx)
			if err != nil {
				return err
			}
			if now.AddressingType == model.AddressingDHCP && now.Address.IsValid() {
				return a.cfg.Device.Apply(ctx, s)
			}
		}
		return a.apply(ctx, s)
	})
}

// linkCame is told that the interface can carry frames. The kernel takes the
// routes away when it goes down, and everything when it goes away.
func (a *Agent) linkCame(mac model.MAC) {
	again := a.mac != model.MAC{}
	a.linkUp, a.mac = true, mac
	a.listen()
	if l := a.lease.held(); again && l.Address.IsValid() {
		a.renewLease(l) // it may be another network, where the address must not be used
	}
	c := &a.change
	switch {
	case c.busy:
	case c.failed:
		a.retryRestore()
	case c.retry > 0:
		a.revert("the link was away")
	case !again:
	case c.now != nil:
		a.reapply(c.now.Want)
	case a.keep.Good != nil:
		a.reapply(*a.keep.inForce())
	}
}

// reapply makes settings whole again, unless a hand has changed the address
// meanwhile: that is told, not fought.
func (a *Agent) reapply(s model.Settings) {
	a.changing(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		now, err := a.cfg.Device.Current(ctx)
		switch {
		case err != nil:
		case s.AddressingType == model.AddressingStatic && now.Address != (netip.Prefix{}) && now.Address != s.Address:
			a.log.Info("the address was changed by somebody else", "address", now.Address)
		default:
			err = a.putBack(ctx, s)
		}
		return func() {
			if err != nil {
				a.log.Info("settings are not made whole yet", "err", err)
			}
			a.reportSoon()
			a.goOn()
		}
	})
}

// reset makes a stranger of this device: what is being done is broken off; key,
// home and settings are wiped from disk, and what was set is taken away.
func (a *Agent) reset(ctx context.Context) error {
	a.cfg.Step("reset.begin")
	a.endWork()
	a.newWork()
	a.lease.stopAsking()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	began := false
	err := a.hands.use(ctx, func() error {
		began = true
		return a.wipe(ctx)
	})
	if !began {
		return fmt.Errorf("the device is just being changed, try again: %w", err)
	}
	return err
}

// wipe begins with what was set: once the files are gone, a start after a crash
// would take the device's own address for a person's, and leave it.
func (a *Agent) wipe(ctx context.Context) error {
	a.giveLeaseBack()
	taken := a.cfg.Device.Apply(ctx, model.Settings{})
	a.cfg.Step("reset.taken")
	if err := a.forget(); err != nil {
		return err
	}
	if taken != nil {
		return fmt.Errorf("the home is forgotten, but taking its settings away failed: %w", taken)
	}
	return nil
}

// forget makes a stranger of this device, with a key that nobody knows.
func (a *Agent) forget() error {
	for _, path := range []string{a.files.pending(), a.files.sealed(), a.files.state(), a.files.key()} {
		if err := system.RemoveFile(path); err != nil {
			a.change.failed = true // nothing is forgotten, so it is put back
			a.after(0, a.retryRestore)
			return fmt.Errorf("forgetting the home: %w", err)
		}
		a.cfg.Step("reset.removed")
	}
	key, err := a.files.makeKey()
	if err != nil {
		return err
	}
	if a.change.deadline != nil {
		a.change.deadline.Stop()
	}
	a.life++
	a.key, a.keep, a.problem = key, kept{Version: stateVersion}, ""
	a.change = change{state: model.CommitNone}
	a.peer, a.digits = nil, session.Digits{}
	a.log.Info("this device is a stranger now")
	return a.renewSession()
}
