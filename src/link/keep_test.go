package link_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"homeconf/src/link"
)

// kept is a Keep that runs in a namespace, and the ports that it gave out.
type kept struct {
	ports  chan link.Port
	ended  chan error
	cancel context.CancelFunc
	log    syncBuffer
}

// syncBuffer is what was logged so far.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func keep(t *testing.T, ns string, use func(context.Context, link.Port) error) *kept {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	k := &kept{ports: make(chan link.Port, 16), ended: make(chan error, 1), cancel: cancel}
	var group sync.WaitGroup
	group.Go(func() {
		within(t, ns, func() {
			k.ended <- link.Keep(ctx, link.Keeper{
				Interface: "eth0", Options: link.Options{EtherType: etherType},
				Log: slog.New(slog.NewTextHandler(&k.log, nil)),
				Use: func(ctx context.Context, p link.Port) error {
					k.ports <- p
					return use(ctx, p)
				},
			})
		})
	})
	t.Cleanup(func() { cancel(); group.Wait() })
	return k
}

// receiveAll receives until an error.
func receiveAll(_ context.Context, p link.Port) error {
	for {
		if _, err := p.Receive(make([]byte, link.BufferSize)); err != nil {
			return err
		}
	}
}

func (k *kept) next(t *testing.T, what string) link.Port {
	t.Helper()
	select {
	case p := <-k.ports:
		return p
	case err := <-k.ended:
		t.Fatalf("%s: Keep ended: %v", what, err)
	case <-time.After(2 * time.Second):
		t.Fatalf("%s: no port", what)
	}
	return nil
}

func (k *kept) none(t *testing.T, what string) {
	t.Helper()
	select {
	case <-k.ports:
		t.Fatalf("%s: a port", what)
	case err := <-k.ended:
		t.Fatalf("%s: Keep ended: %v", what, err)
	case <-time.After(30 * time.Millisecond):
	}
}

// TestKeep has an interface go and come in every way.
func TestKeep(t *testing.T) {
	p := newPair(t)
	ip(t, "-n", p.b, "link", "set", "eth0", "down")
	k := keep(t, p.b, receiveAll)
	k.none(t, "down at the start")

	start := time.Now()
	ip(t, "-n", p.b, "link", "set", "eth0", "up")
	first := k.next(t, "up")
	t.Logf("ip link set up to a port in use: %v", time.Since(start))
	mac := first.MAC()
	if want := "mac=" + net.HardwareAddr(mac[:]).String(); !strings.Contains(k.log.String(), want) {
		t.Errorf("logged %s\nwant %s", k.log.String(), want)
	}

	ip(t, "-n", p.b, "link", "set", "eth0", "down")
	k.none(t, "down")
	ip(t, "-n", p.b, "link", "set", "eth0", "up")
	k.next(t, "up again")

	// The carrier goes. The kernel gathers such events for up to a second
	// (net/core/link_watch.c): a shorter loss is none.
	ip(t, "-n", p.a, "link", "set", "eth0", "down")
	time.Sleep(1200 * time.Millisecond)
	k.none(t, "without a carrier")
	ip(t, "-n", p.a, "link", "set", "eth0", "up")
	k.next(t, "carrier again")

	ip(t, "-n", p.b, "link", "del", "eth0")
	k.none(t, "deleted")
	p.veth(t)
	k.next(t, "made anew")

	ip(t, "-n", p.b, "link", "set", "eth0", "down")
	ip(t, "-n", p.b, "link", "set", "eth0", "name", "eth1")
	ip(t, "-n", p.b, "link", "set", "eth1", "up")
	k.none(t, "renamed")
	ip(t, "-n", p.b, "link", "set", "eth1", "down")
	ip(t, "-n", p.b, "link", "set", "eth1", "name", "eth0")
	ip(t, "-n", p.b, "link", "set", "eth0", "up")
	port := k.next(t, "renamed back")

	// The address and the MTU may change below a port.
	ip(t, "-n", p.b, "link", "set", "eth0", "address", "02:00:00:00:00:0c", "mtu", "1400")
	for deadline := time.Now().Add(time.Second); port.MAC() != macC || port.MTU() != 1400; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("MAC %x, MTU %d: want the new ones", port.MAC(), port.MTU())
		}
	}
	k.none(t, "address changed")

	k.cancel()
	select {
	case err := <-k.ended:
		if err != nil {
			t.Errorf("cancelled: %v, want nil", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("cancelled: Keep goes on")
	}
}

// TestKeepFlaps takes the interface down and up in a row.
func TestKeepFlaps(t *testing.T) {
	p := newPair(t)
	k := keep(t, p.b, receiveAll)
	k.next(t, "up")
	for range 10 {
		ip(t, "-n", p.b, "link", "set", "eth0", "down")
		ip(t, "-n", p.b, "link", "set", "eth0", "up")
		// The last port that comes is one that works.
		got := k.next(t, "up again")
		for more := true; more; {
			select {
			case got = <-k.ports:
			case <-time.After(20 * time.Millisecond):
				more = false
			}
		}
		if err := got.Send(macA, []byte("works")); err != nil {
			t.Fatalf("send: %v", err)
		}
	}
}

// TestKeepEnds has Use return what it may.
func TestKeepEnds(t *testing.T) {
	p := newPair(t)
	own := errors.New("own failure")
	for _, c := range []struct{ give, want error }{{nil, nil}, {own, own}} {
		k := keep(t, p.b, func(context.Context, link.Port) error { return c.give })
		select {
		case err := <-k.ended:
			if !errors.Is(err, c.want) {
				t.Errorf("Use returned %v, Keep %v, want %v", c.give, err, c.want)
			}
		case <-time.After(time.Second):
			t.Errorf("Use returned %v: Keep goes on", c.give)
		}
	}
	// A Use that says ErrDown of an interface that isn't is asked again, and
	// not in a circle without a pause.
	var times []time.Time
	k := keep(t, p.b, func(context.Context, link.Port) error {
		times = append(times, time.Now())
		return link.ErrDown
	})
	time.Sleep(100 * time.Millisecond)
	k.cancel()
	<-k.ended
	if len(times) < 3 || len(times) > 8 {
		t.Errorf("Use was called %d times in 100 ms", len(times))
	}
}
