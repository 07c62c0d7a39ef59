package configurator

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"homeconf/src/model"
)

// addressHeard is told of every address that is heard in use on the LAN
// (RFC 5227, 2.4): an address of ours in another's hands is a finding, and one
// that was proven free is not free any more.
func (c *Configurator) addressHeard(a netip.Addr, mac model.MAC) {
	c.strayHeard(a, mac)
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
	c.probes.claimed(a, mac, now)
	if end := c.conflicts[a]; end != nil {
		end.Reset(busyLife)
		return
	}
	step := fmt.Sprintf("%s gets another address. Set the device at %s to DHCP.", g.name, mac)
	if now.Sub(c.moved[g.id]) >= busyLife {
		c.contested[a], c.moved[g.id] = true, now
		c.touch()
	} else {
		// Whoever forges ARP must not drive a device from place to place.
		step = fmt.Sprintf("%s had to move a moment ago and stays. Set the device at %s to DHCP, or unplug it.", g.name, mac)
	}
	source := "conflict:" + a.String()
	c.note(source, []model.Finding{{ID: "address.conflict:" + a.String(), Kind: "address.conflict", Device: g.id,
		Text: fmt.Sprintf("%s has the address %s, and a device at %s uses it too.", g.name, a, mac), Step: step}})
	c.conflicts[a] = c.after(busyLife, func() {
		delete(c.conflicts, a)
		delete(c.contested, a)
		c.note(source, nil)
	})
}

// undisputed takes out of what the plan is told that somebody else is at an
// address of ours, unless the plan shall move the device away from there.
func (c *Configurator) undisputed(busy map[netip.Addr]model.MAC, n *model.Network) {
	stays := func(a netip.Addr) bool {
		_, ours := c.given[a]
		return ours && !c.contested[a]
	}
	maps.DeleteFunc(busy, func(a netip.Addr, _ model.MAC) bool { return stays(a) })
	var others []model.Neighbor
	for _, b := range n.Neighbors {
		if !stays(b.Address) {
			others = append(others, b)
		}
	}
	n.Neighbors = others
}

// maxHeard bounds what ARP may have told before the loop hears of it.
const maxHeard = 256

// arpHeard gathers what ARP tells: a flood of it must not crowd out of the
// mailbox what devices and people say.
type arpHeard struct {
	mu    sync.Mutex
	pairs []arpPair // none twice
}

type arpPair struct {
	addr netip.Addr
	mac  model.MAC
}

// add says whether the loop has to be told.
func (h *arpHeard) add(p arpPair) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.pairs {
		if p == q {
			return false
		}
	}
	if len(h.pairs) >= maxHeard {
		return false
	}
	h.pairs = append(h.pairs, p)
	return len(h.pairs) == 1
}

func (h *arpHeard) take() []arpPair {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.pairs
	h.pairs = nil
	return all
}

// watchAddresses hears ARP while the LAN is there.
func (c *Configurator) watchAddresses(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.cfg.Prober.Watch(ctx, func(a netip.Addr, m model.MAC) {
			if !c.arp.add(arpPair{a, m}) {
				return
			}
			if !c.box.tell(func() {
				for _, p := range c.arp.take() {
					c.addressHeard(p.addr, p.mac)
				}
			}) {
				c.arp.take() // so that the next one is told
			}
		})
		if err != nil && ctx.Err() == nil {
			c.log.Warn("addresses in use are not heard", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
}

// watchAgain is the pause before ARP is listened to anew; the link itself says
// when the LAN is gone.
const watchAgain = time.Second
