package configurator

import (
	"fmt"
	"time"

	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// What agents keep for the home. Every session begins by asking for it: a home
// that lost its database has its devices' records back before it decides
// anything, and one whose database is older than a device's copy learns of it.

const (
	// sealQuiet gathers what changes, so that it costs each agent one write.
	sealQuiet = 10 * time.Second
	// keptTime is how long a device that is not known may take to show its record.
	keptTime = 5 * time.Second
	// maxReturning bounds the devices that are heard before it is known whether
	// they are ours.
	maxReturning = 64
	// restoredLeast is how long a restored home takes in whoever shows a record
	// of it, also when all that it knows of have come.
	restoredLeast = time.Hour
)

// keeping is what the loop knows of the copies.
type keeping struct {
	roster    *roster
	timer     *time.Timer
	returning map[model.DeviceID]*returning
	daily     *time.Timer
	base      uint64 // the newest generation of before the home was restored that was heard of
}

// returning is a device that has no record here and may have one of its own.
type returning struct {
	peer   *session.Peer
	report *wire.Report
	timer  *time.Timer
}

// openRoster reads the roster, or begins one.
func (c *Configurator) openRoster(broken []model.Finding) error {
	c.keeping.returning = map[model.DeviceID]*returning{}
	homes := []string{c.home.fingerprint()}
	if f := c.home.former; f != nil {
		homes = append(homes, f.key.Public().Fingerprint())
	}
	r, err := loadRoster(c.store, homes...)
	if err != nil {
		c.note("roster", []model.Finding{{Kind: "roster.damaged", Text: err.Error() + "; it is made anew.",
			Step: "Nothing needs to be done: the devices hold copies of it."}})
	}
	lost := r == nil
	if lost {
		r = &roster{Devices: map[keyHash]*entry{}}
	}
	if t := c.home.restored; t != nil && (lost || t.Generation > r.Generation) {
		if r, err = t.roster(); err != nil {
			return fmt.Errorf("reading the restored home: %w", err)
		}
		for _, e := range r.Devices {
			e.Awaited = !e.Gone
		}
		c.keeping.base = t.Generation
		r.enterTerm(c.home.term)
	}
	for h, e := range r.Devices {
		for _, f := range broken { // a device's id begins as its key's hash does
			if !e.Gone && f.Device == h.id() {
				e.Awaited = true
			}
		}
	}
	for _, rec := range c.store.All() {
		if rec.State != model.DeviceAdopted || rec.Key == nil {
			continue
		}
		if e := r.Devices[hashOf(*rec.Key)]; e != nil && e.Digest == "" && !e.Gone {
			e.Awaited = false // restored over its own database
		}
	}
	if lost && c.home.former != nil {
		r.update(c.store.All(), c.home.fingerprint())
		for _, e := range r.Devices {
			e.Former = !e.Gone // who has the new key is found out again
		}
	}
	c.keeping.roster = r
	c.awaitMembers()
	return nil
}

// awaitMembers tells the session layer which keys may come that have no record.
func (c *Configurator) awaitMembers() {
	away := map[keyHash]bool{}
	for h, e := range c.keeping.roster.Devices {
		if e.Awaited {
			away[h] = true
		}
	}
	c.members.await(away, c.home.restored != nil)
}

// askKept is the first that a session carries.
func (c *Configurator) askKept(p *session.Peer) {
	if err := p.Send(wire.Keep{Term: c.home.term}); err != nil {
		c.log.Info("device was not asked for its record", "device", string(idOf(p)), "err", err)
	}
}

// returns takes a device that is no member by the database, and may be one by
// what it keeps; false when it can't be.
func (c *Configurator) returns(p *session.Peer) bool {
	id := idOf(p)
	k := &c.keeping
	if !c.members.away(p.Key()) || len(k.returning) >= maxReturning {
		return false
	}
	if old := k.returning[id]; old != nil {
		old.timer.Stop()
	}
	ret := &returning{peer: p}
	k.returning[id] = ret
	ret.timer = c.after(keptTime, func() {
		if k.returning[id] == ret {
			c.returned(id, ret, wire.Kept{})
		}
	})
	c.askKept(p)
	return true
}

// heardReturning is what such a device says; false when it is none.
func (c *Configurator) heardReturning(p *session.Peer, m wire.Message) bool {
	id := idOf(p)
	ret := c.keeping.returning[id]
	if ret == nil || ret.peer != p {
		return false
	}
	switch m := m.(type) {
	case wire.Kept:
		c.returned(id, ret, m)
	case wire.Report:
		ret.report = &m
	}
	return true
}

func (c *Configurator) notReturning(id model.DeviceID, p *session.Peer) {
	if ret := c.keeping.returning[id]; ret != nil && ret.peer == p {
		ret.timer.Stop()
		delete(c.keeping.returning, id)
	}
}

// returned decides about a device that came back: with a record that this home
// sealed, or on a roster, it is taken in, and nobody is asked.
func (c *Configurator) returned(id model.DeviceID, ret *returning, m wire.Kept) {
	c.notReturning(id, ret.peer)
	key := model.DeviceKey(ret.peer.Key())
	e := c.keeping.roster.Devices[hashOf(key)]
	s, generation, err := c.unsealAny(key, m.Sealed)
	if err == nil {
		c.learn(id, s.Roster)
		e = c.keeping.roster.Devices[hashOf(key)]
	}
	if e == nil || e.Gone {
		c.tell("device.unknown", id, "configurator", "A device that knows this home's key is on no roster of it, and was not let in.",
			"If it is yours, reset it (homeconf agent reset there) and let it in anew.")
		ret.peer.Close(fmt.Errorf("%s does not belong to this home", id))
		return
	}
	r := &model.Record{ID: id, Key: &key, State: model.DeviceAdopted, MACs: []model.MAC{model.MAC(ret.peer.MAC())},
		FirstSeen: time.Now(), LastSeen: time.Now(), Restored: true}
	c.fill(r, e, s, generation, err)
	e.Awaited = false
	c.cfg.Step("return.begin")
	if err := c.require(r); err != nil {
		e.Awaited = true
		ret.peer.Close(errBusy)
		return
	}
	c.cfg.Step("return.stored")
	c.members.add(ret.peer.Key())
	c.awaitMembers()
	c.opened(ret.peer)
	if ret.report != nil {
		c.received(ret.peer, *ret.report)
	}
	c.sealSoon()
}

// fill takes over what a device kept, unless the home had a newer record of it.
func (c *Configurator) fill(r *model.Record, e *entry, s sealedRecord, generation uint64, err error) {
	kind, what := "device.not-restored", ""
	switch {
	case err != nil:
		what = fmt.Sprintf("%s came back without its record (%v), so what you chose for it is not known any more.", r.Name(), err)
	case generation < e.known():
		kind = "device.old-copy"
		what = fmt.Sprintf("%s handed back an old copy of its record (%d; the home had %d), which is not used.", r.Name(), generation, e.Generation)
	}
	if what != "" {
		c.note("restored:"+string(r.ID), []model.Finding{{Kind: kind, Device: r.ID, Text: what,
			Step: fmt.Sprintf("Look at what it is set to, and choose again where needed: homeconf device show %s", r.ID)}})
		e.From = e.known()
		return
	}
	c.note("restored:"+string(r.ID), nil)
	macs := r.MACs
	report := r.Report
	*r = *s.Record.Clone()
	r.State, r.Restored, r.Report, r.LastSeen = model.DeviceAdopted, true, report, time.Now()
	r.Openings = append([]model.Opening(nil), r.Openings...) // they are never changed in place
	for i := range r.Openings {
		r.Openings[i].Unasked = true
	}
	if len(r.MACs) == 0 {
		r.MACs = macs
	}
	e.From = generation
	c.tell("device.restored", r.ID, "agent", fmt.Sprintf("%s brought its record back.", r.Name()))
}

// unsealAny opens a copy by the home's key, or by the one that it had before.
func (c *Configurator) unsealAny(key model.DeviceKey, b []byte) (s sealedRecord, generation uint64, err error) {
	if b == nil {
		return s, 0, fmt.Errorf("it keeps none")
	}
	if s, generation, err = unseal(c.home.key, key, b); err != nil && c.home.former != nil {
		s, generation, err = unseal(c.home.former.key, key, b)
	}
	return s, generation, err
}

// kept is a member's answer: its copy may be newer than the database.
func (c *Configurator) kept(who *member, r *model.Record, m wire.Kept) {
	if who.kept {
		return // it was asked once
	}
	who.kept = true
	defer c.sealSoon()
	if m.Sealed == nil || r.Key == nil {
		return
	}
	s, generation, err := c.unsealAny(*r.Key, m.Sealed)
	if err != nil {
		c.log.Info("what a device keeps can't be used", "device", string(r.ID), "err", err)
		return
	}
	c.learn(r.ID, s.Roster)
	r, ok := c.store.Get(r.ID)
	e := c.keeping.roster.Devices[hashOf(*s.Record.Key)]
	switch {
	case !ok || e == nil || e.Gone:
	case e.Awaited: // the database is older than what the device holds
		c.fill(r, e, s, generation, nil)
		e.Awaited = false
		if err := c.put(r); err != nil {
			c.log.Error("record is restored in memory only", "device", string(r.ID))
		}
		c.awaitMembers()
		c.touch()
	case generation == e.Generation && s.Roster.Generation == c.keeping.roster.Generation:
		who.holds = s.Roster.Generation
	}
}

// learn takes over a roster that is newer than our own: the database was lost,
// or is an old one.
func (c *Configurator) learn(from model.DeviceID, t rosterText) {
	ours := c.keeping.roster
	theirs, err := t.roster()
	// A roster of the time before the restore is measured by what was known of
	// that time; any other by our own.
	before := c.home.restored != nil && t.Term < c.home.term
	if err != nil || before && theirs.Generation <= c.keeping.base || !before && theirs.Generation <= ours.Generation {
		return
	}
	c.keeping.base = theirs.Generation
	name := string(from)
	if r, ok := c.store.Get(from); ok {
		name = r.Name()
	}
	c.tell("home.older", from, "agent", fmt.Sprintf("%s holds a newer roster of this home (%d, ours is %d); it was taken over.", name, theirs.Generation, ours.Generation))
	byHash := map[keyHash]*model.Record{}
	for _, r := range c.store.All() {
		if r.Key != nil && r.State == model.DeviceAdopted {
			byHash[hashOf(*r.Key)] = r
		}
	}
	for h, their := range theirs.Devices {
		e, r := ours.Devices[h], byHash[h]
		switch {
		case e == nil:
			ours.Devices[h] = &entry{Generation: their.Generation, Gone: their.Gone, Awaited: !their.Gone, Former: c.home.former != nil && !their.Gone}
		case their.Generation <= e.known():
			continue
		default:
			e.Generation, e.Gone = max(e.Generation, their.Generation), their.Gone
			if e.From > 0 {
				e.From = their.Generation
			}
			switch {
			case their.Gone:
				e.Awaited, e.Former = false, false
			case r == nil:
				e.Awaited = true
			case r.Restored:
				c.exposed(r, name)
			case r.ID != from:
				e.Awaited = true // it has a newer record than we do
			}
		}
		if r != nil && their.Gone {
			c.letGo(r, name)
		}
		if r != nil && r.ID == from && !their.Gone && e != nil {
			e.Awaited = true
		}
	}
	ours.Generation = max(ours.Generation, theirs.Generation)
	c.raiseTerm(t.Term)
	c.awaitMembers()
	c.saveRoster()
}

// exposed is told that a record was made from an old copy.
func (c *Configurator) exposed(r *model.Record, by string) {
	name := r.Name()
	bare := &model.Record{ID: r.ID, Key: r.Key, State: r.State, MACs: r.MACs, Report: r.Report, Sighting: r.Sighting,
		FirstSeen: r.FirstSeen, LastSeen: r.LastSeen, Restored: true}
	if err := c.put(bare); err != nil {
		c.log.Error("record is corrected in memory only", "device", string(r.ID))
	}
	c.note("restored:"+string(r.ID), []model.Finding{{Kind: "device.old-copy", Device: r.ID,
		Text: fmt.Sprintf("%s handed back an old copy of its record, as the copy of %s shows; it is not used any more.", name, by),
		Step: fmt.Sprintf("Look at what it is set to, and choose again where needed: homeconf device show %s", r.ID)}})
	c.touch()
}

// letGo lets a device go that a newer roster says was let go.
func (c *Configurator) letGo(r *model.Record, by string) {
	r.State = model.DeviceRetired
	if err := c.put(r); err != nil {
		c.log.Error("device is let go in memory only", "device", string(r.ID))
	}
	c.members.remove(session.PublicKey(*r.Key))
	if who := c.peers[r.ID]; who != nil {
		who.peer.Close(fmt.Errorf("%s was let go", r.ID))
	}
	c.tell("device.retired", r.ID, "agent", fmt.Sprintf("%s was let go once, as the copy of %s shows.", r.Name(), by))
	c.touch()
}

// raiseTerm keeps this home's term above one that was heard: another router may
// have had the home meanwhile. It is on disk before anything is done with it.
func (c *Configurator) raiseTerm(heard uint64) {
	if heard < c.home.term {
		return
	}
	h := *c.home
	h.term = heard + 1
	if err := h.save(c.cfg.StateDir); err != nil {
		c.log.Error("the home's term can't be stored", "err", err)
		return
	}
	c.home = &h
	c.keeping.roster.enterTerm(h.term)
	for _, who := range c.peers {
		c.askKept(who.peer)
	}
}

// sealSoon has the copies brought up to date after a while.
func (c *Configurator) sealSoon() {
	if c.keeping.timer == nil && c.ctx != nil {
		c.keeping.timer = c.after(sealQuiet, func() {
			c.keeping.timer = nil
			c.sealNow()
		})
	}
}

func (c *Configurator) saveRoster() bool {
	c.cfg.Step("roster.begin")
	if err := c.stored(c.keeping.roster.save(c.store, c.home.fingerprint())); err != nil {
		return false
	}
	c.cfg.Step("roster.stored")
	return true
}

// sealNow gives each agent that is here its copy, when it has another. The
// roster is on disk before any agent has it: no two rosters of one generation.
func (c *Configurator) sealNow() {
	ro := c.keeping.roster
	if ro.update(c.store.All(), c.home.fingerprint()) && !c.saveRoster() {
		c.keeping.timer = c.after(time.Minute, func() { c.keeping.timer = nil; c.sealNow() })
		return
	}
	text := ro.text(c.home.term)
	for id, who := range c.peers {
		if !who.kept || who.holds == ro.Generation {
			continue
		}
		r, ok := c.store.Get(id)
		if !ok || r.Key == nil {
			continue
		}
		e := ro.Devices[hashOf(*r.Key)]
		if e == nil || e.Awaited {
			continue
		}
		b, err := seal(c.home.key, *r.Key, e.Generation, sealedRecord{sealable(r), text})
		if err == nil {
			err = who.peer.Send(wire.Keep{Term: c.home.term, Sealed: b})
		}
		if err != nil {
			c.log.Error("device did not get its record", "device", string(id), "err", err)
			continue
		}
		who.holds = ro.Generation
		c.cfg.Step("keep.sent")
	}
	c.restoredAll()
}

// restoredAll ends the time after a restore once everybody has come.
func (c *Configurator) restoredAll() {
	if c.home.restored == nil || c.keeping.roster.count(func(e *entry) bool { return e.Awaited }) > 0 {
		return
	}
	if left := restoredLeast - time.Since(c.since); left > 0 {
		c.after(left, c.restoredAll)
		return
	}
	h := *c.home
	h.restored = nil
	if err := h.save(c.cfg.StateDir); err != nil {
		c.log.Error("the home's file can't be written", "err", err)
		return
	}
	c.home = &h
	c.awaitMembers()
	c.tell("home.restored", "", "configurator", "Every device of the restored home has come back.")
}
