package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"homeconf/src/model"
)

// Port openings. A person makes one, or a device asks and its profile decides.
// An opening follows its device: it is in force while the device is known to be
// at the address that the gateway keeps for it, and else suspended; so it never
// leads to the gateway, nor to another host.

const (
	// Lease is how long an opening lasts that nobody said more of. It is
	// renewed when half is left, while its device is seen.
	Lease = 30 * 24 * time.Hour
	// MaxOpenings bounds the openings of one device, MaxWishes what is kept of
	// its wishes.
	MaxOpenings = 32
	MaxWishes   = 16
	// maxOpenHome bounds those of the home that are in force.
	maxOpenHome = 256
)

// PortState is where an opening stands.
type PortState string

// The states of an opening.
const (
	PortOpen      PortState = "open"
	PortSuspended PortState = "suspended"
	PortWish      PortState = "wish"    // waits for a person
	PortRefused   PortState = "refused" // by the profile, or by a person
)

// Port is an opening, or the wish for one, and where it stands.
type Port struct {
	Device  model.DeviceID
	Opening model.Opening
	State   PortState
	Why     string     // it is not open, a clause
	Address netip.Addr // where it leads
}

// WhatOpening is a line about an opening.
const WhatOpening = "opening"

// Presence is what is known of whether devices are at home.
type Presence struct {
	Now  time.Time
	Gone map[model.DeviceID]bool // absent for long
	Here map[model.DeviceID]bool // seen now
	// Doubtful are addresses that somebody else answers for.
	Doubtful map[netip.Addr]bool
	// Taken are the ports of the outside that something else has.
	Taken []model.Occupied
}

// planOpenings decides about every device's.
func (p *planner) planOpenings() {
	p.out.Openings = map[model.DeviceID][]model.Opening{}
	outer, granted := map[model.Port]bool{}, map[model.Port]bool{}
	for _, d := range p.devices {
		kept := p.keptOpenings(d)
		wishes, more := p.wishes(d, kept)
		if d.profile.Ports == model.PortsAlways {
			for _, w := range wishes {
				if len(kept) < MaxOpenings && p.takenBy(w) == "" && !granted[w.Outer()] && p.in.Presence.Now.Year() >= 2000 {
					granted[w.Outer()] = true
					kept = append(kept, Opened(w, p.in.Presence.Now, Lease, Lease))
				}
			}
			wishes = p.stillWished(wishes, kept)
		}
		p.out.Openings[d.rec.ID] = kept
		for _, o := range kept {
			p.planOpening(d, o, outer)
		}
		p.planWishes(d, wishes, more)
	}
}

// Opened is an opening that begins now.
func Opened(o model.Opening, now time.Time, last, renew time.Duration) model.Opening {
	o.Start, o.Lease, o.Expires = now.UTC().Truncate(time.Second), renew, time.Time{}
	if last > 0 {
		o.Expires = o.Start.Add(last)
	}
	o.Denied, o.Unasked = false, false
	return o
}

// keptOpenings are the device's that go on: not those whose time is up, nor
// those that the device asked for and asks no more. A long one is renewed.
func (p *planner) keptOpenings(d *device) []model.Opening {
	now := p.in.Presence.Now
	var out []model.Opening
	for _, o := range d.rec.Openings {
		expired := !o.Expires.IsZero() && !now.Before(o.Expires)
		if !o.Denied && (expired || o.Origin == "agent" && d.rec.Report != nil && !exposes(d.rec.Report, o.Inner())) {
			continue
		}
		if !o.Denied && o.Lease > 0 && p.in.Presence.Here[d.rec.ID] && o.Expires.Sub(now) < o.Lease/2 && !now.Before(o.Start) {
			o = Opened(o, now, o.Lease, o.Lease)
		}
		out = append(out, o)
	}
	return out
}

func exposes(r *model.Report, p model.Port) bool {
	return slices.ContainsFunc(r.Services, func(s model.Service) bool { return slices.Contains(s.Expose, p) })
}

// wishes are the ports that a device's agent asks for and that nobody has
// decided about; of many, the first ones.
func (p *planner) wishes(d *device, kept []model.Opening) (out []model.Opening, more int) {
	if d.rec.Report == nil || d.rec.State != model.DeviceAdopted {
		return nil, 0
	}
	seen := map[model.Port]bool{}
	for _, s := range d.rec.Report.Services {
		for _, port := range s.Expose {
			if seen[port] {
				continue
			}
			seen[port] = true
			o := model.Opening{ID: model.OpeningID(d.rec.ID, port, port.Number), Protocol: port.Protocol, Port: port.Number, External: port.Number,
				Reason: s.Name, Origin: "agent"}
			// Opened at another port outside is opened, too.
			if slices.ContainsFunc(kept, func(k model.Opening) bool { return k.Inner() == port }) {
				continue
			}
			if len(out) == MaxWishes {
				more++
				continue
			}
			out = append(out, o)
		}
	}
	return out, more
}

func (p *planner) stillWished(wishes, kept []model.Opening) []model.Opening {
	return slices.DeleteFunc(wishes, func(w model.Opening) bool {
		return slices.ContainsFunc(kept, func(k model.Opening) bool { return k.ID == w.ID })
	})
}

// TakenBy says who has the port outside of an opening already: something on the
// gateway, or another opening. Empty: nobody.
func TakenBy(o model.Opening, taken []model.Occupied, records []*model.Record) string {
	if by := occupant(taken, o.Outer()); by != "" {
		return by
	}
	for _, r := range records {
		for _, other := range r.Openings {
			if r.Ours() && !other.Denied && other.Outer() == o.Outer() && other.ID != o.ID {
				return title(r)
			}
		}
	}
	return ""
}

