package calls_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

// serveBus publishes a daemon's object with a handler, and gives a caller.
func serveBus(t *testing.T, s *ubustest.Server, d calls.Daemon, h calls.Handler) *ubus.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		calls.ServeBus(ctx, s.Path, d, h, slog.New(slog.DiscardHandler))
	}()
	caller, err := ubus.Dial(t.Context(), s.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		caller.Close()
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("serving does not end")
		}
	})
	for range 1000 {
		if _, err := caller.Lookup(t.Context(), calls.ObjectPath(d)); err == nil {
			return caller
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the object is not published")
	return nil
}

// TestBusSignatures: one table makes the socket's calls, the command line and
// the object on ubus.
func TestBusSignatures(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		for _, d := range []calls.Daemon{calls.Configurator, calls.Agent} {
			c := serveBus(t, s, d, func(context.Context, string, calls.Args) (any, error) { return calls.DoneResult{}, nil })
			found, err := c.Lookup(t.Context(), calls.ObjectPath(d))
			if err != nil || len(found) != 1 {
				t.Fatalf("%v: %d objects", err, len(found))
			}
			methods := map[string]ubus.Table{}
			for name, v := range found[0].Signature.All() {
				methods[name], _ = v.Table()
			}
			for _, call := range calls.Table {
				m, ok := methods[call.Name]
				if ok != (call.Daemon == d) {
					t.Errorf("%s: on %s: %v", call.Name, d, ok)
				}
				delete(methods, call.Name)
				if !ok {
					continue
				}
				if m.Len() != len(call.Args) {
					t.Errorf("%s: %d arguments, want %d", call.Name, m.Len(), len(call.Args))
				}
				for _, a := range call.Args {
					want := map[calls.Kind]ubus.Type{calls.String: ubus.TypeString, calls.Bool: ubus.TypeBool, calls.Int: ubus.TypeInt32, calls.Duration: ubus.TypeString}[a.Kind]
					if got := ubus.Type(m.Int(a.Name)); got != want {
						t.Errorf("%s: %s is %v, want %v", call.Name, a.Name, got, want)
					}
				}
			}
			for name := range methods {
				t.Errorf("%s is no call", name)
			}
		}
	})
}

// TestBusCalls: arguments of whatever type callers make of them arrive as the
// table says, unknown ones are passed over, and errors carry their message.
func TestBusCalls(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		c := serveBus(t, s, calls.Configurator, func(_ context.Context, name string, a calls.Args) (any, error) {
			switch name {
			case "pair":
				return calls.DoneResult{Text: fmt.Sprint(a.Duration("for"))}, nil
			case "event_list":
				return calls.DoneResult{Text: fmt.Sprintf("%d %s", a.Int("limit"), a.Device("device"))}, nil
			case "device_show":
				return nil, calls.Errorf(calls.NotFound, "no device %s", a.Device("id"))
			case "device_adopt":
				return nil, calls.Errorf(calls.PermissionDenied, "these are not the digits")
			case "status":
				return nil, calls.Errorf(calls.Busy, "later")
			}
			return nil, errors.New("broken")
		})
		for _, tt := range []struct {
			method, args, want string
			status             ubus.Status
		}{
			{"pair", `{}`, `{"text":"2m0s"}`, 0},
			{"pair", `{"for":"90s"}`, `{"text":"1m30s"}`, 0},
			{"pair", `{"for":60,"ubus_rpc_session":"0123456789abcdef"}`, `{"text":"1m0s"}`, 0},
			{"pair", `{"for":true}`, `"code":"invalid_argument"`, ubus.StatusInvalidArgument},
			{"pair", `{"for":"1s"}`, `want 10s to 10m`, ubus.StatusInvalidArgument},
			{"event_list", `{"limit":7,"device":"d0123456789"}`, `7 d0123456789`, 0},
			{"event_list", `{"limit":7.5}`, `whole number`, ubus.StatusInvalidArgument},
			{"device_show", `{"id":"d0123456789"}`, `no device d0123456789`, ubus.StatusNotFound},
			{"device_show", `{"id":"<img onerror=x>"}`, `is no device's id`, ubus.StatusInvalidArgument},
			{"device_show", `{"id":{"a":[1,2]}}`, `want a string`, ubus.StatusInvalidArgument},
			{"device_show", `{}`, `id: missing`, ubus.StatusInvalidArgument},
			{"device_adopt", `{"id":"d0123456789","code":"123456"}`, `these are not the digits`, ubus.StatusPermissionDenied},
			{"status", `{}`, `later`, ubus.StatusTimeout},
			{"plan", `{}`, `"message":"broken"`, ubus.StatusUnknownError},
			{"agent_status", `{}`, ``, ubus.StatusMethodNotFound},
		} {
			args, err := ubus.ParseJSON([]byte(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Call(t.Context(), "homeconf", tt.method, args)
			if ubus.StatusOf(err) != tt.status || !strings.Contains(string(got.JSON()), tt.want) {
				t.Errorf("%s %s: %v, %s", tt.method, tt.args, err, got.JSON())
			}
		}
	})
}

