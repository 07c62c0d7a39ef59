package session

import (
	"crypto/subtle"
	"errors"
	"time"

	"homeconf/src/wire"
)

// The pairing steps inside an XX session:
//
//	agent                       configurator
//	Commit H('commit'|h|Na)  →
//	                         ←  Nonce Nb          (one in ten seconds, 16 at once)
//	Reveal Na                →
//	  both show H('sas'|h|Na|Nb) mod 10⁶
//	                         ←  Adopt             (after the person's yes)
//	Pinned                   →                    (when the pin is on disk)
//
// The agent is bound to Na before it knows Nb, and reveals it after Nb is
// bound, so neither side, nor anybody between them, chooses the digits.

const (
	// maxWaiting is how many strangers may wait for a yes.
	maxWaiting = 16
	// revealBurst reveals are let through at once, then one each revealEvery:
	// sixteen boxes show their digits together, and guessing by asking again
	// and again stays slow.
	revealBurst = 16
	revealEvery = 10 * time.Second
	// maxReveals is how often an agent reveals until a person acts there.
	maxReveals = 10
	// listenTime is how long an agent listens for a second home before it
	// lets itself be taken.
	listenTime = 2 * time.Second
)

var (
	errRefused = errors.New("pairing was refused")
	errPairing = errors.New("pairing step out of place")
	errWrong   = errors.New("these are not the digits shown")
	errNobody  = errors.New("no home asks to be approved")
	errNotNow  = errors.New("the device does not wait for a yes any more")
)

// pairing is a session's part in pairing, on either side.
type pairing struct {
	commit   [32]byte
	na, nb   [16]byte
	step     wire.PairStep // the last one done
	digits   string
	third    [32]byte  // the sum of the HANDSHAKE3 that made the session
	code     SetupCode // by which the device has proven itself
	admitted bool
	timer    timer
}

// Waiting is a stranger that waits for a person's yes.
type Waiting struct {
	Digits string   // six digits to compare; empty where the set-up code proves the device
	Hash   [32]byte // the session that a yes is bound to
	Way    wire.Way
	Code   SetupCode // the one that it has proven to have, with WayCode
}

// Digits is what an agent shows. The zero value is nothing.
type Digits struct {
	Code  string // "482913"
	Home  PublicKey
	Homes int // that were heard; with more than one, Approve is needed
	// Stopped: they were shown ten times and nobody compared them. Approve, with
	// whatever digits, or a restart has them shown again.
	Stopped bool
}

// Pin is what an agent keeps of its home.
type Pin struct {
	Home      PublicKey
	Discovery [32]byte
	Instance  [16]byte
	Term      uint64
}

// pairMessage is the configurator's side of a pairing step.
func (r *Responder) pairMessage(p *Peer, m wire.Pair, now time.Time) {
	switch {
	case m.Step == wire.PairCommit && p.pairing.step == 0:
		p.pairing.step, p.pairing.commit = wire.PairCommit, m.Commit
		r.invite(p, now)
	case m.Step == wire.PairReveal && p.pairing.step == wire.PairNonce:
		sum := commitment(p.hash, m.Nonce)
		if subtle.ConstantTimeCompare(sum[:], p.pairing.commit[:]) != 1 {
			p.l.counters.add(DropPair)
			p.Close(errPairing)
			return
		}
		p.pairing.step, p.pairing.na = wire.PairReveal, m.Nonce
		p.pairing.digits = digits(p.hash, m.Nonce, p.pairing.nb)
		r.c.Handler.Waiting(p, Waiting{Digits: p.pairing.digits, Hash: p.hash, Way: p.way})
	case m.Step == wire.PairPinned && p.pairing.admitted:
		r.opened(p)
	case m.Step == wire.PairRefused:
		p.end(errRefused)
	default:
		p.l.counters.add(DropPair)
	}
}

// invite answers a stranger's commitment. A member that comes as a stranger has
// lost its pin, or never stored it: its key is proven, so nobody is asked.
func (r *Responder) invite(p *Peer, now time.Time) {
	if p.way == wire.WayCode {
		// Proven by the code, a member too: whoever keeps the codes must
		// hear that this one is used up.
		p.pairing.step = wire.PairReveal
		r.c.Handler.Waiting(p, Waiting{Hash: p.hash, Way: p.way, Code: p.pairing.code})
		return
	}
	if r.c.Member(p.key) {
		r.admit(p)
		return
	}
	if !r.reveals.take(now, revealEvery, revealBurst) {
		p.pairing.timer.run = func(now time.Time) { r.invite(p, now) }
		r.l.timers.set(&p.pairing.timer, r.reveals.next(now, revealEvery, revealBurst))
		return
	}
	p.pairing.step, p.pairing.nb = wire.PairNonce, r.l.nonce()
	p.pushMessage(wire.Pair{Step: wire.PairNonce, Nonce: p.pairing.nb})
}

