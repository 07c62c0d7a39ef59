package configurator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"homeconf/src/gateway"
	"homeconf/src/model"
	"homeconf/src/plan"
)

// The pass over the home: look at the gateway, plan, probe new addresses,
// record what was decided, write the gateway, read back, ask the devices. One
// pass is under way at a time and is for the whole home, so that sixteen boxes
// that come at once cost one reload of the DHCP server and not sixteen.

const (
	// gatherQuiet is how long nothing more may happen before a pass begins,
	// gatherMost how long it is put off at most.
	gatherQuiet = 8 * time.Millisecond
	gatherMost  = 60 * time.Millisecond
	// gatherComing is how long it is put off for devices that were let in, or
	// whose session has opened, and that have not reported yet.
	gatherComing = 500 * time.Millisecond
	// probeRounds bounds how often a plan is made anew because somebody
	// answered for the address it had chosen.
	probeRounds = 4
	// lookTime bounds looking at the gateway, writeTime writing it and
	// reading it back: dnsmasq may sit out a ping check of 3 s first.
	lookTime  = 10 * time.Second
	writeTime = 20 * time.Second
	// lookEvery is how long a home in which nothing happens is left alone, a
	// tenth more or less: not all that others change on the gateway makes an
	// event.
	lookEvery = 10 * time.Minute
)

// work is the state of the pass.
type work struct {
	dirty   bool
	busy    bool
	first   time.Time // of what the next pass is for
	timer   *time.Timer
	idle    *time.Timer                   // the pass that comes when nothing happens
	fails   int                           // in a row
	ahead   bool                          // addresses are being probed for devices that wait
	written map[model.DeviceID]netip.Addr // reservations whose effect was read back
	plans   []func(plan.Plan, error)      // who asked to see the plan
	unkept  map[model.DeviceID]bool       // decisions that are not on disk yet
	put     *model.GatewayState           // as the gateway was last written; nil: not yet
	off     map[model.DeviceID]bool       // whose reservation a person switched off
	rest    string                        // of the gateway's dhcp file, when last looked at
	robbed  []model.Finding               // that somebody takes ours away
	held    *time.Timer                   // the pass that puts it back
}

func (w *work) init() {
	w.written, w.unkept = map[model.DeviceID]netip.Addr{}, map[model.DeviceID]bool{}
}

// touch says that something changed which the plan depends on.
func (c *Configurator) touch() {
	w := &c.work
	now := time.Now()
	if !w.dirty {
		w.dirty, w.first = true, now
	}
	if w.busy {
		return
	}
	wait := gatherQuiet
	if left := gatherMost - now.Sub(w.first); left < wait {
		wait = max(left, 0)
	}
	c.passIn(wait)
}

func (c *Configurator) passIn(d time.Duration) {
	if c.work.timer != nil {
		c.work.timer.Stop()
	}
	c.work.timer = c.after(d, c.pass)
}

// pass begins: it looks at the gateway.
func (c *Configurator) pass() {
	w := &c.work
	if w.busy || !w.dirty {
		return
	}
	if now := time.Now(); now.Sub(w.first) < gatherComing && c.someCome(now) {
		c.passIn(gatherQuiet)
		return
	}
	w.busy, w.dirty = true, false
	c.cfg.Step("pass.begin")
	c.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		facts, err := c.cfg.Gateway.Facts(ctx)
		return func() { c.looked(facts, err) }
	})
}

// passDone ends a pass; what happened meanwhile starts the next one.
func (c *Configurator) passDone(err error) {
	w := &c.work
	w.busy = false
	c.leavePassed(err)
	if err != nil {
		w.fails++
		// 1, 2, 4 … 64 s: what does not work now is tried less and less often.
		pause := time.Second << min(w.fails-1, 6)
		c.log.Error("pass failed", "err", err, "again_in", pause)
		w.dirty, w.first = true, time.Now()
		c.passIn(pause)
		return
	}
	w.fails = 0
	if w.dirty {
		c.passIn(0)
		return
	}
	if w.idle != nil {
		w.idle.Stop()
	}
	w.idle = c.after(lookEvery*9/10+rand.N(lookEvery/5), c.touch)
}

func (c *Configurator) looked(facts model.Network, err error) {
	if err != nil {
		c.answerPlans(plan.Plan{}, err)
		c.note("look", []model.Finding{{Kind: "gateway.unreadable",
			Text: fmt.Sprintf("The gateway could not be looked at: %v", err),
			Step: "See the message; homeconf tries again by itself."}})
		c.passDone(err)
		return
	}
	c.note("look", nil)
	c.net = c.withRates(facts)
	if !c.lookAtLAN() {
		return
	}
	c.lookAtOwned()
	c.planned(0)
}

