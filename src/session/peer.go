package session

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

// sendLimit is how many messages of one peer may wait for the loop.
const sendLimit = 256

// ErrClosed says that the session with a peer is over.
var ErrClosed = errors.New("the session is closed")

// ErrReplaced says that the peer has opened another session.
var ErrReplaced = errors.New("the device opened a new session")

// phase is how far a session has come.
type phase uint8

const (
	phaseUnproven phase = iota // keys are there, no frame of the peer has come yet
	phasePairing               // a stranger's: pairing steps only
	phaseOpen                  // a member's
	phaseOver
)

// Peer is the other end of one session. Its methods may be called by any
// goroutine.
type Peer struct {
	key  PublicKey
	hash [32]byte
	way  wire.Way
	// former: the agent knows the home by the key that it had before.
	former atomic.Bool

	l       *loop
	owner   owner
	mac     atomic.Pointer[link.MAC]
	waiting atomic.Int32 // messages that the loop has not taken yet
	over    atomic.Bool

	// Of the loop.
	local    uint32
	phase    phase
	t        *transport
	timer    timer
	started  time.Time
	newMAC   link.MAC // from which frames come now, until it is proven
	newToken uint64
	newAsked time.Time
	pairing  pairing

	// Of a change of keys.
	old       *retiring
	held      [][]byte // messages that wait for those under old keys
	heldBytes int
	renews    *Peer // the session that this one is to go on with, once proven
	into      *Peer // the session that went on with this one's keys
}

// owner is the side that a peer belongs to.
type owner interface {
	message(p *Peer, m wire.Message, now time.Time)
	proven(p *Peer, now time.Time)
	ended(p *Peer, err error)
	forget(index uint32)
}

func newPeer(l *loop, o owner, k *keys, local, remote uint32, mac link.MAC, way wire.Way, now time.Time) (*Peer, error) {
	p := &Peer{key: k.remote, hash: k.hash, way: way, l: l, owner: o, local: local, started: now}
	s, err := newSealer(k, remote)
	if err != nil {
		return nil, err
	}
	p.mac.Store(&mac)
	p.t = newTransport(s, l.port.MTU(), now, l.between)
	p.timer.run = p.poll
	return p, nil
}

// Key is the peer's public key, which it has proven.
func (p *Peer) Key() PublicKey { return p.key }

// MAC is the address at which the peer was last proven to be.
func (p *Peer) MAC() link.MAC { return *p.mac.Load() }

// Hash is the handshake's hash, which names this one session.
func (p *Peer) Hash() [32]byte { return p.hash }

// Former says whether the session was made with the key that the home had before.
func (p *Peer) Former() bool { return p.former.Load() }

// Way is the way of pairing that the handshake was made for.
func (p *Peer) Way() wire.Way { return p.way }

// Send queues a message. Messages arrive once and in the order of sending, or
// the session ends. It does not block.
func (p *Peer) Send(m wire.Message) error {
	b, err := wire.EncodeMessage(m)
	if err != nil {
		return fmt.Errorf("encoding %v: %w", m.Type(), err)
	}
	if p.over.Load() {
		return ErrClosed
	}
	if p.waiting.Add(1) > sendLimit {
		p.waiting.Add(-1)
		return errFull
	}
	if !p.l.post(func() {
		p.waiting.Add(-1)
		p.push(b)
	}) {
		return ErrClosed
	}
	return nil
}

// Close ends the session and tells the peer.
func (p *Peer) Close(err error) {
	p.l.post(func() {
		if p.phase != phaseOver {
			p.say(&wire.Record{Kind: wire.RecordClose})
			p.end(err)
		}
	})
}

// push queues an encoded message, on the loop.
func (p *Peer) push(b []byte) {
	if p.phase == phaseOver {
		p.l.counters.add(DropLate)
		return
	}
	if err := p.queue(b); err != nil {
		p.end(err)
		return
	}
	p.poll(time.Now())
}

// pushMessage queues a message of the session layer's own, on the loop.
func (p *Peer) pushMessage(m wire.Message) {
	b, err := wire.EncodeMessage(m)
	if err != nil {
		p.end(fmt.Errorf("encoding %v: %w", m.Type(), err))
		return
	}
	p.push(b)
}

// say sends one record that nobody waits for.
func (p *Peer) say(r *wire.Record) {
	if b, err := p.t.seal.seal(p.t.frame[:0], r); err == nil {
		p.emit(b)
	}
}

func (p *Peer) emit(frame []byte) {
	// A frame that can't be sent is a frame lost: it is resent, or the port
	// says by Receive that it is down.
	_ = p.l.port.Send(p.MAC(), frame)
}

// greet has a Ping sent, so that the other side hears a frame of ours.
func (p *Peer) greet(now time.Time) {
	p.t.pingNow = true
	p.poll(now)
}

// poll sends what is due.
func (p *Peer) poll(now time.Time) {
	if p.phase == phaseOver {
		return
	}
	oldNext, err := p.pollOld(now)
	if err != nil {
		p.end(err)
		return
	}
	next, err := p.t.poll(now, p.emit)
	if err != nil {
		p.end(err)
		return
	}
	if !oldNext.IsZero() && (next.IsZero() || oldNext.Before(next)) {
		next = oldNext
	}
	p.l.timers.set(&p.timer, next)
}

// frame takes a TRANSPORT frame that names this session.
func (p *Peer) frame(src link.MAC, f wire.Frame, now time.Time) {
	t := p.transportOf(f.Receiver)
	before := p.t.ponged
	msgs, err := t.handle(f, now)
	switch {
	case errors.Is(err, errGoodbye), errors.Is(err, errRefused):
		p.end(err)
		return
	case err != nil:
		p.l.counters.add(DropTransport)
		return
	}
	if p.newToken != 0 && p.t.ponged == p.newToken && before != p.newToken {
		if src == p.newMAC { // the Pong came from where the Ping went
			p.mac.Store(&src)
		}
		p.newMAC, p.newToken = link.MAC{}, 0
	}
	if src != p.MAC() {
		p.moved(src, now)
	}
	if p.phase == phaseUnproven {
		p.owner.proven(p, now)
		if p.into != nil {
			p = p.into
		}
	}
	for _, b := range msgs {
		if p.phase == phaseOver {
			return
		}
		m, err := wire.DecodeMessage(b)
		if err != nil {
			p.l.counters.add(DropBody)
			continue // a newer version's: acknowledged and passed over
		}
		p.owner.message(p, m, now)
	}
	p.poll(now)
}

// moved is told that frames of the peer come from another address. They are
// authentic, but a repeater, or anybody who repeats them, may have put it there:
// the new address counts when a Ping to it is answered from it.
func (p *Peer) moved(src link.MAC, now time.Time) {
	if p.newMAC == src && now.Sub(p.newAsked) < pingAgain {
		return
	}
	p.newMAC, p.newAsked = src, now
	p.t.token++
	p.newToken = p.t.token
	if b, err := p.t.seal.seal(p.t.frame[:0], &wire.Record{Kind: wire.RecordPing, Token: p.newToken}); err == nil {
		_ = p.l.port.Send(src, b)
	}
}

// end ends the session, without telling the peer.
func (p *Peer) end(err error) {
	if p.phase == phaseOver {
		return
	}
	if err == nil {
		err = ErrClosed
	}
	p.over.Store(true)
	p.l.timers.set(&p.timer, time.Time{})
	p.l.timers.set(&p.pairing.timer, time.Time{})
	p.owner.ended(p, err) // while its phase still tells how far it had come
	p.phase = phaseOver
}