func (r *Responder) admit(p *Peer) {
	if p.pairing.admitted {
		return
	}
	p.pairing.admitted = true
	_, discovery, _ := r.keys()
	p.pushMessage(wire.Pair{Step: wire.PairAdopt, Discovery: discovery, Instance: r.c.Instance, Term: r.c.Term})
}

// Admit is the yes to a stranger, bound to its key and this session's hash.
// The device must be a member by now. Only a configurator's peers take it.
func (p *Peer) Admit(hash [32]byte) error {
	r, ok := p.owner.(*Responder)
	if !ok || subtle.ConstantTimeCompare(hash[:], p.hash[:]) != 1 || p.over.Load() {
		return errNotNow
	}
	if !p.l.post(func() {
		if p.phase == phasePairing && p.pairing.step == wire.PairReveal && r.c.Member(p.key) {
			r.admit(p)
		}
	}) {
		return errNotNow
	}
	return nil
}

// Refuse is the no to a stranger.
func (p *Peer) Refuse() {
	p.l.post(func() {
		if p.phase != phasePairing {
			return
		}
		p.pushMessage(wire.Pair{Step: wire.PairRefused})
		p.say(&wire.Record{Kind: wire.RecordClose, Reason: wire.CloseRefused}) // which may come first
		p.end(errRefused)
	})
}

// pairMessage is the agent's side of a pairing step.
func (i *Initiator) pairMessage(p *Peer, m wire.Pair, now time.Time) {
	switch {
	case m.Step == wire.PairNonce && p.pairing.step == wire.PairCommit:
		i.reveals++
		p.pairing.step, p.pairing.nb = wire.PairReveal, m.Nonce
		p.pairing.digits = digits(p.hash, p.pairing.na, m.Nonce)
		p.pushMessage(wire.Pair{Step: wire.PairReveal, Nonce: p.pairing.na})
		i.show()
	case m.Step == wire.PairAdopt && (p.pairing.step == wire.PairCommit || p.pairing.step == wire.PairReveal):
		p.pairing.admitted = true
		i.offer = &Pin{Home: p.key, Discovery: m.Discovery, Instance: m.Instance, Term: m.Term}
		i.consider(p, now)
	case m.Step == wire.PairRefused:
		p.end(errRefused)
	default:
		p.l.counters.add(DropPair)
	}
}

// revealed says whether the digits were shown so often that a person has to
// act at the device before they are shown again.
func (i *Initiator) revealed() bool {
	return i.pinned() == nil && i.c.Way != wire.WayCode && i.reveals >= maxReveals
}

// consider takes the home that offers itself, once enough was listened for
// another one. With two homes about, only a person at the device decides, or
// the set-up code, which proves the home.
func (i *Initiator) consider(p *Peer, now time.Time) {
	if i.offer == nil || p.phase != phasePairing || !p.pairing.admitted {
		return
	}
	if p.way != wire.WayCode && !i.approved {
		if wait := listenTime - now.Sub(i.heardFirst); wait > 0 {
			p.pairing.timer.run = func(now time.Time) { i.consider(p, now) }
			i.l.timers.set(&p.pairing.timer, now.Add(wait))
			return
		}
		if len(i.homes) > 1 {
			return
		}
	}
	pin := *i.offer
	i.offer = nil
	if err := i.c.Handler.Pinned(pin); err != nil {
		p.pushMessage(wire.Pair{Step: wire.PairRefused})
		p.Close(err)
		return
	}
	i.setPin(&pin)
	p.pushMessage(wire.Pair{Step: wire.PairPinned})
	i.opened(p)
}

// Approve is a person's yes at the device to the home whose digits are shown.
func (i *Initiator) Approve(typed string) error {
	i.mu.Lock()
	l := i.live
	i.mu.Unlock()
	answer := make(chan error, 1)
	if l == nil || !l.post(func() { answer <- i.approve(typed) }) {
		return errNobody
	}
	select {
	case err := <-answer:
		return err
	case <-time.After(time.Second): // the link went away under our hands
		return errNobody
	}
}

func (i *Initiator) approve(typed string) error {
	p := i.peer
	if p == nil && i.revealed() {
		i.c.Handler.Digits(Digits{})
		i.l.timers.set(&i.ask, time.Now())
	}
	i.reveals = 0 // somebody acts at the device
	if p == nil || p.phase != phasePairing || p.pairing.digits == "" {
		return errNobody
	}
	if !sameDigits(typed, p.pairing.digits) {
		return errWrong
	}
	i.approved = true
	i.consider(p, time.Now())
	return nil
}
