package session

import (
	"context"
	"crypto/hmac"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/flynn/noise"

	"homeconf/src/link"
	"homeconf/src/wire"
)

const (
	// The first question after link up is lost every time: the bridge's port
	// is not forwarding yet. So the first answers are asked for quickly.
	resendFirst, resendLast = 5 * time.Millisecond, time.Second
	// slowAfter is how long nobody answers before an agent asks less often.
	slowAfter             = 2 * time.Minute
	slowFrom, slowTo      = 10 * time.Second, 30 * time.Second
	silentAfter           = time.Second
	broadcastAfter        = 300 * time.Millisecond
	shakeTime             = 5 * time.Second // for a handshake
	shakeAfterHello       = time.Second     // for one that the home may have forgotten
	othersFirst           = 500 * time.Millisecond
	unaskedPause          = time.Second // between SOLICITs that an unasked ADVERTISE causes
	unaskedJitter         = 20 * time.Millisecond
	maxHomes              = 8
	rekeyFrom, rekeyUntil = 10*time.Hour + 48*time.Minute, 13*time.Hour + 12*time.Minute // 12 h ± 10 %
)

// InitiatorHandler is told what happens, on the goroutine of Run. It must not
// block, but for Pinned.
type InitiatorHandler interface {
	// Silent: nobody has answered for a second. Told once a search.
	Silent()
	// Digits are to be shown; the zero value ends that.
	Digits(d Digits)
	// Pinned stores the home before anything is said to it. An error means
	// that the device is not paired.
	Pinned(pin Pin) error
	Open(p *Peer)
	Receive(p *Peer, m wire.Message)
	Closed(p *Peer, err error)
}

// InitiatorConfig is what an Initiator needs.
type InitiatorConfig struct {
	Key      PrivateKey
	Pin      *Pin // nil: unpaired
	Way      wire.Way
	Code     SetupCode // with WayCode
	Handler  InitiatorHandler
	Log      *slog.Logger
	Counters *Counters
	Rand     io.Reader
}

// Initiator is the agent's end of the protocol on one segment.
type Initiator struct {
	c InitiatorConfig

	mu   sync.Mutex
	live *loop // of the Run that goes on
	pin  *Pin

	// Of the loop.
	l          *loop
	nonce      [16]byte // of this search
	gap        time.Duration
	began      time.Time
	told       bool // Silent
	ask        timer
	lastAsked  time.Time
	homes      map[[16]byte]bool
	inVain     map[[16]byte]bool // homes that were tried; while unpaired others come first
	last       [16]byte          // the one tried last
	heardFirst time.Time
	shaking    *shaking
	hurried    bool // a handshake was given less time since the last session
	peer       *Peer
	fresh      *Peer // new keys for peer, not proven yet
	offer      *Pin
	approved   bool
	reveals    int
	rekey      timer
	doubts     timer
	doubted    time.Time
	frames     uint64 // in one direction, after which new keys are due
	ticket     *wire.Ticket
	spare      spare
}

// shaking is the handshake under way.
type shaking struct {
	hs       *handshake
	forged   int    // answers that did not authenticate
	renews   uint32 // the home's index of the session to go on with; 0: none
	peer     *Peer  // once the handshake is done
	home     link.MAC
	instance [16]byte
	local    uint32
	way      wire.Way
	frame    []byte // resent byte for byte
	gap      time.Duration
	began    time.Time
	patience time.Duration // then discovery begins anew
	resend   timer
}

// NewInitiator checks what an Initiator needs.
func NewInitiator(c InitiatorConfig) (*Initiator, error) {
	switch {
	case c.Key.IsZero():
		return nil, errors.New("initiator: no device key")
	case c.Handler == nil:
		return nil, errors.New("initiator: a Handler is needed")
	case c.Way == wire.WayCode && c.Code.IsZero():
		return nil, errors.New("initiator: pairing by code needs the code")
	}
	if c.Way == wire.WayNone {
		c.Way = wire.WayApprove
	}
	if !c.Code.IsZero() {
		c.Way = wire.WayCode // who has a code never pairs without it
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Counters == nil {
		c.Counters = &Counters{}
	}
	c.Rand = randomOr(c.Rand)
	return &Initiator{c: c, pin: c.Pin, frames: rekeyFrames}, nil
}

func (i *Initiator) setPin(p *Pin) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pin = p
}

func (i *Initiator) pinned() *Pin {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pin
}

// Repin has handshakes made with the home's new key from now on; an open session
// goes on. Any goroutine may call it.
func (i *Initiator) Repin(p Pin) { i.setPin(&p) }