func occupant(taken []model.Occupied, port model.Port) string {
	for _, t := range taken {
		if t.Has(port) {
			return t.By
		}
	}
	return ""
}

func (p *planner) takenBy(o model.Opening) string { return TakenBy(o, p.in.Presence.Taken, p.records) }

// planOpening puts one in force, or says why not.
func (p *planner) planOpening(d *device, o model.Opening, outer map[model.Port]bool) {
	id := d.rec.ID
	port := Port{Device: id, Opening: o, State: PortOpen}
	defer func() { p.out.Ports = append(p.out.Ports, port) }()
	if o.Denied {
		port.State, port.Why = PortRefused, "a person said no"
		return
	}
	port.Address, port.Why = p.whereabouts(d)
	now := p.in.Presence.Now
	switch {
	case port.Why != "":
	case o.Unasked:
		port.Why = "it was restored from a backup, and waits for a yes"
	case now.Before(o.Start):
		port.Why = "the clock is not set"
	case outer[o.Outer()]:
		port.Why = "another opening has port " + o.Outer().String()
	case len(p.out.Gateway.Redirects) >= maxOpenHome:
		port.Why = "too many are open"
	}
	if by := occupant(p.in.Presence.Taken, o.Outer()); by != "" && port.Why == "" {
		port.Why = by + " has port " + o.Outer().String()
		p.findPort("opening-conflict", id, o, "Port "+o.Outer().String()+" of "+title(d.rec)+" can't stay open: "+by+" has it now.",
			"Take the port from the other, or open another one for the device: homeconf port open "+string(id)+" "+o.Inner().String()+" --external N")
	}
	what := o.Outer().String() + " outside to " + o.Inner().String()
	if port.Why != "" {
		port.State, port.Address = PortSuspended, netip.Addr{}
		p.line(id, WhatOpening, what+", suspended", port.Why)
		return
	}
	outer[o.Outer()] = true
	stop := model.LastStop
	until := "until it is closed"
	if !o.Expires.IsZero() {
		until = "until " + o.Expires.UTC().Format("2006-01-02 15:04") + " UTC"
		if o.Expires.Before(stop) {
			stop = o.Expires
		}
	}
	p.line(id, WhatOpening, what+", "+until, reasonOf(o))
	if !stop.After(o.Start) {
		return
	}
	p.out.Gateway.Redirects = append(p.out.Gateway.Redirects, model.Redirect{Device: id, Protocol: o.Protocol, External: o.External,
		Address: port.Address, Port: o.Port, Start: o.Start, Stop: stop, Reason: reasonOf(o)})
}

func reasonOf(o model.Opening) string {
	switch {
	case o.Reason != "":
		return words(o.Reason)
	case o.Origin == "agent":
		return "the device asked for it"
	}
	return "a person opened it"
}

// whereabouts is the address at which the device is known to be, if that is the
// one that the gateway keeps for it and for nobody else.
func (p *planner) whereabouts(d *device) (netip.Addr, string) {
	a := d.address
	switch {
	case p.in.Presence.Gone[d.rec.ID]:
		return a, "the device is not at home"
	case !d.fixed || !a.IsValid():
		return a, "the device has no address that is kept for it"
	case !p.space.ok() || !p.space.prefix.Contains(a) || a == p.space.gateway:
		return a, "the device's address is not one of a host in the home network"
	case p.in.Presence.Doubtful[a]:
		return a, "another device answers for its address"
	}
	for _, have := range currentAddresses(d.rec) {
		if have == a {
			return a, ""
		}
	}
	if d.rec.Report == nil && d.rec.Sighting == nil && d.rec.Address == a {
		return a, "" // not looked for yet since a restart
	}
	return a, "the device is not known to use its address " + a.String()
}

// planWishes says what a device asks for, and what its profile lets become of
// that.
func (p *planner) planWishes(d *device, wishes []model.Opening, more int) {
	if len(wishes) == 0 {
		return
	}
	id := d.rec.ID
	names := make([]string, len(wishes))
	for i, w := range wishes {
		port := Port{Device: id, Opening: w, State: PortWish, Why: "a person's yes is awaited"}
		by := p.takenBy(w)
		switch {
		case d.profile.Ports == model.PortsNever:
			port.State, port.Why = PortRefused, "profile "+d.profile.Name+" allows none"
		case by != "":
			port.Why = by + " has port " + w.Outer().String()
		case d.profile.Ports == model.PortsAlways:
			port.Why = "the device has too many already"
		}
		p.out.Ports = append(p.out.Ports, port)
		names[i] = w.Inner().String()
	}
	if d.profile.Ports == model.PortsNever {
		return
	}
	sort.Strings(names)
	shown := names[:min(len(names), 4)]
	text := title(d.rec) + " asks to be reached from outside at " + strings.Join(shown, ", ")
	if rest := len(names) - len(shown) + more; rest > 0 {
		text += fmt.Sprintf(" and %s more", count(rest, "port"))
	}
	p.find("port-wish", id, text+".", "If that is wanted: homeconf port allow "+wishes[0].ID+"; if not: homeconf port close "+wishes[0].ID+" (`homeconf port list` has them all).")
}

// findPort is find about one opening.
func (p *planner) findPort(kind string, id model.DeviceID, o model.Opening, text, step string) {
	fid := model.FindingID(kind, id) + ":" + o.Outer().String()
	if p.known[fid] {
		return
	}
	p.known[fid] = true
	p.out.Findings = append(p.out.Findings, model.Finding{ID: fid, Kind: kind, Device: id, Text: text, Step: step})
}
