package configurator

import (
	"net/netip"
	"slices"
	"time"

	"homeconf/src/model"
	"homeconf/src/sighting"
)

// maxSeen bounds the list of devices that were only seen: a home has dozens,
// somebody who makes up MAC addresses has as many as he likes.
const maxSeen = 512

// sighted is told of all that the gateway sees now.
func (c *Configurator) sighted(evidence []sighting.Evidence) {
	now := time.Now()
	own := c.byMAC()
	changed := false
	var fresh []model.DeviceID
	for mac, s := range sighting.Merge(evidence) {
		if mac == c.net.LAN.MAC || mac.IsZero() || mac.IsGroup() {
			continue
		}
		if id, ours := own[mac]; ours {
			changed = c.sightedOurs(id, s, now) || changed
			continue
		}
		if c.isWaiting(mac) {
			continue
		}
		if c.sightedStranger(mac, s, now) {
			fresh = append(fresh, model.IDOfMAC(mac))
		}
	}
	c.sawNew(fresh)
	c.forgetOldest()
	if changed {
		c.touch()
	}
}

// sightedOurs updates a record of ours. Only what a plan depends on is told on.
func (c *Configurator) sightedOurs(id model.DeviceID, s model.Sighting, now time.Time) bool {
	r, ok := c.store.Get(id)
	if !ok {
		return false
	}
	same := r.Sighting != nil && r.Sighting.HostName == s.HostName && slices.Equal(r.Sighting.Addrs, s.Addrs)
	r.Sighting, r.LastSeen = &s, now
	if err := c.put(r); err != nil {
		c.log.Debug("sighting is kept in memory only", "device", string(id))
	}
	return !same && r.State == model.DeviceManaged
}

// sightedStranger says whether the device was not known before.
func (c *Configurator) sightedStranger(mac model.MAC, s model.Sighting, now time.Time) (fresh bool) {
	id := model.IDOfMAC(mac)
	r := c.seen[id]
	if r == nil {
		fresh = true
		r = &model.Record{ID: id, MACs: []model.MAC{mac}, State: model.DeviceSeen, FirstSeen: now}
		c.seen[id] = r
	}
	r.Sighting, r.LastSeen = &s, now
	return fresh
}

func (c *Configurator) forgetOldest() {
	for len(c.seen) > maxSeen {
		var oldest *model.Record
		for _, r := range c.seen {
			if oldest == nil || r.LastSeen.Before(oldest.LastSeen) {
				oldest = r
			}
		}
		delete(c.seen, oldest.ID)
	}
}

func (c *Configurator) seenRecords() []*model.Record {
	l := make([]*model.Record, 0, len(c.seen))
	for _, r := range c.seen {
		l = append(l, r)
	}
	return l
}

func (c *Configurator) byMAC() map[model.MAC]model.DeviceID {
	own := map[model.MAC]model.DeviceID{}
	for _, r := range c.store.All() {
		if r.Ours() {
			for _, m := range r.MACs {
				own[m] = r.ID
			}
		}
	}
	return own
}

func (c *Configurator) isWaiting(mac model.MAC) bool {
	for _, w := range c.waiting {
		if contains(w.record.MACs, mac) {
			return true
		}
	}
	return false
}

// given is who has which address, rebuilt with every plan, so that the ARP
// traffic of the whole LAN costs one look in a map for each packet.
type given struct {
	id   model.DeviceID
	name string
	macs []model.MAC
}

func (c *Configurator) rememberGiven() {
	c.given = map[netip.Addr]given{}
	for _, r := range c.store.All() {
		if r.Ours() && r.Address.IsValid() {
			c.given[r.Address] = given{r.ID, r.Name(), r.MACs}
		}
	}
}
