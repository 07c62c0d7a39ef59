package configurator

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sort"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/plan"
)

// Call answers what people and scripts ask; it is a calls.Handler.
func (c *Configurator) Call(ctx context.Context, name string, args calls.Args) (any, error) {
	switch name {
	case "plan":
		return c.answerPlan(ctx)
	case "home_leave":
		return c.answerLeave(ctx)
	case "backup":
		return c.answerBackup(ctx, args)
	case "restore":
		return c.answerRestore(ctx, args)
	case "device_adopt":
		return c.answerAdopt(ctx, args.Device("id"), args.String("code"))
	}
	var answer any
	var err error
	if asked := c.box.ask(ctx, func() { answer, err = c.answer(name, args) }); asked != nil {
		if asked == errBusy {
			return nil, calls.Errorf(calls.Busy, "%w", asked)
		}
		return nil, asked
	}
	return answer, err
}

// answerAdopt answers when the yes is stored.
func (c *Configurator) answerAdopt(ctx context.Context, id model.DeviceID, digits string) (any, error) {
	type made struct {
		answer any
		err    error
	}
	got := make(chan made, 1)
	if !c.box.tell(func() {
		c.adoptByDigits(id, digits, func(err error) {
			if err != nil {
				got <- made{nil, err}
				return
			}
			r, _ := c.record(id)
			got <- made{c.summary(r), nil}
		})
	}) {
		return nil, calls.Errorf(calls.Busy, "%w", errBusy)
	}
	select {
	case m := <-got:
		return m.answer, m.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Configurator) answer(name string, args calls.Args) (any, error) {
	id := args.Device("id")
	switch name {
	case "status":
		return c.status(), nil
	case "device_list":
		return calls.DevicesResult{Devices: c.summaries()}, nil
	case "device_show":
		return c.detail(id)
	case "device_refuse":
		if _, ok := c.waiting[id]; !ok {
			return nil, calls.Errorf(calls.NotFound, "no device %s asks to be let in", id)
		}
		c.refuse(id, "a person said no")
		return calls.DoneResult{Text: fmt.Sprintf("%s was turned away.", id)}, nil
	case "device_set":
		return c.choose(id, args)
	case "drift_keep", "drift_revert":
		return c.answerDrift(id, name == "drift_keep")
	case "device_retire":
		return c.retire(id)
	case "pair":
		if args.Bool("wps") && !c.opts.Configurator.WPS {
			return nil, calls.Errorf(calls.PermissionDenied, "the WPS button opens no pairing window: option wps is off")
		}
		c.openWindow(args.Duration("for"))
		return c.pairing(), nil
	case "pair_code":
		if err := c.awaitCode(args.String("code"), args.Duration("for")); err != nil {
			return nil, err
		}
		return calls.CodeResult{Until: time.Now().Add(args.Duration("for")), Codes: c.members.codesWait()}, nil
	case "pair_close":
		if c.window != nil {
			c.closeWindow()
			c.tell("pairing.closed", "", "person", "The pairing window was closed.")
		}
		if c.members.dropAllCodes() > 0 {
			c.tell("pairing.codes-forgotten", "", "person", "The set-up codes that awaited their devices were forgotten.")
		}
		return c.pairing(), nil
	case "finding_list":
		return calls.FindingsResult{Findings: nonNil(c.findings.all())}, nil
	case "event_list":
		return calls.EventsResult{Events: nonNil(c.store.Events(args.Device("device"), int(args.Int("limit"))))}, nil
	case "metrics":
		return c.metrics(), nil
	case "key_status":
		return c.keyStatus(), nil
	case "key_rotate":
		return c.rotateKey(args.Bool("yes"))
	case "undo":
		return c.undo(uint64(args.Int("event")))
	case "multicast_allow":
		return c.allowMulticast()
	}
	return nil, calls.Errorf(calls.UnknownCall, "no call %q", name)
}

// answerPlan waits for the next pass, so that what is printed is what would be
// done now.
func (c *Configurator) answerPlan(ctx context.Context) (any, error) {
	type made struct {
		p      plan.Plan
		err    error
		names  map[model.DeviceID]string
		dryRun bool
	}
	got := make(chan made, 1)
	err := c.box.ask(ctx, func() {
		c.work.plans = append(c.work.plans, func(p plan.Plan, err error) {
			names := map[model.DeviceID]string{}
			for _, r := range c.everybody() {
				names[r.ID] = r.Name()
			}
			got <- made{p, err, names, c.opts.Configurator.DryRun}
		})
		c.touch()
	})
	if err != nil {
		return nil, err
	}
	select {
	case m := <-got:
		if m.err != nil {
			return nil, calls.Errorf(calls.Failed, "the gateway could not be looked at: %w", m.err)
		}
		out := calls.PlanResult{DryRun: m.dryRun, Lines: []calls.PlanLine{}, Findings: m.p.Findings}
		for _, l := range m.p.Lines {
			out.Lines = append(out.Lines, calls.PlanLine{Device: l.Device, Name: m.names[l.Device], What: l.What, Value: l.Value, Reason: l.Reason})
		}
		return out, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Configurator) status() calls.StatusResult {
	s := calls.StatusResult{Version: c.cfg.Version, Instance: hex.EncodeToString(c.home.instance[:]), Home: c.home.key.Public().Fingerprint(),
		Since: c.since, UptimeSeconds: int64(time.Since(c.since) / time.Second), Interface: c.iface, LinkUp: c.linkUp,
		DryRun: c.opts.Configurator.DryRun, LAN: c.net.LAN, WAN: c.net.WAN, Firewall: c.net.Firewall, Rates: c.net.Rates, Multicast: c.net.Multicast,
		Devices: map[model.DeviceState]int{}, Waiting: []calls.WaitingDevice{}, Findings: len(c.findings.all()), Pairing: c.pairing(),
		Problem: c.standing(), Counters: c.count.Snapshot()}
	for _, r := range c.everybody() {
		s.Devices[r.State]++
	}
	for id, w := range c.waiting {
		s.Waiting = append(s.Waiting, calls.WaitingDevice{ID: id, MAC: w.record.MACs[0], Way: w.asked.Way.String(), Digits: w.asked.Digits, Since: w.since})
	}
	sort.Slice(s.Waiting, func(i, j int) bool { return s.Waiting[i].Since.Before(s.Waiting[j].Since) })
	return s
}

func (c *Configurator) pairing() calls.PairResult {
	p := calls.PairResult{Way: string(c.opts.Configurator.Pairing), Open: c.window != nil, Codes: c.members.codesWait()}
	if c.window != nil {
		p.Until = c.window.until
	}
	return p
}

// everybody is all devices there are: ours, those who wait and those seen.
func (c *Configurator) everybody() []*model.Record {
	l := c.store.All()
	for _, w := range c.waiting {
		l = append(l, w.record)
	}
	l = append(l, c.seenRecords()...)
	sort.Slice(l, func(i, j int) bool { return l[i].ID < l[j].ID })
	return l
}

func (c *Configurator) record(id model.DeviceID) (*model.Record, error) {
	if w, ok := c.waiting[id]; ok {
		return w.record, nil
	}
	if r, ok := c.store.Get(id); ok {
		return r, nil
	}
	if r, ok := c.seen[id]; ok {
		return r, nil
	}
	return nil, calls.Errorf(calls.NotFound, "no device %s; `homeconf device list` shows those there are", id)
}

func (c *Configurator) summaries() []calls.DeviceSummary {
	l := []calls.DeviceSummary{}
	for _, r := range c.everybody() {
		if r.State != model.DeviceRetired {
			l = append(l, c.summary(r))
		}
	}
	return l
}

func (c *Configurator) summary(r *model.Record) calls.DeviceSummary {
	s := calls.DeviceSummary{ID: r.ID, Name: r.Name(), Category: r.Category(), Profile: c.plan.Profiles[r.ID], State: r.State,
		Agent: !r.ID.Agentless(), Online: c.peers[r.ID] != nil || c.waiting[r.ID] != nil || (r.Sighting != nil && r.Sighting.Active),
		Address: addressOf(r), Progress: c.progress(r), Findings: len(c.findings.of(r.ID)), LastSeen: r.LastSeen}
	if len(r.MACs) > 0 {
		s.MAC = r.MACs[0]
	}
	for _, m := range c.plan.Gateway.Marks {
		if m.Device == r.ID {
			s.Class = m.Class
		}
	}
	return s
}

// addressOf is the address in force, as far as known, else the assigned one.
func addressOf(r *model.Record) netip.Addr {
	if r.Report != nil {
		if i, ok := r.Report.Interface(); ok && len(i.Addresses) > 0 {
			return i.Addresses[0].Prefix.Addr()
		}
	}
	if r.Address.IsValid() {
		return r.Address
	}
	if r.Sighting != nil && len(r.Sighting.Addrs) > 0 {
		return r.Sighting.Addrs[0]
	}
	return netip.Addr{}
}

func (c *Configurator) progress(r *model.Record) string {
	switch {
	case !r.Ours():
		return ""
	case c.findings.has("device.refuses", r.ID):
		return "failed"
	case r.State == model.DeviceManaged && c.work.written[r.ID].IsValid(),
		r.Desired != nil && r.Confirmed == r.Desired.Generation:
		return "configured"
	}
	return "pending"
}

func (c *Configurator) detail(id model.DeviceID) (any, error) {
	r, err := c.record(id)
	if err != nil {
		return nil, err
	}
	d := calls.DeviceDetail{DeviceSummary: c.summary(r), Record: *r, Checks: c.checks[id], Problems: c.findings.of(id),
		Events: c.store.Events(id, 50)}
	for _, l := range c.plan.Lines {
		if l.Device == id {
			d.Plan = append(d.Plan, calls.PlanLine{Device: id, Name: r.Name(), What: l.What, Value: l.Value, Reason: l.Reason})
			if l.What == plan.WhatProfile {
				d.Why = l.Reason
			}
		}
	}
	if p, ok := c.profile(d.Profile); ok {
		d.Needs = &p
	}
	if m := c.peers[id]; m != nil {
		d.Session = &calls.SessionResult{Since: m.since, MAC: model.MAC(m.peer.MAC())}
	}
	return d, nil
}

func (c *Configurator) profile(name string) (model.Profile, bool) {
	if p, ok := c.profiles[name]; ok {
		return p, true
	}
	p, ok := plan.BuiltinProfiles()[name]
	return p, ok
}

// choose records what a person chose. It always beats a guess; for a device
// without an agent, a category or a profile is the yes that sets it up.
func (c *Configurator) choose(id model.DeviceID, args calls.Args) (any, error) {
	found, err := c.record(id)
	if err != nil {
		return nil, err
	}
	if found.State == model.DeviceWaiting {
		return nil, calls.Errorf(calls.InvalidArgument, "%s is not let in yet: homeconf device adopt %s --code NNNNNN", id, id)
	}
	r := found.Clone()
	if args.Has("name") {
		r.Choice.Name = args.String("name")
	}
	if args.Has("category") {
		r.Choice.Category = model.Category(args.String("category"))
	}
	if args.Has("profile") {
		r.Choice.Profile = args.String("profile")
		if _, known := c.profile(r.Choice.Profile); r.Choice.Profile != "" && !known {
			return nil, calls.Errorf(calls.InvalidArgument, "no profile %q", r.Choice.Profile)
		}
	}
	if args.Has("address") {
		if err := c.chooseAddress(r, args.String("address")); err != nil {
			return nil, err
		}
	}
	c.personActed()
	if r.Choice == found.Choice && !r.Declined {
		c.touch()
		return c.summary(found), nil
	}
	r.Declined = false
	if r.ID.Agentless() && (r.Choice.Category != "" || r.Choice.Profile != "" || r.Choice.Address.IsValid()) {
		r.State = model.DeviceManaged
	}
	if r.Here.IsZero() {
		r.Here = time.Now()
	}
	c.cfg.Step("choice.begin")
	if err := c.require(r); err != nil {
		return nil, calls.Errorf(calls.Failed, "the choice can't be stored: %w", err)
	}
	c.cfg.Step("choice.stored")
	delete(c.seen, id)
	c.tellChange("device.chosen", id, "person", fmt.Sprintf("A person chose for %s.", r.Name()), choiceChanges(found, r)...)
	c.touch()
	return c.summary(r), nil
}

func (c *Configurator) chooseAddress(r *model.Record, text string) error {
	if text == "" {
		r.Choice.Address = netip.Addr{}
		return nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return calls.Errorf(calls.InvalidArgument, "%.40q is no IPv4 address", text)
	}
	if lan := c.net.LAN.Prefix; lan.IsValid() && !lan.Contains(a) {
		return calls.Errorf(calls.InvalidArgument, "%s lies outside the LAN, which is %s", a, lan.Masked())
	}
	r.Choice.Address = a
	return nil
}

func (c *Configurator) allowMulticast() (any, error) {
	if !c.home.allowed["igmpproxy"] {
		if err := c.allow(true); err != nil {
			return nil, err
		}
		c.tellChange("multicast.allowed", "", "person", "A person allowed homeconf to set up the IGMP proxy.", model.Change{What: "igmpproxy", Before: "", After: "allowed"})
		c.touch()
	}
	return calls.DoneResult{Text: "homeconf may set up the IGMP proxy. It does so when a device needs it."}, nil
}

func nonNil[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
