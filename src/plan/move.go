package plan

import (
	"net/netip"

	"homeconf/src/model"
)

// moved is where an address of another subnet belongs in this one: the host
// part stays. It is false for an address that is in this one.
func (s *space) moved(a netip.Addr) (netip.Addr, bool) {
	if !s.ok() || !a.Is4() || s.prefix.Contains(a) {
		return netip.Addr{}, false
	}
	hosts := uint32(1)<<(32-s.prefix.Bits()) - 1
	return address(number(s.prefix.Addr()) | number(a)&hosts), true
}

// tryMoved follows the home into another subnet.
func (p *planner) tryMoved(d *device) {
	if d.byHand != nil {
		return
	}
	a, ok := p.space.moved(d.rec.Address.Unmap())
	if ok && p.blocked(a, d.rec.ID, false) == "" {
		d.fresh = true
		p.give(d, a, "the home network is another one now, and it keeps its host part; it had "+d.rec.Address.String())
	}
}

// former are the addresses that a device's agent may still use, and that
// nobody else is at.
func (p *planner) former(d *device) []netip.Addr {
	var out []netip.Addr
	for _, a := range d.rec.Former {
		if a = a.Unmap(); d.rec.State == model.DeviceAdopted && len(d.macs) > 0 && p.occupied(a, d.rec.ID, true) == "" {
			out = append(out, a)
		}
	}
	return out
}

// keepFree gives to no other device what one may still use.
func (p *planner) keepFree(d *device) {
	for _, a := range p.former(d) {
		p.kept[a] = d.rec.ID
	}
}

// keepFormer has the gateway keep, beside the new state of a device that has
// not confirmed it, the one that it had. An address of another subnet has no
// state: the DHCP server can't give it, and nothing is sent there. For a device
// on DHCP the reservation is what moves it, so there is one, and its earlier
// address is only kept from others.
func (p *planner) keepFormer() {
	for _, d := range p.devices {
		s, asked := p.out.Settings[d.rec.ID]
		if !asked || s.AddressingType != model.AddressingStatic {
			continue
		}
		g := &p.out.Gateway
		for _, a := range p.former(d) {
			if a == d.address {
				continue
			}
			for _, r := range g.Reservations {
				if r.Device == d.rec.ID && r.Address == d.address {
					r.Address, r.Reason = a, "until the device has confirmed its new address"
					g.Reservations = append(g.Reservations, r)
				}
			}
			for _, m := range g.Marks {
				if m.Device == d.rec.ID && m.Address == d.address {
					m.Address, m.Groups, m.Reason = a, nil, "until the device has confirmed its new address"
					g.Marks = append(g.Marks, m)
				}
			}
		}
	}
}
