package agent

import (
	"context"
	"errors"

	"homeconf/src/model"
	"homeconf/src/system"
	"homeconf/src/wire"
)

var errLetGo = errors.New("the home let this device go")

// letGo is told by the home that this device does not belong to it any more:
// it goes back to DHCP and forgets the home. A crash on the way leaves a member
// that is told again, for the home remembers whom it let go.
func (a *Agent) letGo(m wire.Retire) {
	a.cfg.Step("retire.begin")
	a.log.Info("the home lets this device go", "why", m.Reason)
	a.life++ // what was under way is void
	a.endWork()
	a.newWork()
	a.lease.stopAsking()
	if d := a.change.deadline; d != nil {
		d.Stop()
	}
	a.change.now, a.change.next, a.change.doing = nil, nil, nil
	peer := a.peer
	a.peer = nil
	a.changing(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		err := a.hands.use(ctx, func() error { return a.backToDHCP(ctx) })
		return func() {
			a.cfg.Step("retire.taken")
			if err != nil {
				a.log.Error("the settings of the home can't be taken away", "err", err)
			}
			peer.Close(errLetGo)
			if err := a.forget(); err != nil {
				a.note("the home can't be forgotten: " + err.Error())
				a.life++
				if err := a.renewSession(); err != nil { // so that it can be told again
					a.note("the home is not listened to: " + err.Error())
				}
				return
			}
			if l := a.lease.held(); l.Address.IsValid() {
				a.keepLease(l, true) // it is nobody's settings' any more
				// The port is opened anew for the new key, and the network is
				// the same: the lease is not asked for again because of that.
				a.mac = model.MAC{}
			} else {
				a.nobodyAnswers()
			}
			a.cfg.Step("retire.done")
		}
	})
}

// backToDHCP takes the home's settings away, and keeps or takes a lease where
// the device can. Its caller has the hands.
func (a *Agent) backToDHCP(ctx context.Context) error {
	if _, can := a.cfg.Device.(system.Leaser); can && a.opts.Agent.DHCP {
		if a.lease.held().Address.IsValid() {
			return nil // in use, be it by settings or a temporary one
		}
		if err := a.apply(ctx, model.Settings{AddressingType: model.AddressingDHCP}); err == nil {
			return nil
		} else if ctx.Err() == nil {
			a.log.Info("no lease yet", "err", err)
		}
		ctx = context.WithoutCancel(ctx) // the server may have taken all the time there was
	}
	return a.cfg.Device.Apply(ctx, model.Settings{})
}
