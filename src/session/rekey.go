package session

import (
	"encoding/binary"
	"time"

	"homeconf/src/link"
)

// A live session gets new keys by a new IK handshake of the agent's. Its first
// message says, encrypted, by which index the configurator knows the session;
// the second repeats it when the session is still there. The peer then goes on:
// no handler hears of it. What was sent under the old keys is resent and
// acknowledged under the old keys, and what is sent meanwhile waits for that,
// so nothing is lost, doubled or overtaken.

const (
	// oldKeys is how long old keys receive after new ones have come.
	oldKeys = 10 * time.Second
	// rekeyFrames is after how many frames in one direction an agent makes
	// new keys: early enough to be done before the key is spent.
	rekeyFrames = maxFrames - 1<<20
)

// retiring is a transport whose keys were replaced.
type retiring struct {
	t     *transport
	local uint32
	until time.Time
}

// sessionIndex is the payload that names a session to go on with; nil for none.
func sessionIndex(index uint32) []byte {
	if index == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint32(nil, index)
}

// parseSessionIndex reads such a payload. Anything else is no payload of ours.
func parseSessionIndex(payload []byte) (index uint32, ok bool) {
	switch len(payload) {
	case 0:
		return 0, true
	case 4:
		index = binary.BigEndian.Uint32(payload)
		return index, index != 0
	}
	return 0, false
}

// canRenew says whether the session is open and its last change of keys over.
func (p *Peer) canRenew() bool { return p != nil && p.phase == phaseOpen && p.old == nil }

// renew goes on under the keys of a proven session, which is used up by that.
func (p *Peer) renew(by *Peer, now time.Time) {
	p.old = &retiring{t: p.t, local: p.local, until: now.Add(oldKeys)}
	// What was never sent needs no old keys.
	p.held = p.t.takeUnsent()
	for _, b := range p.held {
		p.heldBytes += len(b)
	}
	by.t.mtu, by.t.rtt = min(by.t.mtu, p.t.mtu), p.t.rtt // the path is the same
	p.t, p.local = by.t, by.local
	mac := by.MAC()
	p.mac.Store(&mac)
	p.newMAC, p.newToken = link.MAC{}, 0 // a token is of one transport
	by.phase, by.into = phaseOver, p
	by.over.Store(true)
	by.l.timers.set(&by.timer, time.Time{})
}

// transportOf is the transport that an index of ours names.
func (p *Peer) transportOf(index uint32) *transport {
	if p.old != nil && p.old.local == index {
		return p.old.t
	}
	return p.t
}

// queue takes a message for sending, behind those still under old keys.
func (p *Peer) queue(b []byte) error {
	if p.old == nil || len(p.old.t.out) == 0 && len(p.held) == 0 {
		return p.t.queue(b)
	}
	if p.old.t.queued+p.heldBytes+len(b) > queueBytes {
		return errFull
	}
	p.held, p.heldBytes = append(p.held, b), p.heldBytes+len(b)
	return nil
}

// pollOld serves the old keys. Once all that was sent under them has arrived,
// what was held back follows under the new ones.
func (p *Peer) pollOld(now time.Time) (next time.Time, err error) {
	if p.old == nil {
		return next, nil
	}
	// Liveness is measured under the new keys.
	p.old.t.pings, p.old.t.pingAt = 0, p.old.until.Add(time.Second)
	next, err = p.old.t.poll(now, p.emit)
	if err != nil {
		return next, err
	}
	if len(p.old.t.out) == 0 {
		for _, b := range p.held {
			if err := p.t.queue(b); err != nil {
				return next, err
			}
		}
		p.held, p.heldBytes = nil, 0
	}
	if now.Before(p.old.until) {
		if next.IsZero() || p.old.until.Before(next) {
			next = p.old.until
		}
		return next, nil
	}
	if len(p.old.t.out) > 0 {
		// Ten seconds without an acknowledgement: whether it arrived can't
		// be known any more, so the session says so by ending.
		return next, errNoAck
	}
	old := p.old.local
	p.old = nil
	p.owner.forget(old)
	return time.Time{}, nil
}

// spent says whether the keys have sealed or opened so many frames that new
// ones are due.
func (p *Peer) spent(limit uint64) bool {
	return p.phase == phaseOpen && p.old == nil && (p.t.seal.counter >= limit || p.t.seal.window.last >= limit)
}

// renewable is the session that an agent may go on with: its own, and the one
// that counts.
func (r *Responder) renewable(index uint32, key PublicKey) *Peer {
	p := r.sessions[index]
	if p == nil || p.local != index || r.members[key] != p || !p.canRenew() {
		return nil
	}
	return p
}

// renewed is told that new keys are proven.
func (r *Responder) renewed(p *Peer, now time.Time) {
	prev := p.renews
	if r.renewable(prev.local, p.key) != prev {
		p.end(ErrReplaced) // the session has ended meanwhile: the agent begins anew
		return
	}
	prev.renew(p, now)
	prev.former.Store(p.former.Load())
	r.sessions[p.local] = prev
	r.handTicket(prev)
	prev.poll(now)
}

func (r *Responder) forget(index uint32) { delete(r.sessions, index) }

// rekeying looks for new keys beside the session, which goes on under its own
// until they are proven.
func (i *Initiator) rekeying(now time.Time) {
	if i.peer == nil || i.peer.phase != phaseOpen || i.ask.index > 0 || i.shaking != nil {
		return // new keys are being made already, or nothing is there to make them for
	}
	i.search(now)
}

// refresh has new keys proven that the home has agreed to go on with.
func (i *Initiator) refresh(p *Peer, now time.Time) {
	if !i.peer.canRenew() {
		i.search(now)
		return
	}
	i.fresh, p.renews = p, i.peer
	i.shaking.frame = nil
	i.shake(now)
}

// renewed is told that new keys are proven.
func (i *Initiator) renewed(p *Peer, now time.Time) {
	prev := p.renews
	i.fresh = nil
	if prev != i.peer || !prev.canRenew() {
		p.end(ErrReplaced)
		i.search(now)
		return
	}
	prev.renew(p, now)
	i.l.timers.set(&i.rekey, now.Add(i.l.between(rekeyFrom, rekeyUntil)))
	prev.poll(now)
}

// dropFresh forgets new keys that were not proven.
func (i *Initiator) dropFresh() {
	if p := i.fresh; p != nil {
		i.fresh = nil
		p.end(ErrReplaced)
	}
}

// named is the session that one of our indexes names.
func (i *Initiator) named(index uint32) *Peer {
	switch p := i.peer; {
	case p != nil && (p.local == index || p.old != nil && p.old.local == index):
		return p
	case i.fresh != nil && i.fresh.local == index:
		return i.fresh
	}
	return nil
}

func (i *Initiator) forget(uint32) {}
