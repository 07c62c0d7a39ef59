package configurator

import (
	"errors"
	"fmt"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/plan"
	"homeconf/src/wire"
)

// A device leaves in three steps, each of which can be done twice. It is marked
// as let go; the pass asks it back to DHCP, while the gateway keeps what a fixed
// address needs; when it has confirmed that, or had its time, its record becomes
// a mark that remembers the key, it is told to forget the home, and the next
// pass takes what was made for it off the gateway. A key so remembered may still
// open a session, but all that it is ever told is to forget the home: that is
// how a device that was away learns of it, and comes back as a stranger.

const (
	// retireGrace is how long a device that is not here, or can't go back to
	// DHCP, keeps what the gateway has for it.
	retireGrace = 10 * time.Minute
	// hereEvery is how old the stored time at which a device was here may
	// become: flash is not written for it each day.
	hereEvery = 7 * 24 * time.Hour
	// absentGrace is how long a finding says that an absent device is going to
	// be let go, before it is.
	absentGrace = 7 * 24 * time.Hour
	// absentLook is how often absent devices are looked for. The clock may be
	// wrong just after a start, so none is let go at the first look.
	absentLook = time.Hour
	// maxRetired is how many retired keys are remembered.
	maxRetired = 64
)

var errRetired = errors.New("the device was let go")

// retire is a person's word that a device leaves.
func (c *Configurator) retire(id model.DeviceID) (any, error) {
	r, err := c.record(id)
	switch {
	case err != nil:
		return nil, err
	case r.State == model.DeviceWaiting:
		return nil, calls.Errorf(calls.InvalidArgument, "%s is not let in yet; to turn it away: homeconf device refuse %s", id, id)
	case !r.Ours():
		return nil, calls.Errorf(calls.InvalidArgument, "%s does not belong to this home, so there is nothing to let go", id)
	case c.opts.Configurator.DryRun || c.standing() != "":
		return nil, calls.Errorf(calls.Failed, "nothing is changed now: %s", c.idleWhy())
	}
	if r.LetGo.IsZero() {
		if err := c.beginRetire(r, model.Event{Cause: "person", Text: "A person let " + r.Name() + " go."}); err != nil {
			return nil, calls.Errorf(calls.Failed, "that can't be stored: %w", err)
		}
	}
	switch now, _ := c.store.Get(id); {
	case now == nil || now.State == model.DeviceRetired:
		return calls.DoneResult{Text: fmt.Sprintf("%s was let go; what the gateway has for it is taken away.", r.Name())}, nil
	case c.peers[id] == nil:
		return calls.DoneResult{Text: fmt.Sprintf("%s is let go, but is not here: what the gateway has for it goes in %v, and the device goes back to DHCP when it comes.", r.Name(), retireGrace)}, nil
	}
	return calls.DoneResult{Text: fmt.Sprintf("%s is let go: it goes back to DHCP, and then what the gateway has for it is taken away.", r.Name())}, nil
}

// idleWhy says why nothing is changed.
func (c *Configurator) idleWhy() string {
	if why := c.standing(); why != "" {
		return why
	}
	return "option dry_run is on"
}

// beginRetire marks a device as let go. One that nothing keeps is retired at
// once.
func (c *Configurator) beginRetire(r *model.Record, e model.Event) error {
	r = r.Clone()
	r.LetGo = time.Now()
	c.cfg.Step("retire.begin")
	if err := c.require(r); err != nil {
		return err
	}
	c.cfg.Step("retire.marked")
	e.Device, e.Kind = r.ID, "device.letgo"
	e.Changes = []model.Change{{What: "member", Before: "yes", After: "leaving"}}
	c.happened(e)
	c.retireOn()
	c.touch()
	return nil
}

// retireBends asks those that leave back to DHCP, and leaves them nothing else.
func (c *Configurator) retireBends(p plan.Plan) plan.Plan {
	for _, r := range c.store.All() {
		if r.LetGo.IsZero() || !r.Ours() {
			continue
		}
		delete(p.Settings, r.ID)
		if mayBeFixed(r) && canGoBack(r) {
			p.Settings[r.ID] = model.Settings{AddressingType: model.AddressingDHCP}
		}
		var marks []model.Mark
		for _, m := range p.Gateway.Marks {
			if m.Device != r.ID {
				marks = append(marks, m)
			}
		}
		p.Gateway.Marks = marks
	}
	return p
}

// retireOn goes on with those that leave.
func (c *Configurator) retireOn() {
	var waits []model.Finding
	next, again := retireGrace, false
	for _, r := range c.store.All() {
		if r.LetGo.IsZero() || !r.Ours() {
			continue
		}
		over := time.Now().Round(0).Sub(r.LetGo)
		if over < 0 { // the clock was set back, or there is none
			over = time.Since(c.since)
		}
		here := c.peers[r.ID] != nil && c.peers[r.ID].reported
		switch {
		case !mayBeFixed(r) && (here || r.ID.Agentless()), here && !canGoBack(r), over >= retireGrace:
			c.endRetire(r)
		default:
			if !here {
				waits = append(waits, model.Finding{Kind: "device.leaving", Device: r.ID,
					Text: fmt.Sprintf("%s was let go and is not here: the gateway keeps its address for it until %s.", r.Name(), r.LetGo.Add(retireGrace).Format("15:04")),
					Step: "Nothing needs to be done. When it is plugged in again it goes back to DHCP and forgets this home."})
			}
			next = min(next, retireGrace-over)
			again = true
		}
	}
	if c.retiring != nil {
		c.retiring.Stop()
	}
	if again {
		c.retiring = c.after(next, c.retireOn)
	}
	c.note("retire", waits)
}

