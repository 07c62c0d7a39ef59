package configurator

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/plan"
)

// absence is how long a device is away until its openings are suspended.
const absence = 10 * time.Minute

// ports is what the loop knows of port openings beyond the records and the plan.
type ports struct {
	taken    []model.Occupied             // by others, at the last look
	active   map[model.DeviceID]bool      // seen by the gateway at its last look
	away     map[model.DeviceID]time.Time // since when devices with openings are not seen
	stood    map[string]plan.Port         // how each stood at the last pass, by its id
	verified []model.Redirect             // read back
	timer    *time.Timer                  // for the next that ends
	coming   []func(error)                // who waits for the next pass to take them up
	inPass   []func(error)                // and whom the pass under way answers
}

// hasPorts says whether any device has an opening or asks for one.
func (c *Configurator) hasPorts() bool {
	for _, r := range c.store.All() {
		if !r.Ours() {
			continue
		}
		if len(r.Openings) > 0 || r.Report != nil && slices.ContainsFunc(r.Report.Services, func(s model.Service) bool { return len(s.Expose) > 0 }) {
			return true
		}
	}
	return false
}

// presence is what openings depend on, now.
func (c *Configurator) presence() plan.Presence {
	now := time.Now()
	p := plan.Presence{Now: now, Gone: map[model.DeviceID]bool{}, Here: map[model.DeviceID]bool{}, Doubtful: c.contested, Taken: c.ports.taken}
	away := map[model.DeviceID]time.Time{}
	for _, r := range c.store.All() {
		if len(r.Openings) == 0 {
			continue
		}
		if c.peers[r.ID] != nil || c.ports.active[r.ID] {
			p.Here[r.ID] = true
			continue
		}
		since, ok := c.ports.away[r.ID]
		if !ok {
			since = now
		}
		away[r.ID] = since
		p.Gone[r.ID] = now.Sub(since) >= absence
	}
	c.ports.away = away
	return p
}

// presenceChanged is told that a device with openings may have come or gone.
func (c *Configurator) presenceChanged(id model.DeviceID) {
	if r, ok := c.store.Get(id); ok && len(r.Openings) > 0 {
		c.touch()
	}
}

// sawActive is told of all devices of ours that the gateway sees now.
func (c *Configurator) sawActive(active map[model.DeviceID]bool) {
	was := c.ports.active
	c.ports.active = active
	for id := range was {
		if !active[id] {
			c.presenceChanged(id)
		}
	}
	for id := range active {
		if !was[id] {
			c.presenceChanged(id)
		}
	}
}

// desirePorts puts the plan's openings into a record, and says whether that
// changes it.
func (c *Configurator) desirePorts(r *model.Record, p plan.Plan) bool {
	want, ok := p.Openings[r.ID]
	if !ok || slices.Equal(r.Openings, want) {
		return false
	}
	had := map[string]model.Opening{}
	for _, o := range r.Openings {
		had[o.ID] = o
	}
	for _, o := range want {
		old, was := had[o.ID]
		delete(had, o.ID)
		switch {
		case !was:
			c.tell("port.opened", r.ID, "plan", fmt.Sprintf("%s asked for port %s to be opened, and its profile allows that.", r.Name(), o.Outer()))
		case !old.Start.Equal(o.Start):
			c.tell("port.renewed", r.ID, "plan", fmt.Sprintf("Port %s stays open to %s %s.", o.Outer(), r.Name(), untilWhen(o)))
		}
	}
	for _, o := range r.Openings {
		if _, gone := had[o.ID]; !gone {
			continue
		}
		why := "its time is up"
		if o.Expires.IsZero() || time.Now().Before(o.Expires) {
			why = "the device asks for it no more"
		}
		c.tell("port.closed", r.ID, "plan", fmt.Sprintf("Port %s to %s was closed: %s.", o.Outer(), r.Name(), why))
	}
	r.Openings = want
	return true
}

func untilWhen(o model.Opening) string {
	if o.Expires.IsZero() {
		return "until it is closed"
	}
	return "until " + o.Expires.UTC().Format("2006-01-02 15:04") + " UTC"
}

