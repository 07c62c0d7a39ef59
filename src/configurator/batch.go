package configurator

import (
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
)

// What comes together is stored together: sixteen boxes that are let in at once,
// or that confirm at once, cost one wait for the disk and not sixteen. What
// follows from a record's being stored waits for the end of what the loop has
// taken from its mailbox.

// batch is what waits to be stored.
type batch struct {
	records []*model.Record // of strangers, and in no database yet
	in      []func(error)   // what follows for them, one each
	then    []func(error)   // what follows for records that are staged
}

// putThen is put for many records that come together; then follows.
func (c *Configurator) putThen(r *model.Record, then func(error)) {
	if err := c.store.Stage(r); err != nil {
		then(c.stored(err))
		return
	}
	c.batch.then = append(c.batch.then, then)
}

// lateWrite is how long what may be lost stays unwritten at most.
const lateWrite = time.Second

// putLater is put for what a crash may lose: it is written with the next write,
// or by itself after a while.
func (c *Configurator) putLater(r *model.Record) {
	if err := c.store.Stage(r); err != nil {
		c.stored(err)
		c.log.Error("record is not kept", "device", string(r.ID), "err", err)
		return
	}
	if c.late == nil {
		c.late = c.after(lateWrite, func() {
			c.late = nil
			c.stored(c.store.PutAll(nil))
		})
	}
}

// requireThen is require for many records that come together; then follows.
func (c *Configurator) requireThen(r *model.Record, then func(error)) {
	c.batch.records, c.batch.in = append(c.batch.records, r), append(c.batch.in, then)
}

// storeBatch stores what has come together. It is the last thing that the loop
// does before it waits for more.
func (c *Configurator) storeBatch() {
	for len(c.batch.in)+len(c.batch.then) > 0 {
		b := c.batch
		c.batch = batch{}
		c.storeNow(b)
	}
}

func (c *Configurator) storeNow(b batch) {
	if len(b.in) > 0 {
		err := c.store.Require(b.records...)
		for i, then := range b.in {
			if err != nil && len(b.in) > 1 { // each may fail by itself
				then(c.stored(c.store.Require(b.records[i])))
				continue
			}
			then(c.stored(err))
		}
	}
	if len(b.then) > 0 {
		err := c.stored(c.store.PutAll(nil))
		for _, then := range b.then {
			then(err)
		}
	}
}

// letIn makes a waiting device a member, on disk first, and then says yes to
// it. A crash in between is mended by the device itself: it comes back as a
// stranger whose key is a member's, and is let in without a question.
func (c *Configurator) letIn(id model.DeviceID, w *waiting, r *model.Record, cause string, done func(error)) {
	w.admitted = true
	c.cfg.Step("adopt.begin")
	c.requireThen(r, func(err error) {
		if err != nil {
			w.admitted = false
			done(calls.Errorf(calls.Failed, "the device can't be let in, for that can't be stored: %w", err))
			return
		}
		c.cfg.Step("adopt.stored")
		c.members.add(w.peer.Key())
		c.members.useCode(w.asked.Code)
		if c.waiting[id] == w {
			delete(c.waiting, id)
		}
		c.comes(id)
		c.tell("device.adopted", id, cause, "A device was let in.")
		if err := w.peer.Admit(w.asked.Hash); err != nil {
			// Its session ended under our hands; it will ask again, as a member.
			c.log.Info("yes did not reach the device", "device", string(id), "err", err)
		}
		c.cfg.Step("adopt.admitted")
		done(nil)
	})
}

// comes notes that a device was let in, or has opened its session, and will
// report soon: what it says belongs into the same pass as the others'.
func (c *Configurator) comes(id model.DeviceID) {
	if c.coming == nil {
		c.coming = map[model.DeviceID]time.Time{}
	}
	c.coming[id] = time.Now()
}

// someCome says whether there are such devices. Who does not report within
// gatherComing is waited for no longer.
func (c *Configurator) someCome(now time.Time) bool {
	for id, since := range c.coming {
		if now.Sub(since) >= gatherComing {
			delete(c.coming, id)
		}
	}
	return len(c.coming) > 0
}
