package session

import (
	"crypto/sha256"
	"time"
)

// maxAnswered is how many answers to first messages are remembered.
const maxAnswered = 512

// answers remembers what was answered to first messages: it is sent again when
// one comes again, and the message opens no second handshake. The zero value is
// ready.
type answers struct {
	bySum map[[32]byte][]byte
	order []answered // oldest first
}

type answered struct {
	sum  [32]byte
	when time.Time
}

// firstSum names a first message by all that the handshake stands on, so that
// no change to the rest, such as a ticket taken off, makes another one of it.
func firstSum(prologue, noise []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write(prologue)
	h.Write(noise)
	h.Sum(sum[:0])
	return sum
}

// find is the answer that was given, nil for none. It forgets those that no
// cookie can bring back.
func (a *answers) find(sum [32]byte, now time.Time) []byte {
	for len(a.order) > 0 && now.Sub(a.order[0].when) > cookieLife {
		a.drop()
	}
	return a.bySum[sum]
}

func (a *answers) keep(sum [32]byte, frame []byte, now time.Time) {
	if a.bySum == nil {
		a.bySum = map[[32]byte][]byte{}
	}
	if len(a.order) >= maxAnswered {
		a.drop()
	}
	a.bySum[sum] = frame
	a.order = append(a.order, answered{sum, now})
}

func (a *answers) drop() {
	delete(a.bySum, a.order[0].sum)
	a.order = a.order[1:]
}
