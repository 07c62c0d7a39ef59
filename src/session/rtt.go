package session

import "time"

// The bounds of the retransmission time-out. RFC 6298's are made for the
// Internet: a LAN answers in under a millisecond, a sleeping Wi-Fi station in
// some 100.
const (
	rtoInitial = 50 * time.Millisecond
	rtoMin     = 10 * time.Millisecond
	rtoMax     = time.Second
)

// rtt estimates the round trip time (RFC 6298, 2). The zero value is ready.
type rtt struct {
	smoothed, variance time.Duration
	any                bool
	held               time.Duration // the longest wait after one that was in vain, until a sample comes
}

// sample takes a measurement of something that was sent once (Karn's rule,
// RFC 6298, 3).
func (r *rtt) sample(d time.Duration) {
	if d < 0 {
		return
	}
	r.held = 0
	if !r.any {
		r.any, r.smoothed, r.variance = true, d, d/2
		return
	}
	diff := r.smoothed - d
	if diff < 0 {
		diff = -diff
	}
	r.variance += (diff - r.variance) / 4
	r.smoothed += (d - r.smoothed) / 8
}

// timeout is how long to wait for an answer to what is sent for the first time.
func (r *rtt) timeout() time.Duration {
	d := rtoInitial
	if r.any {
		d = max(r.smoothed+4*r.variance, rtoMin)
	}
	return min(max(d, r.held), rtoMax)
}

// backOff is how long to wait after the wait d was in vain. It is kept for all
// that is sent later, too: on a path slower than the first guess nothing would
// else ever be answered in time, and so never be measured (RFC 6298, 5.5 to 5.7).
func (r *rtt) backOff(d time.Duration) time.Duration {
	d = min(2*d, rtoMax)
	r.held = max(r.held, d)
	return d
}
