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
}

// sample takes a measurement of something that was sent once (Karn's rule,
// RFC 6298, 3).
func (r *rtt) sample(d time.Duration) {
	if d < 0 {
		return
	}
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

// timeout is how long to wait for an answer to what was sent tries times.
func (r *rtt) timeout(tries int) time.Duration {
	d := rtoInitial
	if r.any {
		d = max(r.smoothed+4*r.variance, rtoMin)
	}
	for ; tries > 1 && d < rtoMax; tries-- {
		d *= 2
	}
	return min(d, rtoMax)
}
