package agent

import (
	"context"
	"fmt"
	"time"

	"homeconf/src/model"
	"homeconf/src/system"
)

// Stranded is a device whose fixed settings lead nowhere: neither its
// configurator at Layer 2 nor its gateway at Layer 3 was heard for a while,
// and a DHCP server offers an address. It uses that one, and keeps its fixed
// settings aside until home is back. A silent configurator alone is no reason:
// a home whose gateway answers works on as it is.

const (
	// strandAfter is for how long nobody was heard.
	strandAfter = 10 * time.Minute
	// lookEvery is how often the gateway is looked for meanwhile, and how
	// often a server is asked for an address afterwards.
	lookEvery = time.Minute
)

// silence is for how long the home was not heard.
type silence struct {
	timer *time.Timer
	since time.Time // monotonic: setting the clock moves nothing
	asked bool      // the device is being looked at
}

// inForce are the settings to put in force at a start, or when a change is
// undone: the last known good ones, unless they lead nowhere. Nil: none.
func (k *kept) inForce() *model.Settings {
	if k.Good != nil && k.Stranded {
		return &model.Settings{AddressingType: model.AddressingDHCP}
	}
	return k.Good
}

// byDHCP says whether the settings in force ask for a lease.
func (k *kept) byDHCP() bool {
	s := k.inForce()
	return s != nil && s.AddressingType == model.AddressingDHCP
}

// listen begins to count the silence anew.
func (a *Agent) listen() {
	a.silent.since = time.Now()
	a.lookIn(a.strandLook())
}

func (a *Agent) strandTime() time.Duration {
	if a.cfg.StrandAfter > 0 {
		return a.cfg.StrandAfter
	}
	return strandAfter
}

func (a *Agent) strandLook() time.Duration { return min(lookEvery, a.strandTime()/4) }

func (a *Agent) lookIn(d time.Duration) {
	if a.silent.timer != nil {
		a.silent.timer.Stop()
	}
	a.silent.timer = a.after(d, a.lookForHome)
}

// lookForHome is done while no session is open: is the gateway still there?
func (a *Agent) lookForHome() {
	s := &a.silent
	good := a.keep.Good
	d, can := a.cfg.Device.(system.Leaser)
	c := &a.change
	switch {
	case !a.opts.Agent.DHCP || a.peer != nil && !a.keep.Stranded || good == nil || good.AddressingType != model.AddressingStatic || !good.Gateway.IsValid() || !can:
		return // begun anew when that changes
	case s.asked || c.busy || c.now != nil || c.next != nil || !a.linkUp:
		a.lookIn(a.strandLook())
		return
	case a.keep.Stranded:
		a.lookBack()
		return
	}
	s.asked = true
	late := time.Since(s.since) >= a.strandTime()
	a.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, proveTime)
		defer cancel()
		err := a.cfg.Device.Prove(ctx, *good)
		return func() {
			s.asked = false
			switch {
			case a.peer != nil:
			case err == nil:
				a.listen() // the gateway is there: only the configurator is away
			case late && !c.busy && c.now == nil && a.keep.Good == good:
				a.strand(d, *good, err)
			default:
				a.lookIn(min(a.strandLook(), max(a.strandTime()-time.Since(s.since), time.Millisecond)))
			}
		}
	})
}

// strand takes the lease that is on offer, if one is. What is to be done is on
// disk before it is: a reboot in between ends on DHCP, too.
func (a *Agent) strand(d system.Leaser, good model.Settings, why error) {
	a.cfg.Step("strand.begin")
	mark := a.marking()
	a.changing(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		marked := false
		err := a.hands.use(ctx, func() error {
			l, err := d.Lease(ctx)
			if err != nil {
				return err
			}
			a.keepLease(l, false)
			if err := mark(ctx, true); err != nil {
				a.giveLeaseBack()
				return err
			}
			marked = true
			a.cfg.Step("strand.stored")
			if err := d.Use(ctx, l); err != nil {
				return err
			}
			return a.cfg.Device.Apply(ctx, l.Settings())
		})
		return func() {
			if err != nil && marked {
				a.note(fmt.Sprintf("the leased address can't be used: %v", err))
				a.change.failed = true
				a.after(applyTime, a.retryRestore)
			}
			if marked {
				a.cfg.Step("stranded")
				a.log.Warn("home is not heard any more: an address by DHCP is used until it is back", "fixed", good.Address, "why", why)
				a.reportSoon()
			} else {
				a.log.Info("home is not heard, and no address is on offer", "err", err)
			}
			if a.peer != nil {
				a.homeBack()
			} else {
				a.lookIn(a.strandLook())
			}
			a.goOn()
		}
	})
}

