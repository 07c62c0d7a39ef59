package configurator

import (
	"fmt"
	"net/netip"
	"time"

	"homeconf/src/model"
)

// addressHeard is told of every address that is heard in use on the LAN
// (RFC 5227, 2.4): an address of ours in another's hands is a finding, and one
// that was proven free is not free any more.
func (c *Configurator) addressHeard(a netip.Addr, mac model.MAC) {
	if mac == c.net.LAN.MAC || !c.net.LAN.Prefix.Contains(a) {
		return
	}
	now := time.Now()
	g, ours := c.given[a]
	if !ours {
		if _, believed := c.probes.free[a]; believed && !c.isWaiting(mac) {
			c.probes.claimed(a, mac, now)
		}
		return
	}
	if m := c.peers[g.id]; contains(g.macs, mac) || (m != nil && model.MAC(m.peer.MAC()) == mac) {
		return
	}
	source := "conflict:" + a.String()
	c.probes.claimed(a, mac, now)
	c.note(source, []model.Finding{{ID: "address.conflict:" + a.String(), Kind: "address.conflict", Device: g.id,
		Text: fmt.Sprintf("%s has the address %s, and a device at %s uses it too.", g.name, a, mac),
		Step: fmt.Sprintf("Set the other device to DHCP, or give this one another address: homeconf device set %s --address ADDRESS", g.id)}})
	c.after(busyLife, func() {
		if claim, still := c.probes.busy[a]; !still || claim.when == now {
			c.note(source, nil)
		}
	})
}
