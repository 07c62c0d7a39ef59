package ubus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

// After ubusd restarts everything is there again.
func TestRestart(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		again := make(chan bool, 10)
		provider := dial(t, ubus.Dialer{Path: s.Path, Reconnected: func() { again <- true }})
		states := newLog()
		o := demo("vec.demo")
		o.Subscribed = func(on bool) { states.add("%t", on) }
		p := must[*ubus.Published](t)(provider.AddObject(ctx, o))
		removed := must[*ubus.Published](t)(provider.AddObject(ctx, demo("vec.removed")))
		c := dial(t, ubus.Dialer{Path: s.Path, Reconnected: func() { again <- true }})
		_, heard := subscribe(t, c, "vec.d*")
		heard.want(t, "vec.demo up")
		states.want(t, "true")
		events := newLog()
		must[*ubus.Listener](t)(c.Listen(ctx, "vec.*", func(event string, _ ubus.Table) { events.add("%s", event) }))

		for round := range 5 {
			s.Stop()
			heard.want(t, "vec.demo down")
			states.want(t, "false")
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
			states.want(t, "true")
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