// portsDecided tells which openings were suspended or came back, and has the
// next pass come when one ends.
func (c *Configurator) portsDecided(p plan.Plan) {
	c.ports.inPass = append(c.ports.inPass, c.ports.coming...)
	c.ports.coming = nil
	stands := map[string]plan.Port{}
	for _, port := range p.Ports {
		id := port.Opening.ID
		old, known := c.ports.stood[id]
		stands[id] = port
		if !known || old.Device != port.Device || old.State == port.State {
			continue
		}
		r, ok := c.store.Get(port.Device)
		switch {
		case !ok:
		case old.State == plan.PortOpen && port.State == plan.PortSuspended:
			c.tell("port.suspended", port.Device, "plan", fmt.Sprintf("Port %s to %s is suspended: %s.", port.Opening.Outer(), r.Name(), port.Why))
		case old.State == plan.PortSuspended && port.State == plan.PortOpen:
			c.tell("port.resumed", port.Device, "plan", fmt.Sprintf("Port %s leads to %s again.", port.Opening.Outer(), r.Name()))
		}
	}
	c.ports.stood = stands

	now := time.Now()
	next := time.Duration(0)
	at := func(t time.Time) {
		if d := t.Sub(now); d > 0 && (next == 0 || d < next) {
			next = d
		}
	}
	for _, port := range p.Ports {
		if !port.Opening.Expires.IsZero() {
			at(port.Opening.Expires)
		}
		if since, away := c.ports.away[port.Device]; away {
			at(since.Add(absence))
		}
	}
	if c.ports.timer != nil {
		c.ports.timer.Stop()
		c.ports.timer = nil
	}
	if next > 0 && next < lookEvery {
		c.ports.timer = c.after(next, c.touch)
	}
}

// verifyPorts says whether what is wanted was not read back yet.
func (c *Configurator) verifyPorts(want []model.Redirect) bool {
	return !slices.Equal(want, c.ports.verified)
}

// portsPassed is told of every pass that ends.
func (c *Configurator) portsPassed(err error) {
	waiting := c.ports.inPass
	if c.ports.inPass = nil; err != nil {
		waiting = append(waiting, c.ports.coming...)
		c.ports.coming = nil
	}
	for _, f := range waiting {
		f(err)
	}
}

// callPorts answers the calls about openings; it waits until the gateway has
// taken a change up.
func (c *Configurator) callPorts(ctx context.Context, name string, args calls.Args) (any, error) {
	taken, err := c.cfg.Gateway.Occupied(ctx)
	if err != nil {
		return nil, calls.Errorf(calls.Failed, "the gateway could not be looked at: %w", err)
	}
	var id string
	var refused error
	passed := make(chan error, 1)
	asked := c.box.ask(ctx, func() {
		switch name {
		case "port_open":
			id, refused = c.openPort(args, taken)
		case "port_allow":
			id, refused = c.allowPort(args.String("id"), taken)
		default:
			id, refused = c.closePort(args.String("id"))
		}
		if refused == nil {
			c.ports.coming = append(c.ports.coming, func(err error) { passed <- err })
			c.touch()
		}
	})
	switch {
	case asked == errBusy:
		return nil, calls.Errorf(calls.Busy, "%w", asked)
	case asked != nil:
		return nil, asked
	case refused != nil:
		return nil, refused
	}
	select {
	case err = <-passed:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, calls.Errorf(calls.Failed, "it is noted, but the gateway could not be set up: %w; homeconf tries again by itself", err)
	}
	var answer any = calls.DoneResult{Text: "It is closed."}
	if name != "port_close" {
		asked = c.box.ask(ctx, func() {
			for _, p := range c.plan.Ports {
				if p.Opening.ID == id {
					answer = c.portResult(p)
				}
			}
		})
	}
	return answer, asked
}

// openPort makes an opening, as a person wishes.
func (c *Configurator) openPort(args calls.Args, taken []model.Occupied) (string, error) {
	r, err := c.record(args.Device("id"))
	if err != nil {
		return "", err
	}
	inner, err := model.ParsePort(args.String("port"))
	if err != nil {
		return "", calls.Errorf(calls.InvalidArgument, "%w", err)
	}
	last, renew := plan.Lease, plan.Lease
	if args.Has("for") {
		if last, err = calls.ParseLast(args.String("for")); err != nil {
			return "", calls.Errorf(calls.InvalidArgument, "for: %w", err)
		}
		renew = 0
	}
	external := inner.Number
	if args.Has("external") {
		external = uint16(args.Int("external"))
	}
	return c.grant(r, model.Opening{ID: model.OpeningID(r.ID, inner, external), Protocol: inner.Protocol, Port: inner.Number, External: external,
		Reason: args.String("reason"), Origin: "person"}, taken, last, renew)
}

// allowPort says yes to a wish, or to what waits for one.
func (c *Configurator) allowPort(id string, taken []model.Occupied) (string, error) {
	p, err := c.findPort(id)
	if err != nil {
		return "", err
	}
	r, err := c.record(p.Device)
	if err != nil {
		return "", err
	}
	if p.State == plan.PortOpen {
		return id, nil
	}
	return c.grant(r, p.Opening, taken, plan.Lease, plan.Lease)
}

