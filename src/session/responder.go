package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/flynn/noise"

	"homeconf/src/link"
	"homeconf/src/wire"
)

const (
	// maxHalves is how many handshakes may be half done; the oldest makes room.
	maxHalves = 64
	// maxAnswered is how many answers to first messages are remembered.
	maxAnswered = 512
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
	Instance     [16]byte
	Term         uint64
	Member       func(PublicKey) bool
	Ways         func() []wire.Way
	Code         func(discriminator uint16) [][]byte
	Handler      ResponderHandler
	Log          *slog.Logger
	Counters     *Counters
	Rand         io.Reader
}

// Responder is the configurator's end of the protocol on one segment.
type Responder struct {
	c ResponderConfig

	l        *loop
	jar      *cookieJar
	boot     [32]byte
	asks     sources
	shakes   sources
	askAll   bucket
	shakeAll bucket
	tickets  bucket
	reveals  bucket
	halves   map[uint32]*half
	order    []*half // oldest first
	answered map[[32]byte]*answer
	answers  []*answer // oldest first
	sessions map[uint32]*Peer
	members  map[PublicKey]*Peer
	hello    timer
	helloGap time.Duration
}

// half is a handshake that awaits its third message.
type half struct {
	local, remote uint32
	hs            *handshake
	way           wire.Way
	psks          [][]byte
	from          *answer
}

// answer is what was answered to a first message: it is sent again when the
// message comes again, and the message opens no second handshake.
type answer struct {
	sum   [32]byte
	frame []byte
	when  time.Time
	local uint32
	third [32]byte // the HANDSHAKE3 that finished it
}

