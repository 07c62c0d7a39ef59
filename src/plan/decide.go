package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"homeconf/src/model"
)

// suggest says of a device that was only seen how one yes sets it up.
func (p *planner) suggest(r *model.Record, id Identity) {
	if r.State != model.DeviceSeen || p.in.Policy.Agentless == AgentlessList || id.Category == model.CategoryUnknown {
		return
	}
	p.find(KindSuggest, r.ID, title(r)+" looks like "+string(id.Category)+" ("+id.Why+").",
		"If so, say: homeconf device set "+string(r.ID)+" --category "+string(id.Category))
}

// planDevice decides what one device should be, on both sides.
func (p *planner) planDevice(d *device) {
	id := d.rec.ID
	p.line(id, WhatProfile, d.profile.Name, d.why)
	if !d.fixed {
		if d.profile.Address == model.AddressDynamic {
			p.line(id, WhatAddress, "any", "its profile leaves the address to DHCP")
			p.release(d)
		}
		return
	}
	p.out.Addresses[id] = d.address
	p.line(id, WhatAddress, d.address.String(), d.addressWhy)
	p.reserve(d)
	p.settle(d)
}

// release asks an agent to let go of an address that was set on it, when the
// address is no longer kept for it.
func (p *planner) release(d *device) {
	r := d.rec
	if r.State == model.DeviceAdopted && r.Desired != nil && r.Desired.AddressingType == model.AddressingStatic &&
		r.Report != nil && r.Report.Can(model.CanDHCPv4) {
		p.out.Settings[r.ID] = model.Settings{AddressingType: model.AddressingDHCP}
		p.line(r.ID, WhatSettings, "address by DHCP", "the fixed address that it had is not kept for it any more")
	}
}

func (p *planner) reserve(d *device) {
	if d.byHand != nil {
		p.line(d.rec.ID, WhatReservation, d.byHand.Section, "somebody made it by hand; homeconf leaves it alone")
		return
	}
	if d.rec.Declined {
		p.line(d.rec.ID, WhatReservation, "none", "a person deleted it; homeconf makes none until something is chosen for the device")
		return
	}
	why := "so that DHCP gives this address to this device and to no other"
	p.line(d.rec.ID, WhatReservation, fmt.Sprintf("%s for %s", d.address, joined(d.macs)), why)
	p.out.Gateway.Reservations = append(p.out.Gateway.Reservations, model.Reservation{
		Device: d.rec.ID, Name: d.name, MACs: d.macs, Address: d.address, Reason: why})
}

func joined(macs []model.MAC) string {
	s := make([]string, len(macs))
	for i, m := range macs {
		s[i] = m.String()
	}
	return strings.Join(s, ", ")
}

// settle decides what is asked of an agent.
func (p *planner) settle(d *device) {
	rep := d.rec.Report
	if d.rec.State != model.DeviceAdopted || rep == nil {
		return
	}
	id := d.rec.ID
	if d.profile.Address == model.AddressStatic && rep.Can(model.CanStaticIPv4) {
		s := model.Settings{AddressingType: model.AddressingStatic, Address: netip.PrefixFrom(d.address, p.space.prefix.Bits()), Gateway: p.space.gateway}
		s.DNS = slices.Clone(p.in.Policy.DNS)
		if len(s.DNS) == 0 {
			s.DNS = []netip.Addr{p.space.gateway}
		}
		if !rep.Can(model.CanDNS) {
			s.DNS = nil
		}
		p.out.Settings[id] = s
		p.line(id, WhatSettings, "fixed address "+s.Address.String()+" via "+s.Gateway.String(),
			"its profile wants an address that holds even when DHCP does not answer")
		return
	}
	switch {
	case !rep.Can(model.CanDHCPv4):
		p.find(KindCapability, id, "The agent of "+title(d.rec)+" can't change its address; the gateway keeps "+d.address.String()+" for it.",
			"Set the device to DHCP at the device itself.")
	case d.profile.Address == model.AddressStatic:
		p.find(KindCapability, id, title(d.rec)+" can't set a fixed address on itself; it gets the same one by DHCP instead.",
			"Nothing needs to be done.")
	}
	if rep.Can(model.CanDHCPv4) {
		p.out.Settings[id] = model.Settings{AddressingType: model.AddressingDHCP}
		p.line(id, WhatSettings, "address by DHCP", "the gateway keeps the address for it")
	}
}

// maxGroups bounds the marked groups of one device.
const maxGroups = 64

