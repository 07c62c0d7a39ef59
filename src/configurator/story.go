package configurator

import (
	"context"
	"fmt"
	"time"

	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// A device's whole way, downward: its session opens, it reports, the pass
// decides and writes the gateway, it is asked, it answers, it is confirmed, and
// what IPTV needs is looked at.

const (
	// deadline is how long an agent keeps settings that nobody confirmed.
	deadline = 10 * time.Second
	// answerTime is when a device that was asked must have been confirmed, or
	// have gone back and said so.
	answerTime = 3 * deadline
	// maxTries bounds how often settings are asked that the device undoes.
	maxTries = 4
)

// member is a device whose session is open.
type member struct {
	peer     *session.Peer
	since    time.Time
	asked    uint64 // generation of the Configure that awaits its outcome
	again    *time.Timer
	reported bool
	kept     bool   // it has said what it keeps for the home
	holds    uint64 // the generation of the roster in its copy

	reports, events allowance
	late            *model.Report // the last one above the allowance
	unsaid          int           // events above it
}

// heard turns what the session layer tells from its own goroutine into things
// for the loop.
type heard struct{ c *Configurator }

func (h heard) Waiting(p *session.Peer, w session.Waiting) {
	h.or(p, func() { h.c.strangerWaits(p, w) })
}
func (h heard) Open(p *session.Peer) { h.or(p, func() { h.c.opened(p) }) }
func (h heard) Receive(p *session.Peer, m wire.Message) {
	if !h.c.inbox.add(p) {
		p.Close(errBusy)
		return
	}
	h.or(p, func() { h.c.inbox.done(p); h.c.received(p, m) })
}
func (h heard) Closed(p *session.Peer, err error) { h.or(p, func() { h.c.closed(p, err) }) }

func (h heard) or(p *session.Peer, f func()) {
	if !h.c.box.tell(f) {
		p.Close(errBusy)
	}
}

// 1. The session opens: the device has proven its key, so nobody is asked.
func (c *Configurator) opened(p *session.Peer) {
	id := idOf(p)
	r, ok := c.store.Get(id)
	if ok && r.State == model.DeviceRetired {
		c.sayRetired(id)(&member{peer: p})
		return
	}
	if !ok || r.State != model.DeviceAdopted {
		if c.returns(p) {
			return
		}
		p.Close(fmt.Errorf("%s does not belong to this home", id))
		return
	}
	delete(c.waiting, id)
	if old := c.peers[id]; old != nil && old.again != nil {
		old.again.Stop()
	}
	c.comes(id)
	c.peers[id] = &member{peer: p, since: time.Now()}
	c.askKept(p)
	c.knowsHome(p)
	c.tell("device.connected", id, "agent", fmt.Sprintf("%s is here, at %s.", r.Name(), model.MAC(p.MAC())))
}

func (c *Configurator) closed(p *session.Peer, err error) {
	id := idOf(p)
	c.strangerLeft(id, p)
	c.notReturning(id, p)
	if m := c.peers[id]; m != nil && m.peer == p {
		if m.again != nil {
			m.again.Stop()
		}
		delete(c.peers, id)
		if r, ok := c.store.Get(id); ok {
			c.tell("device.disconnected", id, "agent", fmt.Sprintf("%s is not heard any more: %v.", r.Name(), err))
		}
		c.leaveOn()
	}
}

// received is what a member says.
func (c *Configurator) received(p *session.Peer, m wire.Message) {
	id := idOf(p)
	who := c.peers[id]
	if who == nil || who.peer != p {
		c.heardReturning(p, m)
		return // an older session's last words
	}
	r, ok := c.store.Get(id)
	if !ok {
		return
	}
	switch m := m.(type) {
	case wire.Report:
		c.heardReport(who, m.Report)
	case wire.Outcome:
		c.outcome(who, r, m.Outcome)
	case wire.Confirmed:
		c.confirmed(who, r, m.Generation)
	case wire.Rotated:
		c.rotated(r, m)
	case wire.Kept:
		c.kept(who, r, m)
	case wire.Event:
		c.heardEvent(who, r, m.Text)
	default:
		c.log.Debug("message that a configurator takes no notice of", "device", string(id), "type", fmt.Sprintf("%T", m))
	}
}

// 2. It reports. What it says of itself is recorded; what it says of others,
// by claiming their MAC address, is not.
func (c *Configurator) reported(who *member, r *model.Record, rep model.Report) {
	first := !who.reported
	who.reported = true
	before := r.Clone()
	r.Report, r.LastSeen = &rep, time.Now()
	r.MACs = c.ownMACs(r.ID, model.MAC(who.peer.MAC()), &rep)
	for _, m := range r.MACs {
		c.noLongerSeen(m)
	}
	delete(c.coming, r.ID)
	c.cfg.Step("report.received")
	// The disk is not waited for: a report that is lost is made again. It is
	// written with what the pass decides because of it, or a little later.
	c.putLater(r)
	if first && before.Report == nil {
		c.tell("device.reported", r.ID, "agent", fmt.Sprintf("%s reports: %s.", r.Name(), describe(rep)))
	}
	c.settle(who, r, first)
	c.lookForStray(r)
	c.lookForDrift(r)
	c.touch()
	if !c.someCome(time.Now()) && !c.work.busy {
		c.passIn(0) // there is nobody else to wait for
	}
}

// settle compares what the agent says of its generation with what was asked: a
// Confirm or its answer may have been lost with the earlier session.
func (c *Configurator) settle(who *member, r *model.Record, first bool) {
	if !first || r.Desired == nil || r.Report.Generation != r.Desired.Generation {
		return
	}
	switch r.Report.State {
	case model.CommitConfirmed:
		c.confirmed(who, r, r.Desired.Generation)
	case model.CommitPending:
		who.asked = r.Desired.Generation
		c.outcome(who, r, model.Outcome{Generation: r.Desired.Generation, Code: model.OutcomeApplied})
	}
}

// ownMACs picks, of the addresses that an agent reports, those that no other
// device of this home has. The frame's source comes in too unless an interface
// of its own explains it: a repeater may have put its own address there.
func (c *Configurator) ownMACs(id model.DeviceID, source model.MAC, rep *model.Report) []model.MAC {
	var macs []model.MAC
	if i, ok := rep.Interface(); ok {
		macs = append(macs, i.MAC)
	} else {
		macs = append(macs, source)
	}
	var own []model.MAC
	var found []model.Finding
	for _, m := range macs {
		if m.IsZero() || m.IsGroup() || m == c.net.LAN.MAC {
			continue
		}
		if other := c.ownerOf(m, id); other != nil {
			found = append(found, model.Finding{Kind: "mac.claimed", Device: id,
				Text: fmt.Sprintf("A device says that its MAC address is %s, which belongs to %s.", m, other.Name()),
				Step: "If one of them is gone for good, retire it; else look at what was plugged in."})
			continue
		}
		own = append(own, m)
	}
	c.note("mac:"+string(id), found)
	return own
}

func (c *Configurator) ownerOf(m model.MAC, but model.DeviceID) *model.Record {
	for _, r := range c.store.All() {
		if r.ID == but || !r.Ours() {
			continue
		}
		for _, have := range r.MACs {
			if have == m {
				return r
			}
		}
	}
	return nil
}

// 3. The gateway is as it should be: the device is asked for its half.
func (c *Configurator) ask(id model.DeviceID) {
	who := c.peers[id]
	r, ok := c.store.Get(id)
	if who == nil || !ok || !who.reported || r.Desired == nil || r.Confirmed == r.Desired.Generation {
		return
	}
	if who.asked == r.Desired.Generation {
		return // its answer is awaited, or the next try
	}
	if c.asks[id] == nil || c.asks[id].generation != r.Desired.Generation {
		c.asks[id] = &asked{generation: r.Desired.Generation}
	}
	if c.asks[id].until.After(time.Now()) {
		return // it refused that too often
	}
	who.asked = r.Desired.Generation
	c.askNow(who, r)
}

func (c *Configurator) askNow(who *member, r *model.Record) {
	c.triesOf(r).n++
	c.cfg.Step("configure.send")
	if err := who.peer.Send(wire.Configure{Settings: *r.Desired, Deadline: deadline}); err != nil {
		c.log.Info("device was not asked", "device", string(r.ID), "err", err)
		return
	}
	c.cfg.Step("configure.sent")
	c.tell("device.asked", r.ID, "plan", fmt.Sprintf("%s was asked to use %s.", r.Name(), inWords(*r.Desired)))
	id, generation := r.ID, r.Desired.Generation
	who.later(c.after(answerTime, func() {
		now, ok := c.store.Get(id)
		if ok && c.peers[id] == who && who.asked == generation && generationOf(now.Desired) == generation && now.Confirmed != generation {
			c.undone(who, now, model.Outcome{Generation: generation, Reason: fmt.Sprintf("it gave no answer within %v", answerTime)})
		}
	}))
}

// later is what happens to a device next if it says nothing.
func (m *member) later(t *time.Timer) {
	if m.again != nil {
		m.again.Stop()
	}
	m.again = t
}

// 4. It answers.
func (c *Configurator) outcome(who *member, r *model.Record, o model.Outcome) {
	if r.Desired == nil || o.Generation != r.Desired.Generation || who.asked != o.Generation {
		return // of something that is not wanted any more
	}
	c.cfg.Step("outcome.received")
	switch o.Code {
	case model.OutcomeApplied:
		c.tell("device.applied", r.ID, "agent", fmt.Sprintf("%s uses %s and reaches the gateway.", r.Name(), inWords(*r.Desired)))
		c.prove(who, r)
	default:
		c.undone(who, r, o)
	}
}

// prove looks from the gateway's side whether the device has the address.
func (c *Configurator) prove(who *member, r *model.Record) {
	id, want := r.ID, *r.Desired
	if !want.Address.IsValid() {
		c.confirm(who, r)
		return
	}
	macs := r.MACs
	c.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, deadline/3)
		defer cancel()
		mac, err := c.cfg.Prober.Resolve(ctx, want.Address.Addr())
		return func() {
			now, ok := c.store.Get(id)
			if !ok || c.peers[id] != who || generationOf(now.Desired) != want.Generation {
				return
			}
			if err == nil && !contains(macs, mac) && mac != model.MAC(who.peer.MAC()) {
				err = fmt.Errorf("%s answers for it", mac)
			}
			if err != nil {
				// No Confirm: the device goes back by itself at the deadline.
				c.note("prove:"+string(id), []model.Finding{{Kind: "device.unreachable", Device: id,
					Text: fmt.Sprintf("%s says that it uses %s, but is not found there: %v.", now.Name(), want.Address.Addr(), err),
					Step: "Nothing needs to be done: the device goes back to its earlier settings and is asked again."}})
				return
			}
			c.note("prove:"+string(id), nil)
			c.confirm(who, now)
		}
	})
}

