package configurator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"homeconf/src/gateway"
	"homeconf/src/model"
)

// One change over device and gateway. The gateway gets the new state beside the
// old one, the device is asked, proven and confirmed, and only then the gateway
// lets go of the old one. A change that can't be carried out is given up: the
// device is asked for what it had, and the gateway loses what was added. What
// others undo is done again with growing pauses, and not for ever.

// hold is how long what a device refused is not asked of it again, unless a
// person acts.
const hold = 6 * time.Hour

// asked counts how often settings were asked of a device, over its sessions.
type asked struct {
	generation uint64
	n          int
	until      time.Time // not before
}

// refusal is an address that a device did not take.
type refusal struct {
	address netip.Addr
	until   time.Time
}

func (c *Configurator) triesOf(r *model.Record) *asked {
	t := c.asks[r.ID]
	if t == nil || t.generation != generationOf(r.Desired) {
		t = &asked{generation: generationOf(r.Desired)}
		c.asks[r.ID] = t
	}
	return t
}

// personActed has everything tried anew that was given up.
func (c *Configurator) personActed() {
	clear(c.tries)
	clear(c.refused)
	for id, t := range c.asks {
		if t.until.IsZero() {
			continue
		}
		delete(c.asks, id)
		if m := c.peers[id]; m != nil {
			m.asked = 0
		}
	}
}

func (c *Configurator) refusedNow(now time.Time) map[model.DeviceID]netip.Addr {
	out := map[model.DeviceID]netip.Addr{}
	for id, f := range c.refused {
		if now.Before(f.until) {
			out[id] = f.address
		} else {
			delete(c.refused, id)
		}
	}
	return out
}

// former notes, before a device gets another address, the one that its agent
// uses until it has confirmed the new one.
func (c *Configurator) former(r *model.Record, next netip.Addr) {
	if r.State != model.DeviceAdopted {
		return
	}
	if r.Address.IsValid() && !slices.Contains(r.Former, r.Address) {
		r.Former = append(r.Former, r.Address)
	}
	r.Former = slices.DeleteFunc(r.Former, func(a netip.Addr) bool { return a == next })
	if n := len(r.Former) - maxFormer; n > 0 {
		r.Former = r.Former[n:]
	}
}

// maxFormer bounds the addresses that are kept for one device.
const maxFormer = 4

// giveUp ends a change that a device or the gateway did not carry out. Where
// the device has an address to go back to, it is asked for that, and when it
// has confirmed, the gateway loses what was added for it. Where it has none, as
// in a subnet that is no longer, it is left alone for some hours.
func (c *Configurator) giveUp(r *model.Record, why string) {
	back := netip.Addr{}
	// The first of them is what it confirmed last. A device that does not go
	// back either is left alone.
	if _, tried := c.refused[r.ID]; !tried && len(r.Former) > 0 && r.Confirmed > 0 && c.net.LAN.Prefix.Contains(r.Former[0]) {
		back = r.Former[0]
	}
	text := fmt.Sprintf("%s can't be configured: %s.", r.Name(), why)
	if back.IsValid() {
		text = fmt.Sprintf("%s can't have the address %s: %s. It goes back to %s.", r.Name(), r.Address, why, back)
	}
	c.note("refused:"+string(r.ID), []model.Finding{{Kind: "device.refuses", Device: r.ID, Text: text,
		Step: fmt.Sprintf("Look at the device, or give it another address: homeconf device set %s --address ADDRESS", r.ID)}})
	id, now := r.ID, time.Now()
	c.after(hold, func() {
		if m := c.peers[id]; m != nil {
			m.asked = 0
		}
		c.note("refused:"+string(id), nil)
		c.touch()
	})
	if !back.IsValid() {
		c.triesOf(r).until = now.Add(hold)
		return
	}
	c.refused[id] = refusal{r.Address, now.Add(hold)}
	c.former(r, back)
	r.Address = back
	if err := c.put(r); err != nil {
		c.log.Error("a change that was given up is known in memory only", "device", string(id))
	}
	c.tell("change.undone", id, "plan", text)
	c.touch()
}

