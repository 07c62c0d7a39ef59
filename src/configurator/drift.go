package configurator

import (
	"fmt"
	"net/netip"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/plan"
)

// Drift is what somebody has set at a device after it was configured. It is kept
// until a person says what is meant, put back or taken over, as option on_drift
// has it. What can't be meant is mended in any case: that is lookForStray, and
// here an address that another device of ours has.

// drift is what a device has now, and what is otherwise.
type drift struct {
	now     model.Settings
	changes []model.Change
	double  string // who has the address already
}

// drifted compares what a device reports with what it was configured to, once
// it is settled; nil: nothing is otherwise, or it is no drift.
func (c *Configurator) drifted(r *model.Record) *drift {
	if r.State != model.DeviceAdopted || !r.LetGo.IsZero() || c.leave != nil || c.strays(r) != "" || r.Report == nil || r.Desired == nil ||
		r.Confirmed != r.Desired.Generation || r.Report.Generation != r.Confirmed || r.Report.State != model.CommitConfirmed {
		return nil
	}
	i, ok := r.Report.Interface()
	if !ok || !i.Up || len(i.Addresses) == 0 {
		return nil
	}
	var at *model.Address
	for n := range i.Addresses {
		if a := &i.Addresses[n]; a.Prefix == r.Desired.Address || at == nil && c.net.LAN.Prefix.Contains(a.Prefix.Addr()) {
			at = a
		}
	}
	if at == nil {
		return nil
	}
	was := *r.Desired
	d := &drift{now: model.Settings{AddressingType: at.Type}}
	change := func(what, before, after string) {
		if before != after {
			d.changes = append(d.changes, model.Change{What: what, Before: before, After: after})
		}
	}
	// An agent that can't tell DHCP from a fixed address says neither.
	if at.Type == model.AddressingDHCP || at.Type == model.AddressingStatic {
		change("addressing", string(was.AddressingType), string(at.Type))
	} else {
		d.now.AddressingType = was.AddressingType
	}
	if d.now.AddressingType == model.AddressingStatic {
		d.now.Address, d.now.Gateway, d.now.DNS = at.Prefix, r.Report.Gateway, r.Report.DNS
		if was.AddressingType == model.AddressingStatic {
			change("address", was.Address.String(), at.Prefix.String())
			if was.Gateway.IsValid() {
				change("gateway", was.Gateway.String(), d.now.Gateway.String())
			}
			if len(was.DNS) > 0 && r.Report.Can(model.CanDNS) {
				change("DNS", words(was.DNS), words(d.now.DNS))
			}
		} else {
			change("address", "by DHCP", at.Prefix.String())
		}
		if g, ours := c.given[at.Prefix.Addr()]; ours && g.id != r.ID {
			d.double = g.name
		} else if at.Prefix.Addr() == c.net.LAN.Prefix.Addr() {
			d.double = "the gateway"
		}
	}
	if len(d.changes) == 0 {
		return nil
	}
	return d
}

func words(l []netip.Addr) string {
	s := ""
	for i, a := range l[:min(len(l), 8)] {
		if i > 0 {
			s += " "
		}
		s += a.String()
	}
	return s
}

func (d *drift) String() string {
	s := ""
	for i, ch := range d.changes {
		if i > 0 {
			s += ", "
		}
		s += ch.What + " " + ch.Before + " → " + ch.After
	}
	return s
}

// lookForDrift looks a while after a report, for a device may be on its way.
func (c *Configurator) lookForDrift(r *model.Record) {
	id := r.ID
	switch d := c.drifted(r); {
	case d == nil && c.net.LAN.Prefix.IsValid():
		c.noDrift(id)
		return
	case d == nil || d.String() == c.drifts[id]:
		return
	}
	c.after(strayTime, func() {
		r, ok := c.store.Get(id)
		if !ok || c.peers[id] == nil {
			return
		}
		d := c.drifted(r)
		if d == nil {
			c.noDrift(id)
			return
		}
		if d.String() == c.drifts[id] {
			return // known, and answered or asked
		}
		c.drifts[id] = d.String()
		c.tellChange("device.drifted", id, "device", fmt.Sprintf("Somebody changed settings at %s: %s.", r.Name(), d), d.changes...)
		how := c.opts.Configurator.OnDrift
		switch {
		case d.double != "":
			c.note("drift:"+string(id), []model.Finding{{Kind: "device.duplicate", Device: id,
				Text: fmt.Sprintf("Somebody set %s to the address of %s; it is set right.", r.Name(), d.double),
				Step: "Nothing needs to be done, unless it happens again: then find out who sets it."}})
			c.revertDrift(r, d, "configurator")
		case how == "revert":
			c.revertDrift(r, d, "configurator")
		case how == "accept":
			if err := c.keepDrift(r, d, "configurator"); err != nil {
				c.log.Error("what was set at a device is not taken over", "device", string(id), "err", err)
			}
		default:
			c.note("drift:"+string(id), []model.Finding{{Kind: "device.drifted", Device: id,
				Text: fmt.Sprintf("Somebody changed settings at %s: %s.", r.Name(), d),
				Step: fmt.Sprintf("To keep that: homeconf drift keep %s; to put back what was: homeconf drift revert %s", id, id)}})
		}
	})
}

