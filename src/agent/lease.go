package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"homeconf/src/system"
)

const (
	// askPause is how long passes until a server is asked again for a
	// temporary address.
	askPause = 30 * time.Second
	// leaseLast: with less time than that left, a lease is not asked for more.
	leaseLast = 2 * time.Second
	// forEver stands for the time that is left of a lease without an end.
	forEver = 24 * time.Hour
	// releaseTime bounds giving a lease back, be the change in time or not.
	releaseTime = time.Second
)

// leasing is the DHCP lease that the agent holds: a temporary one, or the one
// that its settings ask for. It is read beside the loop, too.
type leasing struct {
	mu    sync.Mutex
	lease system.Lease
	temp  bool
	until time.Time // by the monotonic clock; zero: for ever
	renew *time.Timer
	stop  context.CancelFunc // of the asking for a temporary one
}

func (l *leasing) held() system.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lease
}

func (l *leasing) temporary() system.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.temp {
		return system.Lease{}
	}
	return l.lease
}

// stopAsking ends the asking for a temporary address. What comes all the same
// is given back.
func (l *leasing) stopAsking() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
	}
}

// findLease takes up the lease that an earlier run took.
func (a *Agent) findLease() {
	d, can := a.cfg.Device.(system.Leaser)
	if !can {
		return
	}
	if l, ok := d.Held(); ok {
		// The wall clock may have been set meanwhile; the server counts its own time.
		if l.For > 0 {
			l.For = max(l.For-max(time.Since(l.Taken), 0), time.Second)
		}
		a.keepLease(l, !a.keep.byDHCP())
	}
}

// nobodyAnswers is told when no home was heard for a second: a temporary
// address may help whoever looks for this device otherwise. A DISCOVER sent
// earlier would only hold the DHCP server up with its ping check.
func (a *Agent) nobodyAnswers() {
	d, can := a.cfg.Device.(system.Leaser)
	if !can || !a.wantsTemporary() || a.lease.held().Address.IsValid() {
		return
	}
	ctx, stop := context.WithTimeout(a.ctx, applyTime)
	a.lease.mu.Lock()
	asking := a.lease.stop != nil
	if !asking {
		a.lease.stop = stop
	}
	a.lease.mu.Unlock()
	if asking {
		stop()
		return
	}
	a.beside(func(context.Context) func() {
		took, err := a.borrow(ctx, d)
		stop()
		return func() {
			a.lease.mu.Lock()
			a.lease.stop = nil
			a.lease.mu.Unlock()
			switch {
			case err != nil:
				a.log.Info("no temporary address", "err", err)
				a.after(askPause, func() {
					if a.peer == nil {
						a.nobodyAnswers()
					}
				})
			case took.Address.IsValid():
				a.log.Info("took a temporary address", "address", took.Address)
			}
		}
	})
}

// wantsTemporary says whether this device is one that nobody has configured.
func (a *Agent) wantsTemporary() bool {
	c := &a.change
	return a.opts.Agent.DHCP && c.doing == nil && !c.busy && c.now == nil && a.keep.Good == nil
}

// borrow takes a lease on an interface that has no address.
func (a *Agent) borrow(ctx context.Context, d system.Leaser) (system.Lease, error) {
	now, err := a.cfg.Device.Current(ctx)
	if err != nil || now.Address.IsValid() {
		return system.Lease{}, err
	}
	l, err := d.Lease(ctx)
	if err != nil {
		return system.Lease{}, err
	}
	err = a.hands.use(a.ctx, func() error {
		if err := ctx.Err(); err != nil { // not needed any more
			a.release(d, l)
			return err
		}
		a.keepLease(l, true)
		return d.Use(ctx, l)
	})
	return l, err
}