// gatewayRefuses gives up what the gateway's services have not taken over in so
// many passes.
func (c *Configurator) gatewayRefuses(bad map[model.DeviceID]bool, checks map[model.DeviceID][]model.Check) {
	if c.work.fails+1 < maxTries {
		return
	}
	for id := range bad {
		r, ok := c.store.Get(id)
		if !ok || len(r.Former) == 0 || c.refused[id].address.IsValid() {
			continue
		}
		var seen []string
		for _, k := range checks[id] {
			if !k.OK {
				seen = append(seen, k.Seen)
			}
		}
		c.giveUp(r, strings.Join(seen, "; "))
	}
}

// putBack looks at what a Set had to do. Something that had to be written
// although nothing else is wanted than last time was taken away by somebody.
func (c *Configurator) putBack(want model.GatewayState, change gateway.Change, err error) []model.Finding {
	w := &c.work
	if err != nil {
		return nil
	}
	again := w.put != nil && model.Same(*w.put, want)
	w.put = &want
	if !again {
		return w.robbed
	}
	var lost []string
	for _, s := range change.Steps {
		if s.Action == gateway.Added || s.Action == gateway.Changed {
			lost = append(lost, s.What+" "+s.Text)
		}
	}
	if len(lost) == 0 {
		if c.tries.of(triesGateway).n > 0 && time.Since(c.tries.of(triesGateway).last) > max(calm, 2*c.tries.pause(triesGateway)) {
			w.robbed = nil
		}
		return w.robbed
	}
	c.tries.again(triesGateway, time.Now())
	if c.tries.of(triesGateway).n > atOnce+1 {
		w.robbed = []model.Finding{{Kind: "gateway.taken-away",
			Text: fmt.Sprintf("Something on the gateway takes away again and again what homeconf writes (%s).", shortList(lost)),
			Step: "Find out what else configures the gateway. homeconf puts it back less and less often; any homeconf device set makes it try at once."}}
	}
	return w.robbed
}

func shortList(l []string) string {
	if len(l) > 3 {
		return strings.Join(l[:3], ", ") + fmt.Sprintf(" and %d more", len(l)-3)
	}
	return strings.Join(l, ", ")
}

// gatewayHeld ends a pass that would only put back, before its pause is over,
// what somebody takes away.
func (c *Configurator) gatewayHeld(want model.GatewayState) bool {
	w := &c.work
	t := c.tries.of(triesGateway)
	if w.put == nil || t.n == 0 || !model.Same(*w.put, want) {
		return false
	}
	left := c.tries.pause(triesGateway) - time.Since(t.last)
	if left <= 0 {
		return false
	}
	for id := range c.peers {
		c.ask(id)
	}
	if w.held != nil {
		w.held.Stop()
	}
	w.held = c.after(left, c.touch)
	c.passDone(nil)
	return true
}

// alsoPutBack adds those whose reservation had to be written anew to those whose
// reservation is read back.
func alsoPutBack(ids []model.DeviceID, change gateway.Change) []model.DeviceID {
	for _, s := range change.Steps {
		if s.What == gateway.WhatReservation && (s.Action == gateway.Added || s.Action == gateway.Changed) && !slices.Contains(ids, s.Device) {
			ids = append(ids, s.Device)
		}
	}
	return ids
}

// switchedOff says whether a person has switched a reservation of ours off.
func (c *Configurator) switchedOff(r model.Reservation) bool {
	for _, h := range c.net.Reservations {
		if h.Owner == r.Device && h.Address == r.Address {
			return !h.Enabled
		}
	}
	return false
}

// lookAtOwned tells a person's no from a loss. A reservation of ours that is
// gone while others of ours are there was deleted by somebody who chose it: that
// is accepted. When all are gone at once, the file was lost or replaced, as by a
// firmware's defaults, and all are put back. A single one was deleted when the
// rest of the file is to the letter what this daemon saw before, and else lost:
// defaults come with a new start.
func (c *Configurator) lookAtOwned() {
	has := map[model.DeviceID]bool{}
	for _, h := range c.net.Reservations {
		if h.Owner != "" {
			has[h.Owner] = true
		}
	}
	var gone []*model.Record
	for _, id := range c.net.Owned {
		if r, ok := c.store.Get(id); ok && r.Ours() && !r.Declined && !has[id] && c.wanted(id) {
			gone = append(gone, r)
		}
	}
	left := 0
	for _, id := range c.net.Owned {
		if has[id] {
			left++
		}
	}
	c.tellSwitchedOff()
	same := c.work.rest != "" && c.work.rest == c.net.Rest
	c.work.rest = c.net.Rest
	if len(gone) == 0 || left == 0 && (len(gone) > 1 || !same) {
		return
	}
	for _, r := range gone {
		r.Declined = true
	}
	if err := c.put(gone...); err != nil {
		return // or it would be put back after a restart
	}
	for _, r := range gone {
		c.tell("reservation.declined", r.ID, "person", fmt.Sprintf("The reservation of %s for %s was deleted on the gateway, and is not made again.", r.Address, r.Name()),
			fmt.Sprintf("To have it back: homeconf device set %s --address %s", r.ID, r.Address))
	}
}

