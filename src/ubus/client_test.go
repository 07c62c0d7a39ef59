package ubus_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

func dial(t testing.TB, d ubus.Dialer) *ubus.Client {
	t.Helper()
	if d.OnError == nil {
		d.OnError = func(err error) { t.Errorf("told of %v", err) }
	}
	c, err := d.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// demo has a method for each thing a method can do.
func demo(path string) ubus.Object {
	return ubus.Object{Path: path, Methods: []ubus.Method{
		{Name: "echo", Params: []ubus.Param{{Name: "s", Type: ubus.TypeString}, {Name: "n", Type: ubus.TypeInt32}},
			Handle: func(_ context.Context, r *ubus.Request) (ubus.Table, error) { return r.Args, nil }},
		{Name: "empty", Handle: func(context.Context, *ubus.Request) (ubus.Table, error) { return ubus.Table{}, nil }},
		{Name: "who", Handle: func(_ context.Context, r *ubus.Request) (ubus.Table, error) {
			return new(ubus.Builder).String("user", r.User).String("group", r.Group).Table(), nil
		}},
		{Name: "fail", Handle: func(_ context.Context, r *ubus.Request) (ubus.Table, error) {
			return new(ubus.Builder).String("message", "because").Table(),
				fmt.Errorf("why: %w", ubus.Status(r.Args.Int("code")))
		}},
		{Name: "large", Handle: func(context.Context, *ubus.Request) (ubus.Table, error) {
			return new(ubus.Builder).String("s", strings.Repeat("x", 1<<20-20)).Table(), nil
		}},
	}}
}

func TestCall(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		var told atomic.Int32
		provider := dial(t, ubus.Dialer{Path: s.Path, OnError: func(error) { told.Add(1) }})
		must[*ubus.Published](t)(provider.AddObject(ctx, demo("vec.demo")))
		c := dial(t, ubus.Dialer{Path: s.Path})

		args := new(ubus.Builder).String("s", "grüße").Int("n", 1<<40).Bool("ubus_rpc_session", true).Table()
		answer, err := c.Call(ctx, "vec.demo", "echo", args)
		if err != nil || string(answer.JSON()) != `{"s":"grüße","n":1099511627776,"ubus_rpc_session":true}` {
			t.Errorf("%s, %v", answer.JSON(), err)
		}
		if answer, err = c.Call(ctx, "vec.demo", "empty", ubus.Table{}); err != nil || answer.Len() != 0 {
			t.Errorf("%s, %v", answer.JSON(), err)
		}
		if all, err := c.CallAll(ctx, "vec.demo", "empty", ubus.Table{}); err != nil || len(all) != 0 {
			t.Errorf("%d tables, %v", len(all), err)
		}
		if answer, err = c.Call(ctx, "vec.demo", "who", ubus.Table{}); err != nil || answer.Text("user") != "root" {
			t.Errorf("%s, %v", answer.JSON(), err)
		}
		for _, want := range []ubus.Status{1, 2, 4, 6, 9, 13, 14, 200, -1} {
			answer, err = c.Call(ctx, "vec.demo", "fail", new(ubus.Builder).Int("code", int64(want)).Table())
			if !errors.Is(err, want) || answer.Text("message") != "because" {
				t.Errorf("status %d: %s, %v", want, answer.JSON(), err)
			}
		}
		for _, tt := range []struct {
			path, method string
			want         error
		}{
			{"vec.demo", "nonsense", ubus.StatusMethodNotFound},
			{"vec.nobody", "echo", ubus.StatusNotFound},
			{"vec.nobody", "echo", fs.ErrNotExist},
			{"vec.*", "echo", ubus.StatusNotFound},
			{"", "echo", ubus.StatusInvalidArgument},
			{"vec.demo", "large", ubus.StatusNoMemory},
		} {
			if _, err := c.Call(ctx, tt.path, tt.method, ubus.Table{}); !errors.Is(err, tt.want) {
				t.Errorf("%s %s: %v, want %v", tt.path, tt.method, err, tt.want)
			}
		}
		if told.Load() != 1 {
			t.Errorf("told of %d errors, want the answer that is too large", told.Load())
		}
		long := new(ubus.Builder).String("s", strings.Repeat("x", 1<<21)).Table()
		if _, err := c.Call(ctx, "vec.demo", "echo", long); !errors.Is(err, ubus.ErrTooLarge) {
			t.Error(err)
		}
		// The largest that is taken comes back: half a megabyte is beyond any socket's buffer.
		large := new(ubus.Builder).String("s", strings.Repeat("x", 1<<19)).Table()
		if answer, err := c.Call(ctx, "vec.demo", "echo", large); err != nil || len(answer.Text("s")) != 1<<19 {
			t.Errorf("%d bytes, %v", len(answer.Text("s")), err)
		}
	})
}

