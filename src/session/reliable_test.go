package session

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"homeconf/src/wire"
)

// TestEachMessageOnceInOrder is the main promise, both ways at once.
func TestEachMessageOnceInOrder(t *testing.T) {
	for seed := range seeds(1000) {
		c := newChannel(t, uint64(seed))
		c.loss, c.double, c.jitter = 0.2, 0.1, 3*time.Millisecond
		if seed%4 == 3 {
			c.mtu = wire.MinFrame
		}
		var want [2][][]byte
		for from := range want {
			for n := range 12 {
				size := 1 + c.dice.IntN(3000)
				if c.dice.IntN(8) == 0 {
					size = 1 + c.dice.IntN(40000)
				}
				want[from] = append(want[from], message(from, n, size))
			}
		}
		for from := range want {
			c.say(from, want[from]...)
		}
		done := c.run(55*time.Second, c.idle)
		c.expect(1, want[0])
		c.expect(0, want[1])
		if !done {
			t.Fatalf("seed %d: all arrived, but not every acknowledgement", seed)
		}
		for i, e := range c.ends {
			if len(e.t.in) != 0 || e.t.stored != 0 || e.t.queued != 0 {
				t.Fatalf("seed %d: end %d still keeps %d messages, %d and %d bytes", seed, i, len(e.t.in), e.t.stored, e.t.queued)
			}
		}
	}
}

// TestFullStoreStillTakesTheNextMessage: what came early must not take the
// room that the message needs which is to be delivered next.
func TestFullStoreStillTakesTheNextMessage(t *testing.T) {
	c := newChannel(t, 1)
	first := true
	c.drop = func(from int, frame []byte) bool {
		// The last fragment of the first message, until much else has arrived.
		if from == 0 && first && c.ends[0].sent == 45 {
			return true
		}
		return first && from == 0 && c.ends[0].sent > 45 && len(frame) < 1000
	}
	var want [][]byte
	for n := range 4 {
		want = append(want, message(0, n, wire.MaxMessage))
	}
	c.say(0, want...)
	c.run(300*time.Millisecond, c.idle)
	first = false
	c.run(20*time.Second, c.idle)
	c.expect(1, want)
}

// TestLateFragmentOfAnOldCut: after a fall-back, a late fragment of the old
// cut must not undo what was acknowledged of the new one.
func TestLateFragmentOfAnOldCut(t *testing.T) {
	c := newChannel(t, 1)
	receiver := c.ends[1].t
	msg := message(0, 0, 3000)
	give := func(fragment, fragments, from, to int) [][]byte {
		b, err := c.ends[0].t.seal.seal(nil, &wire.Record{Kind: wire.RecordData, Message: 1, Fragment: uint16(fragment), Fragments: uint16(fragments), Bytes: msg[from:to]})
		if err != nil {
			t.Fatal(err)
		}
		f, err := wire.ParseFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		msgs, err := receiver.handle(f, c.now)
		if err != nil {
			t.Fatal(err)
		}
		return msgs
	}
	give(0, 3, 0, 1000)
	for i := range 5 {
		if got := give(i, 6, i*500, i*500+500); got != nil {
			t.Fatal("complete too early")
		}
	}
	give(1, 3, 1000, 2000) // late
	got := give(5, 6, 2500, 3000)
	if len(got) != 1 || !bytes.Equal(got[0], msg) {
		t.Fatalf("%d messages after the last fragment of the new cut", len(got))
	}
}

func TestFallBackToShortFrames(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprintf("alone=%v", alone), func(t *testing.T) {
			c := newChannel(t, 1)
			c.mtu = 1000
			// Alone, nothing on the way is small enough to be answered.
			want := [][]byte{message(0, 0, 1200)}
			if !alone {
				want = append([][]byte{message(0, 9, 100)}, message(0, 0, 9000))
			}
			c.say(0, want...)
			if !c.run(10*time.Second, c.idle) {
				t.Error("not done")
			}
			c.expect(1, want)
			took := c.now.Sub(epoch)
			if took > time.Second {
				t.Errorf("took %v", took)
			}
			t.Logf("took %v, %d frames, %d of them large", took, c.ends[0].sent, c.ends[0].large)
			// From now on no large frame is tried.
			large := c.ends[0].large
			c.say(0, message(0, 1, 9000))
			c.run(time.Second, c.idle)
			if c.ends[0].large != large {
				t.Error("large frames again")
			}
		})
	}
}

