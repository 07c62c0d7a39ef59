package configurator

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"homeconf/src/calls"
	"homeconf/src/inventory"
	"homeconf/src/model"
)

// TestRotate: the home gets a new key while one device is away. That one gets it
// when it comes, and then the former key opens nothing any more.
func TestRotate(t *testing.T) {
	three(t, func(t *testing.T, ctx context.Context, s *sim) {
		names, addresses := s.now()
		before := s.key().Home
		if err := os.CopyFS(filepath.Join(s.dir, "sold"), os.DirFS(filepath.Join(s.dir, "home"))); err != nil {
			t.Fatal(err)
		}
		away := s.box[2].id(t)
		s.box[2].stop()
		time.Sleep(time.Minute)
		v, err := s.call("key_rotate", calls.Args{})
		if err != nil {
			t.Fatal(err)
		}
		if k := v.(calls.KeyResult); k.Home == before || k.Former != before {
			t.Errorf("answer: %+v", k)
		}
		time.Sleep(time.Minute)
		if k := s.key(); len(k.Awaited) != 1 || k.Awaited[0].ID != away || k.Awaited[0].Name != "Box C" || k.FormerUntil.IsZero() {
			t.Errorf("awaited: %+v", k)
		}
		if n := s.events("device.connected"); n != 3 {
			t.Errorf("%d sessions: the open ones should have gone on", n)
		}
		// Again, and one would be locked out: not without a yes.
		if _, err := s.call("key_rotate", calls.Args{}); calls.CodeOf(err) != calls.InvalidArgument {
			t.Errorf("again: %v", err)
		}
		// Restarts of both sides in between change nothing.
		s.restart(ctx)
		for _, b := range s.box[:2] {
			b.stop()
			s.startBox(ctx, b)
		}
		time.Sleep(2 * time.Minute)
		if k := s.key(); len(k.Awaited) != 1 || k.Former != before {
			t.Errorf("after restarts: %+v", k)
		}
		s.startBox(ctx, s.box[2])
		time.Sleep(2 * time.Minute)
		after := s.key()
		if len(after.Awaited) != 0 || after.Former != "" {
			t.Errorf("not done: %+v", after)
		}
		s.wantAll(names, addresses)
		for _, b := range s.box {
			if st := b.agentStatus(t); st.Home != after.Home {
				t.Errorf("%s has %s, home is %s", st.Device, st.Home, after.Home)
			}
		}
		// Who buys the old router gets nobody.
		s.stop()
		os.RemoveAll(filepath.Join(s.dir, "home"))
		os.Rename(filepath.Join(s.dir, "sold"), filepath.Join(s.dir, "home"))
		s.fs = inventory.InMemory()
		s.startHome(ctx)
		time.Sleep(20 * time.Minute)
		for _, b := range s.box {
			if st := b.agentStatus(t); st.State != calls.AgentAway {
				t.Errorf("%s is %s with the old router", st.Device, st.State)
			}
		}
	})
}

// TestFormerKeyRunsOut: it is not kept for ever.
func TestFormerKeyRunsOut(t *testing.T) {
	three(t, func(t *testing.T, ctx context.Context, s *sim) {
		s.box[2].stop()
		if _, err := s.call("key_rotate", calls.Args{}); err != nil {
			t.Fatal(err)
		}
		// The others have it, and are off: their Pings of a quarter of a year are not
		// what is tested.
		time.Sleep(time.Minute)
		if k := s.key(); len(k.Awaited) != 1 {
			t.Fatalf("awaited: %+v", k)
		}
		s.box[0].stop()
		s.box[1].stop()
		time.Sleep(89 * 24 * time.Hour)
		if k := s.key(); k.Former == "" {
			t.Fatalf("gone too early: %+v", k)
		}
		time.Sleep(3 * 24 * time.Hour)
		if k := s.key(); k.Former != "" || len(k.Awaited) != 0 {
			t.Errorf("kept on: %+v", k)
		}
		s.startBox(ctx, s.box[2])
		time.Sleep(time.Minute)
		if st := s.box[2].agentStatus(t); st.State != calls.AgentAway {
			t.Errorf("let in by a key that is gone: %s", st.State)
		}
	})
}

