package link_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/link"
)

var (
	macA = link.MAC{2, 0, 0, 0, 0, 0xa}
	macB = link.MAC{2, 0, 0, 0, 0, 0xb}
	macC = link.MAC{2, 0, 0, 0, 0, 0xc}
)

// arrivals sends n numbered frames from A to B, one a millisecond, and answers
// the numbers in the order in which they came.
func arrivals(t *testing.T, o link.SegmentOptions, n int) []uint32 {
	t.Helper()
	var got []uint32
	synctest.Test(t, func(t *testing.T) {
		s := link.NewSegment(o)
		a, b := s.Attach(macA), s.Attach(macB)
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, link.BufferSize)
			for {
				f, err := b.Receive(buf)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("receive: %v", err)
					return
				}
				got = append(got, binary.BigEndian.Uint32(f.Payload))
			}
		}()
		for i := range n {
			if err := a.Send(macB, binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		b.Close()
		<-done
	})
	return got
}

// TestSegmentFates compares what befalls 10,000 frames with what was asked.
func TestSegmentFates(t *testing.T) {
	const n = 10_000
	for _, c := range []struct {
		name                   string
		o                      link.SegmentOptions
		lost, twice, overtaken [2]int // from, to
	}{
		{"perfect", link.SegmentOptions{}, [2]int{}, [2]int{}, [2]int{}},
		{"delayed", link.SegmentOptions{Delay: 50 * time.Millisecond}, [2]int{}, [2]int{}, [2]int{}},
		{"lossy", link.SegmentOptions{Seed: 1, Loss: 0.2}, [2]int{1850, 2150}, [2]int{}, [2]int{}},
		{"duplicating", link.SegmentOptions{Seed: 2, Duplicate: 0.1}, [2]int{}, [2]int{900, 1100}, [2]int{}},
		// Half of the reordered frames are held back by 2.5 ms or more.
		{"reordering", link.SegmentOptions{Seed: 3, Reorder: 0.1}, [2]int{}, [2]int{}, [2]int{600, 1000}},
		{"jittery", link.SegmentOptions{Seed: 4, Jitter: 4 * time.Millisecond}, [2]int{}, [2]int{}, [2]int{2000, 8000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := arrivals(t, c.o, n)
			seen := make(map[uint32]int)
			var twice, overtaken int
			highest := -1
			for _, v := range got {
				if seen[v]++; seen[v] == 2 {
					twice++
				}
				if int(v) < highest {
					overtaken++
				}
				highest = max(highest, int(v))
			}
			for what, v := range map[string]struct {
				got  int
				want [2]int
			}{"lost": {n - len(seen), c.lost}, "twice": {twice, c.twice}, "overtaken": {overtaken, c.overtaken}} {
				if v.got < v.want[0] || v.got > v.want[1] {
					t.Errorf("%s: %d of %d frames, want %d to %d", what, v.got, n, v.want[0], v.want[1])
				}
			}
			if again := arrivals(t, c.o, n); !slices.Equal(got, again) {
				t.Error("the same seed brought other fates")
			}
			if c.o.Seed != 0 {
				c.o.Seed += 100
				if other := arrivals(t, c.o, n); slices.Equal(got, other) {
					t.Error("another seed brought the same fates")
				}
			}
		})
	}
}

// heard sends one frame from each port to the group and answers who heard whom.
func heard(t *testing.T, ports map[string]*link.SegmentPort) []string {
	t.Helper()
	for name, p := range ports {
		if err := p.Send(group, []byte(name)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var out []string
	for name, p := range ports {
		for f, ok := try(p); ok; f, ok = try(p) {
			out = append(out, fmt.Sprintf("%s<%s", name, f.Payload[:1]))
		}
	}
	slices.Sort(out)
	return out
}

// try receives a frame that waits already, in a bubble.
func try(p *link.SegmentPort) (link.Frame, bool) {
	var f link.Frame
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		f, err = p.Receive(make([]byte, link.BufferSize))
	}()
	synctest.Wait()
	select {
	case <-done:
		return f, err == nil
	default:
		p.SetDown(true)
		<-done
		p.SetDown(false)
		return link.Frame{}, false
	}
}

func TestSegmentPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := link.NewSegment(link.SegmentOptions{})
		ports := map[string]*link.SegmentPort{"a": s.Attach(macA), "b": s.Attach(macB), "c": s.Attach(macC)}
		for _, step := range []struct {
			do   func()
			want []string
		}{
			{func() {}, []string{"a<b", "a<c", "b<a", "b<c", "c<a", "c<b"}},
			{func() { s.Partition([]link.MAC{macA, macB}, []link.MAC{macC}) }, []string{"a<b", "b<a"}},
			{func() { s.Partition([]link.MAC{macA}) }, []string{"b<c", "c<b"}},
			{func() { s.Heal() }, []string{"a<b", "a<c", "b<a", "b<c", "c<a", "c<b"}},
			{func() { s.SetLoss(1) }, nil},
			{func() { s.SetLoss(0); s.SetPathMTU(0) }, nil},
		} {
			step.do()
			if got := heard(t, ports); !slices.Equal(got, step.want) {
				t.Errorf("got %q, want %q", got, step.want)
			}
		}
	})
}

func TestSegmentDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := link.NewSegment(link.SegmentOptions{})
		a, b := s.Attach(macA), s.Attach(macB)
		buf := make([]byte, link.BufferSize)
		if err := a.Send(macB, []byte("lost with the plug")); err != nil {
			t.Fatal(err)
		}
		b.SetDown(true)
		if err := b.Send(macA, nil); !errors.Is(err, link.ErrDown) {
			t.Errorf("send on a port that is down: %v, want %v", err, link.ErrDown)
		}
		b.SetDown(false)
		if _, err := b.Receive(buf); !errors.Is(err, link.ErrDown) {
			t.Errorf("receive after a short down: %v, want %v", err, link.ErrDown)
		}
		if err := a.Send(macB, []byte("again")); err != nil {
			t.Fatal(err)
		}
		if f, err := b.Receive(buf); err != nil || !bytes.HasPrefix(f.Payload, []byte("again")) {
			t.Errorf("receive after it: %q, %v", f.Payload, err)
		}
		go func() {
			time.Sleep(time.Second)
			b.SetDown(true)
		}()
		if _, err := b.Receive(buf); !errors.Is(err, link.ErrDown) {
			t.Errorf("a receive that waited: %v, want %v", err, link.ErrDown)
		}
		b.Close()
		if _, err := b.Receive(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("receive after close: %v, want %v", err, net.ErrClosed)
		}
		if err := b.Send(macA, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send after close: %v, want %v", err, net.ErrClosed)
		}
	})
}

// TestSegmentFlood sends more than a port holds, and frames with addresses that
// no port takes.
func TestSegmentFlood(t *testing.T) {
	s := link.NewSegment(link.SegmentOptions{MTU: 576})
	a, b := s.Attach(macA), s.Attach(macB)
	for range 2000 {
		if err := a.Send(link.Broadcast, make([]byte, 576)); err != nil {
			t.Fatal(err)
		}
	}
	s.Inject(macB, macB, nil)
	s.Inject(group, macB, nil)
	c := b.Counters()
	if c.Dropped == 0 || c.Refused != 2 {
		t.Errorf("counters %+v, want dropped frames and 2 refused", c)
	}
	b.SetMTU(500)
	if err := a.Send(macB, make([]byte, 501)); err != nil {
		t.Fatal(err)
	}
	if d := b.Counters().Dropped; d != c.Dropped+1 {
		t.Errorf("dropped %d, want %d: the frame was longer than the receiver's MTU", d, c.Dropped+1)
	}
	if err := a.Send(macB, make([]byte, 577)); !errors.Is(err, link.ErrTooLong) {
		t.Errorf("send beyond the MTU: %v, want %v", err, link.ErrTooLong)
	}
}

func TestSegmentTap(t *testing.T) {
	s := link.NewSegment(link.SegmentOptions{Loss: 1})
	a := s.Attach(macA)
	s.Attach(macB)
	var got []link.Frame
	s.Tap(func(f link.Frame) { got = append(got, f) })
	s.Tap(func(link.Frame) {
		if len(got) == 1 {
			a.Send(macB, []byte("from within")) // a tap may send
		}
	})
	a.Send(group, []byte("seen though lost"))
	if len(got) != 2 || got[0].Src != macA || got[0].Dst != group || got[1].Dst != macB {
		t.Errorf("tapped %v", got)
	}
}

func BenchmarkSegment(b *testing.B) {
	s := link.NewSegment(link.SegmentOptions{})
	p, q := s.Attach(macA), s.Attach(macB)
	payload, buf := make([]byte, 256), make([]byte, link.BufferSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Send(macB, payload); err != nil {
			b.Fatal(err)
		}
		if _, err := q.Receive(buf); err != nil {
			b.Fatal(err)
		}
	}
}