// planMarks gives each device's traffic its class.
func (p *planner) planMarks() {
	for _, d := range p.devices {
		if !d.fixed || d.profile.Class == model.ClassNone {
			continue
		}
		v, _ := d.profile.Class.DSCP()
		why := "devices of this kind receive such traffic (RFC 4594)"
		m := model.Mark{Device: d.rec.ID, Address: d.address, Class: d.profile.Class, Reason: why}
		if d.profile.Multicast && d.rec.Report != nil {
			m.Groups = groups(d.rec.Report.Groups)
		}
		p.line(d.rec.ID, WhatClass, fmt.Sprintf("%s (DSCP %d)", m.Class, v), why)
		p.out.Gateway.Marks = append(p.out.Gateway.Marks, m)
	}
	p.settleGroups()
}

// settleGroups leaves a group that devices of several classes have joined to the
// most urgent one: a packet can bear one mark only.
func (p *planner) settleGroups() {
	rank := map[model.TrafficClass]int{}
	for i, c := range model.TrafficClasses() {
		rank[c] = i
	}
	best := map[netip.Addr]int{}
	for _, m := range p.out.Gateway.Marks {
		for _, g := range m.Groups {
			if r, ok := best[g]; !ok || rank[m.Class] < r {
				best[g] = rank[m.Class]
			}
		}
	}
	for i := range p.out.Gateway.Marks {
		m := &p.out.Gateway.Marks[i]
		m.Groups = slices.DeleteFunc(m.Groups, func(g netip.Addr) bool { return best[g] < rank[m.Class] })
	}
}

// groups picks those that come from outside: not the link's own (RFC 5771,
// 4), and not SSDP's, which every device joins.
func groups(in []netip.Addr) []netip.Addr {
	local := netip.MustParsePrefix("224.0.0.0/24")
	ssdp := netip.MustParseAddr("239.255.255.250")
	var out []netip.Addr
	for _, g := range in {
		if g.Is4() && g.IsMulticast() && !local.Contains(g) && g != ssdp {
			out = append(out, g)
		}
	}
	sortAddrs(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxGroups)]
}

// planMulticast decides about the IGMP proxy, if a device needs one.
func (p *planner) planMulticast() {
	var who []string
	for _, d := range p.devices {
		if d.profile.Multicast {
			who = append(who, title(d.rec))
		}
	}
	if len(who) == 0 {
		return
	}
	n, f := p.in.Network, p.in.Network.Multicast
	up := f.Upstream
	if up == "" {
		up = n.WAN.Network
	}
	need := "IPTV for " + strings.Join(who[:min(len(who), 3)], ", ") + " comes by multicast"
	switch {
	case !f.Installed:
		p.find(KindProxyMissing, "", "IPTV needs an IGMP proxy on the gateway, and none is installed.", "Install one: opkg install igmpproxy")
		return
	case f.Configured && !f.Ours:
		p.line("", WhatMulticast, "as it is", need+", and somebody has set the IGMP proxy up already")
		if len(f.Downstream) > 0 && !slices.Contains(f.Downstream, n.LAN.Network) {
			p.find(KindProxyLAN, "", "The IGMP proxy that somebody has set up does not send to "+quote(n.LAN.Network)+", so IPTV has no picture there.",
				addDownstream(f.Program))
		} else {
			p.planSenders(need)
		}
		if !f.Running {
			p.find(KindProxyStopped, "", "The IGMP proxy is set up but does not run, so IPTV has no picture.", "Start it: /etc/init.d/"+cmp.Or(f.Program, "igmpproxy")+" restart")
		}
		return
	case n.WAN.Network == "" || n.LAN.Network == "":
		p.find(KindNoWAN, "", "IPTV needs a way outside, and the gateway has no WAN.", "Look at option wan_network, or iptv_network where IPTV has a network of its own.")
		return
	case p.in.Policy.ManageIGMPProxy == ProxyNever:
		p.find(KindProxy, "", "IPTV needs an IGMP proxy on the gateway; homeconf was told never to set it up.", "Set it up by hand, or allow it: option manage_igmpproxy")
		return
	case !p.mayProxy() && (!f.Ours || p.in.Policy.IGMPRefused):
		p.find(KindProxy, "", "IPTV needs an IGMP proxy on the gateway, and none is set up.", "Let homeconf do it: homeconf multicast allow")
		return
	}
	alt := slices.Clone(p.in.Policy.AltNets)
	if len(alt) == 0 {
		alt = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	}
	p.line("", WhatMulticast, "IGMP proxy from "+up+" to "+n.LAN.Network, need)
	p.out.Gateway.Multicast = &model.MulticastPath{Upstream: up, Downstream: n.LAN.Network, AltNets: alt, Reason: need}
}

func addDownstream(program string) string {
	if program == "omcproxy" {
		return "Add the network to /etc/config/omcproxy as a downlink."
	}
	return "Add the network to /etc/config/igmpproxy as a phyint with direction 'downstream'."
}

