package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"homeconf/src/link"
)

const etherType = 0x88b5

var group = link.MAC{0x03, 0x68, 0x63, 0, 0, 1}

// both runs a test on the simulated segment and on a veth. Ports a and b have
// the addresses macA and macB; forge sends a frame from anywhere.
func both(t *testing.T, body func(t *testing.T, a, b link.CounterPort, forge func(src, dst link.MAC, payload []byte))) {
	t.Run("segment", func(t *testing.T) {
		s := link.NewSegment(link.SegmentOptions{})
		body(t, s.Attach(macA), s.Attach(macB), s.Inject)
	})
	for name, buffer := range map[string]int{"veth": 0, "veth with a large buffer": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			o := link.Options{EtherType: etherType, Groups: []link.MAC{group}, ReceiveBuffer: buffer}
			a, b := open(t, p.a, o), open(t, p.b, o)
			f := newForger(t, p.a)
			body(t, a, b, func(src, dst link.MAC, payload []byte) { f.send(t, src, dst, 0, payload) })
		})
	}
}

func open(t testing.TB, ns string, o link.Options) link.CounterPort {
	t.Helper()
	var port link.Port
	var err error
	within(t, ns, func() { port, err = link.Open("eth0", o) })
	if err != nil {
		t.Fatalf("open in %s: %v", ns, err)
	}
	t.Cleanup(func() { port.Close() })
	return port.(link.CounterPort)
}

// receive waits a second for a frame.
func receive(t testing.TB, p link.Port) link.Frame {
	t.Helper()
	watchdog := time.AfterFunc(time.Second, func() { p.Close() })
	defer watchdog.Stop()
	f, err := p.Receive(make([]byte, link.BufferSize))
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return f
}

func TestPortSizes(t *testing.T) {
	both(t, func(t *testing.T, a, b link.CounterPort, _ func(src, dst link.MAC, payload []byte)) {
		for _, p := range []link.Port{a, b} {
			if p.MTU() != 1500 {
				t.Fatalf("MTU %d, want 1500", p.MTU())
			}
		}
		for _, n := range []int{0, 1, 8, 45, 46, 47, 60, 100, 576, 1024, 1499, 1500} {
			payload := bytes.Repeat([]byte{0xa5}, n)
			if err := a.Send(macB, payload); err != nil {
				t.Fatalf("send %d bytes: %v", n, err)
			}
			f := receive(t, b)
			if f.Src != macA || f.Dst != macB {
				t.Errorf("%d bytes came from %x to %x", n, f.Src, f.Dst)
			}
			// A veth pads nothing, a NIC pads with zeros.
			if len(f.Payload) < n || !bytes.Equal(f.Payload[:n], payload) {
				t.Fatalf("%d bytes came as %d", n, len(f.Payload))
			}
			if rest := f.Payload[n:]; len(rest) > max(0, link.MinPayload-n) || bytes.Trim(rest, "\x00") != nil && len(bytes.Trim(rest, "\x00")) > 0 {
				t.Errorf("%d bytes are followed by %x", n, rest)
			}
		}
		if err := a.Send(macB, make([]byte, 1501)); !errors.Is(err, link.ErrTooLong) {
			t.Errorf("send 1501 bytes: %v, want %v", err, link.ErrTooLong)
		}
		if got := a.Counters().Sent; got != 12 {
			t.Errorf("sent %d frames, want 12", got)
		}
		if got := b.Counters(); got.Received != 12 || got.Dropped != 0 || got.Deaf {
			t.Errorf("counters %+v, want 12 received", got)
		}
	})
}

// TestPortHears sends frames that must arrive and frames that must not, and
// compares the whole of what was heard.
func TestPortHears(t *testing.T) {
	both(t, func(t *testing.T, a, b link.CounterPort, forge func(src, dst link.MAC, payload []byte)) {
		for i, f := range []struct {
			src, dst link.MAC
			arrives  bool
		}{
			{macA, macB, true},
			{macC, macB, true},
			{macA, link.Broadcast, true},
			{macA, group, true},
			{macA, macC, false},           // for another host
			{macB, macB, false},           // from our own address
			{macB, group, false},          // the same
			{group, macB, false},          // from a group
			{link.Broadcast, macB, false}, // the same
			{link.MAC{}, macB, true},      // odd, and no reason to be deaf
			{macC, link.Broadcast, true},  // the last one
		} {
			payload := fmt.Appendf(nil, "frame %d %v", i, f.arrives)
			forge(f.src, f.dst, payload)
			if f.arrives {
				got := receive(t, b)
				if got.Src != f.src || got.Dst != f.dst || !bytes.HasPrefix(got.Payload, payload) {
					t.Fatalf("heard %q from %x to %x, want %q from %x to %x", got.Payload, got.Src, got.Dst, payload, f.src, f.dst)
				}
			}
		}
		if err := b.Send(group, []byte("our own")); err != nil {
			t.Fatal(err)
		}
		if err := b.Send(macA, []byte("our own")); err != nil {
			t.Fatal(err)
		}
		if err := a.Send(macB, []byte("after it")); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, b); !bytes.HasPrefix(got.Payload, []byte("after it")) {
			t.Errorf("heard %q from %x", got.Payload, got.Src)
		}
	})
}

// TestPortClose closes a port whose Receive blocks.
func TestPortClose(t *testing.T) {
	both(t, func(t *testing.T, a, b link.CounterPort, _ func(src, dst link.MAC, payload []byte)) {
		failed := make(chan error)
		go func() {
			_, err := b.Receive(make([]byte, link.BufferSize))
			failed <- err
		}()
		time.Sleep(10 * time.Millisecond)
		for range 2 {
			if err := b.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		select {
		case err := <-failed:
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("receive: %v, want %v", err, net.ErrClosed)
			}
		case <-time.After(time.Second):
			t.Error("receive still blocks")
		}
		if err := b.Send(macA, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send: %v, want %v", err, net.ErrClosed)
		}
		// A small buffer is no reason to lose the header.
		if err := b.Close(); err != nil {
			t.Errorf("close again: %v", err)
		}
	})
}

// TestPortSmallBuffer receives into a buffer that doesn't hold a whole frame.
func TestPortSmallBuffer(t *testing.T) {
	both(t, func(t *testing.T, a, b link.CounterPort, _ func(src, dst link.MAC, payload []byte)) {
		if err := a.Send(macB, bytes.Repeat([]byte{7}, 200)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		f, err := b.Receive(buf)
		if err != nil || f.Src != macA || !bytes.Equal(f.Payload, bytes.Repeat([]byte{7}, 100)) {
			t.Errorf("received %d bytes from %x: %v", len(f.Payload), f.Src, err)
		}
	})
}
