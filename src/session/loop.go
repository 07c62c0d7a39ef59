package session

import (
	"container/heap"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"homeconf/src/link"
	"homeconf/src/wire"
)

// inboundQueue is how many frames wait for the loop. The kernel's receive
// buffer stands before it.
const inboundQueue = 64

// inbound is a frame that passed the cheap checks.
type inbound struct {
	src   link.MAC
	frame wire.Frame
	buf   [link.BufferSize]byte
}

// loop is what both sides run on: one goroutine that owns all state and serves
// frames, requests of other goroutines, and deadlines; and one that reads the
// port. It has one timer and no tick: an idle loop does not wake.
type loop struct {
	port     link.Port
	counters *Counters
	random   io.Reader
	dice     *mathrand.Rand // jitter only

	timers timerHeap

	wake   chan struct{}
	mu     sync.Mutex
	posted []func()
	closed bool
}

func newLoop(port link.Port, counters *Counters, random io.Reader) (*loop, error) {
	var seed [16]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	return &loop{
		port: port, counters: counters, random: random,
		dice: mathrand.New(mathrand.NewPCG(binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:]))),
		wake: make(chan struct{}, 1),
	}, nil
}

// post has f run by the loop. It never blocks; false says that the loop has
// ended and f never runs.
func (l *loop) post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.posted = append(l.posted, f)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// runPosted runs what was posted, and what that posts in turn.
func (l *loop) runPosted() {
	for {
		l.mu.Lock()
		fs := l.posted
		l.posted = nil
		l.mu.Unlock()
		if len(fs) == 0 {
			return
		}
		for _, f := range fs {
			f()
		}
	}
}

// run serves until ctx ends (nil) or the port does (its error). leave runs
// last on the loop's goroutine, and may still send. The port is closed when run
// returns: sessions die with it.
func (l *loop) run(ctx context.Context, serve func(*inbound), leave func(error)) error {
	frames, free := make(chan *inbound, inboundQueue), make(chan *inbound, inboundQueue)
	ended := make(chan error, 1)
	go l.read(frames, free, ended)

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var armed time.Time
	var err error
	for done := false; !done; {
		l.runPosted()
		l.timers.runDue(time.Now())
		l.runPosted() // handlers called by timers send, too
		if next := l.timers.next(); !next.Equal(armed) {
			armed = next
			if next.IsZero() {
				timer.Stop()
			} else {
				timer.Reset(time.Until(next))
			}
		}
		select {
		case in := <-frames:
			serve(in)
			select {
			case free <- in:
			default:
			}
		case <-l.wake:
		case <-timer.C:
			armed = time.Time{}
		case err = <-ended:
			ended = nil
			done = true
		case <-ctx.Done():
			done = true
		}
	}
	l.runPosted()
	leave(err)
	l.mu.Lock()
	l.closed, l.posted = true, nil
	l.mu.Unlock()
	_ = l.port.Close()
	if ended != nil {
		<-ended // the reader is gone before Run returns
	}
	return err
}

// read is the reader. It does the cheap checks, so that junk doesn't reach the loop, and drops what
// the loop has no room for.
func (l *loop) read(frames chan<- *inbound, free <-chan *inbound, ended chan<- error) {
	var in *inbound
	for {
		if in == nil {
			select {
			case in = <-free:
			default:
				in = new(inbound)
			}
		}
		f, err := l.port.Receive(in.buf[:])
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				err = fmt.Errorf("receiving frames: %w", err)
			}
			ended <- err
			return
		}
		if !usableSource(f.Src, l.port) {
			l.counters.add(DropSource)
			continue
		}
		in.frame, err = wire.ParseFrame(f.Payload)
		if err != nil {
			l.counters.add(DropFrame)
			continue
		}
		in.src = f.Src
		select {
		case frames <- in:
			in = nil
		default:
			l.counters.add(DropQueue)
		}
	}
}

// usableSource refuses addresses that no other station can have: groups', none
// and our own.
func usableSource(mac link.MAC, port link.Port) bool {
	return !link.IsGroup(mac) && mac != link.MAC{} && mac != port.MAC()
}

// between is a random duration from a to b.
func (l *loop) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(l.dice.Int64N(int64(b-a)))
}

// fill fills b with random bytes. A source of the caller's that fails is
// replaced by the system's, which does not.
func (l *loop) fill(b []byte) {
	if _, err := io.ReadFull(l.random, b); err != nil {
		_, _ = rand.Read(b)
	}
}

// nonce is 16 random bytes.
func (l *loop) nonce() (n [16]byte) {
	l.fill(n[:])
	return n
}

// index is a random index that taken does not know. Never 0, which means none.
func (l *loop) index(taken func(uint32) bool) uint32 {
	for {
		var b [4]byte
		l.fill(b[:])
		if i := binary.BigEndian.Uint32(b[:]); i != 0 && !taken(i) {
			return i
		}
	}
}

// randomOr is r, or the system's random source.
func randomOr(r io.Reader) io.Reader {
	if r == nil {
		return rand.Reader
	}
	return r
}

// timer is a deadline of the loop. It may be set again and again; its zero
// value with run set is ready.
type timer struct {
	at    time.Time
	run   func(now time.Time)
	index int // in the heap, plus one; 0 when not in it
}

type timerHeap struct{ list timerList }

// set moves t to a time; the zero time stops it.
func (h *timerHeap) set(t *timer, at time.Time) {
	switch {
	case at.IsZero():
		if t.index > 0 {
			heap.Remove(&h.list, t.index-1)
		}
	case t.index > 0:
		t.at = at
		heap.Fix(&h.list, t.index-1)
	default:
		t.at = at
		heap.Push(&h.list, t)
	}
}

func (h *timerHeap) next() time.Time {
	if len(h.list) == 0 {
		return time.Time{}
	}
	return h.list[0].at
}

// runDue runs what is due. It runs no more timers than there were, so that one
// that sets itself to now can't keep the loop in here.
func (h *timerHeap) runDue(now time.Time) {
	for n := len(h.list); n > 0 && len(h.list) > 0 && !h.list[0].at.After(now); n-- {
		heap.Pop(&h.list).(*timer).run(now)
	}
}

type timerList []*timer

func (l timerList) Len() int           { return len(l) }
func (l timerList) Less(i, j int) bool { return l[i].at.Before(l[j].at) }
func (l timerList) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i+1, j+1
}
func (l *timerList) Push(x any) {
	t := x.(*timer)
	*l = append(*l, t)
	t.index = len(*l)
}
func (l *timerList) Pop() any {
	old := *l
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	t.index = 0
	return t
}