func TestLookup(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		c := dial(t, ubus.Dialer{Path: s.Path})
		first := must[*ubus.Published](t)(c.AddObject(ctx, demo("vec.demo")))
		must[*ubus.Published](t)(c.AddObject(ctx, demo("vec.demo.second")))
		for pattern, want := range map[string][]string{"vec.demo": {"vec.demo"}, "vec.*": {"vec.demo", "vec.demo.second"},
			"": {"vec.demo", "vec.demo.second"}} {
			var got []string
			for _, o := range must[[]ubus.ObjectInfo](t)(c.Lookup(ctx, pattern)) {
				got = append(got, o.Path)
				if echo := o.Signature.Table("echo"); echo.Int("s") != int64(ubus.TypeString) || o.ID == 0 {
					t.Errorf("%s has the signature %s", o.Path, o.Signature.JSON())
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q finds %q, want %q", pattern, got, want)
			}
		}
		for _, pattern := range []string{"nobody", "nobody*"} {
			if _, err := c.Lookup(ctx, pattern); !errors.Is(err, ubus.StatusNotFound) {
				t.Errorf("%s: %v", pattern, err)
			}
		}
		if _, err := c.AddObject(ctx, demo("vec.demo")); !errors.Is(err, ubus.StatusInvalidArgument) {
			t.Errorf("a path in use: %v", err)
		}
		if err := errors.Join(first.Remove(ctx), first.Remove(ctx)); err != nil {
			t.Error(err)
		}
		if _, err := c.Lookup(ctx, "vec.demo"); !errors.Is(err, ubus.StatusNotFound) {
			t.Error(err)
		}
	})
}

// Objects are registered anew under other ids; a caller does not notice.
func TestCallAfterProviderRestarts(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		c := dial(t, ubus.Dialer{Path: s.Path})
		for range 3 {
			provider := dial(t, ubus.Dialer{Path: s.Path})
			must[*ubus.Published](t)(provider.AddObject(ctx, demo("vec.demo")))
			must[ubus.Table](t)(c.Call(ctx, "vec.demo", "empty", ubus.Table{}))
			// The method's own "not found" is not taken for ubusd's.
			_, err := c.Call(ctx, "vec.demo", "fail", new(ubus.Builder).Int("code", 4).Table())
			if !errors.Is(err, ubus.StatusNotFound) {
				t.Error(err)
			}
			provider.Close()
			for err = nil; err == nil; _, err = c.Lookup(ctx, "vec.demo") {
			}
		}
		if _, err := c.Call(ctx, "vec.demo", "empty", ubus.Table{}); !errors.Is(err, ubus.StatusNotFound) {
			t.Error(err)
		}
	})
}

