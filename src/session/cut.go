package session

import "homeconf/src/wire"

// frameOverhead is what a frame adds to a fragment.
const frameOverhead = wire.TransportOverhead + wire.DataLen

func (o *outgoing) split(cut int) {
	n := (len(o.bytes) + cut - 1) / cut
	o.cut, o.parts, o.left = cut, make([]part, n), n
}

// splitAgain cuts a message anew for the shortest frames. The number of
// fragments is all that tells one cut from another, so it always rises.
func (o *outgoing) splitAgain() {
	const cut = wire.MinFrame - frameOverhead
	if o.left == 0 || len(o.bytes) <= cut {
		return // it has arrived, or its one frame is short
	}
	first, before := oldest(o), len(o.parts)
	o.split(min(cut, (len(o.bytes)+before)/(before+1)))
	o.parts[0].first = first // giving up counts from the first try
}

// takeUnsent takes back the messages of which nothing was sent yet.
func (t *transport) takeUnsent() (msgs [][]byte) {
	n := len(t.out)
	for n > 0 && t.out[n-1].parts[0].first.IsZero() {
		n--
	}
	for _, o := range t.out[n:] {
		msgs = append(msgs, o.bytes)
		t.queued -= len(o.bytes)
	}
	clear(t.out[n:])
	t.out = t.out[:n]
	return msgs
}

// shorten falls back to the smallest frames when a large one stays unanswered
// although the peer is heard: something between has a smaller MTU. Where all
// that is on the way is large, a Ping beside it makes the peer be heard.
func (t *transport) shorten(emit func(*wire.Record)) {
	if t.mtu <= wire.MinFrame {
		return
	}
	for _, o := range t.out {
		for j := range o.parts {
			p := &o.parts[j]
			size := min(o.cut, len(o.bytes)-j*o.cut) + frameOverhead
			if p.acked || p.tries < largeTries || size <= wire.MinFrame {
				continue
			}
			if t.heard.After(p.first) {
				t.mtu = wire.MinFrame
				for _, o := range t.out {
					o.splitAgain()
				}
				return
			}
			if p.asked < p.tries {
				p.asked = p.tries
				t.token++
				emit(&wire.Record{Kind: wire.RecordPing, Token: t.token})
			}
			return // one is enough to ask for
		}
	}
}
