package link

import (
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// segmentQueue is how many frames a port holds that nobody has received:
	// more than a socket's default buffer, which holds some 90 full frames.
	segmentQueue = 512
	// reorderSpan is how much later than others a reordered frame arrives at
	// most, on a segment that has no delay of its own.
	reorderSpan = 5 * time.Millisecond
)

// SegmentOptions say how bad a segment is. The zero value is a perfect one.
type SegmentOptions struct {
	// Seed decides every fate. The frames from one address to another meet
	// the same fates in each run, whatever others send in between.
	Seed uint64
	// Loss, Duplicate and Reorder are probabilities, for each receiver of
	// each frame.
	Loss, Duplicate, Reorder float64
	// Delay passes before a frame arrives, and up to Jitter more. Frames
	// that are jittered overtake each other.
	Delay, Jitter time.Duration
	// MTU is that of each port; 0 is MaxMTU.
	MTU int
}

// Segment is a broadcast domain in memory. It starts no goroutine of its own,
// so that a synctest bubble in which all wait is idle.
type Segment struct {
	o SegmentOptions

	mu      sync.Mutex
	ports   []*SegmentPort // in the order of attaching
	side    map[MAC]int    // partition of each address; nil when whole
	pathMTU int
	loss    float64
	taps    []func(Frame)
	births  map[MAC]uint64 // how often each address was attached
}

// NewSegment makes a segment with no port.
func NewSegment(o SegmentOptions) *Segment {
	if o.MTU <= 0 || o.MTU > MaxMTU {
		o.MTU = MaxMTU
	}
	return &Segment{o: o, pathMTU: MaxMTU, loss: o.Loss, births: make(map[MAC]uint64)}
}

// Attach plugs a port in. Two ports may share an address; a frame to it
// reaches both.
func (s *Segment) Attach(mac MAC) *SegmentPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.births[mac]++
	p := &SegmentPort{s: s, mac: mac, mtu: s.o.MTU, birth: s.births[mac], fates: make(map[MAC]*rand.Rand)}
	p.arrived.L = &s.mu
	s.ports = append(s.ports, p)
	return p
}

// Partition splits the segment: frames pass only between addresses of the same
// group. Addresses named in none are together in one more group.
func (s *Segment) Partition(groups ...[]MAC) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.side = make(map[MAC]int)
	for i, g := range groups {
		for _, m := range g {
			s.side[m] = i + 1
		}
	}
}

// Heal ends a partition.
func (s *Segment) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.side = nil
}

// SetPathMTU makes the segment lose longer payloads silently, as a repeater
// with a smaller MTU between two ports does.
func (s *Segment) SetPathMTU(mtu int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pathMTU = mtu
}

// SetLoss changes the probability of loss from now on.
func (s *Segment) SetLoss(loss float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loss = loss
}

// Tap has f called with every frame sent, before anything befalls it. The
// payload is shared: f may keep it and must not change it.
func (s *Segment) Tap(f func(Frame)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taps = append(slices.Clone(s.taps), f)
}

// Inject sends a frame with any source address from outside of every port, as
// a stranger would who forges addresses. Nothing befalls it but partition.
func (s *Segment) Inject(src, dst MAC, payload []byte) {
	f := Frame{Src: src, Dst: dst, Payload: pad(payload)}
	s.mu.Lock()
	taps := s.taps
	for _, to := range s.ports {
		if s.reaches(src, dst, to) {
			to.deliver(f)
		}
	}
	s.mu.Unlock()
	for _, t := range taps {
		t(f)
	}
}

// reaches says whether a frame is for a port. s.mu is held.
func (s *Segment) reaches(src, dst MAC, to *SegmentPort) bool {
	return (IsGroup(dst) || dst == to.mac) && s.side[src] == s.side[to.mac]
}

// send decides the fate of one frame at each port that it is for.
func (s *Segment) send(from *SegmentPort, dst MAC, payload []byte) error {
	s.mu.Lock()
	switch {
	case from.closed:
		s.mu.Unlock()
		return net.ErrClosed
	case from.down:
		s.mu.Unlock()
		return ErrDown
	}
	if err := checkLength(payload, from.mtu); err != nil {
		s.mu.Unlock()
		return err
	}
	from.count.Sent++
	f := Frame{Src: from.mac, Dst: dst, Payload: pad(payload)}
	taps := s.taps
	for _, to := range s.ports {
		if to == from || !s.reaches(f.Src, dst, to) {
			continue
		}
		// All is drawn for every frame, so that one setting doesn't shift
		// the fates that another one draws.
		fate := from.fate(to.mac)
		lost := fate.Float64() < s.loss
		twice := fate.Float64() < s.o.Duplicate
		late := [2]time.Duration{s.delay(fate), s.delay(fate)}
		if lost || len(payload) > s.pathMTU {
			continue
		}
		s.pass(f, to, late[0])
		if twice {
			s.pass(f, to, late[1])
		}
	}
	s.mu.Unlock()
	for _, t := range taps {
		t(f)
	}
	return nil
}

// delay draws how long one frame is on its way.
func (s *Segment) delay(r *rand.Rand) time.Duration {
	d := s.o.Delay
	jitter, reorder, span := r.Float64(), r.Float64(), r.Float64()
	d += time.Duration(jitter * float64(s.o.Jitter))
	if reorder < s.o.Reorder {
		d += 1 + time.Duration(span*float64(max(reorderSpan, 2*(s.o.Delay+s.o.Jitter))))
	}
	return d
}

// pass delivers a frame now or later. s.mu is held.
func (s *Segment) pass(f Frame, to *SegmentPort, d time.Duration) {
	if d <= 0 {
		to.deliver(f)
		return
	}
	time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		to.deliver(f)
	})
}

// pad copies a payload and pads it as a NIC does.
func pad(payload []byte) []byte {
	b := make([]byte, max(len(payload), MinPayload))
	copy(b, payload)
	return b
}
