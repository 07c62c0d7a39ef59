package plan

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"homeconf/src/model"
)

// The kinds of findings that a plan makes.
const (
	KindRecord        = "record.malformed"
	KindSuggest       = "device.suggested"
	KindNoAddress     = "address.none-free"
	KindChoice        = "address.choice-taken"
	KindOutside       = "address.outside"
	KindNoMAC         = "device.no-mac"
	KindByHand        = "reservation.by-hand"
	KindDuplicate     = "reservation.duplicate"
	KindCapability    = "device.can-not"
	KindBandwidth     = "bandwidth.down"
	KindBandwidthUp   = "bandwidth.up"
	KindRates         = "bandwidth.unknown"
	KindLink          = "link.slow"
	KindShaper        = "qos.no-shaper"
	KindOffloading    = "qos.offloading"
	KindProxy         = "igmpproxy.needed"
	KindProxyStopped  = "igmpproxy.stopped"
	KindProxyMissing  = "igmpproxy.not-installed"
	KindProxyLAN      = "igmpproxy.not-for-lan"
	KindProxySenders  = "igmpproxy.senders"
	KindNoLAN         = "lan.no-subnet"
	KindNoWAN         = "wan.missing"
	stepChooseAddress = "choose another one: homeconf device set "
)

// assignAddresses gives every device of ours its address: first what a person
// said, then what each has, then new ones, so that nobody loses what he has to
// somebody who comes later.
func (p *planner) assignAddresses() {
	if !p.space.ok() {
		if len(p.devices) > 0 {
			p.find(KindNoLAN, "", "The LAN has no IPv4 subnet that addresses could be given from.", "Look at the LAN's address on the gateway.")
		}
		return
	}
	for _, d := range p.devices {
		p.byHand(d)
	}
	for _, d := range p.devices {
		p.keep(d)
	}
	for _, try := range []func(*device){p.tryByHand, p.tryChoice, p.tryKept, p.tryMoved, p.tryCurrent, p.tryNew} {
		for _, d := range p.devices {
			if !d.address.IsValid() && p.wantsAddress(d) {
				try(d)
			}
		}
	}
}

// wantsAddress says whether a device is to have a fixed address.
func (p *planner) wantsAddress(d *device) bool {
	if len(d.macs) == 0 {
		p.find(KindNoMAC, d.rec.ID, "No MAC address of "+title(d.rec)+" is known that is its own, so no address can be kept for it.",
			"Look for another device that shows the same address; homeconf device show "+string(d.rec.ID))
		return false
	}
	return d.profile.Address != model.AddressDynamic || d.rec.Choice.Address.IsValid() || d.byHand != nil
}

// byHand finds a reservation that somebody else made for the device, for any of
// its MAC addresses: a second one of the same address would keep dnsmasq from
// starting. An entry without an address, as for a host name, stands in nobody's
// way, nor does one whose address the DHCP server can't give.
func (p *planner) byHand(d *device) {
	for _, h := range p.hosts {
		if h.Owner != "" || !h.Enabled || !p.owns(d.rec.ID, h.MACs) {
			continue
		}
		if !h.Address.IsValid() {
			continue
		}
		if why := p.space.impossible(h.Address.Unmap()); why != "" {
			p.find(KindByHand, d.rec.ID, "The reservation made by hand ("+sectionOf(h)+") for "+title(d.rec)+" names "+h.Address.String()+", which is of no use: "+why+".",
				"Correct its address, or delete it.")
			continue
		}
		d.byHand = h
		return
	}
}

// keep notes the address that a device has had, if it may stay, before anybody
// chooses: what one device has, no other gets, whatever was chosen for that.
func (p *planner) keep(d *device) {
	p.keepFree(d)
	a := d.rec.Address.Unmap()
	if !a.IsValid() || len(d.macs) == 0 || d.byHand != nil {
		return
	}
	if d.lost = p.blocked(a, d.rec.ID, true); d.lost == "" {
		p.kept[a] = d.rec.ID
	}
}

func (p *planner) give(d *device, a netip.Addr, why string) {
	d.address, d.addressWhy, d.fixed = a, why, true
	p.given[a] = d.rec.ID
}

func (p *planner) tryByHand(d *device) {
	h := d.byHand
	if h == nil {
		return
	}
	id, a, c := d.rec.ID, h.Address.Unmap(), d.rec.Choice.Address.Unmap()
	if c.IsValid() && c != a {
		p.find(KindChoice, id, "The address "+c.String()+" that was chosen for "+title(d.rec)+" can't be used: a reservation made by hand ("+sectionOf(h)+") gives it "+a.String()+".",
			"Delete that reservation, or change it to "+c.String()+".")
	}
	if why := p.held(a, id, true, true); why != "" {
		p.find(KindByHand, id, "The reservation made by hand ("+sectionOf(h)+") for "+title(d.rec)+" names "+a.String()+", but "+why+".",
			"Change the reservation's address, or the other device's.")
		return
	}
	p.give(d, a, "a reservation made by hand ("+sectionOf(h)+") gives it, and stays as it is")
}

func (p *planner) tryChoice(d *device) {
	a, had := d.rec.Choice.Address.Unmap(), d.rec.Address.Unmap()
	if !a.IsValid() || d.byHand != nil {
		return
	}
	if moved, ok := p.space.moved(a); ok {
		if p.blocked(moved, d.rec.ID, moved == had) == "" {
			d.fresh = moved != had
			p.give(d, moved, "a person chose "+a.String()+", and the home network is another one now")
		}
		return
	}
	if why := p.blocked(a, d.rec.ID, a == had); why != "" {
		p.find(KindChoice, d.rec.ID, "The address "+a.String()+" that was chosen for "+title(d.rec)+" can't be used: "+why+".",
			stepChooseAddress+string(d.rec.ID)+" --address ADDRESS")
		return
	}
	d.fresh = a != had
	p.give(d, a, "a person chose it")
}

