package configurator

import (
	"fmt"
	"net/netip"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
)

// A person's decision is an event that says what was before and after, so it
// can be taken back: what it changed becomes what it was, unless something else
// was decided meanwhile. Taking back is a decision like any other, and can be
// taken back too.

// undo takes an event back.
func (c *Configurator) undo(seq uint64) (any, error) {
	all := c.store.Events("", 0)
	var e *model.Event
	for i := range all {
		switch {
		case all[i].Undoes == seq:
			return nil, calls.Errorf(calls.InvalidArgument, "event %d was taken back already, by event %d", seq, all[i].Seq)
		case all[i].Seq == seq:
			e = &all[i]
		}
	}
	switch {
	case e == nil && len(all) > 0 && seq < all[0].Seq:
		return nil, calls.Errorf(calls.NotFound, "event %d is not remembered any more; the oldest is %d", seq, all[0].Seq)
	case e == nil:
		return nil, calls.Errorf(calls.NotFound, "there is no event %d; `homeconf event list` shows those there are", seq)
	case e.Kind == "device.adopted":
		return nil, calls.Errorf(calls.InvalidArgument, "letting a device in is not taken back, but it can be let go: homeconf device retire %s", e.Device)
	case len(e.Changes) == 0:
		return nil, calls.Errorf(calls.InvalidArgument, "event %d is nothing that was decided, so it can't be taken back: %s", seq, e.Text)
	case c.leave != nil:
		return nil, calls.Errorf(calls.Failed, "nothing is changed: %s", c.standing())
	}
	var err error
	text := fmt.Sprintf("Event %d was taken back: %s", seq, e.Text)
	back := model.Event{Device: e.Device, Kind: e.Kind, Cause: "person", Text: text, Undoes: seq}
	for _, ch := range e.Changes {
		back.Changes = append(back.Changes, model.Change{What: ch.What, Before: ch.After, After: ch.Before})
	}
	switch e.Kind {
	case "device.chosen":
		err = c.undoChoice(back)
	case "device.letgo":
		err = c.undoRetire(back)
	case "drift.kept":
		err = c.undoKept(back)
	case "device.drifted":
		err = calls.Errorf(calls.InvalidArgument, "event %d happened at the device; to put back what was: homeconf drift revert %s", seq, e.Device)
	case "multicast.allowed":
		err = c.undoMulticast(back)
	default:
		err = calls.Errorf(calls.InvalidArgument, "event %d can't be taken back: %s", seq, e.Text)
	}
	if err != nil {
		return nil, err
	}
	c.touch()
	return calls.DoneResult{Text: text}, nil
}

// overtaken says that what an event left is not there any more.
func overtaken(back model.Event, ch model.Change, now string) error {
	return calls.Errorf(calls.InvalidArgument, "event %d was overtaken: %s is %s now, and was made %s then", back.Undoes, ch.What, quoted(now), quoted(ch.Before))
}

func quoted(s string) string {
	if s == "" {
		return "not chosen"
	}
	return fmt.Sprintf("%.64q", s)
}

// chosenOf is one choice of a person's, as text.
func chosenOf(r *model.Record, what string) string {
	switch what {
	case "name":
		return r.Choice.Name
	case "category":
		return string(r.Choice.Category)
	case "profile":
		return r.Choice.Profile
	case "address":
		if r.Choice.Address.IsValid() {
			return r.Choice.Address.String()
		}
	case "state":
		return string(r.State)
	}
	return ""
}

// choiceChanges is what differs between two records by a person's choice.
func choiceChanges(before, after *model.Record) []model.Change {
	var l []model.Change
	for _, what := range [...]string{"name", "category", "profile", "address", "state"} {
		if b, a := chosenOf(before, what), chosenOf(after, what); a != b {
			l = append(l, model.Change{What: what, Before: b, After: a})
		}
	}
	return l
}