// planned makes the plan, and has the addresses probed that it gives for the
// first time; who answers there moves it on to the next one.
func (c *Configurator) planned(round int) {
	p := plan.Make(c.planInput())
	if len(p.Probe) == 0 || round >= probeRounds {
		c.decided(p)
		return
	}
	c.cfg.Step("pass.probe")
	c.probe(p.Probe, func(err error) {
		if err != nil {
			// Nothing was proven free; without proof nothing is given.
			c.answerPlans(p, nil)
			c.passDone(err)
			return
		}
		c.planned(round + 1)
	})
}

func (c *Configurator) probe(addrs []netip.Addr, then func(error)) {
	c.beside(func(ctx context.Context) func() {
		answers, err := c.cfg.Prober.Probe(ctx, addrs)
		return func() {
			if err != nil {
				then(fmt.Errorf("probing %s: %w", counted(len(addrs), "address"), err))
				return
			}
			c.probes.probed(addrs, answers, time.Now())
			then(nil)
		}
	})
}

// probeAhead looks for addresses for the devices that wait, while a person
// reads their digits, as if they were let in already.
func (c *Configurator) probeAhead() {
	if len(c.waiting) == 0 || c.work.ahead {
		return
	}
	in := c.planInput()
	for _, w := range c.waiting {
		r := w.record.Clone()
		r.State = model.DeviceAdopted
		in.Records = append(in.Records, r)
	}
	need := plan.Make(in).Probe
	if len(need) == 0 {
		return
	}
	c.work.ahead = true
	c.probe(need, func(err error) {
		c.work.ahead = false
		if err != nil {
			c.log.Info("addresses were not probed ahead", "err", err)
			return
		}
		c.probeAhead() // for those who came meanwhile, or whose address is taken
	})
}

// planInput is the home as the plan sees it.
func (c *Configurator) planInput() plan.Input {
	busy, probed := c.probes.known(time.Now())
	network := c.net
	c.undisputed(busy, &network)
	return plan.Input{Records: append(c.store.All(), c.seenRecords()...), Profiles: c.profiles, Network: network,
		Busy: busy, Probed: probed, Policy: c.policy()}
}

// decided records what the plan gives before anything is done about it: after a
// crash the same devices get the same addresses.
func (c *Configurator) decided(p plan.Plan) {
	p = c.leaveBends(c.retireBends(c.driftBends(p)))
	c.plan = p
	c.answerPlans(p, nil)
	c.probeAhead()
	c.note("plan", p.Findings)
	if c.opts.Configurator.DryRun || c.problem != "" {
		c.passDone(nil)
		return
	}
	var changed []*model.Record
	for _, r := range c.store.All() {
		if !r.Ours() {
			continue
		}
		if c.desire(r, p) || c.work.unkept[r.ID] {
			changed = append(changed, r)
		}
	}
	c.cfg.Step("pass.decided")
	if len(changed) > 0 {
		if err := c.put(changed...); err != nil {
			for _, r := range changed {
				c.work.unkept[r.ID] = true
			}
			c.passDone(err)
			return
		}
		clear(c.work.unkept)
		for _, r := range changed {
			c.tell("device.planned", r.ID, "plan", c.plannedWords(r), linesOf(p, r.ID)...)
		}
	}
	c.rememberGiven()
	c.cfg.Step("pass.recorded")
	want, fresh := p.Gateway, c.unread(p.Gateway)
	if c.gatewayHeld(want) {
		return
	}
	c.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, writeTime)
		defer cancel()
		change, err := c.cfg.Gateway.Set(ctx, want)
		c.cfg.Step("pass.written")
		var checks []model.Check
		fresh = alsoPutBack(fresh, change)
		if err == nil && len(fresh) > 0 {
			checks, err = c.readBack(ctx, want, fresh)
		}
		return func() { c.wrote(want, change, checks, err) }
	})
}

// desire puts the plan's decision into a record and says whether it is new.
func (c *Configurator) desire(r *model.Record, p plan.Plan) bool {
	changed := false
	if a := p.Addresses[r.ID]; a != r.Address {
		c.former(r, a)
		r.Address, changed = a, true
	}
	s, ok := p.Settings[r.ID]
	if !ok {
		return changed
	}
	// By DHCP the agent has to ask again for another address to arrive.
	moved := changed && s.AddressingType == model.AddressingDHCP
	if r.Desired != nil && r.Desired.Same(s) && !moved {
		return changed
	}
	s.Generation = 1 + max(r.Confirmed, generationOf(r.Desired))
	if r.Report != nil {
		// After a restore the agent may be ahead of what we remember.
		s.Generation = max(s.Generation, r.Report.Generation+1)
	}
	r.Desired = &s
	return true
}

