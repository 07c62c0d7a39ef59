package ubustest_test

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"slices"
	"strconv"
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
				switch need := e.Name == "no_rights" && os.Getuid() != 0; {
				case need && os.Getenv("CI") == "true":
					t.Fatal("only root can be somebody else")
				case need:
					t.Skip("only root can be somebody else")
				}
				r := &replay{t: t, e: e, path: s.Path, now: map[uint32]uint32{}, then: map[uint32]uint32{},
					conns: map[string]*peer{}, ids: map[uint32]bool{}, made: map[uint32]bool{}}
				r.run()
			})
		}
	})
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
