package session

import (
	"time"

	"homeconf/src/wire"
)

// A configurator that starts says hello unasked. An agent whose session is open
// then doubts that the home still knows it: where a Ping is not answered at
// once, it looks for the home anew, beside the session, which goes on until
// another is proven. So a restart of the home is noticed in a fraction of a
// second, and a forged hello costs a Ping, at most one a second.

// doubtFor is how long a Ping may take that a hello has caused.
const doubtFor = 200 * time.Millisecond

// doubt is told of an unasked ADVERTISE while a session is there.
func (i *Initiator) doubt(now time.Time) {
	p := i.peer
	// New keys that came just now can't be followed by others yet.
	if now.Sub(i.doubted) < unaskedPause || p.phase != phasePairing && !p.canRenew() {
		return
	}
	i.doubted = now
	if p.phase == phasePairing {
		// Nothing goes on beside it: its own liveness decides, only sooner.
		if p.t.pings == 0 {
			p.t.pingAt = now
			p.poll(now)
		}
		return
	}
	// A Ping beside those that measure liveness: their count ends sessions.
	p.t.token++
	p.say(&wire.Record{Kind: wire.RecordPing, Token: p.t.token})
	i.doubts.run = func(later time.Time) {
		if i.peer == p && p.canRenew() && !p.t.heard.After(now) {
			i.rekeying(later)
		}
	}
	i.l.timers.set(&i.doubts, now.Add(doubtFor+i.l.between(0, unaskedJitter)))
}
