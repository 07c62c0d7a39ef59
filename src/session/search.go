package session

import (
	"crypto/hmac"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

// search begins to look for the home anew. With a session open that is about
// new keys for it, and silence means nothing: liveness is measured in the session.
func (i *Initiator) search(now time.Time) {
	i.stopShaking()
	i.dropFresh()
	i.nonce = i.l.nonce()
	i.gap, i.began, i.told = resendFirst, now, i.peer != nil && i.peer.phase == phaseOpen
	i.l.timers.set(&i.ask, now)
}

// asking sends the next SOLICIT. After a while every second one goes to all,
// for bridges that lose groups.
func (i *Initiator) asking(now time.Time) {
	for_ := now.Sub(i.began)
	if for_ >= silentAfter && !i.told {
		i.told = true
		i.c.Handler.Silent()
	}
	dst := link.MAC(wire.Group)
	if for_ >= broadcastAfter && i.l.dice.IntN(2) == 0 {
		dst = link.Broadcast
	}
	i.solicit(dst, now)
	i.spare.fill(i.c.Rand) // while the answer is on its way
	gap := i.gap
	i.gap = min(2*i.gap, resendLast)
	if for_ > slowAfter {
		gap = i.l.between(slowFrom, slowTo)
	}
	if left := silentAfter - for_; !i.told && left > 0 {
		gap = min(gap, left)
	}
	i.l.timers.set(&i.ask, now.Add(gap))
}

func (i *Initiator) solicit(dst link.MAC, now time.Time) {
	i.lastAsked = now
	f, err := wire.AppendBody(nil, 0, wire.Solicit{Nonce: i.nonce})
	if err != nil {
		i.c.Log.Error("question was not made", "err", err)
		return
	}
	_ = i.l.port.Send(dst, f) // a frame that can't be sent is a frame lost
}

// advertised hears a home.
func (i *Initiator) advertised(in *inbound, now time.Time) {
	a, err := wire.ParseAdvertise(in.frame.Body)
	if err != nil {
		i.drop(DropBody, in)
		return
	}
	pin := i.pinned()
	if pin == nil {
		i.heard(a.Instance, now)
	}
	searching := i.ask.index > 0
	if a.Asker == ([16]byte{}) {
		// Unasked: anybody may say so. It is at most a reason to ask again.
		switch {
		case i.shaking != nil:
			i.hurry(a.Instance, now)
		case searching && now.Sub(i.lastAsked) >= unaskedPause:
			i.l.timers.set(&i.ask, now.Add(i.l.between(0, unaskedJitter)))
		case !searching && i.peer != nil:
			i.doubt(now)
		}
		return
	}
	switch {
	case a.Asker != i.nonce || a.Cookie == nil || !searching || i.shaking != nil:
		i.drop(DropUnexpected, in)
	case pin != nil && !hmac.Equal(a.Tag, discoveryTag(pin.Discovery, a.Asker, a.Nonce, a.Instance)):
		i.drop(DropTag, in)
	case pin == nil && !offered(a.Ways, i.c.Way), i.revealed():
		i.drop(DropWay, in)
	case pin == nil && i.inVain[a.Instance] && now.Sub(i.began) < othersFirst:
		i.drop(DropUnexpected, in)
	default:
		i.begin(in.src, a, now)
	}
}

// hurry is told that the home of the handshake under way says hello: it may have
// started again, and know nothing of what it has answered before. Then the
// handshake would be waited for in vain. It gets less time, but only once until
// one succeeds: a home that has many to answer gets no faster by more of them.
func (i *Initiator) hurry(instance [16]byte, now time.Time) {
	if s := i.shaking; s.instance == instance && !i.hurried {
		i.hurried = true
		s.patience = shakeAfterHello
		i.l.timers.set(&s.resend, now)
	}
}

// heard notes a home while unpaired.
func (i *Initiator) heard(instance [16]byte, now time.Time) {
	if len(i.homes) == 0 {
		i.heardFirst = now
	}
	if i.homes[instance] || len(i.homes) >= maxHomes {
		return
	}
	i.homes[instance] = true
	if len(i.homes) > 1 {
		i.show()
	}
}

// triedNext notes which home is tried. One that was tried in vain comes again
// when no other answers, and then all have another chance.
func (i *Initiator) triedNext(instance [16]byte) {
	if i.inVain[instance] {
		clear(i.inVain)
	}
	i.last = instance
}

func (i *Initiator) triedInVain() {
	if len(i.inVain) < maxHomes {
		i.inVain[i.last] = true
	}
}
