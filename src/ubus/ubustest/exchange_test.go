package ubustest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"homeconf/src/ubus/internal/frame"
	"homeconf/src/ubus/ubustest"
)

// exchange is a recorded one.
type exchange struct {
	Name   string
	Conn   string
	Sent   []string            `json:"client_to_server"`
	Got    []string            `json:"server_to_client"`
	Others map[string]*streams `json:"other_conns"`
	IDs    map[string]string
	Closed []string `json:"closed_by_server"`
	Steps  []step   `json:"decoded"`
}

type streams struct {
	Sent []string `json:"client_to_server"`
	Got  []string `json:"server_to_client"`
}

type step struct {
	Conn, Dir, Type string
	N               int
}

// dies says which connection ends itself in the middle of an exchange, right
// after its last frame.
var dies = map[string]string{
	"provider_dies":           "provider",
	"target_dies":             "provider",
	"caller_dies":             "client",
	"event_object_add_remove": "provider",
	"subscribe_notify":        "subscriber",
}

// What the real ubusd answered when the exchanges were recorded, the server
// answers now, but for the numbers that are random.
func TestRecordedExchanges(t *testing.T) {
	b, err := os.ReadFile("../testdata/exchanges.json")
	if err != nil {
		t.Fatal(err)
	}
	var exchanges []*exchange
	if err := json.Unmarshal(b, &exchanges); err != nil {
		t.Fatal(err)
	}
	if len(exchanges) != 52 {
		t.Fatalf("%d exchanges", len(exchanges))
	}
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		for _, e := range exchanges {
			t.Run(e.Name, func(t *testing.T) {
				if e.Name == "no_rights" && os.Getuid() != 0 {
					t.Skip("only root can be somebody else")
				}
				r := &replay{t: t, e: e, path: s.Path, now: map[uint32]uint32{}, then: map[uint32]uint32{},
					conns: map[string]*peer{}, ids: map[uint32]bool{}, made: map[uint32]bool{}}
				r.run()
			})
		}
	})
}

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

// given registers what the exchange finds: objects of others.
func (r *replay) given() {
	r.world = r.hello(false)
	seq := uint16(0)
	add := func(then, kind uint32, attrs func(*frame.Writer)) {
		if r.made[then] || r.now[then] != 0 {
			return
		}
		seq++
		w := new(frame.Writer).Begin(frame.AddObject, seq, 0)
		attrs(w)
		raw, _ := w.Bytes()
		r.send(r.world, raw)
		answer := parse(r.next(r.world))
		if !answer.Has(frame.AttrObjID) {
			r.t.Fatalf("could not register %08x: %+v", then, answer)
		}
		r.learn(then, answer.ObjID)
		if answer.Has(frame.AttrObjType) {
			r.learn(kind, answer.ObjType)
		}
		r.next(r.world) // STATUS
	}
	for _, s := range r.e.Steps {
		m := parse(r.frame(s))
		if s.Dir == "<" && m.Type == frame.Data && m.Has(frame.AttrSignature) {
			add(m.ObjID, m.ObjType, func(w *frame.Writer) {
				w.Text(frame.AttrObjPath, m.ObjPath)
				if now, shared := r.now[m.ObjType]; shared {
					w.Uint32(frame.AttrObjType, now)
				} else {
					w.Blob(frame.AttrSignature, m.Signature)
				}
			})
		}
	}
	for i, s := range r.e.Steps {
		if m := parse(r.frame(s)); s.Dir == ">" && m.Type == frame.Invoke && m.ObjID >= 1024 && len(r.answers(i)) > 0 {
			add(m.ObjID, 0, func(*frame.Writer) {})
		}
	}
}

// answers are what the object answered to the call of step i, as its caller got
// it; nothing where ubusd itself did, which gives no OBJID.
func (r *replay) answers(i int) (list [][]byte) {
	call := r.e.Steps[i]
	seq := parse(r.frame(call)).Seq
	for _, s := range r.e.Steps[i+1:] {
		if s.Conn != call.Conn || s.Dir != "<" {
			continue
		}
		raw := r.frame(s)
		m := parse(raw)
		if m.Seq != seq || m.Type != frame.Data && m.Type != frame.Status {
			continue
		}
		if !m.Has(frame.AttrObjID) {
			return nil
		}
		list = append(list, raw)
		if m.Type == frame.Status {
			return list
		}
	}
	return nil
}