// marking writes down from beside the loop, by way of it, whether this device is
// stranded. What a reset made void is not written.
func (a *Agent) marking() func(ctx context.Context, stranded bool) error {
	life := a.life
	return func(ctx context.Context, stranded bool) error {
		done := make(chan error, 1)
		a.surely(func() {
			k := a.keep
			k.Stranded = stranded
			err := ctx.Err()
			if a.life != life {
				err = errVoid
			}
			if err == nil {
				err = store(a.files.state(), k)
			}
			if err == nil {
				a.keep = k
			}
			done <- err
		})
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lookBack is done while stranded: where the lease is of the network that the
// fixed settings are of, and their gateway answers, home is back.
func (a *Agent) lookBack() {
	l := a.lease.held()
	if !l.Address.IsValid() || !a.fits(l) || l.Gateway != a.keep.Good.Gateway {
		a.lookIn(a.strandLook())
		return
	}
	a.silent.asked = true
	a.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, proveTime)
		defer cancel()
		err := a.cfg.Device.Prove(ctx, l.Settings())
		return func() {
			a.silent.asked = false
			if err != nil || !a.stillHeld(l) {
				a.lookIn(a.strandLook())
				return
			}
			a.homeBack()
		}
	})
}

// fits says whether the fixed settings can work where a lease was given.
func (a *Agent) fits(l system.Lease) bool {
	return !l.Address.IsValid() || l.Address.Masked() == a.keep.Good.Address.Masked()
}

// homeBack puts the fixed settings back at once and proves them. Where they lead
// nowhere still, the lease stays in use: the home is asked, or will ask.
func (a *Agent) homeBack() {
	c := &a.change
	if !a.keep.Stranded || c.busy || c.now != nil || a.keep.Good == nil {
		return
	}
	if !a.fits(a.lease.held()) {
		a.lookIn(a.strandLook()) // another network: the home will say what to do
		return
	}
	good := *a.keep.Good
	a.cfg.Step("home.back")
	mark := a.marking()
	a.changing(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		back := false
		err := a.hands.use(ctx, func() error {
			lease := a.lease.held()
			if err := a.cfg.Device.Apply(ctx, good); err != nil {
				return err
			}
			a.cfg.Step("home.applied")
			if err := a.cfg.Announce(ctx, good.Address.Addr()); err != nil {
				a.log.Info("the address was not announced", "err", err)
			}
			prove, stop := context.WithTimeout(ctx, proveTime)
			defer stop()
			if err := a.cfg.Device.Prove(prove, good); err != nil {
				return a.stayOnLease(lease, err)
			}
			if err := mark(ctx, false); err != nil {
				return a.stayOnLease(lease, err)
			}
			back = true
			a.cfg.Step("home.stored")
			a.giveLeaseBack()
			return nil
		})
		return func() {
			if back {
				a.log.Info("home is back, and the fixed settings with it", "address", good.Address)
				a.listen()
			} else {
				a.log.Info("the fixed settings don't work yet; the lease stays in use", "err", err)
				a.lookIn(a.strandLook())
			}
			a.reportSoon()
			a.goOn()
		}
	})
}

// stayOnLease goes back to the lease. Its caller has the hands, and the context
// that was for proving may be over.
func (a *Agent) stayOnLease(l system.Lease, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.work), applyTime)
	defer cancel()
	if !l.Address.IsValid() {
		return fmt.Errorf("%w; no lease is left to go back to", why)
	}
	if err := a.cfg.Device.Apply(ctx, l.Settings()); err != nil {
		return fmt.Errorf("%w; using the lease again: %w", why, err)
	}
	return why
}