// findPort finds what a person means; who made two ids alike gets neither.
func (c *Configurator) findPort(id string) (plan.Port, error) {
	var found []plan.Port
	for _, p := range c.plan.Ports {
		if p.Opening.ID == id {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return plan.Port{}, calls.Errorf(calls.NotFound, "no port %s; `homeconf port list` shows those there are", id)
	}
	return plan.Port{}, calls.Errorf(calls.Failed, "%d ports have the id %s; retire the devices that you don't know", len(found), id)
}

// grant stores an opening, unless something stands against it.
func (c *Configurator) grant(r *model.Record, o model.Opening, taken []model.Occupied, last, renew time.Duration) (string, error) {
	refuse := func(format string, args ...any) (string, error) {
		return "", calls.Errorf(calls.Failed, "port %s can't be opened to %s: "+format, append([]any{o.Outer(), r.Name()}, args...)...)
	}
	now := time.Now()
	switch {
	case !r.Ours():
		return refuse("the device does not belong to this home")
	case c.opts.Configurator.DryRun:
		return refuse("option dry_run is on, so nothing is changed")
	case c.problem != "":
		return refuse("%s", c.problem)
	case c.net.WAN.Network == "":
		return refuse("the gateway has no WAN")
	case c.net.Firewall == model.FirewallNone:
		return refuse("the gateway has no firewall that could; install the package iptables")
	case !c.plan.Addresses[r.ID].IsValid():
		return refuse("the device has no address that is kept for it")
	case now.Year() < 2000 || now.After(model.LastStop):
		return refuse("the gateway's clock is not set")
	}
	if by := plan.TakenBy(o, taken, c.store.All()); by != "" {
		return refuse("%s has that port", by)
	}
	others := slices.DeleteFunc(slices.Clone(r.Openings), func(have model.Opening) bool { return have.ID == o.ID })
	if len(others) >= plan.MaxOpenings {
		return refuse("it has %d already", len(others))
	}
	changed := r.Clone()
	o = plan.Opened(o, now, last, renew)
	changed.Openings = append(others, o)
	c.cfg.Step("port.begin")
	if err := c.require(changed); err != nil {
		return "", calls.Errorf(calls.Failed, "the opening can't be stored: %w", err)
	}
	c.cfg.Step("port.stored")
	detail := []string{}
	if o.Reason != "" {
		detail = append(detail, "reason: "+o.Reason)
	}
	c.tell("port.opened", r.ID, "person", fmt.Sprintf("A person opened port %s to %s of %s %s.", o.Outer(), o.Inner(), r.Name(), untilWhen(o)), detail...)
	return o.ID, nil
}

// closePort ends an opening, or says no to a wish. What a device asked for is
// remembered: it would ask again at once.
func (c *Configurator) closePort(id string) (string, error) {
	p, err := c.findPort(id)
	if err != nil {
		return "", err
	}
	r, err := c.record(p.Device)
	if err != nil {
		return "", err
	}
	changed := r.Clone()
	changed.Openings = slices.DeleteFunc(slices.Clone(r.Openings), func(o model.Opening) bool { return o.ID == id })
	what := "A person closed port %s to %s."
	if o := p.Opening; o.Origin == "agent" {
		denied := 0
		for _, have := range changed.Openings {
			if have.Denied {
				denied++
			}
		}
		if denied >= maxDenied {
			i := slices.IndexFunc(changed.Openings, func(o model.Opening) bool { return o.Denied })
			changed.Openings = slices.Delete(changed.Openings, i, i+1)
		}
		o.Denied, o.Unasked, o.Start, o.Expires, o.Lease = true, false, time.Time{}, time.Time{}, 0
		changed.Openings = append(changed.Openings, o)
		if p.State == plan.PortWish {
			what = "A person said no to port %s for %s."
		}
	}
	c.cfg.Step("port.begin")
	if err := c.require(changed); err != nil {
		return "", calls.Errorf(calls.Failed, "that can't be stored: %w", err)
	}
	c.cfg.Step("port.stored")
	c.tell("port.closed", r.ID, "person", fmt.Sprintf(what, p.Opening.Outer(), r.Name()))
	return id, nil
}

// maxDenied bounds the noes that are remembered of one device.
const maxDenied = 32

func (c *Configurator) listPorts() calls.PortsResult {
	out := calls.PortsResult{Ports: []calls.Port{}}
	for _, p := range c.plan.Ports {
		out.Ports = append(out.Ports, c.portResult(p))
	}
	sort.SliceStable(out.Ports, func(i, j int) bool { return out.Ports[i].State < out.Ports[j].State })
	return out
}

func (c *Configurator) portResult(p plan.Port) calls.Port {
	o := p.Opening
	out := calls.Port{ID: o.ID, Device: p.Device, Protocol: o.Protocol, Internal: o.Port, External: o.External, State: string(p.State), Why: p.Why,
		Address: p.Address, Reason: o.Reason, Origin: o.Origin, Until: o.Expires, Renewed: o.Lease > 0}
	if r, ok := c.store.Get(p.Device); ok {
		out.Name = r.Name()
	}
	return out
}