func (r *replay) run() {
	for _, id := range r.e.IDs {
		if n, err := strconv.ParseUint(id, 16, 32); err == nil && len(id) == 8 {
			r.ids[uint32(n)] = true
		}
	}
	last := map[string]int{}
	for i, s := range r.e.Steps {
		last[s.Conn] = i
		if m := parse(r.frame(s)); s.Dir == "<" && m.Type == frame.Data && m.Has(frame.AttrObjID) && m.Peer == 0 &&
			!m.Has(frame.AttrObjPath) {
			r.made[m.ObjID] = true
		}
	}
	r.given()
	for i, s := range r.e.Steps {
		raw := r.frame(s)
		p := r.conns[s.Conn]
		switch {
		case p == nil:
			if s.Type != "HELLO" {
				r.t.Fatalf("%s begins with %s", s.Conn, s.Type)
			}
			p = r.dial(r.e.Name == "no_rights" && s.Conn == "client")
			r.conns[s.Conn] = p
			r.compare(s, raw, r.next(p))
		case s.Dir == ">":
			r.say(i, p, raw)
		default:
			r.stranger(raw)
			r.compare(s, raw, r.next(p))
		}
		if dies[r.e.Name] == s.Conn && last[s.Conn] == i {
			p.nc.Close()
		}
	}
	for name, p := range r.conns {
		if slices.Contains(r.e.Closed, name) {
			if raw := r.next(p); raw != nil {
				r.t.Errorf("%s hears %x", name, raw)
			}
			continue
		}
		if dies[r.e.Name] != name && r.e.Name != "monitor" {
			r.settle(p)
		}
		select {
		case raw := <-p.in:
			if raw != nil {
				r.t.Errorf("%s hears %x, too", name, raw)
			}
		default:
		}
	}
	r.cleanUp()
}

// say sends a frame, and lets a given object answer it.
func (r *replay) say(i int, p *peer, raw []byte) {
	r.t.Helper()
	m := parse(raw)
	given := m.Type == frame.Invoke && r.now[m.ObjID] != 0 && !r.made[m.ObjID]
	raw = r.today(raw)
	if r.e.Name == "split_frames" {
		for piece := range slices.Chunk(raw, 5) {
			r.send(p, piece)
			time.Sleep(time.Millisecond)
		}
	} else {
		r.send(p, raw)
	}
	switch {
	case given:
		answers := r.answers(i)
		if len(answers) == 0 {
			break
		}
		call := parse(r.next(r.world))
		for _, a := range answers {
			a = r.today(a)
			binary.BigEndian.PutUint32(a[4:], call.Peer)
			r.send(r.world, a)
		}
		r.settle(r.world)
	case len(r.e.Closed) > 0 || r.e.Name == "monitor": // where a ping would be too much
	default:
		r.settle(p)
	}
}

// stranger makes the call of somebody whom the exchange does not show.
func (r *replay) stranger(raw []byte) {
	r.t.Helper()
	m := parse(raw)
	if m.Type != frame.Invoke || m.Peer == 0 || r.now[m.Peer] != 0 {
		return
	}
	p := r.hello(false)
	r.learn(m.Peer, p.id)
	call, _ := new(frame.Writer).Begin(frame.Invoke, m.Seq, r.now[m.ObjID]).Uint32(frame.AttrObjID, r.now[m.ObjID]).
		Text(frame.AttrMethod, m.Method).Blob(frame.AttrData, m.Data).Bytes()
	r.send(p, call)
}

// cleanUp closes the connections and waits until the server has seen it, so that
// the next exchange finds no objects of this one.
func (r *replay) cleanUp() {
	for _, p := range append(r.all(), r.world) {
		p.nc.Close()
	}
	p := r.hello(false)
	defer p.nc.Close()
	for seq := uint16(1); ; seq++ {
		all, _ := new(frame.Writer).Begin(frame.Lookup, seq, 0).Bytes()
		r.send(p, all)
		m := parse(r.next(p))
		if m.Type == frame.Status {
			return
		}
		if seq == 1000 {
			r.t.Fatalf("%s is still there", m.ObjPath)
		}
		for m.Type != frame.Status {
			m = parse(r.next(p))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *replay) all() (list []*peer) {
	for _, p := range r.conns {
		list = append(list, p)
	}
	return list
}