// A provider that dies while it owes an answer: ubusd says nothing, and the
// caller's own time is up.
func TestProviderDies(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		provider := dial(t, ubus.Dialer{Path: s.Path})
		called, never := make(chan bool), make(chan bool)
		defer close(never)
		must[*ubus.Published](t)(provider.AddObject(within(t), ubus.Object{Path: "vec.die", Methods: []ubus.Method{
			{Name: "m", Handle: func(ctx context.Context, _ *ubus.Request) (ubus.Table, error) {
				called <- true
				<-ctx.Done() // Close ends it
				<-never
				return ubus.Table{}, ctx.Err()
			}}}}))
		c := dial(t, ubus.Dialer{Path: s.Path})
		go func() {
			<-called
			provider.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := c.Call(ctx, "vec.die", "m", ubus.Table{})
		if !errors.Is(err, ubus.StatusTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := c.Call(ctx, "vec.die", "m", ubus.Table{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Calls are served side by side, but no more than the bound.
func TestServeConcurrently(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		const bound, calls = 3, 20
		ctx := within(t)
		var running, most atomic.Int32
		full := make(chan bool)
		provider := dial(t, ubus.Dialer{Path: s.Path, MaxCalls: bound})
		must[*ubus.Published](t)(provider.AddObject(ctx, ubus.Object{Path: "vec.slow", Methods: []ubus.Method{
			{Name: "m", Handle: func(context.Context, *ubus.Request) (ubus.Table, error) {
				n := running.Add(1)
				defer running.Add(-1)
				for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
				}
				if n == bound {
					close(full) // panics when there are ever so many again
				}
				<-full
				time.Sleep(time.Millisecond)
				running.Add(100) // no later one counts as the third
				return ubus.Table{}, nil
			}}}}))
		c := dial(t, ubus.Dialer{Path: s.Path})
		var w sync.WaitGroup
		for range calls {
			w.Go(func() {
				if _, err := c.Call(ctx, "vec.slow", "m", ubus.Table{}); err != nil {
					t.Error(err)
				}
			})
		}
		<-full
		if n := most.Load(); n != bound {
			t.Errorf("%d at once", n)
		}
		w.Wait()
	})
}

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

// After ubusd restarts everything is there again.
func TestRestart(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		again := make(chan bool, 10)
		provider := dial(t, ubus.Dialer{Path: s.Path, Reconnected: func() { again <- true }})
		p := must[*ubus.Published](t)(provider.AddObject(ctx, demo("vec.demo")))
		removed := must[*ubus.Published](t)(provider.AddObject(ctx, demo("vec.removed")))
		c := dial(t, ubus.Dialer{Path: s.Path, Reconnected: func() { again <- true }})
		_, heard := subscribe(t, c, "vec.d*")
		heard.want(t, "vec.demo up")
		events := newLog()
		must[*ubus.Listener](t)(c.Listen(ctx, "vec.*", func(event string, _ ubus.Table) { events.add("%s", event) }))

		for round := range 5 {
			s.Stop()
			heard.want(t, "vec.demo down")
			if round == 1 {
				if err := removed.Remove(ctx); err != nil {
					t.Error(err)
				}
			}
			waiting := make(chan error)
			go func() {
				_, err := c.Lookup(ctx, "") // waits for a server
				waiting <- err
			}()
			if round == 3 {
				time.Sleep(200 * time.Millisecond) // some attempts fail
			}
			s.Start(t)
			began := time.Now()
			for range 2 {
				<-again
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("all there again after %v", took)
			}
			if err := <-waiting; err != nil {
				t.Error(err)
			}
			heard.want(t, "vec.demo up")
			must[ubus.Table](t)(c.Call(ctx, "vec.demo", "empty", ubus.Table{}))
			_, err := c.Lookup(ctx, "vec.removed")
			if gone := errors.Is(err, ubus.StatusNotFound); gone != (round >= 1) {
				t.Errorf("round %d: %v", round, err)
			}
			if err := p.Notify(ctx, "n", ubus.Table{}); err != nil {
				t.Error(err)
			}
			heard.want(t, "vec.demo n {}")
			if err := provider.Send(ctx, "vec.event", ubus.Table{}); err != nil {
				t.Error(err)
			}
			events.want(t, "vec.event")
		}
	})
}