// TestBusOutlivesUbusd: the object is there again after a restart.
func TestBusOutlivesUbusd(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		c := serveBus(t, s, calls.Configurator, func(context.Context, string, calls.Args) (any, error) {
			return calls.DoneResult{Text: "here"}, nil
		})
		for range 3 {
			s.Stop()
			s.Start(t)
			began := time.Now()
			for {
				if got, err := c.Call(t.Context(), "homeconf", "status", ubus.Table{}); err == nil && got.Text("text") == "here" {
					break
				}
				if time.Since(began) > 20*time.Second {
					t.Fatal("the object does not come back")
				}
				time.Sleep(5 * time.Millisecond)
			}
			t.Logf("there again after %v", time.Since(began))
		}
	})
}

// fifty is a home of fifty devices.
func fifty() calls.StatusResult {
	s := calls.StatusResult{Devices: map[model.DeviceState]int{model.DeviceAdopted: 50}, Waiting: []calls.WaitingDevice{}, Counters: map[string]uint64{}}
	for i := range 20 {
		s.Counters[fmt.Sprintf("reason%d", i)] = uint64(i)
	}
	for i := range 16 {
		s.Waiting = append(s.Waiting, calls.WaitingDevice{ID: model.DeviceID(fmt.Sprintf("d%010d", i)), Name: "box", Way: "approve", Digits: "123456", Since: time.Unix(1e9, 0)})
	}
	return s
}

func list50() calls.DevicesResult {
	var l calls.DevicesResult
	for i := range 50 {
		l.Devices = append(l.Devices, calls.DeviceSummary{ID: model.DeviceID(fmt.Sprintf("d%010d", i)), Name: "Living room", Category: model.CategorySTB,
			Profile: "set_top_box", Class: model.ClassBroadcastVideo, State: model.DeviceAdopted, Agent: true, Online: true, Progress: "configured", LastSeen: time.Unix(1e9, 0)})
	}
	return l
}

// BenchmarkBusStatus is a call of status and of device_list by another process's
// eyes, in a home of fifty devices.
func BenchmarkBusStatus(b *testing.B) {
	for name, result := range map[string]any{"status": fifty(), "device_list": list50()} {
		b.Run(name, func(b *testing.B) {
			s := ubustest.New(b)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			go calls.ServeBus(ctx, s.Path, calls.Configurator, func(context.Context, string, calls.Args) (any, error) { return result, nil }, slog.New(slog.DiscardHandler))
			c, err := ubus.Dial(b.Context(), s.Path)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			for i := 0; ; i++ {
				if _, err = c.Lookup(b.Context(), "homeconf"); err == nil {
					break
				}
				if i == 1000 {
					b.Fatal(err)
				}
				time.Sleep(5 * time.Millisecond)
			}
			for b.Loop() {
				if _, err := c.Call(b.Context(), "homeconf", name, ubus.Table{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
