package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

const (
	// maxHalves is how many handshakes may be half done; the oldest makes room.
	maxHalves = 64
	// maxForged is how many messages that don't authenticate a handshake
	// outlives: more than a neighbour's noise, and little work.
	maxForged = 16
	// maxSessions bounds what all devices together may hold open.
	maxSessions = 1024

	// One address asks and shakes hands at most at these rates, all together
	// at those: a handshake costs a router some 30 ms.
	askEvery, askBurst             = 50 * time.Millisecond, 40
	askAllEvery, askAllBurst       = time.Millisecond, 400
	shakeEvery, shakeBurst         = 250 * time.Millisecond, 8
	shakeAllEvery, shakeAllBurst   = 10 * time.Millisecond, 64
	ticketAllEvery, ticketAllBurst = 10 * time.Millisecond, 128

	// Unsolicited ADVERTISEs at start, so that agents that wait need not wait
	// for their own next question.
	helloFirst, helloLast = 50 * time.Millisecond, 4 * time.Second
)

// ResponderHandler is told what happens, on the goroutine of Run. It must not
// block.
type ResponderHandler interface {
	// Waiting: a stranger waits for a yes; Peer.Admit is that yes.
	Waiting(p *Peer, w Waiting)
	// Open: a member is here, messages may flow.
	Open(p *Peer)
	Receive(p *Peer, m wire.Message)
	// Closed ends what Waiting or Open began.
	Closed(p *Peer, err error)
}

// ResponderConfig is what a Responder needs.
type ResponderConfig struct {
	Key          PrivateKey // the home key
	DiscoveryKey [32]byte
	Former       *FormerKey // nil: none
	Instance     [16]byte
	Term         uint64
	Member       func(PublicKey) bool
	// Returns says whether one who knows the home key, and is no member, may
	// come all the same: a home that lost its records knows them by its own.
	Returns  func(PublicKey) bool
	Ways     func() []wire.Way
	Code     func(discriminator uint16) []SetupCode // those that a person entered
	Handler  ResponderHandler
	Log      *slog.Logger
	Counters *Counters
	Rand     io.Reader
}

// FormerKey is the key that the home had before, for agents that have not got
// the new one yet.
type FormerKey struct {
	Key       PrivateKey
	Discovery [32]byte
}

// Responder is the configurator's end of the protocol on one segment.
type Responder struct {
	c ResponderConfig

	mu   sync.Mutex
	live *loop // of the Run that goes on

	l        *loop
	jar      *cookieJar
	boot     [32]byte
	asks     sources
	shakes   sources
	askAll   bucket
	shakeAll bucket
	tickets  bucket
	reveals  bucket
	spare    spare
	halves   map[uint32]*half
	order    []*half // oldest first
	known    answers // to members' first messages
	others   answers // to strangers', who must not push those out
	sessions map[uint32]*Peer
	members  map[PublicKey]*Peer
	hello    timer
	helloGap time.Duration
}

// half is a handshake that awaits its third message.
type half struct {
	local, remote uint32
	hs            *handshake
	forged        int // third messages that did not authenticate
	way           wire.Way
	psk3          bool
	codes         []SetupCode // with XXpsk3; one of them must be the device's
}

