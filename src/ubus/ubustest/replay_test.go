package ubustest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"homeconf/src/ubus/internal/frame"
)

type replay struct {
	t     *testing.T
	e     *exchange
	path  string
	now   map[uint32]uint32 // recorded id to that of this run
	then  map[uint32]uint32 // the other way
	ids   map[uint32]bool   // the recorded ids
	made  map[uint32]bool   // those of objects that the exchange itself registers
	conns map[string]*peer
	world *peer // provides what the exchange takes for given
}

// peer is a connection. Its frames are read all the time, pongs of our own apart.
type peer struct {
	nc    net.Conn
	in    chan []byte
	pongs chan bool
	id    uint32
}

// Our own pings, to know that the server has done what came before.
const (
	pingSeq  = 0xfffe
	pingPeer = 0xfffefffe
)

func (r *replay) dial(nobody bool) *peer {
	r.t.Helper()
	var nc net.Conn
	var err error
	dial := func() { nc, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: r.path, Net: "unix"}) }
	if nobody {
		asNobody(r.t, dial)
	} else {
		dial()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	p := &peer{nc: nc, in: make(chan []byte, 1000), pongs: make(chan bool, 1000)}
	go p.read()
	r.t.Cleanup(func() { nc.Close() })
	return p
}

// asNobody runs f on a thread of another user; only that thread's changes.
func asNobody(t *testing.T, f func()) {
	runtime.LockOSThread()
	set := func(uid uintptr) {
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uid, ^uintptr(0)); e != 0 {
			t.Fatal(e)
		}
	}
	set(65534)
	f()
	set(0)
	runtime.UnlockOSThread()
}

func (p *peer) read() {
	defer close(p.in)
	for {
		raw := make([]byte, frame.ReadLen)
		if _, err := io.ReadFull(p.nc, raw); err != nil {
			return
		}
		h, n, err := frame.ParseHeader(raw)
		if err != nil {
			return
		}
		raw = append(raw, make([]byte, n)...)
		if _, err := io.ReadFull(p.nc, raw[frame.ReadLen:]); err != nil {
			return
		}
		switch {
		case h.Seq != pingSeq || h.Peer != pingPeer:
			p.in <- raw
		case h.Type == frame.Status:
			p.pongs <- true
		}
	}
}

func (r *replay) next(p *peer) []byte {
	r.t.Helper()
	select {
	case raw, ok := <-p.in:
		if ok {
			return raw
		}
	case <-time.After(10 * time.Second):
	}
	return nil
}

func (r *replay) send(p *peer, raw []byte) {
	r.t.Helper()
	if _, err := p.nc.Write(raw); err != nil {
		r.t.Fatal(err)
	}
}

// settle waits until the server has done what p sent.
func (r *replay) settle(p *peer) {
	r.t.Helper()
	ping, _ := new(frame.Writer).Begin(frame.Ping, pingSeq, pingPeer).Bytes()
	r.send(p, ping)
	select {
	case <-p.pongs:
	case <-time.After(10 * time.Second):
		r.t.Fatal("no pong")
	}
}

func (r *replay) frame(s step) []byte {
	r.t.Helper()
	list := &streams{r.e.Sent, r.e.Got}
	if s.Conn != r.e.Conn {
		list = r.e.Others[s.Conn]
	}
	frames := list.Sent
	if s.Dir == "<" {
		frames = list.Got
	}
	b, err := hex.DecodeString(frames[s.N])
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func parse(raw []byte) *frame.Message {
	h, _, err := frame.ParseHeader(raw)
	if err != nil {
		return &frame.Message{}
	}
	return frame.Parse(h, raw[frame.ReadLen:])
}

func (r *replay) learn(then, now uint32) {
	r.t.Helper()
	if was, ok := r.now[then]; ok && was != now {
		r.t.Fatalf("%08x was %08x and is %08x", then, was, now)
	}
	if was, ok := r.then[now]; ok && was != then {
		r.t.Fatalf("%08x was %08x when recorded, and %08x", now, was, then)
	}
	r.now[then], r.then[now] = now, then
}

// words calls f with each word of a frame, to put another in its place.
func words(raw []byte, f func(at int, before, word uint32) uint32) []byte {
	raw = bytes.Clone(raw)
	before := uint32(0)
	for i := 4; i+4 <= len(raw); i += 4 {
		word := binary.BigEndian.Uint32(raw[i:])
		binary.BigEndian.PutUint32(raw[i:], f(i, before, word))
		before = word
	}
	return raw
}

// today is a recorded frame with the ids of this run.
func (r *replay) today(raw []byte) []byte {
	return words(raw, func(_ int, _, word uint32) uint32 {
		if now, ok := r.now[word]; ok {
			return now
		}
		return word
	})
}

// compare learns the ids of this run from a frame, and fails where the rest
// differs.
func (r *replay) compare(s step, want, got []byte) {
	r.t.Helper()
	if got == nil {
		r.t.Fatalf("%s hears nothing, or is disconnected, instead of %s", s.Conn, s.Type)
	}
	if len(got) == len(want) {
		words(want, func(at int, before, then uint32) uint32 {
			id := r.ids[then] || at == 4 && s.Type == "HELLO" ||
				before == frame.AttrObjID<<frame.IDShift|8 || before == frame.AttrObjType<<frame.IDShift|8
			if id && then >= 1024 {
				r.learn(then, binary.BigEndian.Uint32(got[at:]))
			}
			return then
		})
	}
	want = r.today(want)
	if s.Type == "INVOKE" && parse(want).Peer == 0 {
		copy(want[2:4], got[2:4]) // events are counted by the server
	}
	if !bytes.Equal(want, got) {
		r.t.Fatalf("%s hears\n%x, want %s %d\n%x", s.Conn, got, s.Type, s.N, want)
	}
}

// hello opens a connection and knows its id.
func (r *replay) hello(nobody bool) *peer {
	r.t.Helper()
	p := r.dial(nobody)
	raw := r.next(p)
	if raw == nil {
		r.t.Fatal("no HELLO")
	}
	p.id = parse(raw).Peer
	return p
}