// TestRotateCrash kills the home at every step of a new key, and once more while
// it starts. No device is ever locked out.
func TestRotateCrash(t *testing.T) {
	for _, step := range []string{"rotate.begin", "roster.begin", "roster.stored", "rotate.stored", "rotate.sent", "rotate.forget", "rotate.forgotten"} {
		three(t, func(t *testing.T, ctx context.Context, s *sim) {
			names, addresses := s.now()
			s.crashAt(step)
			within, cancel := context.WithTimeout(ctx, time.Minute)
			_, err := s.c.Call(within, "key_rotate", calls.Args{}) // it may be killed before it answers
			cancel()
			t.Logf("%s: %v", step, err)
			time.Sleep(time.Minute)
			s.crashed(ctx, step)
			time.Sleep(2 * time.Minute)
			if s.events("home.key-changed") == 0 && s.key().Former == "" {
				if _, err := s.call("key_rotate", calls.Args{}); err != nil { // a person sees that nothing came of it
					t.Error(err)
				}
				time.Sleep(2 * time.Minute)
			}
			s.wantAll(names, addresses)
			k := s.key()
			if k.Former != "" || len(k.Awaited) > 0 {
				t.Errorf("%s: not done: %+v", step, k)
			}
			for _, b := range s.box {
				b.stop()
				s.startBox(ctx, b)
			}
			time.Sleep(2 * time.Minute)
			s.wantAll(names, addresses)
			for _, b := range s.box {
				if st := b.agentStatus(t); st.Home != k.Home {
					t.Errorf("%s: %s has %s, home is %s", step, st.Device, st.Home, k.Home)
				}
			}
		})
	}
}

// TestRestoreCrash kills the home at every step of a restore.
func TestRestoreCrash(t *testing.T) {
	for _, step := range []string{"restore.begin", "restore.stored", "restore.forgot", "return.begin", "return.stored", "roster.begin", "roster.stored", "keep.sent"} {
		three(t, func(t *testing.T, ctx context.Context, s *sim) {
			names, addresses := s.now()
			file, passphrase := s.backup()
			s.newRouter(ctx)
			for _, b := range s.box {
				s.lan.busy[b.dev.In().Address.Addr()] = model.MAC(b.mac)
			}
			other := s.plug(ctx, 9)
			time.Sleep(4 * time.Second)
			s.adopt(other)
			time.Sleep(time.Minute)
			other.stop()
			s.box = s.box[:3]
			args := calls.Args{"file": file, "passphrase": passphrase, "yes": true}
			s.crashAt(step)
			within, cancel := context.WithTimeout(ctx, time.Second)
			_, err := s.c.Call(within, "restore", args) // it may be killed before it answers
			cancel()
			t.Logf("%s: %v", step, err)
			time.Sleep(time.Second)
			if step == "restore.begin" {
				s.crashed(ctx, step)
				if _, err := s.call("restore", args); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				s.restart(ctx)
			} else if !s.down() {
				s.stop()
				s.startHome(ctx)
				time.Sleep(time.Minute)
				s.crashed(ctx, step)
			} else {
				s.crashed(ctx, step)
			}
			time.Sleep(3 * time.Minute)
			s.wantAll(names, addresses)
			if k := s.key(); k.Term != 2 {
				t.Errorf("%s: term %d", step, k.Term)
			}
		})
	}
}

// crash is a home that falls silent at a step, as one that was killed.
type crash struct {
	at, reached atomic.Pointer[string]
	kill        context.CancelFunc
}

// crashAt has the home killed when it next comes to a step.
func (s *sim) crashAt(step string) {
	s.dead.reached.Store(nil)
	s.dead.at.Store(&step)
}

func (s *sim) down() bool { return s.dead.reached.Load() != nil }

// stepped is the home's Step.
func (s *sim) stepped(name string) {
	if at := s.dead.at.Load(); !s.down() && (at == nil || *at != name) {
		return
	}
	s.dead.reached.Store(&name)
	if p := s.plugs.Load(); p != nil {
		p.Close()
	}
	if s.dead.kill != nil {
		s.dead.kill()
	}
	runtime.Goexit()
}

// crashed ends what was killed and starts it again.
func (s *sim) crashed(ctx context.Context, step string) {
	s.t.Helper()
	if !s.down() {
		s.t.Fatalf("%s was not reached", step)
	}
	s.stop()
	s.dead.at.Store(nil)
	s.dead.reached.Store(nil)
	s.startHome(ctx)
}

// tryNew is New, or nothing where a crash came first.
func tryNew(cfg Config) (c *Configurator, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err = New(cfg)
	}()
	<-done
	return c, err
}
