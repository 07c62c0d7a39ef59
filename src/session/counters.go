package session

import "sync/atomic"

// Reason is why a frame was dropped or a request not served.
type Reason uint8

// The reasons, in the order in which a frame meets the checks.
const (
	DropQueue      Reason = iota // the loop was busy and its queue full
	DropSource                   // own, group or zero source address
	DropFrame                    // no frame of ours: version, type, length
	DropBody                     // the body of a handshake or discovery frame does not decode
	DropUnexpected               // a frame that this side or state has no use for
	DropInstance                 // meant for another configurator
	DropCookie                   // no fresh cookie
	DropTag                      // an ADVERTISE whose tag is not our home's
	DropWay                      // a way of pairing that is not offered
	DropReplay                   // a first message that was answered before
	DropRateSource               // too many first messages or questions from this address
	DropRate                     // too many in all
	DropTicket                   // a ticket that is not ours
	DropHandshake                // a handshake message that does not authenticate
	DropStranger                 // IK by a key that is no member
	DropIndex                    // no session of this index
	DropTransport                // a sealed record that does not authenticate, or was seen before
	DropPair                     // a pairing step that is out of place
	DropWaiting                  // a stranger beyond the number that may wait
	DropEvicted                  // a half-open handshake that made room for another
	DropLate                     // a message for a session that is gone
	reasonCount
)

var reasonNames = [reasonCount]string{
	"queue", "source", "frame", "body", "unexpected", "instance", "cookie", "tag", "way", "replay", "rate_source",
	"rate", "ticket", "handshake", "stranger", "index", "transport", "pair", "waiting", "evicted", "late",
}

func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return "unknown"
}

// Counters count what was dropped, by reason. The zero value is ready; all
// methods may be called by any goroutine.
type Counters struct{ n [reasonCount]atomic.Uint64 }

func (c *Counters) add(r Reason) { c.n[r].Add(1) }

// Get is one counter.
func (c *Counters) Get(r Reason) uint64 {
	if r >= reasonCount {
		return 0
	}
	return c.n[r].Load()
}

// Snapshot is every counter by its name.
func (c *Counters) Snapshot() map[string]uint64 {
	m := make(map[string]uint64, reasonCount)
	for r := range reasonCount {
		m[r.String()] = c.n[r].Load()
	}
	return m
}
