package agent

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"homeconf/src/link"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// lastKept is the last Kept that the home has heard.
func (h *home) lastKept(t *testing.T) wire.Kept {
	t.Helper()
	var last *wire.Kept
	for _, m := range h.heard() {
		if k, ok := m.(wire.Kept); ok {
			last = &k
		}
	}
	if last == nil {
		t.Fatal("no answer to Keep")
	}
	return *last
}

// TestKeep: what the home hands over is handed back as it was, over restarts,
// and a reset wipes it.
func TestKeep(t *testing.T) {
	scene(t, "", func(t *testing.T, h *home, b *box) {
		h.say(t, wire.Keep{Term: 1})
		if k := h.lastKept(t); k.Sealed != nil || k.Term != 1 {
			t.Errorf("at first: %+v", k)
		}
		one, two := bytes.Repeat([]byte("one"), 9), bytes.Repeat([]byte{0xff}, wire.MaxSealed)
		h.say(t, wire.Keep{Term: 1, Sealed: one})
		settle(time.Second)
		b.stop()
		b.start(t.Context(), t)
		settle(time.Minute)
		h.say(t, wire.Keep{Term: 4})
		if k := h.lastKept(t); !bytes.Equal(k.Sealed, one) || k.Term != 4 {
			t.Errorf("handed back: %+v", k)
		}
		h.say(t, wire.Keep{Term: 4, Sealed: two})
		settle(5 * time.Second)
		if st, err := os.Stat(b.state("agent-sealed.bin")); err != nil || st.Mode() != 0o600 || st.Size() != wire.MaxSealed {
			t.Errorf("on disk: %v, %v", st, err)
		}
		// Another router with the home's key, whose term is the lower one.
		h.say(t, wire.Keep{Term: 3, Sealed: one})
		h.say(t, configure(static(9, "192.168.1.66/24")))
		h.say(t, wire.Rotate{Home: [32]byte{1}})
		h.say(t, wire.Keep{Term: 3})
		settle(5 * time.Second)
		if k := h.lastKept(t); !bytes.Equal(k.Sealed, two) || k.Term != 4 || b.dev.In().Address.IsValid() {
			t.Errorf("a lower term was obeyed: %d bytes, %d, %v", len(k.Sealed), k.Term, b.dev.In())
		}
		h.say(t, wire.Keep{Term: 5})
		h.say(t, configure(static(9, "192.168.1.66/24")))
		settle(time.Second)
		if !b.dev.In().Address.IsValid() {
			t.Error("a higher term was not obeyed")
		}
		if err := os.WriteFile(b.state("agent-sealed.bin"), bytes.Repeat([]byte{1}, wire.MaxSealed+1), 0o600); err != nil {
			t.Fatal(err)
		}
		h.heard()
		h.say(t, wire.Keep{Term: 5})
		if k := h.lastKept(t); k.Sealed != nil {
			t.Errorf("too long, and handed back: %d bytes", len(k.Sealed))
		}
		h.say(t, wire.Keep{Term: 5, Sealed: one})
		settle(time.Second)
		if _, err := b.a.Call(t.Context(), "agent_reset", nil); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		if _, err := os.Stat(b.state("agent-sealed.bin")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left by a reset: %v", err)
		}
	})
}

// TestKeepCrash kills the agent at each step of storing a record or a new key:
// it has the old one or the new one, and takes the new one afterwards.
func TestKeepCrash(t *testing.T) {
	for _, step := range []string{"keep.begin", "keep.stored", "rotate.begin", "rotate.stored", "rotate.sent"} {
		t.Run(step, func(t *testing.T) {
			scene(t, "", func(t *testing.T, h *home, b *box) {
				old := h.key.Public()
				next, err := session.GeneratePrivateKey()
				if err != nil {
					t.Fatal(err)
				}
				b.mu.Lock()
				b.crashAt, b.crashIn = step, 1
				b.mu.Unlock()
				h.say(t, wire.Keep{Term: 2, Sealed: []byte("sealed")})
				if !b.crashed() {
					h.say(t, wire.Rotate{Home: next.Public(), Discovery: [32]byte{7}})
				}
				if !b.crashed() {
					t.Fatalf("not reached: %v", b.steps)
				}
				b.stop()
				pin := func() session.Pin {
					t.Helper()
					k, said, err := load(b.state("agent.json"), checkKept)
					if err != nil || said != "" || k.Pin == nil {
						t.Fatalf("%v %s", err, said)
					}
					p, err := k.pin()
					if err != nil {
						t.Fatal(err)
					}
					return *p
				}
				stored := pin().Home == next.Public() && pin().Discovery == [32]byte{7}
				if want := step == "rotate.stored" || step == "rotate.sent"; stored != want || !stored && pin().Home != old {
					t.Fatalf("pinned: new %v, want %v", stored, want)
				}
				b.start(t.Context(), t)
				settle(time.Minute)
				if stored {
					// The old key is not its home's any more.
					if h.peer != nil {
						t.Error("it came by the old key")
					}
					h.key = next
					h.discovery = [32]byte{7}
					stop := h.start(t.Context(), t, b.seg.Attach(link.MAC{2, 0, 0, 0, 0, 9}))
					defer stop()
					settle(time.Minute)
				}
				h.say(t, wire.Keep{Term: 2, Sealed: []byte("sealed")})
				h.say(t, wire.Rotate{Home: next.Public(), Discovery: [32]byte{7}})
				settle(time.Second)
				if pin().Home != next.Public() || pin().Term != 2 {
					t.Errorf("pinned: %+v", pin())
				}
				if data, err := os.ReadFile(b.state("agent-sealed.bin")); err != nil || string(data) != "sealed" {
					t.Errorf("%q, %v", data, err)
				}
			})
		})
	}
}