// 5. It is confirmed: it keeps the settings as its last known good ones.
func (c *Configurator) confirm(who *member, r *model.Record) {
	c.cfg.Step("confirm.send")
	err := who.peer.Send(wire.Confirm{Generation: r.Desired.Generation, Digest: wire.SettingsDigest(*r.Desired)})
	if err != nil {
		c.log.Info("confirm was not sent", "device", string(r.ID), "err", err)
	}
	c.cfg.Step("confirm.sent")
}

func (c *Configurator) confirmed(who *member, r *model.Record, generation uint64) {
	if r.Desired == nil || generation != r.Desired.Generation {
		return
	}
	who.asked = generation
	who.later(nil)
	if r.Confirmed == generation {
		return
	}
	r.Confirmed = generation
	let := len(r.Former) > 0
	r.Former = nil
	c.cfg.Step("confirmed.received")
	c.putThen(r, func(err error) {
		if err != nil {
			c.log.Error("confirmation is kept in memory only", "device", string(r.ID))
		}
		c.cfg.Step("confirmed.stored")
		if _, back := c.refused[r.ID]; !back {
			c.note("refused:"+string(r.ID), nil)
		}
		c.tell("device.configured", r.ID, "agent", fmt.Sprintf("%s is configured: %s.", r.Name(), inWords(*r.Desired)))
		c.leaveOn()
		c.retireOn()
		c.watchMulticast()
		if let {
			c.touch() // the gateway lets go of what the device had before
		}
	})
}