func (c *Configurator) undoChoice(back model.Event) error {
	found, err := c.record(back.Device)
	if err != nil {
		return err
	}
	r := found.Clone()
	for _, ch := range back.Changes {
		if now := chosenOf(r, ch.What); now != ch.Before {
			return overtaken(back, ch, now)
		}
		switch ch.What {
		case "name":
			r.Choice.Name = ch.After
		case "category":
			r.Choice.Category = model.Category(ch.After)
		case "profile":
			if _, known := c.profile(ch.After); ch.After != "" && !known {
				return calls.Errorf(calls.InvalidArgument, "event %d was overtaken: there is no profile %.40q any more", back.Undoes, ch.After)
			}
			r.Choice.Profile = ch.After
		case "address":
			if err := c.chooseAddress(r, ch.After); err != nil {
				return err
			}
		case "state":
			r.State = model.DeviceState(ch.After)
		}
	}
	c.cfg.Step("choice.begin")
	if r.State == model.DeviceSeen {
		if err := c.stored(c.store.Delete(r.ID)); err != nil {
			return calls.Errorf(calls.Failed, "that can't be stored: %w", err)
		}
		c.seen[r.ID] = r
	} else {
		if err := c.require(r); err != nil {
			return calls.Errorf(calls.Failed, "that can't be stored: %w", err)
		}
		delete(c.seen, r.ID)
	}
	c.cfg.Step("choice.stored")
	c.happened(back)
	return nil
}

func (c *Configurator) undoRetire(back model.Event) error {
	r, ok := c.store.Get(back.Device)
	ch := back.Changes[0]
	switch {
	case !ok || !r.Ours():
		return calls.Errorf(calls.InvalidArgument, "event %d was overtaken: the device has left already; it can be let in again", back.Undoes)
	case ch.After == "leaving" && r.LetGo.IsZero():
		return c.beginRetire(r, back)
	case ch.After == "leaving" || r.LetGo.IsZero():
		return overtaken(back, ch, ch.After)
	}
	r.LetGo = time.Time{}
	if err := c.require(r); err != nil {
		return calls.Errorf(calls.Failed, "that can't be stored: %w", err)
	}
	c.happened(back)
	c.retireOn()
	return nil
}

func (c *Configurator) undoMulticast(back model.Event) error {
	yes := back.Changes[0].After == "allowed"
	if c.home.allowed["igmpproxy"] == yes {
		return calls.Errorf(calls.InvalidArgument, "event %d was overtaken: that is so already", back.Undoes)
	}
	if err := c.allow(yes); err != nil {
		return err
	}
	c.happened(back)
	return nil
}

// allow stores a person's yes to setting up the IGMP proxy, or its opposite,
// which takes away what the yes has made.
func (c *Configurator) allow(yes bool) error {
	h := *c.home
	h.allowed = map[string]bool{}
	for what := range c.home.allowed {
		if what != "igmpproxy" && what != refusedProxy {
			h.allowed[what] = true
		}
	}
	if yes {
		h.allowed["igmpproxy"] = true
	} else {
		h.allowed[refusedProxy] = true
	}
	if err := h.save(c.cfg.StateDir); err != nil {
		return calls.Errorf(calls.Failed, "%w", err)
	}
	c.home = &h
	return nil
}

// refusedProxy is the yes to the IGMP proxy, taken back.
const refusedProxy = "no-igmpproxy"

// undoKept takes back that what was set at a device is wanted: the plan has its
// way with it again.
func (c *Configurator) undoKept(back model.Event) error {
	r, ok := c.store.Get(back.Device)
	if !ok || !r.Ours() || r.Kept == nil {
		return calls.Errorf(calls.InvalidArgument, "event %d was overtaken: nothing that was set at the device is kept now", back.Undoes)
	}
	for _, ch := range back.Changes {
		if ch.What != "address" || !r.Choice.Address.IsValid() {
			continue
		}
		if kept := r.Kept.Address.Addr(); r.Choice.Address != kept {
			return overtaken(back, ch, r.Choice.Address.String())
		}
		r.Choice.Address = netip.Addr{}
	}
	r.Kept = nil
	if err := c.require(r); err != nil {
		return calls.Errorf(calls.Failed, "that can't be stored: %w", err)
	}
	// What was taken back is no decision any more that could be made again.
	back.Changes = nil
	c.happened(back)
	return nil
}