func generationOf(s *model.Settings) uint64 {
	if s == nil {
		return 0
	}
	return s.Generation
}

// unread lists the devices whose reservation has not been read back since it
// was last changed.
func (c *Configurator) unread(want model.GatewayState) []model.DeviceID {
	var ids []model.DeviceID
	has := map[model.DeviceID]bool{}
	for _, r := range want.Reservations {
		if r.Address != c.plan.Addresses[r.Device] || c.switchedOff(r) {
			continue // what it had before; or a person's no
		}
		has[r.Device] = true
		if c.work.written[r.Device] != r.Address {
			ids = append(ids, r.Device)
		}
	}
	for id := range c.work.written {
		if !has[id] {
			delete(c.work.written, id)
		}
	}
	return ids
}

// readBack looks at what the DHCP server really loaded and at the rules that
// the kernel really has.
func (c *Configurator) readBack(ctx context.Context, want model.GatewayState, ids []model.DeviceID) ([]model.Check, error) {
	checks, err := c.cfg.Gateway.VerifyReservations(ctx, want, ids...)
	if err != nil {
		return checks, err
	}
	marks, err := c.cfg.Gateway.VerifyMarks(ctx, want, ids...)
	return append(checks, marks...), err
}

// wrote is told what became of the gateway, and then asks the devices.
func (c *Configurator) wrote(want model.GatewayState, change gateway.Change, checks []model.Check, err error) {
	c.cfg.Step("pass.read-back")
	if !change.Empty() {
		c.tell("gateway.changed", "", "plan", fmt.Sprintf("The gateway was changed: %s.", counted(len(change.Steps), "step")), change.Lines()...)
	}
	found := append(change.Findings, c.putBack(want, change, err)...)
	if err != nil {
		found = append(found, model.Finding{Kind: "gateway.write",
			Text: fmt.Sprintf("The gateway could not be set up: %v", err),
			Step: "See the message; homeconf tries again by itself."})
	}
	bad := map[model.DeviceID]bool{}
	perDevice := map[model.DeviceID][]model.Check{}
	for _, k := range checks {
		perDevice[k.Device] = append(perDevice[k.Device], k)
		if !k.OK {
			bad[k.Device] = true
			found = append(found, model.Finding{ID: model.FindingID("gateway.differs."+k.What, k.Device), Kind: "gateway.differs", Device: k.Device,
				Text: fmt.Sprintf("The gateway did not take over the %s: %s.", k.What, k.Seen),
				Step: "Look at the service's own log; homeconf tries again by itself."})
		}
	}
	c.note("write", found)
	for id, l := range perDevice {
		c.checks[id] = l
	}
	if err != nil {
		c.passDone(err)
		return
	}
	for _, r := range want.Reservations {
		if r.Address == c.plan.Addresses[r.Device] && !bad[r.Device] && !c.switchedOff(r) && c.work.written[r.Device] != r.Address {
			c.work.written[r.Device] = r.Address
			c.tell("gateway.verified", r.Device, "gateway", fmt.Sprintf("The gateway was looked at: the DHCP server gives %s to this device.", r.Address), seen(perDevice[r.Device])...)
		}
	}
	for id := range c.peers {
		if !bad[id] {
			c.ask(id)
		}
	}
	c.leaveOn()
	c.retireOn()
	c.lookForDrifts()
	c.watchMulticast()
	if len(bad) > 0 {
		c.gatewayRefuses(bad, perDevice)
		c.passDone(fmt.Errorf("%s not as written", counted(len(bad), "device")))
		return
	}
	c.passDone(nil)
}

func (c *Configurator) answerPlans(p plan.Plan, err error) {
	for _, f := range c.work.plans {
		f(p, err)
	}
	c.work.plans = nil
}

func linesOf(p plan.Plan, id model.DeviceID) []string {
	var out []string
	for _, l := range p.Lines {
		if l.Device == id {
			out = append(out, fmt.Sprintf("%s %s: %s", l.What, l.Value, l.Reason))
		}
	}
	return out
}

func seen(checks []model.Check) []string {
	var out []string
	for _, k := range checks {
		out = append(out, k.What+": "+k.Seen)
	}
	return out
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
