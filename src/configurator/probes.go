package configurator

import (
	"maps"
	"net/netip"
	"time"

	"homeconf/src/model"
)

// probeLife is how long the silence after a probe is believed. In the meantime
// the address is watched: whoever speaks with it ends the belief at once
// (RFC 5227, 2.4, turned to the address table's owner).
const probeLife = 2 * time.Minute

// probes remembers which addresses were probed and who answered.
type probes struct {
	free map[netip.Addr]time.Time
	busy map[netip.Addr]claim
}

type claim struct {
	mac  model.MAC
	when time.Time
}

// busyLife is how long somebody who answered keeps an address out of the plan.
const busyLife = 10 * time.Minute

// maxClaims bounds what forged ARP can make us remember: no LAN of a home has
// more addresses in use.
const maxClaims = 4096

func newProbes() *probes {
	return &probes{free: map[netip.Addr]time.Time{}, busy: map[netip.Addr]claim{}}
}

// probed records one round's answers.
func (p *probes) probed(asked []netip.Addr, answers map[netip.Addr]model.MAC, now time.Time) {
	for _, a := range asked {
		if mac, ok := answers[a]; ok {
			p.claimed(a, mac, now)
			continue
		}
		delete(p.busy, a)
		if len(p.free) < maxClaims {
			p.free[a] = now
		}
	}
}

// claimed records that somebody was heard with an address.
func (p *probes) claimed(a netip.Addr, mac model.MAC, now time.Time) {
	delete(p.free, a)
	if _, known := p.busy[a]; !known && len(p.busy) >= maxClaims {
		return
	}
	p.busy[a] = claim{mac, now}
}

// known is what the plan is told: who answered where, and which addresses need
// not be asked about again. What is too old is forgotten.
func (p *probes) known(now time.Time) (busy map[netip.Addr]model.MAC, asked map[netip.Addr]bool) {
	maps.DeleteFunc(p.busy, func(_ netip.Addr, c claim) bool { return now.Sub(c.when) > busyLife })
	maps.DeleteFunc(p.free, func(_ netip.Addr, t time.Time) bool { return now.Sub(t) > probeLife })
	busy, asked = make(map[netip.Addr]model.MAC, len(p.busy)), make(map[netip.Addr]bool, len(p.busy)+len(p.free))
	for a, c := range p.busy {
		busy[a], asked[a] = c.mac, true
	}
	for a := range p.free {
		asked[a] = true
	}
	return busy, asked
}
