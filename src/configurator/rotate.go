package configurator

import (
	"crypto/rand"
	"fmt"
	"sort"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// A new home key. In this order, each step on disk before the next: the roster
// says that every device has the former key; the home has the new key and keeps
// the former; each device that is here, or comes, is given the new one; when all
// have it the former is forgotten.

// formerFor is how long the former key is kept for devices that don't come.
const formerFor = 90 * 24 * time.Hour

func (c *Configurator) rotateKey(yes bool) (any, error) {
	ro := c.keeping.roster
	left := c.withFormer()
	switch {
	case c.leave != nil:
		return nil, calls.Errorf(calls.Failed, "this home is being left; start homeconf again first")
	case c.home.former != nil && len(left) > 0 && !yes:
		return nil, calls.Errorf(calls.InvalidArgument, "%s not got the present key yet and would have to be paired anew; --yes changes it all the same", hasCounted(len(left)))
	}
	key, err := session.GeneratePrivateKey()
	if err != nil {
		return nil, calls.Errorf(calls.Failed, "making a home key: %w", err)
	}
	ro.update(c.store.All(), c.home.fingerprint())
	for _, e := range ro.Devices {
		e.Former = !e.Gone
	}
	c.cfg.Step("rotate.begin")
	if !c.saveRoster() {
		return nil, calls.Errorf(calls.Failed, "the key was not changed: the roster can't be written")
	}
	h := *c.home
	h.former = &formerKey{key: h.key, discovery: h.discovery, until: time.Now().Add(formerFor)}
	h.key = key
	rand.Read(h.discovery[:])
	if err := h.save(c.cfg.StateDir); err != nil {
		return nil, calls.Errorf(calls.Failed, "the key was not changed: %w", err)
	}
	c.cfg.Step("rotate.stored")
	c.home = &h
	c.resp.Rotate(h.key, h.discovery, h.before())
	c.tell("home.key-changed", "", "person", fmt.Sprintf("The home has a new key, %s.", h.fingerprint()),
		"Recovery files and settings backups of before hold the former one: make new ones.")
	for _, who := range c.peers {
		c.giveKey(who.peer)
	}
	c.watchFormer()
	c.rotatedAll()
	c.sealSoon()
	return c.keyStatus(), nil
}

func hasCounted(n int) string {
	if n == 1 {
		return "1 device has"
	}
	return fmt.Sprintf("%d devices have", n)
}

func (c *Configurator) giveKey(p *session.Peer) {
	if err := p.Send(wire.Rotate{Home: c.home.key.Public(), Discovery: c.home.discovery}); err != nil {
		c.log.Info("device was not given the new key", "device", string(idOf(p)), "err", err)
	}
	c.cfg.Step("rotate.sent")
}

// knowsHome is told that a session opened: by which key it was, is known.
func (c *Configurator) knowsHome(p *session.Peer) {
	switch {
	case c.home.former == nil:
	case p.Former():
		c.giveKey(p)
	default:
		c.hasKey(model.DeviceKey(p.Key()))
	}
}

// rotated is a device's word that the new key is on its disk.
func (c *Configurator) rotated(r *model.Record, m wire.Rotated) {
	if session.PublicKey(m.Home) == c.home.key.Public() && r.Key != nil {
		c.hasKey(*r.Key)
	}
}

func (c *Configurator) hasKey(k model.DeviceKey) {
	e := c.keeping.roster.Devices[hashOf(k)]
	if e == nil || !e.Former {
		return
	}
	e.Former = false
	c.saveRoster()
	c.rotatedAll()
}

// withFormer names the devices that have not got the present key.
func (c *Configurator) withFormer() []model.DeviceID {
	var ids []model.DeviceID
	if c.home.former != nil {
		for h, e := range c.keeping.roster.Devices {
			if e.Former && !e.Gone {
				ids = append(ids, h.id())
			}
		}
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}

// rotatedAll forgets the former key when nobody needs it, or its time is over.
func (c *Configurator) rotatedAll() {
	f := c.home.former
	if f == nil {
		return
	}
	left := c.withFormer()
	over := time.Now().After(f.until)
	if len(left) > 0 && !over {
		return
	}
	h := *c.home
	h.former = nil
	c.cfg.Step("rotate.forget")
	if err := h.save(c.cfg.StateDir); err != nil {
		c.log.Error("the former key can't be forgotten yet", "err", err)
		return
	}
	c.cfg.Step("rotate.forgotten")
	c.home = &h
	c.resp.Rotate(h.key, h.discovery, nil)
	text := "Every device has the home's new key; the former one was forgotten."
	if len(left) > 0 {
		text = fmt.Sprintf("The home's former key was forgotten after its time; %s not come for the new one and must be reset and paired anew.", hasCounted(len(left)))
	}
	c.tell("home.key-forgotten", "", "configurator", text)
}

// watchFormer looks at the former key's time, once a day.
func (c *Configurator) watchFormer() {
	if c.home.former == nil {
		return
	}
	c.rotatedAll()
	if c.keeping.daily != nil {
		c.keeping.daily.Stop()
	}
	c.keeping.daily = c.after(24*time.Hour, c.watchFormer)
}

func (c *Configurator) keyStatus() calls.KeyResult {
	r := calls.KeyResult{Home: c.home.fingerprint(), Term: c.home.term, Restored: c.home.restored != nil}
	if f := c.home.former; f != nil {
		r.Former, r.FormerUntil = f.key.Public().Fingerprint(), f.until
	}
	name := func(id model.DeviceID) calls.KeyDevice {
		d := calls.KeyDevice{ID: id}
		if rec, ok := c.store.Get(id); ok {
			d.Name = rec.Name()
		}
		return d
	}
	for _, id := range c.withFormer() {
		r.Awaited = append(r.Awaited, name(id))
	}
	for h, e := range c.keeping.roster.Devices {
		if e.Awaited {
			r.Missing = append(r.Missing, name(h.id()))
		}
	}
	sort.Slice(r.Missing, func(i, j int) bool { return r.Missing[i].ID < r.Missing[j].ID })
	return r
}
