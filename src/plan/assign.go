package plan

import (
	"net/netip"
	"slices"
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
	for _, try := range []func(*device){p.tryByHand, p.tryChoice, p.tryKept, p.tryCurrent, p.tryNew} {
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
	return d.profile.Address != model.AddressDynamic || d.rec.Choice.Address.IsValid() || d.byHand != nil && d.byHand.Address.IsValid()
}

// byHand finds a reservation that somebody else made for the device, for any of
// its MAC addresses: a second one of the same address would keep dnsmasq from
// starting.
func (p *planner) byHand(d *device) {
	hosts := p.in.Network.Reservations
	best := -1
	for i := range hosts {
		h := &hosts[i]
		if h.Owner != "" || !h.Enabled || !p.owns(d.rec.ID, h.MACs) {
			continue
		}
		if best < 0 || h.Section < hosts[best].Section {
			best = i
		}
	}
	if best >= 0 {
		d.byHand = &hosts[best]
	}
}

func (p *planner) give(d *device, a netip.Addr, why string) {
	d.address, d.addressWhy, d.fixed = a, why, true
	p.given[a] = d.rec.ID
}

func (p *planner) tryByHand(d *device) {
	if h := d.byHand; h != nil && h.Address.IsValid() && p.space.unfit(h.Address) == "" {
		if _, taken := p.given[h.Address]; !taken {
			p.give(d, h.Address, "a reservation made by hand ("+sectionOf(h)+") gives it, and stays as it is")
		}
	}
}

func (p *planner) tryChoice(d *device) {
	a := d.rec.Choice.Address
	if !a.IsValid() {
		return
	}
	if why := p.blocked(a, d.rec.ID, a == d.rec.Address); why != "" {
		p.find(KindChoice, d.rec.ID, "The address "+a.String()+" that was chosen for "+title(d.rec)+" can't be used: "+why+".",
			stepChooseAddress+string(d.rec.ID)+" --address ADDRESS")
		return
	}
	d.fresh = a != d.rec.Address
	p.give(d, a, "a person chose it")
}

func (p *planner) tryKept(d *device) {
	if a := d.rec.Address; a.IsValid() && p.blocked(a, d.rec.ID, true) == "" {
		p.give(d, a, "it has had this address")
	}
}

// tryCurrent leaves a device where it is, if it is well there: least surprise.
// In the pool it is not: somebody else may have been promised the address.
func (p *planner) tryCurrent(d *device) {
	for _, a := range currentAddresses(d.rec) {
		if !p.space.inPool(a) && p.blocked(a, d.rec.ID, true) == "" {
			d.fresh = true
			p.give(d, a, "it uses this address now, and nobody else does")
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
		out = append(out, r.Sighting.Addrs...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

func (p *planner) tryNew(d *device) {
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
	p.give(d, a, where)
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
	slices.SortFunc(p.out.Probe, netip.Addr.Compare)
}

// nameReservations gives each reservation a host name that no other has.
func (p *planner) nameReservations() {
	taken := map[string]bool{}
	for _, n := range p.in.Policy.Names {
		taken[strings.ToLower(n)] = true
	}
	for i := range p.in.Network.Reservations {
		if h := &p.in.Network.Reservations[i]; h.Owner == "" && h.Name != "" {
			taken[strings.ToLower(h.Name)] = true
		}
	}
	for _, d := range p.devices {
		base := label(d.rec.Name())
		if base == "" {
			base = string(d.rec.ID)
		}
		name := base
		for n := 2; taken[name]; n++ {
			suffix := "-" + strconv.Itoa(n)
			name = base[:min(len(base), 63-len(suffix))] + suffix
		}
		taken[name] = true
		d.name = name
	}
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
