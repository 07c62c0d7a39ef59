package plan

import (
	"net/netip"
	"slices"

	"homeconf/src/model"
)

// claim is one reason why an address may not be free. It does not count
// against a device that owns one of its MAC addresses.
type claim struct {
	kind claimKind
	macs []model.MAC
	host *model.HostEntry // claimReserved
}

type claimKind uint8

// In the order in which they are given as the reason.
const (
	claimReserved claimKind = iota // somebody's reservation, also one switched off
	claimLease
	claimProbe // it answered for the address
	claimLive  // a neighbour that the kernel lately reached
	claimStale // a neighbour that may be gone
)

// collectClaims notes who holds which address of the LAN.
func (p *planner) collectClaims() {
	add := func(a netip.Addr, c claim) {
		if a = a.Unmap(); p.space.ok() && p.space.prefix.Contains(a) {
			p.claims[a] = append(p.claims[a], c)
		}
	}
	n := &p.in.Network
	for i := range n.Reservations {
		h := &n.Reservations[i]
		add(h.Address, claim{kind: claimReserved, macs: h.MACs, host: h})
	}
	for i := range n.Leases {
		l := &n.Leases[i]
		add(l.Address, claim{kind: claimLease, macs: []model.MAC{l.MAC}})
	}
	for i := range n.Neighbors {
		b := &n.Neighbors[i]
		if b.MAC.IsZero() {
			continue // an unanswered question of the kernel's
		}
		kind := claimStale
		if b.Reachable {
			kind = claimLive
		}
		add(b.Address, claim{kind: kind, macs: []model.MAC{b.MAC}})
	}
	for a, m := range p.in.Busy {
		add(a, claim{kind: claimProbe, macs: []model.MAC{m}})
	}
}

// blocked says why a device may not have an address, or nothing. A device keeps
// what it has against a neighbour that may be long gone; a new address is
// never taken from one.
func (p *planner) blocked(a netip.Addr, id model.DeviceID, keeps bool) string {
	if id != "" && p.in.Policy.Refused[id] == a {
		return "the device did not take it"
	}
	return p.occupied(a, id, keeps)
}

// occupied is blocked without what the device itself thinks of it.
func (p *planner) occupied(a netip.Addr, id model.DeviceID, keeps bool) string {
	if why := p.space.unfit(a); why != "" {
		return why
	}
	if other, ok := p.kept[a]; ok && other != id {
		return "it is the address of " + p.called(other)
	}
	return p.held(a, id, keeps, false)
}

// held says who else is at an address, or nothing. byHand: the device has it by
// a reservation made by hand, so that no other needs to be written.
func (p *planner) held(a netip.Addr, id model.DeviceID, keeps, byHand bool) string {
	if other, ok := p.given[a]; ok && other != id {
		return "it is the address of " + p.called(other)
	}
	var worst *claim
	for i := range p.claims[a] {
		c := &p.claims[a][i]
		// A reservation made by hand for another of the device's own
		// addresses, be it switched off, would be a second one of this.
		theirs := c.kind == claimReserved && c.host.Owner != id && !byHand
		if keeps && c.kind == claimStale || p.owns(id, c.macs) && !theirs {
			continue
		}
		if worst == nil || c.kind < worst.kind || c.kind == worst.kind && c.before(worst) {
			worst = c
		}
	}
	if worst == nil {
		return ""
	}
	return p.holder(worst)
}

// before puts claims of one kind into an order, so that the reason given does
// not hang on the order in which the facts were found.
func (c *claim) before(o *claim) bool {
	if c.host != nil && o.host != nil && c.host.Section != o.host.Section {
		return c.host.Section < o.host.Section
	}
	return slices.CompareFunc(c.macs, o.macs, compareMACs) < 0
}

// owns says whether one of the MAC addresses is the device's.
func (p *planner) owns(id model.DeviceID, macs []model.MAC) bool {
	for _, m := range macs {
		if p.owner[m] == id && id != "" {
			return true
		}
	}
	return false
}

// holder says in words who claims an address.
func (p *planner) holder(c *claim) string {
	who := "another device"
	if len(c.macs) > 0 {
		who = "another device (" + c.macs[0].String() + ")"
		if id, ok := p.owner[c.macs[0]]; ok {
			who = p.called(id)
		}
	}
	switch c.kind {
	case claimReserved:
		switch {
		case c.host.Owner != "":
			return "homeconf reserved it for " + who
		case c.host.Enabled:
			return "a reservation made by hand (" + sectionOf(c.host) + ") holds it for " + who
		}
		return "a reservation made by hand (" + sectionOf(c.host) + "), though switched off, holds it for " + who
	case claimLease:
		return "the DHCP server has lent it to " + who
	case claimProbe:
		return who + " answers there"
	}
	return who + " was seen using it"
}

// called is a device's name with its id, for people.
func (p *planner) called(id model.DeviceID) string {
	i, ok := slices.BinarySearchFunc(p.records, id, func(r *model.Record, id model.DeviceID) int {
		switch {
		case r.ID < id:
			return -1
		case r.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return string(id)
	}
	return title(p.records[i])
}