// lookAtHome says what in the home will not do, in plain words. Nothing is
// refused for it.
func (p *planner) lookAtHome() {
	n := p.in.Network
	p.duplicates()
	var down, up uint64
	marks := false
	for _, d := range p.devices {
		down += uint64(d.profile.DownMbps)
		up += uint64(d.profile.UpMbps)
		marks = marks || d.profile.Class != model.ClassNone && d.fixed
		p.lookAtLink(d)
		p.lookOutside(d)
	}
	if down == 0 && up == 0 && !marks {
		return
	}
	switch {
	case n.Rates.DownMbps > 0 && down > uint64(n.Rates.DownMbps):
		p.find(KindBandwidth, "", "Your devices need "+mbps(down)+" from outside, and the line carries "+mbps(uint64(n.Rates.DownMbps))+".",
			"When all run at once the picture may stutter: a faster line, or fewer at once.")
	case n.Rates.DownMbps == 0 && n.WAN.SpeedMbps > 0 && down > uint64(n.WAN.SpeedMbps):
		p.find(KindBandwidth, "", "Your devices need "+mbps(down)+" from outside, and the gateway's WAN port carries "+mbps(uint64(n.WAN.SpeedMbps))+".",
			"Look at the cable and the port between gateway and modem.")
	case n.Rates.DownMbps == 0 && down > 0:
		p.find(KindRates, "", "Your devices need "+mbps(down)+" from outside; what the line carries nobody has said.",
			"Say it: option download in /etc/config/homeconf, in Mbit/s.")
	}
	if n.Rates.UpMbps > 0 && up > uint64(n.Rates.UpMbps) {
		p.find(KindBandwidthUp, "", "Your devices send "+mbps(up)+" outside, and the line carries "+mbps(uint64(n.Rates.UpMbps))+".",
			"When all run at once something will stall: a faster line, or fewer at once.")
	}
	if marks && !n.Rates.Shaper && n.WAN.Network != "" {
		p.find(KindShaper, "", "Nothing at the WAN keeps other traffic from crowding out the picture: the marks that homeconf sets are there, but no queue heeds them.",
			"Set up SQM with the rates of your line: opkg install luci-app-sqm")
	}
	if marks && n.Offloading {
		p.find(KindOffloading, "", "Flow offloading is on: most packets pass the gateway without being marked.",
			"Turn it off where the picture matters more: uci set firewall.@defaults[0].flow_offloading=0")
	}
}

func (p *planner) duplicates() {
	seen := map[netip.Addr][]string{}
	for i := range p.in.Network.Reservations {
		if h := &p.in.Network.Reservations[i]; h.Enabled && h.Address.IsValid() {
			seen[h.Address] = append(seen[h.Address], sectionOf(h))
		}
	}
	for a, where := range seen {
		if len(where) < 2 {
			continue
		}
		slices.Sort(where)
		id := KindDuplicate + ":" + a.String()
		p.out.Findings = append(p.out.Findings, model.Finding{ID: id, Kind: KindDuplicate,
			Text: "The address " + a.String() + " is reserved twice, in " + where[0] + " and " + where[1] + "; the DHCP server may refuse to start.",
			Step: "Delete one of them."})
	}
}

// lookAtLink compares the device's own link, and its port on the gateway, with
// what it needs.
func (p *planner) lookAtLink(d *device) {
	need := d.profile.DownMbps
	if need == 0 {
		return
	}
	slow := func(speed uint32, where string) {
		if speed > 0 && speed < need {
			p.find(KindLink, d.rec.ID, title(d.rec)+" needs "+mbps(uint64(need))+", and "+where+" carries "+mbps(uint64(speed))+".",
				"Look at the cable, or move the device to a faster port.")
		}
	}
	if d.rec.Report != nil {
		if i, ok := d.rec.Report.Interface(); ok {
			slow(i.SpeedMbps, "its own link")
		}
	}
	for _, port := range p.in.Network.Ports {
		if slices.ContainsFunc(port.MACs, func(m model.MAC) bool { return slices.Contains(d.macs, m) }) {
			slow(port.SpeedMbps, "its port on the gateway ("+words(port.Device)+")")
		}
	}
}

// lookOutside tells of a device that sits on an address of another subnet and
// can't be moved from here.
func (p *planner) lookOutside(d *device) {
	if _, asked := p.out.Settings[d.rec.ID]; asked || !p.space.ok() {
		return
	}
	var outside netip.Addr
	for _, a := range currentAddresses(d.rec) {
		if !a.Is4() {
			continue
		}
		if p.space.prefix.Contains(a) {
			return
		}
		if p.in.Policy.Former.Contains(a) {
			return // told once for the whole home
		}
		outside = a
	}
	if outside.IsValid() {
		p.find(KindOutside, d.rec.ID, title(d.rec)+" uses the address "+outside.String()+", which is not in the home network "+p.space.prefix.String()+".",
			"Set it to DHCP at the device itself.")
	}
}