func (p *planner) tryKept(d *device) {
	a := d.rec.Address.Unmap()
	if !a.IsValid() || d.byHand != nil {
		return
	}
	if d.lost = p.blocked(a, d.rec.ID, true); d.lost == "" {
		p.give(d, a, "it has had this address")
	}
}

// tryCurrent leaves a device where it is, if it is well there: least surprise.
// In the pool it is not: somebody else may have been promised the address.
func (p *planner) tryCurrent(d *device) {
	if d.byHand != nil {
		return
	}
	for _, a := range currentAddresses(d.rec) {
		if !p.space.inPool(a) && p.blocked(a, d.rec.ID, true) == "" {
			d.fresh = true
			p.give(d, a, "it uses this address now, and nobody else does"+d.moved())
			return
		}
	}
}

func currentAddresses(r *model.Record) []netip.Addr {
	var out []netip.Addr
	if r.Report != nil {
		if i, ok := r.Report.Interface(); ok {
			for _, a := range i.Addresses {
				out = append(out, a.Prefix.Addr().Unmap())
			}
		}
	} else if r.Sighting != nil {
		for _, a := range r.Sighting.Addrs {
			out = append(out, a.Unmap())
		}
	}
	sortAddrs(out)
	return out
}

// moved says why a device is not left the address it had.
func (d *device) moved() string {
	if d.lost == "" {
		return ""
	}
	return "; it had " + d.rec.Address.String() + ", but " + d.lost
}

func (p *planner) tryNew(d *device) {
	if d.byHand != nil {
		return // a second reservation would stand against somebody's own
	}
	a, ok := p.space.walk(func(a netip.Addr) bool { return p.blocked(a, d.rec.ID, false) == "" })
	if !ok {
		p.find(KindNoAddress, d.rec.ID, "No address of the LAN is free for "+title(d.rec)+".",
			"Let devices go that are not there any more, or give the LAN a larger subnet.")
		return
	}
	d.fresh = true
	where := "the first free one outside the DHCP pool"
	if p.space.inPool(a) {
		where = "the first free one; outside the DHCP pool there is none"
	}
	p.give(d, a, where+d.moved())
}

// spareAddresses are the next free ones, should one of those given answer.
func (p *planner) spareAddresses(n int) []netip.Addr {
	var out []netip.Addr
	for len(out) < n {
		a, ok := p.space.walk(func(a netip.Addr) bool { return p.blocked(a, "", false) == "" })
		if !ok {
			break
		}
		out = append(out, a)
	}
	return out
}

// listProbes lists what nobody has asked the wire about yet.
func (p *planner) listProbes() {
	for _, d := range p.devices {
		if d.fresh && d.address.IsValid() && !p.in.Probed[d.address] {
			p.out.Probe = append(p.out.Probe, d.address)
		}
	}
	if len(p.out.Probe) == 0 {
		return
	}
	for _, a := range p.spareAddresses(spares) {
		if !p.in.Probed[a] {
			p.out.Probe = append(p.out.Probe, a)
		}
	}
	sortAddrs(p.out.Probe)
}

// sortAddrs, as all sorting here, is not slices.SortFunc: that is compiled anew
// for each type, which a router's flash has no room for.
func sortAddrs(s []netip.Addr) {
	sort.Slice(s, func(i, j int) bool { return s[i].Less(s[j]) })
}

// nameReservations gives each reservation a host name that no other has.
func (p *planner) nameReservations() {
	taken := map[string]bool{}
	for _, n := range p.in.Policy.Names {
		taken[strings.ToLower(n)] = true
	}
	// Names that clients look up by themselves: with one of them a device would
	// speak for the home.
	for _, n := range []string{"localhost", "wpad", "isatap"} {
		taken[n] = true
	}
	has := map[model.DeviceID]string{} // the name of its reservation until now
	for _, h := range p.hosts {
		switch {
		case h.Owner == "":
			taken[strings.ToLower(h.Name)] = true
		case has[h.Owner] == "" || h.Name < has[h.Owner]:
			has[h.Owner] = h.Name
		}
	}
	ours := map[model.DeviceID]bool{}
	for _, d := range p.devices {
		ours[d.rec.ID] = true
	}
	for i := range p.in.Network.Leases {
		if l := &p.in.Network.Leases[i]; !ours[p.owner[l.MAC]] {
			taken[strings.ToLower(l.HostName)] = true
		}
	}
	// Who bears a name keeps it against those who come later.
	for _, d := range p.devices {
		base := p.base(d)
		name := has[d.rec.ID]
		number, numbered := strings.CutPrefix(name, base+"-")
		if n, err := strconv.ParseUint(number, 10, 16); name == base || numbered && err == nil && n > 1 {
			if !taken[name] && label(name) == name {
				taken[name], d.name = true, name
			}
		}
	}
	for _, d := range p.devices {
		base := p.base(d)
		for n := 1; d.name == ""; n++ {
			name := base
			if n > 1 {
				suffix := "-" + strconv.Itoa(n)
				name = base[:min(len(base), 63-len(suffix))] + suffix
			}
			if !taken[name] {
				taken[name], d.name = true, name
			}
		}
	}
}

// base is the name that a device gets if nobody has it yet.
func (p *planner) base(d *device) string {
	if base := label(d.rec.Name()); base != "" {
		return base
	}
	return string(d.rec.ID)
}

// label makes a DNS label of a name (RFC 1123, 2.1).
func label(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 63 {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}
