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