// wanted says whether a reservation was written for a device by this daemon, or
// is before it has looked.
func (c *Configurator) wanted(id model.DeviceID) bool {
	if c.work.put == nil {
		return true
	}
	return slices.ContainsFunc(c.work.put.Reservations, func(r model.Reservation) bool { return r.Device == id })
}

func (c *Configurator) tellSwitchedOff() {
	now := map[model.DeviceID]bool{}
	for _, h := range c.net.Reservations {
		if h.Owner == "" || h.Enabled {
			continue
		}
		now[h.Owner] = true
		if r, ok := c.store.Get(h.Owner); ok && r.Ours() && !c.work.off[h.Owner] {
			c.tell("reservation.switched-off", r.ID, "person", fmt.Sprintf("The reservation of %s for %s was switched off on the gateway, and stays so.", h.Address, r.Name()))
		}
	}
	c.work.off = now
}

// lookForStray mends, of what a device says that it has now, what can't be
// meant: no address, one outside the LAN, or no gateway. It is looked at again
// a little later first, for a device may just be on its way.
func (c *Configurator) lookForStray(r *model.Record) {
	if c.strays(r) == "" {
		return
	}
	id := r.ID
	c.after(strayTime, func() {
		now, ok := c.store.Get(id)
		who := c.peers[id]
		if !ok || who == nil || c.mending[id] {
			return
		}
		why := c.strays(now)
		if why == "" {
			return
		}
		key := "stray:" + string(id)
		if wait := c.tries.again(key, time.Now()); wait > 0 {
			if c.tries.of(key).n >= maxTries {
				c.note(key, []model.Finding{{Kind: "device.strays", Device: id,
					Text: fmt.Sprintf("%s changes its settings back again and again: %s.", now.Name(), why),
					Step: "Find out what else configures the device. It is set right less and less often."}})
			}
			c.mending[id] = true
			c.after(wait, func() {
				delete(c.mending, id)
				if r, ok := c.store.Get(id); ok {
					c.lookForStray(r)
				}
			})
			return
		}
		now.Desired.Generation++
		c.tell("device.strayed", id, "agent", fmt.Sprintf("%s is not as it was configured: %s. It is set right.", now.Name(), why))
		if err := c.put(now); err != nil {
			return
		}
		c.touch()
	})
}

const strayTime = 2 * time.Second

// strays says what can't be meant in a device's report, once it is settled.
func (c *Configurator) strays(r *model.Record) string {
	if r.Report == nil || r.Desired == nil || r.Confirmed != r.Desired.Generation || r.Report.Generation != r.Confirmed ||
		r.Desired.AddressingType != model.AddressingStatic || r.Report.State != model.CommitConfirmed || c.leave != nil {
		return ""
	}
	i, ok := r.Report.Interface()
	if !ok || !i.Up {
		return ""
	}
	inside := false
	for _, a := range i.Addresses {
		inside = inside || c.net.LAN.Prefix.Contains(a.Prefix.Addr())
	}
	switch {
	case !c.net.LAN.Prefix.Contains(r.Desired.Address.Addr()):
		return "" // the plan moves it
	case len(i.Addresses) == 0:
		return "it has no address"
	case !inside:
		return fmt.Sprintf("it uses %s, which is outside the home network", i.Addresses[0].Prefix)
	case r.Desired.Gateway.IsValid() && !r.Report.Gateway.IsValid():
		return "it has no gateway"
	}
	return ""
}
