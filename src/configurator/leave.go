package configurator

import (
	"context"
	"fmt"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/plan"
)

// Leaving a home is one more thing that the pass does. First the plan asks
// every agent back to DHCP while the gateway keeps all that it has; when each
// has answered, or had its time, the plan leaves the gateway nothing but the
// reservations of those that may still use a fixed address. From then on the
// plan stays so bent until the daemon starts anew.

const (
	// leaveMost is how long agents have to go back to DHCP: a commit's
	// deadline, and a DHCP server that sits out a ping check.
	leaveMost = 12 * time.Second
	// leaveCome is how long after the daemon's own start an agent may take to
	// come back to it; who is not here later is not waited for.
	leaveCome = 6 * time.Second
)

type leaving struct {
	finishing bool // the devices had their say, the gateway is next
	bent      bool // the pass under way is the one that clears the gateway
	done      bool // cleared
	refused   map[model.DeviceID]string
	waiters   []func(error)
}

// answerLeave leaves the home and waits until that is done.
func (c *Configurator) answerLeave(ctx context.Context) (any, error) {
	got := make(chan error, 1)
	var refused error
	err := c.box.ask(ctx, func() {
		switch {
		case c.opts.Configurator.DryRun:
			refused = calls.Errorf(calls.Failed, "option dry_run is on, so nothing is changed; turn it off to leave the home")
			return
		case c.problem != "":
			refused = calls.Errorf(calls.Failed, "nothing is changed: %s", c.problem)
			return
		case c.leave != nil && c.leave.done:
			got <- nil
			return
		case c.leave == nil:
			c.beginLeave()
		}
		c.leave.waiters = append(c.leave.waiters, func(err error) { got <- err })
	})
	switch {
	case err == errBusy:
		return nil, calls.Errorf(calls.Busy, "%w", err)
	case err != nil:
		return nil, err
	case refused != nil:
		return nil, refused
	}
	select {
	case err = <-got:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, calls.Errorf(calls.Failed, "the gateway could not be cleared: %w", err)
	}
	var r calls.LeaveResult
	err = c.box.ask(ctx, func() { r = c.left() })
	return r, err
}

func (c *Configurator) beginLeave() {
	l := &leaving{refused: map[model.DeviceID]string{}}
	c.leave = l
	c.closeWindow()
	c.members.dropAllCodes()
	c.tell("home.leaving", "", "person", "A person asked homeconf to leave: every agent is asked back to DHCP.")
	if late := leaveCome - time.Since(c.since); late > 0 {
		c.after(late, c.leaveOn)
	}
	c.after(leaveMost, func() {
		if c.leave == l && !l.finishing {
			l.finishing = true
			c.touch()
		}
	})
	c.touch()
}

// leaveOn goes on to the gateway once no device is waited for.
func (c *Configurator) leaveOn() {
	l := c.leave
	if l == nil || l.finishing {
		return
	}
	for _, r := range c.store.All() {
		if c.leaveAwaits(r) {
			return
		}
	}
	l.finishing = true
	c.touch()
}

// leaveAwaits says whether a device may still answer.
func (c *Configurator) leaveAwaits(r *model.Record) bool {
	if !mayBeFixed(r) || !canGoBack(r) || c.leave.refused[r.ID] != "" {
		return false
	}
	return c.peers[r.ID] != nil || time.Since(c.since) < leaveCome
}

func (c *Configurator) leaveRefused(id model.DeviceID, why string) {
	if c.leave != nil {
		if why == "" {
			why = "it gave no reason"
		}
		c.leave.refused[id] = why
		c.leaveOn()
	}
}

// mayBeFixed says whether a device with an agent may use an address that we
// gave it and that it keeps by itself. What was never confirmed counts.
func mayBeFixed(r *model.Record) bool {
	if r.State != model.DeviceAdopted || r.Desired == nil {
		return false
	}
	return r.Desired.AddressingType != model.AddressingDHCP || r.Confirmed != r.Desired.Generation
}

func canGoBack(r *model.Record) bool { return r.Report != nil && r.Report.Can(model.CanDHCPv4) }

// leaveBends makes of the plan for a home one for leaving it.
func (c *Configurator) leaveBends(p plan.Plan) plan.Plan {
	l := c.leave
	if l == nil {
		return p
	}
	fixed := map[model.DeviceID]bool{}
	for _, r := range c.store.All() {
		fixed[r.ID] = mayBeFixed(r)
		if fixed[r.ID] && canGoBack(r) {
			p.Settings[r.ID] = model.Settings{AddressingType: model.AddressingDHCP}
		} else {
			delete(p.Settings, r.ID)
		}
		p.Addresses[r.ID] = r.Address // remembered for when homeconf comes back
	}
	if !l.finishing {
		return p
	}
	l.bent = true
	var stay []model.Reservation
	for _, r := range p.Gateway.Reservations {
		if fixed[r.Device] {
			stay = append(stay, r)
		}
	}
	p.Gateway = model.GatewayState{Reservations: stay}
	return p
}

// leavePassed is told of every pass that ends.
func (c *Configurator) leavePassed(err error) {
	l := c.leave
	if l == nil || !l.finishing || err == nil && !l.bent {
		return
	}
	l.bent = false
	if err == nil && !l.done {
		l.done = true
		c.tell("home.left", "", "person", "homeconf has left the gateway.", leftLines(c.left())...)
	}
	for _, f := range l.waiters {
		f(err)
	}
	l.waiters = nil
}

// left says what became of each device.
func (c *Configurator) left() calls.LeaveResult {
	out := calls.LeaveResult{Devices: []calls.LeftDevice{}}
	kept := map[model.DeviceID]bool{}
	for _, r := range c.plan.Gateway.Reservations {
		kept[r.Device] = true
	}
	for _, r := range c.store.All() {
		if !r.Ours() {
			continue
		}
		d := calls.LeftDevice{ID: r.ID, Name: r.Name(), Address: r.Address, Kept: kept[r.ID]}
		why := ""
		switch {
		case r.ID.Agentless():
			d.Said = "has no agent; nothing on it was changed"
		case !mayBeFixed(r):
			d.DHCP = true
			d.Said = "gets its address by DHCP"
		case c.leave.refused[r.ID] != "":
			why = "could not go back to DHCP (" + c.leave.refused[r.ID] + ")"
		case !canGoBack(r):
			why = "can't be switched to DHCP by its agent"
		default:
			why = "did not answer"
		}
		if why != "" {
			d.Said = why
			if d.Kept {
				d.Said += fmt.Sprintf(", so its reservation of %s stays", r.Address)
			}
		}
		out.Devices = append(out.Devices, d)
	}
	return out
}

func leftLines(r calls.LeaveResult) []string {
	var l []string
	for _, d := range r.Devices {
		l = append(l, d.Name+" "+d.Said)
	}
	return l
}

// standing is why nothing is set up now; empty when all is as usual.
func (c *Configurator) standing() string {
	if c.leave != nil {
		return "This home is left; homeconf sets nothing up until it is started again."
	}
	return c.problem
}

func (c *Configurator) plannedWords(r *model.Record) string {
	if c.leave != nil {
		return r.Name() + " shall go back to DHCP."
	}
	return fmt.Sprintf("%s shall have the address %s.", r.Name(), r.Address)
}
