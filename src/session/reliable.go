package session

import (
	"errors"
	"time"

	"homeconf/src/wire"
)

const (
	// sendWindow is how many fragments may be on the way at once: less than
	// what a default receive buffer holds.
	sendWindow = 32
	// queueBytes bounds what waits to be sent to one peer.
	queueBytes = 256 << 10
	// storeBytes bounds what one peer can make us keep of messages that are
	// not whole or not in order yet. Half of it is kept for the message that
	// is to be delivered next: what came early must never stand in its way.
	storeBytes = 128 << 10
	aheadBytes = storeBytes - wire.MaxMessage
	// giveUp is how long something may stay unacknowledged.
	giveUp = 60 * time.Second
	// largeTries is how often a large fragment goes unanswered, while other
	// frames come through, before frames fall to the smallest size.
	largeTries = 4
	// pongLimit bounds the answers that wait for the next poll.
	pongLimit = 4

	pingEarliest, pingLatest = 12 * time.Second, 18 * time.Second
	pingAgain                = 500 * time.Millisecond
	maxPings                 = 6 // at 20 % loss each way three would end one idle session in five minutes
)

var (
	errFull    = errors.New("too much waits to be sent")
	errNoAck   = errors.New("nothing was acknowledged for a minute")
	errSilent  = errors.New("peer does not answer")
	errGoodbye = errors.New("peer closed the session")
	errSize    = errors.New("message is empty or too long")
)

// transport brings messages across, each once and in order, over a segment that
// loses, doubles and reorders frames. It has no clock and no goroutine: it is
// told the time, and says when it wants to be asked again.
type transport struct {
	seal *sealer
	mtu  int
	dice func(a, b time.Duration) time.Duration

	// Sending.
	lastID uint32
	out    []*outgoing
	queued int
	rtt    rtt
	pongs  []uint64
	frame  []byte
	ackDue bool

	// Receiving.
	next   uint32
	in     map[uint32]*incoming
	stored int

	// Liveness.
	heard   time.Time // the last authenticated frame
	pingAt  time.Time
	pings   int    // unanswered
	token   uint64 // of the last Ping
	ponged  uint64 // of the last Pong
	pingNow bool
}

// outgoing is a message on its way.
type outgoing struct {
	id    uint32
	bytes []byte
	cut   int // bytes of a fragment
	parts []part
	left  int // not acknowledged
}

type part struct {
	acked bool
	tries int
	asked int // the try beside which a Ping was last sent
	first time.Time
	sent  time.Time
	wait  time.Duration // for an answer to the last try
}

// incoming is a message that is not whole yet, or not in order.
type incoming struct {
	have  wire.Bitmap
	parts [][]byte
	left  int
	size  int
}

func newTransport(s *sealer, mtu int, now time.Time, dice func(a, b time.Duration) time.Duration) *transport {
	t := &transport{seal: s, mtu: min(max(mtu, wire.MinFrame), wire.MaxFrame), dice: dice, next: 1, in: map[uint32]*incoming{},
		heard: now, frame: make([]byte, 0, wire.MaxFrame)}
	t.pingAt = now.Add(dice(pingEarliest, pingLatest))
	return t
}

// queue takes a message to be sent. An error refuses this message alone.
func (t *transport) queue(msg []byte) error {
	if len(msg) == 0 || len(msg) > wire.MaxMessage {
		return errSize
	}
	if t.queued+len(msg) > queueBytes {
		return errFull
	}
	t.lastID++
	t.queued += len(msg)
	o := &outgoing{id: t.lastID, bytes: msg}
	o.split(t.mtu - frameOverhead)
	t.out = append(t.out, o)
	return nil
}

// handle takes a frame. What it answers are the messages that are whole and in
// order now. An error says why the frame was dropped; errGoodbye or
// errRefused that the peer has closed the session.
func (t *transport) handle(f wire.Frame, now time.Time) ([][]byte, error) {
	r, err := t.seal.open(f)
	if err != nil {
		return nil, err
	}
	t.heard, t.pings = now, 0
	t.pingAt = now.Add(t.dice(pingEarliest, pingLatest))
	switch r.Kind {
	case wire.RecordData:
		t.ackDue = true
		return t.take(&r), nil
	case wire.RecordAck:
		t.acked(&r, now)
	case wire.RecordPing:
		if len(t.pongs) < pongLimit {
			t.pongs = append(t.pongs, r.Token)
		}
	case wire.RecordPong:
		t.ponged = r.Token
	case wire.RecordClose:
		if r.Reason == wire.CloseRefused {
			return nil, errRefused
		}
		return nil, errGoodbye
	}
	return nil, nil
}

// take stores a fragment that has authenticated, and returns what is complete.
func (t *transport) take(r *wire.Record) [][]byte {
	if r.Message < t.next || r.Message-t.next >= wire.MaxAckEntries {
		return nil // known, and acknowledged again; or further ahead than any sender may be
	}
	m := t.in[r.Message]
	if m != nil && len(m.parts) < int(r.Fragments) && m.left > 0 {
		// Cut anew after a fall-back to shorter frames. A fragment of the old
		// cut that comes late is passed over below.
		t.stored -= m.size
		delete(t.in, r.Message)
		m = nil
	}
	if !t.room(r.Message, m, len(r.Bytes)) {
		return nil // resent when there is room
	}
	if m == nil {
		m = &incoming{parts: make([][]byte, r.Fragments), left: int(r.Fragments)}
		t.in[r.Message] = m
	}
	if len(m.parts) != int(r.Fragments) || m.have.Has(r.Fragment) {
		return nil
	}
	m.parts[r.Fragment] = append([]byte(nil), r.Bytes...)
	m.have.Set(r.Fragment)
	m.left--
	m.size += len(r.Bytes)
	t.stored += len(r.Bytes)
	var whole [][]byte
	for {
		m, ok := t.in[t.next]
		if !ok || m.left > 0 {
			return whole
		}
		msg := make([]byte, 0, m.size)
		for _, p := range m.parts {
			msg = append(msg, p...)
		}
		whole = append(whole, msg)
		t.stored -= m.size
		delete(t.in, t.next)
		t.next++
	}
}

