package link

import (
	"math/rand/v2"
	"net"
	"slices"
	"sync"
)

// SegmentPort is a Port on a Segment. All of it is guarded by the segment's
// lock, which is never held while anything waits.
type SegmentPort struct {
	s       *Segment
	arrived sync.Cond // something to receive, or the port's state changed
	birth   uint64    // which port of this address it is on the segment
	fates   map[MAC]*rand.Rand

	mac     MAC
	mtu     int
	queue   []Frame
	count   Counters
	down    bool
	wasDown bool // Receive has not said ErrDown yet
	closed  bool
}

var _ CounterPort = (*SegmentPort)(nil)

// MAC is the port's address.
func (p *SegmentPort) MAC() MAC {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.mac
}

// MTU is the longest payload that the port sends or takes.
func (p *SegmentPort) MTU() int {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.mtu
}

// Counters say what became of the port's frames so far.
func (p *SegmentPort) Counters() Counters {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.count
}

// Send sends a frame to the other ports. It never blocks.
func (p *SegmentPort) Send(dst MAC, payload []byte) error {
	return p.s.send(p, dst, payload)
}

// Receive waits for a frame.
func (p *SegmentPort) Receive(buf []byte) (Frame, error) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for {
		switch {
		case p.closed:
			return Frame{}, net.ErrClosed
		case p.down || p.wasDown:
			p.wasDown = false
			return Frame{}, ErrDown
		case len(p.queue) > 0:
			f := p.queue[0]
			p.queue[0] = Frame{}
			p.queue = p.queue[1:]
			if len(p.queue) == 0 {
				p.queue = nil
			}
			p.count.Received++
			f.Payload = buf[:copy(buf, f.Payload)]
			return f, nil
		}
		p.arrived.Wait()
	}
}

// Close takes the port off the segment.
func (p *SegmentPort) Close() error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.closed, p.queue = true, nil
	if i := slices.Index(p.s.ports, p); i >= 0 {
		p.s.ports = slices.Delete(p.s.ports, i, i+1)
	}
	p.arrived.Broadcast()
	return nil
}

// SetDown pulls the plug or puts it back in. A Receive that waits, or the next
// one, answers ErrDown once, even when the port is up again by then; the port
// can be used again afterwards, as if it had been opened anew.
func (p *SegmentPort) SetDown(down bool) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.down = down
	if down {
		p.wasDown, p.queue = true, nil
	}
	p.arrived.Broadcast()
}

// SetMTU changes the longest payload that the port sends; longer ones that
// come are lost, as on a NIC.
func (p *SegmentPort) SetMTU(mtu int) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.mtu = mtu
}

// SetMAC changes the port's address, as a bridge's changes when ports join.
func (p *SegmentPort) SetMAC(mac MAC) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.mac = mac
}

// fate is what is drawn from for frames to an address: the same in each run for
// the same two addresses.
func (p *SegmentPort) fate(to MAC) *rand.Rand {
	r := p.fates[to]
	if r == nil {
		number := func(m MAC) uint64 {
			return uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5])
		}
		// An odd multiplier keeps the two addresses' bits apart.
		r = rand.New(rand.NewPCG(p.s.o.Seed, number(p.mac)*0x9e3779b97f4a7c15^number(to)^p.birth<<48))
		p.fates[to] = r
	}
	return r
}

// deliver queues a frame that arrives. The segment's lock is held.
func (p *SegmentPort) deliver(f Frame) {
	switch {
	case p.closed || p.down:
	case f.Src == p.mac || IsGroup(f.Src):
		p.count.Refused++
	case len(f.Payload) > max(p.mtu, MinPayload) || len(p.queue) >= segmentQueue:
		p.count.Dropped++
	default:
		p.queue = append(p.queue, f)
		p.arrived.Signal()
	}
}