// TestCutsAreToldApart: from an MTU a little over the smallest, the number of
// fragments would often be the same before and after the fall-back.
func TestCutsAreToldApart(t *testing.T) {
	for size := 500; size < 6000; size += 7 {
		for mtu := wire.MinFrame + 1; mtu < 700; mtu += 41 {
			c := newChannel(t, 1)
			c.ends[0].t.mtu = mtu
			n := 0
			c.drop = func(from int, frame []byte) bool {
				n++
				return from == 0 && len(frame) > wire.MinFrame && n > 1 // the first one comes through
			}
			want := [][]byte{message(0, 0, size)}
			c.say(0, want...)
			c.run(10*time.Second, c.idle)
			c.expect(1, want)
		}
	}
}

// TestSlowLinkIsNotFlooded: when the round trip is longer than the time-out
// begins with, the estimator must learn it (RFC 6298, 5.5 to 5.7).
func TestSlowLinkIsNotFlooded(t *testing.T) {
	c := newChannel(t, 1)
	c.delay = 150 * time.Millisecond
	var want [][]byte
	for n := range 10 {
		want = append(want, message(0, n, 100))
		c.say(0, want[n])
		if n == 5 {
			c.ends[0].sent = 0
		}
		if !c.run(5*time.Second, c.idle) {
			t.Fatal("not acknowledged")
		}
	}
	c.expect(1, want)
	if c.ends[0].sent > 5+1 {
		t.Errorf("%d frames for the last five messages", c.ends[0].sent)
	}
}

func TestGivingUpAfterAMinute(t *testing.T) {
	c := newChannel(t, 1)
	// Everything but DATA comes through, so the peer is alive.
	c.drop = func(from int, frame []byte) bool { return from == 0 && len(frame) > 100 }
	c.say(0, message(0, 0, 200))
	c.run(10*time.Minute, func() bool { return c.ends[0].err != nil })
	if took := c.now.Sub(epoch); !errors.Is(c.ends[0].err, errNoAck) || took < giveUp || took > giveUp+2*rtoMax {
		t.Fatalf("%v after %v", c.ends[0].err, took)
	}
	if n := c.ends[0].sent; n > 100 {
		t.Errorf("%d frames in a minute", n)
	}
}

func TestSilentPeer(t *testing.T) {
	for _, data := range []bool{false, true} {
		c := newChannel(t, 1)
		c.loss = 1
		if data {
			c.say(0, message(0, 0, 200))
		}
		c.run(10*time.Minute, func() bool { return c.ends[0].err != nil })
		took := c.now.Sub(epoch)
		if !errors.Is(c.ends[0].err, errSilent) || took < pingEarliest+maxPings*pingAgain || took > pingLatest+maxPings*pingAgain {
			t.Errorf("data %v: %v after %v", data, c.ends[0].err, took)
		}
	}
}

func TestIdleSessionStaysAlive(t *testing.T) {
	c := newChannel(t, 1)
	c.loss = 0.1
	c.run(time.Hour, func() bool { return false })
	if c.ends[0].err != nil || c.ends[1].err != nil {
		t.Fatalf("%v and %v", c.ends[0].err, c.ends[1].err)
	}
	// About one Ping and one Pong each 12 to 18 s for both ends together.
	if n := c.ends[0].sent + c.ends[1].sent; n > 2*3600/12+200 {
		t.Errorf("%d frames in an idle hour", n)
	}
}

