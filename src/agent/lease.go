package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"homeconf/src/model"
	"homeconf/src/system"
)

// leasing is the DHCP lease that the agent holds: a temporary one, or the one
// that its settings ask for. It is read beside the loop, too.
type leasing struct {
	mu     sync.Mutex
	lease  system.Lease
	temp   bool
	asking bool
	renew  *time.Timer
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

// nobodyAnswers is told when no home was heard for a second: a temporary
// address may help whoever looks for this device otherwise. A DISCOVER sent
// earlier would only hold the DHCP server up with its ping check.
func (a *Agent) nobodyAnswers() {
	d, can := a.cfg.Device.(system.Leaser)
	if !can || !a.opts.Agent.DHCP || a.change.busy || a.change.now != nil || a.keep.Good != nil {
		return
	}
	a.lease.mu.Lock()
	busy := a.lease.asking || a.lease.lease.Address.IsValid()
	a.lease.asking = true
	a.lease.mu.Unlock()
	if busy {
		return
	}
	a.beside(func(ctx context.Context) func() {
		took, err := a.borrow(ctx, d)
		return func() {
			a.lease.mu.Lock()
			a.lease.asking = false
			a.lease.mu.Unlock()
			switch {
			case err != nil:
				a.log.Info("no temporary address", "err", err)
			case took.Address.IsValid() && (a.change.now != nil || a.keep.Good != nil):
				a.beside(func(ctx context.Context) func() { a.giveLeaseBack(ctx); return func() {} })
			case took.Address.IsValid():
				a.log.Info("took a temporary address", "address", took.Address)
				a.keepLease(took)
			}
		}
	})
}

// borrow takes a lease on an interface that has no address.
func (a *Agent) borrow(ctx context.Context, d system.Leaser) (system.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	now, err := a.cfg.Device.Current(ctx)
	if err != nil || now.Address.IsValid() {
		return system.Lease{}, err
	}
	l, err := d.Lease(ctx)
	if err != nil {
		return system.Lease{}, err
	}
	a.lease.mu.Lock()
	a.lease.lease, a.lease.temp = l, true
	a.lease.mu.Unlock()
	return l, d.Use(ctx, l)
}

// takeLease gets the address that settings by DHCP ask for. A temporary one is
// given back first: the server may have another one reserved by now.
func (a *Agent) takeLease(ctx context.Context) error {
	d, can := a.cfg.Device.(system.Leaser)
	if !can {
		return fmt.Errorf("this device has no DHCP client of ours")
	}
	a.giveLeaseBack(ctx)
	l, err := d.Lease(ctx)
	if err != nil {
		return err
	}
	a.lease.mu.Lock()
	a.lease.lease, a.lease.temp = l, false
	a.lease.mu.Unlock()
	a.keepLease(l)
	return d.Use(ctx, l)
}

// giveLeaseBack releases the lease that is held.
func (a *Agent) giveLeaseBack(ctx context.Context) {
	a.lease.mu.Lock()
	l := a.lease.lease
	a.lease.lease, a.lease.temp = system.Lease{}, false
	if a.lease.renew != nil {
		a.lease.renew.Stop()
	}
	a.lease.mu.Unlock()
	d, can := a.cfg.Device.(system.Leaser)
	if !can || !l.Address.IsValid() {
		return
	}
	if err := d.Release(ctx, l); err != nil {
		a.log.Info("lease was not given back; it runs out by itself", "err", err)
	}
}

// keepLease asks for more time when half of it is over (RFC 2131, 4.4.5).
func (a *Agent) keepLease(l system.Lease) {
	if l.For <= 0 {
		return
	}
	a.lease.mu.Lock()
	defer a.lease.mu.Unlock()
	a.lease.renew = a.after(l.For/2, func() { a.renewLease(l) })
}

func (a *Agent) renewLease(old system.Lease) {
	d, can := a.cfg.Device.(system.Leaser)
	if !can || a.lease.held().Address != old.Address {
		return
	}
	a.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		l, err := d.Renew(ctx, old)
		if err == nil {
			err = d.Use(ctx, l)
		}
		return func() {
			if err != nil {
				a.log.Info("lease was not renewed", "err", err)
				// The rest of the time is halved again and again.
				if old.For /= 2; old.For > time.Second {
					a.keepLease(old)
				} else if a.keep.Good != nil && a.keep.Good.AddressingType == model.AddressingDHCP {
					a.after(time.Second, a.retakeLease)
				}
				return
			}
			a.lease.mu.Lock()
			a.lease.lease = l
			a.lease.mu.Unlock()
			a.keepLease(l)
		}
	})
}

// retakeLease asks anew when a lease has run out.
func (a *Agent) retakeLease() {
	a.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		err := a.takeLease(ctx)
		return func() {
			if err != nil {
				a.log.Info("no lease", "err", err)
				a.after(applyTime, a.retakeLease)
			}
		}
	})
}