// room says whether n more bytes of a message may be stored.
func (t *transport) room(id uint32, m *incoming, n int) bool {
	if m != nil && m.size+n > wire.MaxMessage {
		return false
	}
	if id == t.next {
		return true
	}
	ahead := t.stored
	if head := t.in[t.next]; head != nil {
		ahead -= head.size
	}
	return ahead+n <= aheadBytes
}

// acked takes out what has arrived. A message that has arrived whole but not
// in order stays: it still takes room at the peer.
func (t *transport) acked(r *wire.Record, now time.Time) {
	keep := t.out[:0]
	for _, o := range t.out {
		all := o.id < r.Next
		for i := range o.parts {
			p := &o.parts[i]
			if p.acked || !all && (p.tries == 0 || !inAck(r, o, i)) {
				continue
			}
			p.acked = true
			o.left--
			if p.tries == 1 {
				t.rtt.sample(now.Sub(p.sent))
			}
		}
		if !all {
			keep = append(keep, o)
		} else {
			t.queued -= len(o.bytes)
		}
	}
	clear(t.out[len(keep):])
	t.out = keep
}

func inAck(r *wire.Record, o *outgoing, i int) bool {
	for j := range r.Acks[:r.Count] {
		if e := &r.Acks[j]; e.Message == o.id && int(e.Fragments) == len(o.parts) {
			return e.Bitmap.Has(uint16(i))
		}
	}
	return false
}

// poll sends what is due and says when to poll again. An error ends the session.
func (t *transport) poll(now time.Time, send func(frame []byte)) (next time.Time, err error) {
	emit := func(r *wire.Record) {
		if err != nil {
			return
		}
		var b []byte
		if b, err = t.seal.seal(t.frame[:0], r); err == nil {
			send(b)
		}
	}
	for _, token := range t.pongs {
		emit(&wire.Record{Kind: wire.RecordPong, Token: token})
	}
	t.pongs = t.pongs[:0]
	if t.ackDue {
		t.ackDue = false
		t.emitAck(emit)
	}
	t.shorten(emit)
	if next = t.sendParts(now, emit); err != nil {
		return next, err
	}
	if len(t.out) > 0 && !t.out[0].parts[0].first.IsZero() && now.Sub(oldest(t.out[0])) >= giveUp {
		return next, errNoAck
	}
	if t.pingNow || !now.Before(t.pingAt) {
		if t.pings >= maxPings {
			return next, errSilent
		}
		if !t.pingNow {
			t.pings++
		}
		t.pingNow = false
		t.token++
		emit(&wire.Record{Kind: wire.RecordPing, Token: t.token})
		t.pingAt = now.Add(pingAgain)
	}
	if next.IsZero() || t.pingAt.Before(next) {
		next = t.pingAt
	}
	return next, err
}

func oldest(o *outgoing) time.Time {
	var at time.Time
	for _, p := range o.parts {
		if !p.acked && !p.first.IsZero() && (at.IsZero() || p.first.Before(at)) {
			at = p.first
		}
	}
	if at.IsZero() {
		return o.parts[0].first
	}
	return at
}

func (t *transport) emitAck(emit func(*wire.Record)) {
	r := wire.Record{Kind: wire.RecordAck, Next: t.next}
	for id := t.next; id-t.next < wire.MaxAckEntries; id++ {
		if m, ok := t.in[id]; ok && m.size > 0 {
			r.Acks[r.Count] = wire.AckEntry{Message: id, Fragments: uint16(len(m.parts)), Bitmap: m.have}
			r.Count++
		}
	}
	emit(&r)
}

// sendParts sends new fragments as far as the window goes, and those again that
// waited too long.
func (t *transport) sendParts(now time.Time, emit func(*wire.Record)) (next time.Time) {
	flying, ahead := 0, 0
	for i, o := range t.out {
		// t.out has no gaps, so i is also how far ahead of the peer's next
		// message this one may be.
		if i > 0 {
			ahead += len(o.bytes)
		}
		if i >= wire.MaxAckEntries || ahead > aheadBytes {
			break
		}
		for j := range o.parts {
			p := &o.parts[j]
			if p.acked {
				continue
			}
			if flying++; flying > sendWindow {
				return next
			}
			due := now
			if p.tries > 0 {
				due = p.sent.Add(p.wait)
			}
			if !due.After(now) {
				if p.tries++; p.tries == 1 {
					p.wait = t.rtt.timeout()
				} else {
					p.wait = t.rtt.backOff(p.wait)
				}
				if p.first.IsZero() {
					p.first = now
				}
				p.sent = now
				from := j * o.cut
				emit(&wire.Record{Kind: wire.RecordData, Message: o.id, Fragment: uint16(j), Fragments: uint16(len(o.parts)),
					Bytes: o.bytes[from:min(from+o.cut, len(o.bytes))]})
				due = now.Add(p.wait)
			}
			if next.IsZero() || due.Before(next) {
				next = due
			}
		}
	}
	return next
}
