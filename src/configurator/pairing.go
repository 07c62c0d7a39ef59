package configurator

import (
	"crypto/subtle"
	"fmt"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// waiting is a stranger whose digits are shown and who awaits a person's yes.
type waiting struct {
	peer  *session.Peer
	asked session.Waiting
	since time.Time
	wrong int // digits that were typed in and were not its
	// admitted: the yes was said, and is being stored.
	admitted bool
	record   *model.Record
}

// maxWrong is how often wrong digits may be typed in before the device has to
// ask anew: with six digits the chance of a guess stays below 1 in 200,000.
const maxWrong = 5

// window is an open pairing window.
type window struct {
	until  time.Time
	timer  *time.Timer
	settle *time.Timer
	asked  map[model.DeviceID]bool // everybody who asked while it was open
}

// settleTime is how long an open window waits, after the first device asked,
// for a second one: when two ask, none is let in.
const settleTime = 2 * time.Second

// strangerWaits is told by the session layer when a stranger has shown its digits.
func (c *Configurator) strangerWaits(p *session.Peer, asked session.Waiting) {
	id := model.IDOfKey(model.DeviceKey(p.Key()))
	r, ok := c.store.Get(id)
	member := ok && r.State == model.DeviceAdopted
	if asked.Way == wire.WayCode && !c.members.waitsFor(asked.Code) && !member {
		p.Refuse()
		c.tell("pairing.refused", id, "configurator", "A device was turned away: its set-up code is not awaited any more.")
		return
	}
	if member {
		// The session layer admits members by itself, but those that come by
		// a code; or this one became a member between its question and now.
		c.members.useCode(asked.Code)
		p.Admit(asked.Hash)
		return
	}
	mac := model.MAC(p.MAC())
	w := &waiting{peer: p, asked: asked, since: time.Now(), record: &model.Record{
		ID: id, MACs: []model.MAC{mac}, State: model.DeviceWaiting, FirstSeen: time.Now()}}
	c.waiting[id] = w
	c.noLongerSeen(mac)
	if asked.Way == wire.WayCode {
		// Whoever typed the code has said yes, and the device has proven it.
		c.adopt(id, w, "code", func(err error) {
			if err != nil {
				c.log.Error("device was not let in", "device", string(id), "err", err)
				c.refuse(id, "it can't be stored")
			}
		})
		return
	}
	c.tell("pairing.waiting", id, "agent", fmt.Sprintf("A device at %s asks to be let in.", mac))
	if c.window != nil {
		c.windowAsked(id)
	}
	c.touch() // so that an address for it is looked for while the person reads
}

func (c *Configurator) strangerLeft(id model.DeviceID, p *session.Peer) {
	if w, ok := c.waiting[id]; ok && w.peer == p {
		delete(c.waiting, id)
		c.tell("pairing.left", id, "agent", "A device that asked to be let in is gone.")
	}
}

// adoptByDigits lets a waiting device in if the digits are its own.
func (c *Configurator) adoptByDigits(id model.DeviceID, digits string, done func(error)) {
	w, ok := c.waiting[id]
	switch r, known := c.store.Get(id); {
	case ok && w.admitted, !ok && known && r.State == model.DeviceAdopted:
		done(calls.Errorf(calls.InvalidArgument, "%s was let in already", id))
	case !ok:
		done(calls.Errorf(calls.NotFound, "no device %s asks to be let in", id))
	case subtle.ConstantTimeCompare([]byte(digits), []byte(w.asked.Digits)) != 1:
		w.wrong++
		c.tell("pairing.wrong-digits", id, "person", fmt.Sprintf("Wrong digits for a waiting device (%d of %d).", w.wrong, maxWrong))
		if w.wrong >= maxWrong {
			c.refuse(id, "wrong digits were typed in too often")
		}
		done(calls.Errorf(calls.PermissionDenied, "these are not the digits that the device shows"))
	default:
		c.adopt(id, w, "person", done)
	}
}

// adopt makes a waiting device a member; done is told when that is stored.
func (c *Configurator) adopt(id model.DeviceID, w *waiting, cause string, done func(error)) {
	if c.leave != nil {
		done(calls.Errorf(calls.Failed, "this home is being left; nobody is let in until homeconf starts again"))
		return
	}
	if c.problem != "" {
		done(calls.Errorf(calls.Failed, "nobody is let in: %s", c.problem))
		return
	}
	key := model.DeviceKey(w.peer.Key())
	r := w.record.Clone()
	r.Key, r.State, r.LastSeen, r.Here = &key, model.DeviceAdopted, time.Now(), time.Now()
	if old, ok := c.store.Get(id); ok {
		r.Choice, r.FirstSeen = old.Choice, old.FirstSeen
	}
	c.letIn(id, w, r, cause, done)
}

func (c *Configurator) refuse(id model.DeviceID, why string) {
	if w, ok := c.waiting[id]; ok {
		delete(c.waiting, id)
		w.peer.Refuse()
		c.tell("pairing.refused", id, "person", "A device that asked to be let in was turned away: "+why+".")
	}
}

// openWindow lets the one device in that asks before it closes.
func (c *Configurator) openWindow(d time.Duration) {
	c.closeWindow()
	w := &window{until: time.Now().Add(d), asked: map[model.DeviceID]bool{}}
	w.timer = c.after(d, func() {
		if c.window == w {
			c.closeWindow()
			c.tell("pairing.closed", "", "configurator", "The pairing window closed; nobody was let in.")
		}
	})
	c.window = w
	c.tell("pairing.opened", "", "person", fmt.Sprintf("The pairing window is open for %v.", d))
	for id := range c.waiting {
		c.windowAsked(id)
	}
}

func (c *Configurator) closeWindow() {
	if c.window == nil {
		return
	}
	c.window.timer.Stop()
	if c.window.settle != nil {
		c.window.settle.Stop()
	}
	c.window = nil
}

// windowAsked notes that a device asks while the window is open. Who asked and
// left counts too: nobody can make room for himself by pushing another out.
func (c *Configurator) windowAsked(id model.DeviceID) {
	w := c.window
	w.asked[id] = true
	if w.settle == nil {
		w.settle = c.after(settleTime, func() { c.windowSettled(w) })
	}
}

func (c *Configurator) windowSettled(w *window) {
	if c.window != w {
		return
	}
	if len(w.asked) > 1 {
		c.closeWindow()
		c.tell("pairing.overlap", "", "configurator",
			fmt.Sprintf("%d devices asked while the pairing window was open, so none was let in.", len(w.asked)),
			"Let them in one by one with their digits, or unplug all but one and open the window again.")
		return
	}
	for id := range w.asked {
		wt, ok := c.waiting[id]
		if !ok { // it left; another may come
			delete(w.asked, id)
			w.settle = nil
			return
		}
		c.closeWindow()
		c.adopt(id, wt, "window", func(err error) {
			if err != nil {
				c.log.Error("device was not let in", "device", string(id), "err", err)
			}
		})
	}
}

// awaitCode takes the set-up code of a device that is to come. It is kept in
// memory only, until the device comes or the time is over.
func (c *Configurator) awaitCode(text string, d time.Duration) error {
	code, err := session.ParseSetupCode(text)
	if err != nil {
		return calls.Errorf(calls.InvalidArgument, "%w", err)
	}
	if !c.members.addCode(code, time.Now().Add(d)) {
		return calls.Errorf(calls.Busy, "%d set-up codes await their devices already; `homeconf pair close` forgets them", maxCodes)
	}
	c.tell("pairing.code", "", "person", fmt.Sprintf("A set-up code was entered; its device may come within %v.", d))
	c.after(d, func() {
		if c.members.dropCodes(time.Now()) > 0 {
			c.tell("pairing.code-expired", "", "configurator", "A set-up code was forgotten: no device with it came in time.",
				"Enter it again once the device is plugged in.")
		}
	})
	c.resp.Hello()
	return nil
}
