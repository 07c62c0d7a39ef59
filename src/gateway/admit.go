package gateway

import (
	"fmt"
	"net/netip"

	"homeconf/src/model"
)

// admit leaves out what may not be written: a reservation whose address or MAC
// another's host section has already, or that is wanted twice. dnsmasq does not
// start with two hosts on one address, and then the home has neither DHCP nor
// DNS (openwrt#21362). Sections that are switched off count too: their owner
// may switch them on at any time.
//
// The marks of a device that was left out are left out with it: its address is
// not its own, and a rule follows the device.
func admit(want model.GatewayState, hosts []model.HostEntry) (model.GatewayState, []model.Finding) {
	byAddr := make(map[netip.Addr]model.HostEntry, len(hosts))
	byMAC := make(map[model.MAC]model.HostEntry, len(hosts))
	for _, h := range hosts {
		if h.Owner != "" {
			continue
		}
		if h.Address.IsValid() {
			byAddr[h.Address] = h
		}
		for _, m := range h.MACs {
			byMAC[m] = h
		}
	}

	var findings []model.Finding
	out := model.GatewayState{Multicast: want.Multicast}
	refused := make(map[netip.Addr]bool)
	refuse := func(r model.Reservation, text, step string) {
		refused[r.Address] = true
		findings = append(findings, finding(FindingReservationConflict, r.Device, text, step))
	}
	taken := make(map[netip.Addr]model.DeviceID, len(want.Reservations))
	macs := make(map[model.MAC]model.DeviceID, len(want.Reservations))
next:
	for _, r := range want.Reservations {
		if h, ok := byAddr[r.Address]; ok {
			refuse(r, fmt.Sprintf("%s is already reserved by the section %q of /etc/config/dhcp%s, which homeconf did not make",
				r.Address, h.Section, forWhom(h)), "choose another address for the device, or remove that section")
			continue
		}
		if other, ok := taken[r.Address]; ok {
			refuse(r, fmt.Sprintf("%s is wanted for %s too", r.Address, other), "choose another address for one of the two")
			continue
		}
		for _, m := range r.MACs {
			if h, ok := byMAC[m]; ok {
				refuse(r, fmt.Sprintf("%s already has a reservation in the section %q of /etc/config/dhcp, which homeconf did not make",
					m, h.Section), "remove that section, or leave the device to it")
				continue next
			}
			if other, ok := macs[m]; ok && other != r.Device {
				refuse(r, fmt.Sprintf("%s is a MAC address of %s too", m, other), "retire one of the two devices")
				continue next
			}
		}
		taken[r.Address] = r.Device
		for _, m := range r.MACs {
			macs[m] = r.Device
		}
		out.Reservations = append(out.Reservations, r)
	}
	for _, m := range want.Marks {
		if !refused[m.Address] || taken[m.Address] == m.Device {
			out.Marks = append(out.Marks, m)
		}
	}
	return out, findings
}

func forWhom(h model.HostEntry) string {
	switch {
	case h.Name != "":
		return fmt.Sprintf(" for %.64q", h.Name)
	case len(h.MACs) > 0:
		return " for " + h.MACs[0].String()
	}
	return ""
}
