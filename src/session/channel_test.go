package session

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"homeconf/src/wire"
)

// channel is two transports and what lies between them, in virtual time: a
// frame is lost, doubled or late as the seed has it.
type channel struct {
	t     testing.TB
	now   time.Time
	dice  *rand.Rand
	ends  [2]*end
	queue flights
	count uint64

	loss, double float64
	delay        time.Duration // one way
	jitter       time.Duration
	mtu          int // what passes
	drop         func(from int, frame []byte) bool
}

type end struct {
	t      *transport
	got    [][]byte
	next   time.Time
	err    error // of poll
	sent   int
	large  int // frames of more than wire.MinFrame
	errors map[error]int
}

type flight struct {
	at    time.Time
	order uint64
	to    int
	frame []byte
}

type flights []flight

func (f flights) Len() int { return len(f) }
func (f flights) Less(i, j int) bool {
	return f[i].at.Before(f[j].at) || f[i].at.Equal(f[j].at) && f[i].order < f[j].order
}
func (f flights) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)   { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	old := *f
	x := old[len(old)-1]
	*f = old[:len(old)-1]
	return x
}

// epoch is any time: only differences count.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testSealers(t testing.TB) (a, b *sealer) {
	one, two := [32]byte{1}, [32]byte{2}
	a, err := newSealer(&keys{send: one, receive: two}, 7)
	if err != nil {
		t.Fatal(err)
	}
	b, err = newSealer(&keys{send: two, receive: one}, 8)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func newChannel(t testing.TB, seed uint64) *channel {
	c := &channel{t: t, now: epoch, dice: rand.New(rand.NewPCG(seed, 1)), mtu: wire.MaxFrame, delay: 100 * time.Microsecond}
	between := func(a, b time.Duration) time.Duration { return a + time.Duration(c.dice.Int64N(int64(b-a))) }
	a, b := testSealers(t)
	for i, s := range []*sealer{a, b} {
		c.ends[i] = &end{t: newTransport(s, wire.MaxFrame, c.now, between), errors: map[error]int{}}
	}
	return c
}

// carry is what becomes of a frame.
func (c *channel) carry(from int, frame []byte) {
	e := c.ends[from]
	e.sent++
	if len(frame) > wire.MinFrame {
		e.large++
	}
	if len(frame) > c.mtu || c.drop != nil && c.drop(from, frame) {
		return
	}
	for copies := 1 + b2i(c.dice.Float64() < c.double); copies > 0; copies-- {
		if c.dice.Float64() < c.loss {
			continue
		}
		late := c.delay
		if c.jitter > 0 {
			late += time.Duration(c.dice.Int64N(int64(c.jitter)))
		}
		c.count++
		heap.Push(&c.queue, flight{c.now.Add(late), c.count, 1 - from, bytes.Clone(frame)})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *channel) poll(i int) {
	e := c.ends[i]
	if e.err != nil {
		return
	}
	e.next, e.err = e.t.poll(c.now, func(frame []byte) { c.carry(i, frame) })
	if e.err == nil && !e.next.After(c.now) {
		c.t.Fatalf("end %d wants to be polled again at once", i)
	}
}

// run goes on until done says so or the time is over, and says whether done did.
func (c *channel) run(limit time.Duration, done func() bool) bool {
	until := c.now.Add(limit)
	c.poll(0)
	c.poll(1)
	for !done() {
		at, who := until, -1
		for i, e := range c.ends {
			if e.err == nil && e.next.Before(at) {
				at, who = e.next, i
			}
		}
		if len(c.queue) > 0 && !c.queue[0].at.After(at) {
			f := heap.Pop(&c.queue).(flight)
			c.now = f.at
			e := c.ends[f.to]
			if e.err != nil {
				continue
			}
			fr, err := wire.ParseFrame(f.frame)
			if err != nil {
				c.t.Fatalf("own frame: %v", err)
			}
			msgs, err := e.t.handle(fr, c.now)
			if err != nil {
				e.errors[err]++
			}
			e.got = append(e.got, msgs...)
			c.poll(f.to)
			continue
		}
		if who < 0 {
			c.now = until
			return false
		}
		c.now = at
		c.poll(who)
	}
	return true
}

// message is the n-th of an end, of a length that the n-th draw gives.
func message(from, n, size int) []byte {
	b := make([]byte, max(size, 4))
	r := rand.New(rand.NewPCG(uint64(from), uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

func (c *channel) say(from int, msgs ...[]byte) {
	for _, m := range msgs {
		if err := c.ends[from].t.queue(m); err != nil {
			c.t.Fatalf("queueing: %v", err)
		}
	}
}

// expect fails unless the end got exactly these messages, in this order.
func (c *channel) expect(to int, want [][]byte) {
	c.t.Helper()
	e := c.ends[to]
	for i := range min(len(want), len(e.got)) {
		if !bytes.Equal(want[i], e.got[i]) {
			c.t.Fatalf("message %d to end %d differs: %d bytes, want %d", i, to, len(e.got[i]), len(want[i]))
		}
	}
	if len(e.got) != len(want) {
		c.t.Fatalf("end %d got %d messages of %d after %v (errors %v and %v)", to, len(e.got), len(want), c.now.Sub(epoch), c.ends[0].err, c.ends[1].err)
	}
}

func (c *channel) idle() bool { return len(c.ends[0].t.out) == 0 && len(c.ends[1].t.out) == 0 }