// NewResponder checks what a Responder needs.
func NewResponder(c ResponderConfig) (*Responder, error) {
	switch {
	case c.Key.IsZero():
		return nil, errors.New("responder: no home key")
	case c.Member == nil || c.Handler == nil:
		return nil, errors.New("responder: Member and Handler are needed")
	}
	if c.Ways == nil {
		c.Ways = func() []wire.Way { return []wire.Way{wire.WayApprove} }
	}
	if c.Code == nil {
		c.Code = func(uint16) [][]byte { return nil }
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
	r.answered, r.answers = map[[32]byte]*answer{}, nil
	r.sessions, r.members = map[uint32]*Peer{}, map[PublicKey]*Peer{}
	r.asks.seed, r.shakes.seed = l.dice.Uint64(), l.dice.Uint64()
	r.hello.run = r.advertise
	r.helloGap = helloFirst
	l.timers.set(&r.hello, now)
	return l.run(ctx, r.serve, func(error) {
		for _, p := range r.sessions {
			if ctx.Err() != nil {
				p.say(&wire.Record{Kind: wire.RecordClose})
			}
			p.end(ErrClosed)
		}
	})
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
	nonce := r.l.nonce()
	r.sendBody(in.src, 0, wire.Advertise{Instance: r.c.Instance, Nonce: nonce, Asker: s.Nonce,
		Cookie: r.jar.bake(now, in.src, s.Nonce, nonce),
		Tag:    discoveryTag(r.c.DiscoveryKey, s.Nonce, nonce, r.c.Instance), Ways: r.c.Ways()})
}

// first takes the first message of a handshake: the cheap checks, then the
// budgets, and only then the public-key work.
func (r *Responder) first(in *inbound, now time.Time) {
	h, err := wire.ParseHandshake1(in.frame.Body)
	if err != nil {
		r.drop(DropBody, in)
		return
	}
	if h.Instance != r.c.Instance {
		r.drop(DropInstance, in)
		return
	}
	if !r.jar.check(now, h.Cookie, in.src, h.AgentNonce, h.HomeNonce) {
		r.drop(DropCookie, in)
		return
	}
	r.forgetAnswers(now)
	sum := sha256.Sum256(in.frame.Body)
	if a := r.answered[sum]; a != nil {
		_ = r.l.port.Send(in.src, a.frame)
		return
	}
	prologue := prologueOf(&h)
	switch {
	case !r.shakes.take(now, in.src, shakeEvery, shakeBurst):
		r.drop(DropRateSource, in)
		return
	case r.ticketHolder(&h, prologue):
		if !r.tickets.take(now, ticketAllEvery, ticketAllBurst) {
			r.drop(DropRate, in)
			return
		}
	case !r.shakeAll.take(now, shakeAllEvery, shakeAllBurst):
		r.drop(DropRate, in)
		return
	}
	if why, ok := r.shake(in, &h, prologue, sum, now); !ok {
		r.drop(why, in)
	}
}

func (r *Responder) ticketHolder(h *wire.Handshake1, prologue []byte) bool {
	if h.Ticket == nil {
		return false
	}
	key := ticketKey(&r.boot, [16]byte(h.Ticket))
	mac := ticketMAC(&key, prologue, h.Noise)
	if !constantEqual(mac, h.TicketMAC) {
		r.c.Counters.add(DropTicket)
		return false
	}
	return true
}

// shake reads the first Noise message and answers it.
func (r *Responder) shake(in *inbound, h *wire.Handshake1, prologue []byte, sum [32]byte, now time.Time) (Reason, bool) {
	pattern := noise.HandshakeXX
	if h.Pattern == wire.PatternIK {
		pattern = noise.HandshakeIK
	}
	var psks [][]byte
	if h.Pattern == wire.PatternXXpsk3 {
		if psks = r.c.Code(h.Discriminator); len(psks) == 0 {
			return DropWay, false
		}
	} else if h.Pattern == wire.PatternXX && !offered(r.c.Ways(), h.Way) {
		return DropWay, false
	}
	hs, err := newHandshake(handshakeConfig{pattern: pattern, psk3: h.Pattern == wire.PatternXXpsk3, prologue: prologue, static: r.c.Key, random: r.c.Rand})
	if err != nil {
		r.c.Log.Error("handshake was not begun", "err", err)
		return DropHandshake, false
	}
	payload, _, err := hs.read(h.Noise)
	if err != nil {
		return DropHandshake, false
	}
	index, ok := parseSessionIndex(payload)
	if !ok || index != 0 && h.Pattern != wire.PatternIK {
		return DropHandshake, false
	}
	var renews *Peer
	if h.Pattern == wire.PatternIK {
		key, err := hs.remoteKey()
		if err != nil || !r.c.Member(key) {
			return DropStranger, false
		}
		renews = r.renewable(index, key)
	}
	if renews == nil {
		index = 0
	}
	msg, k, err := hs.write(sessionIndex(index))
	if err != nil {
		return DropHandshake, false
	}
	local := r.l.index(func(i uint32) bool { return r.sessions[i] != nil || r.halves[i] != nil })
	frame := r.sendBody(in.src, h.Sender, wire.Handshake2{Sender: local, Noise: msg})
	if frame == nil {
		return DropHandshake, false
	}
	a := &answer{sum: sum, frame: frame, when: now, local: local}
	r.remember(a)
	if k != nil { // IK is done; the agent's first frame proves that it is fresh
		p := r.session(in.src, k, local, h.Sender, wire.WayNone, now)
		if p == nil {
			return DropWaiting, false
		}
		p.renews = renews
		return 0, true
	}
	r.halves[local] = &half{local: local, remote: h.Sender, hs: hs, way: h.Way, psks: psks, from: a}
	r.order = append(r.order, r.halves[local])
	for len(r.order) > maxHalves {
		old := r.order[0]
		r.order = r.order[1:]
		if r.halves[old.local] == old {
			delete(r.halves, old.local)
			r.c.Counters.add(DropEvicted)
		}
	}
	return 0, true
}

func offered(ways []wire.Way, w wire.Way) bool {
	for _, o := range ways {
		// A window and a yes are the same on the wire; which of them it was
		// is the configurator's business.
		if o == w || o != wire.WayCode && w != wire.WayCode {
			return true
		}
	}
	return false
}

func (r *Responder) remember(a *answer) {
	r.answered[a.sum] = a
	r.answers = append(r.answers, a)
	if len(r.answers) > maxAnswered {
		delete(r.answered, r.answers[0].sum)
		r.answers = r.answers[1:]
	}
}

// forgetAnswers drops what no cookie can bring back.
func (r *Responder) forgetAnswers(now time.Time) {
	for len(r.answers) > 0 && now.Sub(r.answers[0].when) > cookieLife {
		delete(r.answered, r.answers[0].sum)
		r.answers = r.answers[1:]
	}
}

// third takes the last message of XX.
func (r *Responder) third(in *inbound, now time.Time) {
	if p := r.sessions[in.frame.Receiver]; p != nil && p.phase == phasePairing {
		p.greet(now) // it came again: ours that shows its arrival was lost
		return
	}
	h := r.halves[in.frame.Receiver]
	if h == nil {
		r.drop(DropIndex, in)
		return
	}
	m, err := wire.ParseHandshake3(in.frame.Body)
	if err != nil {
		r.drop(DropBody, in)
		return
	}
	k := h.finish(m.Noise)
	if k == nil {
		r.drop(DropHandshake, in)
		return
	}
	delete(r.halves, h.local)
	if !r.c.Member(k.remote) && r.strangers() >= maxWaiting {
		r.drop(DropWaiting, in)
		return
	}
	if p := r.session(in.src, k, h.local, h.remote, h.way, now); p != nil {
		p.phase = phasePairing
		p.greet(now)
	}
}

// finish reads the third message; with set-up codes, by each that was entered
// for the device's discriminator.
func (h *half) finish(msg []byte) *keys {
	if h.psks == nil {
		_, k, err := h.hs.read(msg)
		if err != nil {
			return nil
		}
		return k
	}
	for _, psk := range h.psks {
		if h.hs.setPSK(psk) != nil {
			continue
		}
		if _, k, err := h.hs.read(msg); err == nil {
			return k
		}
	}
	return nil
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