// A call under way when ubusd goes fails at once: nobody will answer.
func TestRestartDuringCall(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		called, free := make(chan bool), make(chan bool)
		provider := dial(t, ubus.Dialer{Path: s.Path})
		must[*ubus.Published](t)(provider.AddObject(within(t), ubus.Object{Path: "vec.slow", Methods: []ubus.Method{
			{Name: "m", Handle: func(ctx context.Context, _ *ubus.Request) (ubus.Table, error) {
				called <- true
				<-free
				return ubus.Table{}, ctx.Err() // what was begun is not given up
			}}}}))
		c := dial(t, ubus.Dialer{Path: s.Path})
		failed := make(chan error)
		go func() {
			_, err := c.Call(within(t), "vec.slow", "m", ubus.Table{})
			failed <- err
		}()
		<-called
		s.Stop()
		if err := <-failed; !errors.Is(err, ubus.StatusConnectionFailed) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := c.Call(ctx, "vec.slow", "m", ubus.Table{}); !errors.Is(err, ubus.StatusConnectionFailed) {
			t.Error(err)
		}
		close(free)
	})
}

// What cannot be registered again is tried again, and the rest is not kept back.
func TestRestartWithPathTaken(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		refused := make(chan error, 100)
		again := make(chan bool, 10)
		c := dial(t, ubus.Dialer{Path: s.Path, Reconnected: func() { again <- true },
			OnError: func(err error) { refused <- err }})
		must[*ubus.Published](t)(c.AddObject(ctx, demo("vec.taken")))
		must[*ubus.Published](t)(c.AddObject(ctx, demo("vec.free")))
		var thief *ubus.Client
		for { // until the thief is first
			s.Stop()
			s.Start(t)
			thief = dial(t, ubus.Dialer{Path: s.Path})
			_, err := thief.AddObject(ctx, demo("vec.taken"))
			<-again
			if err == nil {
				break
			}
			thief.Close()
		}
		if err := <-refused; !errors.Is(err, ubus.StatusInvalidArgument) {
			t.Error(err)
		}
		must[[]ubus.ObjectInfo](t)(c.Lookup(ctx, "vec.free"))
		thief.Close()
		for {
			if _, err := c.Lookup(ctx, "vec.taken"); err == nil {
				break
			} else if ctx.Err() != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
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

func TestDialPaths(t *testing.T) {
	s := ubustest.New(t)
	was := ubus.Paths
	t.Cleanup(func() { ubus.Paths = was })
	if !slices.Equal(was, []string{"/var/run/ubus/ubus.sock", "/var/run/ubus.sock"}) {
		t.Errorf("paths are %q", was)
	}
	none := filepath.Join(t.TempDir(), "none")
	ubus.Paths = []string{none, s.Path}
	c, err := ubus.Dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := c.Lookup(t.Context(), ""); !errors.Is(err, ubus.StatusConnectionFailed) {
		t.Errorf("a closed client looks up: %v", err)
	}
	if _, err := ubus.Dial(t.Context(), none); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ubus.Dial(ctx, s.Path); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAddObjectRefuses(t *testing.T) {
	c := dial(t, ubus.Dialer{Path: ubustest.New(t).Path})
	handle := func(context.Context, *ubus.Request) (ubus.Table, error) { return ubus.Table{}, nil }
	for name, o := range map[string]ubus.Object{
		"no path":        {},
		"NUL":            {Path: "a\x00b"},
		"no method name": {Path: "a", Methods: []ubus.Method{{Handle: handle}}},
		"no handler":     {Path: "a", Methods: []ubus.Method{{Name: "m"}}},
		"twice":          {Path: "a", Methods: []ubus.Method{{Name: "m", Handle: handle}, {Name: "m", Handle: handle}}},
		"no param name":  {Path: "a", Methods: []ubus.Method{{Name: "m", Handle: handle, Params: []ubus.Param{{}}}}},
	} {
		if _, err := c.AddObject(t.Context(), o); !errors.Is(err, ubus.StatusInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
