package session

import (
	"crypto/sha256"
	"time"

	"github.com/flynn/noise"

	"homeconf/src/wire"
)

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
	prologue := prologueOf(&h)
	sum := firstSum(prologue, h.Noise)
	for _, l := range []*answers{&r.known, &r.others} {
		if frame := l.find(sum, now); frame != nil {
			r.c.Counters.add(DropReplay)
			_ = r.l.port.Send(in.src, frame)
			return
		}
	}
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
	var codes []SetupCode
	if h.Pattern == wire.PatternXXpsk3 {
		if codes = r.c.Code(h.Discriminator); len(codes) == 0 {
			return DropWay, false
		}
	} else if h.Pattern == wire.PatternXX && !offered(r.c.Ways(), h.Way) {
		return DropWay, false
	}
	key, _, before := r.keys()
	c := handshakeConfig{pattern: pattern, psk3: h.Pattern == wire.PatternXXpsk3, prologue: prologue,
		static: key, ephemeral: r.spare.take(), random: r.c.Rand}
	hs, payload, err := beginWith(c, h.Noise)
	former := false
	if err != nil && before != nil && h.Pattern == wire.PatternIK {
		c.static, former = before.Key, true
		hs, payload, err = beginWith(c, h.Noise)
	}
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
		if err != nil || !r.c.Member(key) && !r.c.Returns(key) {
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
	r.spare.fill(r.c.Rand) // for the next one, while the agent works on its third message
	if k != nil {          // IK is done; the agent's first frame proves that it is fresh
		r.known.keep(sum, frame, now)
		if p := r.session(in.src, k, local, h.Sender, wire.WayNone, now); p != nil {
			p.renews = renews
			p.former.Store(former)
		}
		return 0, true
	}
	r.others.keep(sum, frame, now)
	r.halves[local] = &half{local: local, remote: h.Sender, hs: hs, way: h.Way, psk3: h.Pattern == wire.PatternXXpsk3, codes: codes}
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

// beginWith reads the first message of a handshake.
func beginWith(c handshakeConfig, msg []byte) (hs *handshake, payload []byte, err error) {
	if hs, err = newHandshake(c); err != nil {
		return nil, nil, err
	}
	payload, _, err = hs.read(msg)
	return hs, payload, err
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

// third takes the last message of XX.
func (r *Responder) third(in *inbound, now time.Time) {
	if p := r.sessions[in.frame.Receiver]; p != nil && p.phase == phasePairing && p.pairing.third == sha256.Sum256(in.frame.Body) {
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
	k, code := h.finish(m.Noise)
	if k == nil {
		if h.forged++; h.forged >= maxForged {
			delete(r.halves, h.local)
		}
		r.drop(DropHandshake, in)
		return
	}
	delete(r.halves, h.local)
	// A device that asks anew waits once, and what was shown before is void.
	for _, p := range r.sessions {
		if p.key == k.remote && p.phase == phasePairing {
			p.end(ErrReplaced)
		}
	}
	if code.IsZero() && !r.c.Member(k.remote) && r.strangers() >= maxWaiting {
		r.drop(DropWaiting, in)
		return
	}
	if p := r.session(in.src, k, h.local, h.remote, h.way, now); p != nil {
		p.phase, p.pairing.code, p.pairing.third = phasePairing, code, sha256.Sum256(in.frame.Body)
		p.greet(now)
	}
}

// finish reads the third message; with set-up codes, by each that was entered
// for the device's discriminator.
func (h *half) finish(msg []byte) (*keys, SetupCode) {
	if !h.psk3 {
		_, k, err := h.hs.read(msg)
		if err != nil {
			return nil, SetupCode{}
		}
		return k, SetupCode{}
	}
	for _, code := range h.codes {
		if h.hs.setPSK(code.PSK()) != nil {
			continue
		}
		if _, k, err := h.hs.read(msg); err == nil {
			return k, code
		}
	}
	return nil, SetupCode{}
}