// Run serves a port until ctx ends, which is no error, or the port does. It
// closes the port. Run may be called again with another port afterwards.
func (i *Initiator) Run(ctx context.Context, port link.Port) error {
	l, err := newLoop(port, i.c.Counters, i.c.Rand)
	if err != nil {
		return err
	}
	i.l = l
	i.mu.Lock()
	i.live = l
	i.mu.Unlock()
	i.homes, i.inVain = map[[16]byte]bool{}, map[[16]byte]bool{}
	i.peer, i.fresh, i.shaking, i.offer = nil, nil, nil, nil
	i.ask.run, i.rekey.run, i.doubted = i.asking, i.rekeying, time.Time{}
	i.search(time.Now())
	return l.run(ctx, i.serve, func(error) {
		if i.peer != nil {
			if ctx.Err() != nil {
				i.peer.say(&wire.Record{Kind: wire.RecordClose})
			}
			i.peer.end(ErrClosed)
		}
		i.stopShaking()
		i.dropFresh()
		i.l.timers.set(&i.ask, time.Time{})
		i.l.timers.set(&i.rekey, time.Time{})
		i.l.timers.set(&i.doubts, time.Time{})
		i.mu.Lock()
		i.live = nil
		i.mu.Unlock()
	})
}

func (i *Initiator) serve(in *inbound) {
	now := time.Now()
	switch in.frame.Type {
	case wire.FrameAdvertise:
		i.advertised(in, now)
	case wire.FrameHandshake2:
		i.second(in, now)
	case wire.FrameTransport:
		p := i.named(in.frame.Receiver)
		if p == nil {
			i.drop(DropIndex, in)
			return
		}
		p.frame(in.src, in.frame, now)
		if i.peer != nil && i.peer.spent(i.frames) && i.ask.index == 0 && i.shaking == nil {
			i.search(now)
		}
	default:
		i.drop(DropUnexpected, in)
	}
}

func (i *Initiator) drop(why Reason, in *inbound) {
	i.c.Counters.add(why)
	i.c.Log.Debug("frame dropped", "reason", why, "type", in.frame.Type, "from", in.src)
}

// begin shakes hands: IK with the pinned home, XX with a stranger.
func (i *Initiator) begin(src link.MAC, a wire.Advertise, now time.Time) {
	h := wire.Handshake1{Instance: a.Instance, AgentNonce: a.Asker, HomeNonce: a.Nonce, Cookie: a.Cookie,
		Sender: i.l.index(func(n uint32) bool { return i.named(n) != nil })}
	c := handshakeConfig{initiator: true, static: i.c.Key, ephemeral: i.spare.take(), random: i.c.Rand}
	var renews uint32
	pin := i.pinned()
	switch {
	case pin != nil:
		if i.peer.canRenew() {
			renews = i.peer.t.seal.remote
		}
		h.Pattern, h.Way, c.pattern, c.remote = wire.PatternIK, wire.WayNone, noise.HandshakeIK, &pin.Home
	case i.c.Way == wire.WayCode:
		h.Pattern, h.Way, c.pattern, c.psk3 = wire.PatternXXpsk3, wire.WayCode, noise.HandshakeXX, true
		h.Discriminator = i.c.Code.Discriminator()
	default:
		h.Pattern, h.Way, c.pattern = wire.PatternXX, i.c.Way, noise.HandshakeXX
	}
	c.prologue = prologueOf(&h)
	hs, err := newHandshake(c)
	if err == nil && c.psk3 {
		err = hs.setPSK(i.c.Code.PSK())
	}
	if err == nil {
		h.Noise, _, err = hs.write(sessionIndex(renews))
	}
	if err == nil && i.ticket != nil {
		h.Ticket, h.TicketMAC = i.ticket.ID[:], ticketMAC(&i.ticket.Key, c.prologue, h.Noise)
		i.ticket = nil // shown once, so that it can't be followed
	}
	var f []byte
	if err == nil {
		f, err = wire.AppendBody(nil, 0, h)
	}
	if err != nil {
		i.c.Log.Error("handshake was not begun", "err", err)
		return
	}
	i.l.timers.set(&i.ask, time.Time{})
	i.triedNext(a.Instance)
	s := &shaking{hs: hs, renews: renews, home: src, instance: a.Instance, local: h.Sender, way: h.Way, frame: f, gap: resendFirst, began: now, patience: shakeTime}
	s.resend.run = i.shake
	i.shaking = s
	i.shake(now)
}

// shake sends the handshake's last message, again and again, byte for byte: the
// answer decides.
func (i *Initiator) shake(now time.Time) {
	s := i.shaking
	if s == nil {
		return
	}
	left := s.patience - now.Sub(s.began)
	if left <= 0 {
		i.triedInVain()
		if s.peer != nil && s.peer == i.peer && i.peer.phase == phaseUnproven {
			i.peer.end(errSilent) // searches again
			return
		}
		i.search(now)
		return
	}
	if s.frame == nil {
		s.peer.greet(now)
	} else {
		_ = i.l.port.Send(s.home, s.frame)
	}
	i.l.timers.set(&s.resend, now.Add(min(s.gap, left)))
	s.gap = min(2*s.gap, resendLast)
}