func TestQueueIsBounded(t *testing.T) {
	c := newChannel(t, 1)
	tr := c.ends[0].t
	if err := tr.queue(nil); err == nil {
		t.Error("an empty message was taken")
	}
	if err := tr.queue(make([]byte, wire.MaxMessage+1)); err == nil {
		t.Error("a message over the limit was taken")
	}
	if c.poll(0); c.ends[0].err != nil {
		t.Fatalf("a refused message ended the session: %v", c.ends[0].err)
	}
	for range queueBytes / wire.MaxMessage {
		if err := tr.queue(make([]byte, wire.MaxMessage)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.queue([]byte{1}); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}

// TestSendersStayInTheWindow: no fragment is sent that the receiver must drop.
func TestSendersStayInTheWindow(t *testing.T) {
	c := newChannel(t, 1)
	first, lost := true, true
	c.drop = func(from int, _ []byte) bool {
		if from == 0 && first {
			first = false
			return true
		}
		return from == 0 && lost && c.ends[0].t.out[0].id == 1 && c.ends[0].t.out[0].parts[0].tries > 1
	}
	for n := range 30 {
		c.say(0, message(0, n, 50))
	}
	c.run(40*time.Millisecond, func() bool { return false })
	out := c.ends[0].t.out
	if len(out) != 30 || out[wire.MaxAckEntries-1].left != 0 {
		t.Errorf("%d messages kept, the last in the window not acknowledged", len(out))
	}
	for _, o := range out[min(wire.MaxAckEntries, len(out)):] {
		if o.parts[0].tries > 0 {
			t.Errorf("message %d was sent while message 1 is missing", o.id)
		}
	}
	lost = false
	if !c.run(10*time.Second, c.idle) {
		t.Error("not done")
	}
}

// TestTakeUnsent: at a change of keys only what has begun stays under the old ones.
func TestTakeUnsent(t *testing.T) {
	c := newChannel(t, 1)
	var want [][]byte
	for n := range 30 {
		want = append(want, message(0, n, 500))
	}
	c.say(0, want...)
	c.poll(0)
	tr := c.ends[0].t
	rest := tr.takeUnsent()
	if len(rest) != 30-wire.MaxAckEntries || tr.queued != wire.MaxAckEntries*500 || len(tr.out) != wire.MaxAckEntries {
		t.Fatalf("%d taken back, %d bytes and %d messages stay", len(rest), tr.queued, len(tr.out))
	}
	if !c.run(time.Second, c.idle) {
		t.Error("not done")
	}
	c.expect(1, want[:wire.MaxAckEntries])
	for i, b := range rest {
		if !bytes.Equal(b, want[wire.MaxAckEntries+i]) {
			t.Fatalf("message %d taken back is another", i)
		}
	}
	if rest := tr.takeUnsent(); rest != nil {
		t.Errorf("%d more", len(rest))
	}
}

func TestHostilePeerIsBounded(t *testing.T) {
	c := newChannel(t, 1)
	for n := range 20000 {
		r := wire.Record{Kind: wire.RecordData, Message: uint32(2 + c.dice.IntN(10)), Fragments: uint16(2 + c.dice.IntN(127))}
		r.Fragment = uint16(c.dice.IntN(int(r.Fragments)))
		r.Bytes = make([]byte, 1+c.dice.IntN(1400))
		b, err := c.ends[0].t.seal.seal(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		f, _ := wire.ParseFrame(b)
		if _, err := c.ends[1].t.handle(f, c.now); err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, m := range c.ends[1].t.in {
			for _, p := range m.parts {
				kept += len(p)
			}
		}
		if tr := c.ends[1].t; kept != tr.stored || kept > storeBytes || len(tr.in) > wire.MaxAckEntries {
			t.Fatalf("after %d fragments: %d bytes kept, %d counted, %d messages", n, kept, tr.stored, len(tr.in))
		}
	}
}

// FuzzSchedule lets the input decide what becomes of each frame.
func FuzzSchedule(f *testing.F) {
	f.Add([]byte{}, uint16(100))
	f.Add([]byte{0, 1, 2, 3, 0, 0, 1, 1}, uint16(5000))
	f.Add(bytes.Repeat([]byte{1, 0}, 50), uint16(60000))
	f.Fuzz(func(t *testing.T, fate []byte, size uint16) {
		c := newChannel(t, 1)
		n := 0
		c.drop = func(from int, frame []byte) bool {
			if n >= len(fate) {
				c.jitter, c.double = 0, 0
				return false
			}
			v := fate[n]
			n++
			c.jitter, c.double = time.Duration(v>>3)*time.Millisecond, float64(v>>2&1)
			return v&3 == 1
		}
		want := [][]byte{message(0, 0, 10), message(0, 1, int(size)), message(0, 2, 2000)}
		c.say(0, want...)
		c.run(2*time.Minute, func() bool { return c.idle() || c.ends[0].err != nil })
		if len(fate) <= 20 {
			c.expect(1, want)
			return
		}
		for i, got := range c.ends[1].got {
			if i >= len(want) || !bytes.Equal(got, want[i]) {
				t.Fatalf("message %d is not what was sent", i)
			}
		}
	})
}