// undone is told that the device went back to what it had.
func (c *Configurator) undone(who *member, r *model.Record, o model.Outcome) {
	c.tell("device.undone", r.ID, "agent", fmt.Sprintf("%s did not keep %s: %s.", r.Name(), inWords(*r.Desired), o.Reason))
	c.leaveRefused(r.ID, o.Reason)
	who.later(nil)
	tries := c.triesOf(r)
	if tries.n >= maxTries {
		c.giveUp(r, o.Reason)
		return
	}
	id, generation := r.ID, o.Generation
	pause := time.Second << (2 * tries.n) // 4, 16, 64 s
	who.later(c.after(pause, func() {
		now, ok := c.store.Get(id)
		if ok && c.peers[id] == who && generationOf(now.Desired) == generation && now.Confirmed != generation {
			c.askNow(who, now)
		}
	}))
}

func idOf(p *session.Peer) model.DeviceID { return model.IDOfKey(model.DeviceKey(p.Key())) }

func contains(l []model.MAC, m model.MAC) bool {
	for _, have := range l {
		if have == m {
			return true
		}
	}
	return false
}

func inWords(s model.Settings) string {
	if s.AddressingType == model.AddressingStatic {
		return "the fixed address " + s.Address.String()
	}
	return "the address that the DHCP server gives it"
}

func describe(r model.Report) string {
	s := string(r.Info.DeviceCategory)
	if s == "" {
		s = "a device that does not say what it is"
	}
	for _, part := range []string{r.Info.Manufacturer, r.Info.ModelName} {
		if part != "" {
			s += ", " + part
		}
	}
	if r.Info.SoftwareVersion != "" {
		s += ", software " + r.Info.SoftwareVersion
	}
	return s
}
