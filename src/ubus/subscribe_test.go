package ubus_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

// log collects what was heard, in order.
type log struct {
	mu    sync.Mutex
	lines []string
	more  chan bool
}

func newLog() *log { return &log{more: make(chan bool, 1000)} }

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	select {
	case l.more <- true:
	default:
	}
}

// want waits for these lines, which it takes away, in any order if asked.
func (l *log) want(t *testing.T, want ...string) {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		l.mu.Lock()
		n := len(l.lines)
		l.mu.Unlock()
		if n >= len(want) {
			break
		}
		select {
		case <-l.more:
		case <-deadline:
			t.Fatalf("heard %q, want %q", l.lines, want)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.lines, want) {
		t.Fatalf("heard %q, want %q", l.lines, want)
	}
	l.lines = nil
}

func TestEvents(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		heard := newLog()
		listener, sender := dial(t, ubus.Dialer{Path: s.Path}), dial(t, ubus.Dialer{Path: s.Path})
		l := must[*ubus.Listener](t)(listener.Listen(ctx, "network.*", func(event string, data ubus.Table) {
			heard.add("%s %s", event, data.JSON())
		}))
		send := func(event string) {
			t.Helper()
			data := new(ubus.Builder).String("action", "ifup").String("interface", "lan").Table()
			if err := sender.Send(ctx, event, data); err != nil {
				t.Error(err)
			}
		}
		send("network.interface")
		send("other")
		send("network.")
		heard.want(t, `network.interface {"action":"ifup","interface":"lan"}`, `network. {"action":"ifup","interface":"lan"}`)
		if err := sender.Send(ctx, "ubus.object.add", ubus.Table{}); !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
		if _, err := listener.Listen(ctx, "", nil); !errors.Is(err, ubus.StatusPermissionDenied) {
			t.Error(err)
		}
		if err := errors.Join(l.Close(ctx), l.Close(ctx)); err != nil {
			t.Error(err)
		}
		send("network.interface")
		must[[]ubus.ObjectInfo](t)(listener.Lookup(ctx, ""))
		heard.want(t)
	})
}

// subscribe logs all that a subscriber is told.
func subscribe(t *testing.T, c *ubus.Client, pattern string) (*ubus.Subscription, *log) {
	t.Helper()
	heard := newLog()
	return must[*ubus.Subscription](t)(c.Subscribe(within(t), pattern, ubus.Subscriber{
		Notify: func(path, method string, data ubus.Table) { heard.add("%s %s %s", path, method, data.JSON()) },
		Up:     func(path string) { heard.add("%s up", path) },
		Down:   func(path string) { heard.add("%s down", path) },
	})), heard
}

// Objects that are subscribed to come and go, and are told whether they are
// heard.
func TestSubscribe(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		states := newLog()
		object := func(path string) ubus.Object {
			o := demo(path)
			o.Subscribed = func(on bool) { states.add("%s %t", path, on) }
			return o
		}
		notify := func(p *ubus.Published, n int64) {
			t.Helper()
			if err := p.Notify(ctx, "probe", new(ubus.Builder).Int("n", n).Table()); err != nil {
				t.Error(err)
			}
		}
		provider := dial(t, ubus.Dialer{Path: s.Path})
		wlan0 := must[*ubus.Published](t)(provider.AddObject(ctx, object("hostapd.wlan0")))
		c := dial(t, ubus.Dialer{Path: s.Path})
		must[*ubus.Published](t)(c.AddObject(ctx, demo("hostapd.own"))) // not heard by itself
		sub, heard := subscribe(t, c, "hostapd.*")
		heard.want(t, "hostapd.wlan0 up")
		states.want(t, "hostapd.wlan0 true")
		if !wlan0.Subscribed() {
			t.Error("not subscribed")
		}
		notify(wlan0, 1)
		wlan1 := must[*ubus.Published](t)(provider.AddObject(ctx, object("hostapd.wlan1")))
		states.want(t, "hostapd.wlan1 true")
		must[*ubus.Published](t)(c.AddObject(ctx, demo("hostapd.own.later")))
		must[*ubus.Published](t)(provider.AddObject(ctx, object("dnsmasq")))
		notify(wlan1, 2)
		notify(wlan0, 3)
		heard.want(t, `hostapd.wlan0 probe {"n":1}`, "hostapd.wlan1 up", `hostapd.wlan1 probe {"n":2}`,
			`hostapd.wlan0 probe {"n":3}`)

		if err := wlan0.Remove(ctx); err != nil {
			t.Error(err)
		}
		heard.want(t, "hostapd.wlan0 down")
		states.want(t, "hostapd.wlan0 false")
		// Its own, which heard wlan0, is given back: left are two published ones, the
		// one that hears of new objects, and the one that hears wlan1.
		for deadline := time.Now().Add(20 * time.Second); ubus.Bound(c) != 4; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d objects are registered", ubus.Bound(c))
			}
		}
		if err := wlan0.Notify(ctx, "probe", ubus.Table{}); !errors.Is(err, ubus.StatusConnectionFailed) {
			t.Errorf("a removed object notifies: %v", err)
		}
		wlan0 = must[*ubus.Published](t)(provider.AddObject(ctx, object("hostapd.wlan0")))
		heard.want(t, "hostapd.wlan0 up")
		states.want(t, "hostapd.wlan0 true")
		notify(wlan0, 4)
		heard.want(t, `hostapd.wlan0 probe {"n":4}`)

		if err := errors.Join(sub.Close(ctx), sub.Close(ctx)); err != nil {
			t.Error(err)
		}
		notify(wlan0, 5)
		notify(wlan1, 5)
		must[[]ubus.ObjectInfo](t)(c.Lookup(ctx, ""))
		heard.want(t)

		_, heard = subscribe(t, c, "dnsmasq")
		heard.want(t, "dnsmasq up")
		provider.Close()
		heard.want(t, "dnsmasq down")
	})
}

// A handler that hangs costs what it does not hear, and nothing else: the
// connection is read on.
func TestSlowHandler(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		var dropped atomic.Int32
		c := dial(t, ubus.Dialer{Path: s.Path, OnError: func(err error) {
			if errors.Is(err, ubus.StatusNoMemory) {
				dropped.Add(1)
			}
		}})
		sender := dial(t, ubus.Dialer{Path: s.Path})
		free := make(chan bool)
		var heard atomic.Int32
		must[*ubus.Listener](t)(c.Listen(ctx, "flood", func(string, ubus.Table) {
			<-free
			heard.Add(1)
		}))
		done := newLog()
		must[*ubus.Listener](t)(c.Listen(ctx, "end", func(string, ubus.Table) { done.add("end") }))
		data := new(ubus.Builder).String("s", strings.Repeat("x", 20<<10)).Table()
		const sent = 1000 // 20 MB
		for i := range sent {
			if err := sender.Send(ctx, "flood", data); err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 { // no faster than the reader, or the server drops what it has not taken
				must[[]ubus.ObjectInfo](t)(c.Lookup(ctx, ""))
			}
		}
		if err := sender.Send(ctx, "end", ubus.Table{}); err != nil {
			t.Error(err)
		}
		done.want(t, "end")
		close(free)
		must[[]ubus.ObjectInfo](t)(c.Lookup(ctx, ""))
		for deadline := time.Now().Add(20 * time.Second); heard.Load()+dropped.Load() < sent; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("heard %d, dropped %d", heard.Load(), dropped.Load())
			}
		}
		if n := heard.Load(); n < 100 || n > 300 {
			t.Errorf("heard %d of %d: some 200 have room", n, sent)
		}
	})
}