// takeLease gets the address that settings by DHCP ask for. A lease held is
// given back first: the server may have another one reserved by now. Its caller
// has the hands.
func (a *Agent) takeLease(ctx context.Context) error {
	d, can := a.cfg.Device.(system.Leaser)
	if !can {
		return errors.New("this device has no DHCP client of ours")
	}
	a.giveLeaseBack()
	l, err := d.Lease(ctx)
	if err != nil {
		return err
	}
	a.keepLease(l, false)
	return d.Use(ctx, l)
}

// giveLeaseBack releases the lease that is held. Its caller has the hands.
func (a *Agent) giveLeaseBack() {
	l := a.lease.held()
	a.keepLease(system.Lease{}, false)
	if d, can := a.cfg.Device.(system.Leaser); can && l.Address.IsValid() {
		a.release(d, l)
	}
}

func (a *Agent) release(d system.Leaser, l system.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), releaseTime)
	defer cancel()
	if err := d.Release(ctx, l); err != nil {
		a.log.Info("lease was not given back; it runs out by itself", "err", err)
	}
}

// keepLease makes l the lease that is held, and asks for more time when half of
// it is over (RFC 2131, section 4.4.5).
func (a *Agent) keepLease(l system.Lease, temp bool) {
	h := &a.lease
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.renew != nil {
		h.renew.Stop()
	}
	h.lease, h.temp, h.until, h.renew = l, temp, time.Time{}, nil
	if l.Address.IsValid() && l.For > 0 {
		h.until = time.Now().Add(l.For)
		h.renew = a.after(l.For/2, func() { a.renewLease(l) })
	}
}

func (a *Agent) renewLease(old system.Lease) {
	d, can := a.cfg.Device.(system.Leaser)
	if !can || !a.stillHeld(old) {
		return
	}
	a.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		l, err := d.Renew(ctx, old)
		if err == nil {
			err = a.hands.use(ctx, func() error {
				if !a.stillHeld(old) {
					return nil // settings came meanwhile
				}
				a.keepLease(l, a.lease.temporary().Address.IsValid())
				return d.Use(ctx, l)
			})
		}
		return func() {
			if err != nil && a.stillHeld(old) {
				a.log.Info("lease was not renewed", "err", err)
				a.notRenewed(old, errors.Is(err, system.ErrLeaseEnded))
			}
		}
	})
}

// stillHeld says whether a lease is the one in use, and not a renewed one.
func (a *Agent) stillHeld(l system.Lease) bool {
	have := a.lease.held()
	return have.Address == l.Address && have.Taken.Equal(l.Taken)
}

// notRenewed asks again after half of the time that is left, and lets go of the
// address when there is none.
func (a *Agent) notRenewed(l system.Lease, ended bool) {
	h := &a.lease
	h.mu.Lock()
	left := time.Until(h.until)
	if h.until.IsZero() {
		left = forEver
	}
	if h.renew != nil {
		h.renew.Stop()
	}
	if !ended && left > leaseLast {
		h.renew = a.after(left/2, func() { a.renewLease(l) })
		h.mu.Unlock()
		return
	}
	temp := h.temp
	h.mu.Unlock()
	a.beside(func(ctx context.Context) func() {
		err := a.hands.use(ctx, func() error {
			if a.stillHeld(l) {
				a.giveLeaseBack()
			}
			return nil
		})
		return func() {
			switch {
			case err != nil:
			case temp && a.peer == nil:
				a.nobodyAnswers()
			case !temp:
				a.retakeLease()
			}
		}
	})
}

// retakeLease asks anew when the lease that the settings ask for has run out.
func (a *Agent) retakeLease() {
	if !a.keep.byDHCP() || a.lease.held().Address.IsValid() || a.change.now != nil {
		return
	}
	if a.change.busy {
		a.after(time.Second, a.retakeLease)
		return
	}
	good := *a.keep.inForce()
	a.changing(func(ctx context.Context) func() {
		err := a.putBack(ctx, good)
		return func() {
			if err != nil {
				a.log.Info("no lease", "err", fmt.Errorf("taking the place of the one that ran out: %w", err))
				a.after(applyTime, a.retakeLease)
			}
			a.goOn()
		}
	})
}