// lookForDrifts is for what was reported before the gateway had been looked at.
func (c *Configurator) lookForDrifts() {
	for id := range c.peers {
		if r, ok := c.store.Get(id); ok {
			c.lookForDrift(r)
		}
	}
}

func (c *Configurator) noDrift(id model.DeviceID) {
	delete(c.drifts, id)
	c.note("drift:"+string(id), nil)
}

// answerDrift is a person's word on what was changed at a device.
func (c *Configurator) answerDrift(id model.DeviceID, keep bool) (any, error) {
	r, err := c.record(id)
	if err != nil {
		return nil, err
	}
	d := c.drifted(r)
	switch {
	case d == nil:
		return nil, calls.Errorf(calls.InvalidArgument, "%s is as it was configured, as far as it says; there is nothing to answer", id)
	case keep && d.double != "":
		return nil, calls.Errorf(calls.InvalidArgument, "that can't be kept: %s has the address already", d.double)
	case keep:
		if err := c.keepDrift(r, d, "person"); err != nil {
			return nil, err
		}
		return calls.DoneResult{Text: fmt.Sprintf("Kept for %s: %s.", r.Name(), d)}, nil
	}
	c.personActed()
	c.revertDrift(r, d, "person")
	return calls.DoneResult{Text: fmt.Sprintf("%s is set right: %s is put back.", r.Name(), d)}, nil
}

// keepDrift makes what was set at the device what is wanted.
func (c *Configurator) keepDrift(r *model.Record, d *drift, cause string) error {
	r = r.Clone()
	if d.now.Address.IsValid() && d.now.Address != r.Desired.Address {
		r.Choice.Address = d.now.Address.Addr()
	}
	now := d.now
	r.Kept = &now
	if err := c.require(r); err != nil {
		return calls.Errorf(calls.Failed, "that can't be stored: %w", err)
	}
	c.tellChange("drift.kept", r.ID, cause, fmt.Sprintf("What was set at %s is kept: %s.", r.Name(), d), d.changes...)
	c.note("drift:"+string(r.ID), nil)
	c.touch()
	return nil
}

// revertDrift asks the device for what it was configured to, less and less often
// where somebody sets it again.
func (c *Configurator) revertDrift(r *model.Record, d *drift, cause string) {
	id, key := r.ID, "drift:"+string(r.ID)
	if wait := c.tries.again(key, time.Now()); wait > 0 {
		if c.tries.of(key).n >= maxTries {
			c.note(key, []model.Finding{{Kind: "device.drifts", Device: id,
				Text: fmt.Sprintf("Somebody sets %s otherwise again and again: %s.", r.Name(), d),
				Step: fmt.Sprintf("Find out who. To keep what was set: homeconf drift keep %s. It is set right less and less often.", id)}})
		}
		if !c.mending[id] {
			c.mending[id] = true
			c.after(wait, func() {
				delete(c.mending, id)
				if r, ok := c.store.Get(id); ok {
					if d := c.drifted(r); d != nil {
						c.revertDrift(r, d, cause)
					}
				}
			})
		}
		return
	}
	r = r.Clone()
	s := *r.Desired
	s.Generation++
	r.Desired = &s
	if err := c.put(r); err != nil {
		return
	}
	c.tell("drift.reverted", id, cause, fmt.Sprintf("%s is set right: what it was configured to is put back (%s).", r.Name(), d))
	c.touch()
}

// driftBends makes of the plan's settings those that a person set at the device
// and that were kept, as far as they fit the home of today.
func (c *Configurator) driftBends(p plan.Plan) plan.Plan {
	for _, r := range c.store.All() {
		s, asked := p.Settings[r.ID]
		if k := r.Kept; asked && k != nil && r.LetGo.IsZero() {
			switch {
			case k.AddressingType == model.AddressingDHCP && canGoBack(r):
				s = model.Settings{AddressingType: model.AddressingDHCP}
			case k.AddressingType == model.AddressingStatic && p.Addresses[r.ID].IsValid() && r.Report != nil && r.Report.Can(model.CanStaticIPv4):
				lan := c.net.LAN.Prefix
				s.AddressingType, s.Address = model.AddressingStatic, netip.PrefixFrom(p.Addresses[r.ID], lan.Bits())
				if s.Gateway = lan.Addr(); lan.Contains(k.Gateway) {
					s.Gateway = k.Gateway
				}
				if len(k.DNS) > 0 && r.Report.Can(model.CanDNS) {
					s.DNS = k.DNS
				}
			}
			p.Settings[r.ID] = s
		}
	}
	return p
}