// NewResponder checks what a Responder needs.
func NewResponder(c ResponderConfig) (*Responder, error) {
	switch {
	case c.Key.IsZero():
		return nil, errors.New("responder: no home key")
	case c.Member == nil || c.Handler == nil:
		return nil, errors.New("responder: Member and Handler are needed")
	}
	if c.Returns == nil {
		c.Returns = func(PublicKey) bool { return false }
	}
	if c.Ways == nil {
		c.Ways = func() []wire.Way { return []wire.Way{wire.WayApprove} }
	}
	if c.Code == nil {
		c.Code = func(uint16) []SetupCode { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Counters == nil {
		c.Counters = &Counters{}
	}
	c.Rand = randomOr(c.Rand)
	return &Responder{c: c}, nil
}

// Run serves a port until ctx ends, which is no error, or the port does. It
// closes the port; sessions end with it. Run may be called again with another
// port afterwards, not at the same time.
func (r *Responder) Run(ctx context.Context, port link.Port) error {
	l, err := newLoop(port, r.c.Counters, r.c.Rand)
	if err != nil {
		return err
	}
	now := time.Now()
	if r.jar, err = newCookieJar(r.c.Rand, now); err != nil {
		return err
	}
	if _, err := io.ReadFull(r.c.Rand, r.boot[:]); err != nil {
		return fmt.Errorf("making the ticket secret: %w", err)
	}
	r.l = l
	r.halves, r.order = map[uint32]*half{}, nil
	r.known, r.others = answers{}, answers{}
	r.sessions, r.members = map[uint32]*Peer{}, map[PublicKey]*Peer{}
	r.asks.seed, r.shakes.seed = l.dice.Uint64(), l.dice.Uint64()
	r.hello.run = r.advertise
	r.helloGap = helloFirst
	l.timers.set(&r.hello, now)
	r.setLive(l)
	r.spare.fill(r.c.Rand)
	return l.run(ctx, r.serve, func(error) {
		r.setLive(nil)
		for _, p := range r.sessions {
			if ctx.Err() != nil {
				p.say(&wire.Record{Kind: wire.RecordClose})
			}
			p.end(ErrClosed)
		}
	})
}

func (r *Responder) setLive(l *loop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = l
}

// Rotate gives the home another key; sessions that are open go on. With a former
// key the agents that have that one are still let in. Any goroutine may call it.
func (r *Responder) Rotate(key PrivateKey, discovery [32]byte, former *FormerKey) {
	r.mu.Lock()
	r.c.Key, r.c.DiscoveryKey, r.c.Former = key, discovery, former
	l := r.live
	r.mu.Unlock()
	if l != nil && former != nil {
		l.post(func() {
			// Who pairs just now pins the key that its handshake was made with.
			clear(r.halves)
			for _, p := range r.sessions {
				p.former.Store(true)
			}
		})
	}
}

func (r *Responder) keys() (key PrivateKey, discovery [32]byte, former *FormerKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.c.Key, r.c.DiscoveryKey, r.c.Former
}

// Hello has agents that look for a home ask again at once, since what is
// offered has changed. Any goroutine may call it.
func (r *Responder) Hello() {
	r.mu.Lock()
	l := r.live
	r.mu.Unlock()
	if l != nil {
		l.post(func() {
			r.helloGap = helloFirst
			l.timers.set(&r.hello, time.Now())
		})
	}
}

// advertise says hello unasked, with growing pauses, and then falls silent.
func (r *Responder) advertise(now time.Time) {
	r.broadcast(link.MAC(wire.Group), wire.Advertise{Instance: r.c.Instance, Nonce: r.l.nonce(), Ways: r.c.Ways()})
	if r.helloGap <= helloLast {
		r.l.timers.set(&r.hello, now.Add(r.l.between(r.helloGap/2, r.helloGap)))
		r.helloGap *= 3
	}
}

func (r *Responder) broadcast(dst link.MAC, b wire.Body) []byte {
	return r.sendBody(dst, 0, b)
}

func (r *Responder) sendBody(dst link.MAC, receiver uint32, b wire.Body) []byte {
	f, err := wire.AppendBody(nil, receiver, b)
	if err != nil {
		r.c.Log.Error("frame was not made", "type", b.Frame(), "err", err)
		return nil
	}
	_ = r.l.port.Send(dst, f) // a frame that can't be sent is a frame lost
	return f
}

func (r *Responder) serve(in *inbound) {
	now := time.Now()
	switch in.frame.Type {
	case wire.FrameTransport:
		if p := r.sessions[in.frame.Receiver]; p != nil {
			p.frame(in.src, in.frame, now)
		} else {
			r.drop(DropIndex, in)
		}
	case wire.FrameSolicit:
		r.solicited(in, now)
	case wire.FrameHandshake1:
		r.first(in, now)
	case wire.FrameHandshake3:
		r.third(in, now)
	case wire.FrameAdvertise, wire.FrameHandshake2:
		r.drop(DropUnexpected, in)
	}
}

func (r *Responder) drop(why Reason, in *inbound) {
	r.c.Counters.add(why)
	r.c.Log.Debug("frame dropped", "reason", why, "type", in.frame.Type, "from", in.src)
}

// solicited answers an agent's question. Nothing is remembered.
func (r *Responder) solicited(in *inbound, now time.Time) {
	s, err := wire.ParseSolicit(in.frame.Body)
	switch {
	case err != nil:
		r.drop(DropBody, in)
		return
	case !r.asks.take(now, in.src, askEvery, askBurst):
		r.drop(DropRateSource, in)
		return
	case !r.askAll.take(now, askAllEvery, askAllBurst):
		r.drop(DropRate, in)
		return
	}
	_, discovery, former := r.keys()
	r.answer(in.src, s.Nonce, discovery, now)
	if former != nil {
		r.answer(in.src, s.Nonce, former.Discovery, now)
	}
}

func (r *Responder) answer(to link.MAC, asker [16]byte, discovery [32]byte, now time.Time) {
	nonce := r.l.nonce()
	r.sendBody(to, 0, wire.Advertise{Instance: r.c.Instance, Nonce: nonce, Asker: asker,
		Cookie: r.jar.bake(now, to, asker, nonce),
		Tag:    discoveryTag(discovery, asker, nonce, r.c.Instance), Ways: r.c.Ways()})
}

func (r *Responder) strangers() int {
	n := 0
	for _, p := range r.sessions {
		if p.phase == phasePairing {
			n++
		}
	}
	return n
}

func (r *Responder) session(src link.MAC, k *keys, local, remote uint32, way wire.Way, now time.Time) *Peer {
	if len(r.sessions) >= maxSessions {
		r.c.Counters.add(DropWaiting)
		return nil
	}
	p, err := newPeer(r.l, r, k, local, remote, src, way, now)
	if err != nil {
		r.c.Log.Error("session was not made", "err", err)
		return nil
	}
	r.sessions[local] = p
	r.l.timers.set(&p.timer, p.t.pingAt)
	return p
}

// proven is told that the first frame of an IK session has come: only now does
// it take the place of an earlier one.
func (r *Responder) proven(p *Peer, now time.Time) {
	if p.renews != nil {
		r.renewed(p, now)
		return
	}
	r.opened(p)
}

func (r *Responder) opened(p *Peer) {
	p.phase = phaseOpen
	if old := r.members[p.key]; old != nil && old != p {
		old.end(ErrReplaced)
	}
	r.members[p.key] = p
	r.c.Handler.Open(p)
	r.handTicket(p)
}

// handTicket gives a member the secret for its next first message.
func (r *Responder) handTicket(p *Peer) {
	id := r.l.nonce()
	p.pushMessage(wire.Ticket{ID: id, Key: ticketKey(&r.boot, id)})
}

func (r *Responder) message(p *Peer, m wire.Message, now time.Time) {
	pair, isPair := m.(wire.Pair)
	switch {
	case p.phase == phasePairing && isPair:
		r.pairMessage(p, pair, now)
	case p.phase == phaseOpen && !isPair:
		r.c.Handler.Receive(p, m)
	default:
		r.c.Counters.add(DropPair)
	}
}

func (r *Responder) ended(p *Peer, err error) {
	if r.sessions[p.local] == p {
		delete(r.sessions, p.local)
	}
	if p.old != nil {
		r.forget(p.old.local)
	}
	if r.members[p.key] == p {
		delete(r.members, p.key)
	}
	if p.phase == phaseOpen || p.phase == phasePairing && p.pairing.step == wire.PairReveal {
		r.c.Handler.Closed(p, err)
	}
}