// endRetire makes a mark of a record, and tells the device.
func (c *Configurator) endRetire(r *model.Record) {
	name, peer := r.Name(), c.peers[r.ID]
	fixed := mayBeFixed(r)
	c.cfg.Step("retired.begin")
	if r.ID.Agentless() {
		if err := c.store.Delete(r.ID); err != nil {
			c.stored(err)
			return // the next pass tries again
		}
	} else {
		mark := &model.Record{ID: r.ID, Key: r.Key, State: model.DeviceRetired, LetGo: r.LetGo, Confirmed: max(r.Confirmed, generationOf(r.Desired)), FirstSeen: r.FirstSeen}
		if err := c.put(mark); err != nil {
			c.log.Error("that a device was let go is kept in memory only", "device", string(r.ID))
		}
	}
	c.cfg.Step("retired.stored")
	text := name + " has left this home."
	if fixed {
		text = name + " has left this home; it was not seen to go back to DHCP."
	}
	c.tell("device.retired", r.ID, "configurator", text)
	for _, source := range []string{"device:", "prove:", "mac:"} {
		c.note(source+string(r.ID), nil)
	}
	delete(c.checks, r.ID)
	if peer != nil {
		peer.later(nil)
		delete(c.peers, r.ID)
		c.sayRetired(r.ID)(peer)
	}
	c.forgetRetired()
	c.touch()
}

// sayRetired tells a device that it was let go.
func (c *Configurator) sayRetired(id model.DeviceID) func(*member) {
	return func(m *member) {
		c.cfg.Step("retired.send")
		if err := m.peer.Send(wire.Retire{Reason: "a person let this device go"}); err != nil {
			c.log.Info("device was not told that it was let go", "device", string(id), "err", err)
		}
		c.cfg.Step("retired.sent")
		// It closes the session itself; whoever does not is told again later.
		c.after(answerTime, func() { m.peer.Close(errRetired) })
	}
}

// forgetRetired bounds the marks: the oldest ones go.
func (c *Configurator) forgetRetired() {
	for {
		var oldest *model.Record
		n := 0
		for _, r := range c.store.All() {
			if r.State != model.DeviceRetired {
				continue
			}
			if n++; oldest == nil || r.LetGo.Before(oldest.LetGo) {
				oldest = r
			}
		}
		if n <= maxRetired {
			return
		}
		if err := c.store.Delete(oldest.ID); err != nil {
			c.stored(err)
			return
		}
	}
}

// lookForAbsent notes who is here, and lets those go that were away for longer
// than option retire_after, after a finding that has stood for a while. What a
// person has named stays.
func (c *Configurator) lookForAbsent() {
	c.after(absentLook, c.lookForAbsent)
	now := time.Now()
	after := c.opts.Configurator.RetireAfter
	var found []model.Finding
	var seen []*model.Record
	for _, r := range c.store.All() {
		if !r.Ours() || !r.LetGo.IsZero() {
			continue
		}
		if c.peers[r.ID] != nil || r.Sighting != nil && r.Sighting.Active || r.Here.IsZero() || r.Here.After(now) {
			if now.Sub(r.Here) >= hereEvery || r.Here.After(now) {
				r.Here = now
				seen = append(seen, r)
			}
			continue
		}
		away := now.Sub(r.Here) - hereEvery
		switch {
		case after == 0 || away < after || r.Choice.Name != "" || c.opts.Configurator.DryRun || c.standing() != "":
		case away >= after+absentGrace && time.Since(c.since) >= absentLook:
			if err := c.beginRetire(r, model.Event{Cause: "configurator", Text: fmt.Sprintf("%s was not seen for %d days, so it is let go.", r.Name(), int(away/(24*time.Hour)))}); err != nil {
				c.log.Error("an absent device was not let go", "device", string(r.ID), "err", err)
			}
		default:
			found = append(found, model.Finding{Kind: "device.absent", Device: r.ID,
				Text: fmt.Sprintf("%s was not seen for %d days; it is let go when it stays away for another %d.", r.Name(), int(away/(24*time.Hour)), int(absentGrace/(24*time.Hour))),
				Step: fmt.Sprintf("To keep it, give it a name: homeconf device set %s --name NAME. To let it go now: homeconf device retire %s", r.ID, r.ID)})
		}
	}
	if len(seen) > 0 {
		if err := c.put(seen...); err != nil {
			c.log.Error("who is here is kept in memory only")
		}
	}
	c.note("absent", found)
}