func (i *Initiator) stopShaking() {
	if i.shaking != nil {
		i.l.timers.set(&i.shaking.resend, time.Time{})
		i.shaking = nil
	}
}

// second takes the home's answer.
func (i *Initiator) second(in *inbound, now time.Time) {
	s := i.shaking
	if s == nil || in.frame.Receiver != s.local || s.hs == nil {
		i.drop(DropIndex, in)
		return
	}
	m, err := wire.ParseHandshake2(in.frame.Body)
	if err != nil {
		i.drop(DropBody, in)
		return
	}
	payload, k, err := s.hs.read(m.Noise)
	if err != nil {
		if s.forged++; s.forged >= maxForged {
			i.search(now)
		}
		i.drop(DropHandshake, in)
		return
	}
	goesOn, ok := parseSessionIndex(payload)
	if !ok || goesOn != 0 && goesOn != s.renews {
		i.drop(DropHandshake, in)
		i.search(now) // the home's own, yet not by the rules: this handshake is used up
		return
	}
	if k == nil { // XX: the third message is ours
		var msg []byte
		if msg, k, err = s.hs.write(nil); err == nil {
			s.frame, err = wire.AppendBody(nil, m.Sender, wire.Handshake3{Noise: msg})
		}
		if err != nil {
			i.drop(DropHandshake, in)
			return
		}
	}
	p, err := newPeer(i.l, i, k, s.local, m.Sender, in.src, s.way, now)
	if err != nil {
		i.c.Log.Error("session was not made", "err", err)
		return
	}
	s.peer, s.hs, s.home = p, nil, in.src
	s.gap, s.began = resendFirst, now
	if goesOn != 0 {
		i.refresh(p, now)
		return
	}
	if old := i.peer; old != nil {
		i.peer = nil
		old.end(ErrReplaced)
	}
	i.peer = p
	if s.way == wire.WayNone {
		// The home counts the session from our first frame on, and we count it
		// from its first.
		s.frame = nil
		i.shake(now)
		return
	}
	p.pairing.na = i.l.nonce()
	p.pairing.step = wire.PairCommit
	i.shake(now)
	p.pushMessage(wire.Pair{Step: wire.PairCommit, Commit: commitment(p.hash, p.pairing.na)})
}

// proven is told that the home has sent a frame of the new session.
func (i *Initiator) proven(p *Peer, now time.Time) {
	i.stopShaking()
	i.hurried = false
	if p.renews != nil {
		i.renewed(p, now)
		return
	}
	if p.way != wire.WayNone {
		p.phase = phasePairing
		return
	}
	i.opened(p)
}

func (i *Initiator) opened(p *Peer) {
	p.phase = phaseOpen
	p.pairing.digits = ""
	i.approved = false
	i.c.Handler.Digits(Digits{})
	i.l.timers.set(&i.rekey, time.Now().Add(i.l.between(rekeyFrom, rekeyUntil)))
	i.c.Handler.Open(p)
}

// show tells what the person at the device should see.
func (i *Initiator) show() {
	if p := i.peer; p != nil && p.phase == phasePairing && p.pairing.digits != "" {
		i.c.Handler.Digits(Digits{Code: p.pairing.digits, Home: p.key, Homes: len(i.homes)})
	}
}

func (i *Initiator) message(p *Peer, m wire.Message, now time.Time) {
	pair, isPair := m.(wire.Pair)
	ticket, isTicket := m.(wire.Ticket)
	switch {
	case p.phase == phasePairing && isPair:
		i.pairMessage(p, pair, now)
	case p.phase == phaseOpen && isTicket:
		i.ticket = &ticket
	case p.phase == phaseOpen && !isPair:
		i.c.Handler.Receive(p, m)
	default:
		i.c.Counters.add(DropPair)
	}
}

func (i *Initiator) ended(p *Peer, err error) {
	if p.phase == phaseOpen {
		i.c.Handler.Closed(p, err)
	}
	if p.pairing.digits != "" {
		i.c.Handler.Digits(Digits{Stopped: i.revealed()})
	}
	if i.fresh == p {
		i.fresh = nil
		i.search(time.Now())
		return
	}
	if i.peer != p {
		return
	}
	i.peer, i.offer, i.approved = nil, nil, false
	i.l.timers.set(&i.rekey, time.Time{})
	i.search(time.Now())
	if errors.Is(err, errRefused) {
		i.triedInVain()
		// Asking at once again would only be refused again.
		i.l.timers.set(&i.ask, time.Now().Add(i.l.between(slowFrom, slowTo)))
	}
}

func constantEqual(a, b []byte) bool { return len(b) > 0 && hmac.Equal(a, b) }
