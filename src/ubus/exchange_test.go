package ubus

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"homeconf/src/ubus/internal/frame"
)

type exchange struct {
	Name   string
	Conn   string
	Sent   []string            `json:"client_to_server"`
	Got    []string            `json:"server_to_client"`
	Others map[string]*streams `json:"other_conns"`
	Steps  []step              `json:"decoded"`
}

type streams struct {
	Sent []string `json:"client_to_server"`
	Got  []string `json:"server_to_client"`
}

type step struct {
	Conn, Dir, Type string
	N               int
}

func (e *exchange) frame(t testing.TB, s step) []byte {
	t.Helper()
	list := &streams{e.Sent, e.Got}
	if s.Conn != e.Conn {
		list = e.Others[s.Conn]
	}
	if s.Dir == ">" {
		return unhex(t, list.Sent[s.N])
	}
	return unhex(t, list.Got[s.N])
}

func readExchanges(t testing.TB) (list []*exchange) {
	t.Helper()
	readVectors(t, "exchanges.json", &list)
	if len(list) != 52 {
		t.Fatalf("%d exchanges", len(list))
	}
	return list
}

// notOurs are the recorded connections that sent what this package never sends.
var notOurs = map[string]string{
	"ping client":                       "pings",
	"header_unchecked client":           "malformed pings",
	"oversize_header client":            "malformed",
	"oversize_by_one client":            "malformed",
	"undersize_header client":           "malformed",
	"lenient_attributes client":         "malformed",
	"split_frames client":               "pings",
	"lookup_prefix_not_found client":    "an empty path",
	"lookup_without_signature client":   "a call without a peer",
	"lookup_without_signature provider": "a path without a signature",
	"invoke_many_replies provider":      "several DATA",
	"caller_dies provider":              "pings",
	"invoke_attributes client":          "attributes missing, or in another order",
	"invoke_no_reply client":            "NO_REPLY in a call",
	"invoke_errors client":              "attributes missing",
	"data_malformed client":             "malformed DATA",
	"status_invalid_command client":     "unknown types",
	"add_remove_object provider":        "an object by its type",
	"add_object_odd provider":           "malformed",
	"remove_object_errors client":       "attributes missing",
	"serve_wrong_answers provider":      "wrong answers",
	"serve_wrong_answers other":         "wrong answers",
	"subscribe_notify provider":         "a notification that asks",
	"notify_two_subscribers provider":   "a notification that asks",
	"notify_two_subscribers sub1":       "UNSUBSCRIBE",
	"notify_two_subscribers sub2":       "UNSUBSCRIBE",
	"subscribe_errors client":           "attributes missing",
	"event_errors client":               "attributes missing",
}

// We send what libubus and the recorder sent, to the byte, and understand what
// ubusd answered.
func TestRecordedConnections(t *testing.T) {
	played := 0
	for _, e := range readExchanges(t) {
		conns := []string{e.Conn}
		for name := range e.Others {
			conns = append(conns, name)
		}
		for _, name := range conns {
			t.Run(e.Name+"/"+name, func(t *testing.T) {
				if why, ok := notOurs[e.Name+" "+name]; ok {
					t.Logf("has %s", why)
					return
				}
				played++
				play(t, e, name)
			})
		}
	}
	if played < 45 {
		t.Errorf("played %d connections only", played)
	}
}

// player plays the server's part of one recorded connection.
type player struct {
	t      *testing.T
	server net.Conn
	c      *conn
	asked  map[uint16]*asked
	calls  chan *frame.Message
	states chan bool
	gone   chan *frame.Message
}

// asked is a request under way, and what its answer is to be.
type asked struct {
	peer   uint32
	done   chan error
	tables []Table
	found  []ObjectInfo
	want   []*frame.Message
}

func (p *player) invoked(_ *conn, m *frame.Message)      { p.calls <- m }
func (p *player) active(on bool)                         { p.states <- on }
func (p *player) unsubscribed(_ *conn, m *frame.Message) { p.gone <- m }

func parseFrame(raw []byte) *frame.Message {
	h, _, err := frame.ParseHeader(raw)
	if err != nil {
		return &frame.Message{}
	}
	return frame.Parse(h, raw[frame.ReadLen:])
}

func play(t *testing.T, e *exchange, name string) {
	ours, server := net.Pipe()
	defer server.Close()
	p := &player{t: t, server: server, asked: map[uint16]*asked{}, calls: make(chan *frame.Message, 100),
		states: make(chan bool, 100), gone: make(chan *frame.Message, 100)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var steps []step
	for _, s := range e.Steps {
		if s.Conn == name {
			steps = append(steps, s)
		}
	}
	for i, s := range steps {
		raw := e.frame(t, s)
		switch {
		case i == 0:
			go server.Write(raw)
			var err error
			if p.c, err = newConn(ctx, ours); err != nil {
				t.Fatal(err)
			}
			defer p.c.end(io.EOF)
		case s.Dir == "<":
			if _, err := server.Write(raw); err != nil {
				t.Fatal(err)
			}
			p.check(parseFrame(raw))
		default:
			m := parseFrame(raw)
			if m.Type == frame.Status && m.Peer == 0 {
				continue // libubus answers events, and ubusd drops it
			}
			var data *frame.Message
			if m.Type == frame.Status && i > 0 && steps[i-1].Dir == ">" {
				if d := parseFrame(e.frame(t, steps[i-1])); d.Type == frame.Data && d.Seq == m.Seq {
					data = d
				}
			}
			p.start(ctx, m, data)
			if m.Type == frame.Data {
				continue // goes with its STATUS
			}
			if data != nil {
				raw = append(e.frame(t, steps[i-1]), raw...)
			}
			got := make([]byte, len(raw))
			server.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, raw) {
				t.Fatalf("we send %v\n%x, want %s\n%x", err, got, s.Type, raw)
			}
		}
	}
	cancel()
	for seq, a := range p.asked {
		if err := <-a.done; !errors.Is(err, context.Canceled) {
			t.Errorf("request %d, never answered, ends with %v", seq, err)
		}
	}
}

// start has the connection send a message.
func (p *player) start(ctx context.Context, m, data *frame.Message) {
	t, c := p.t, p.c
	a := &asked{peer: m.Peer, done: make(chan error, 1)}
	table := func(b []byte) Table {
		d, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var do func() error
	switch m.Type {
	case frame.Data:
		return
	case frame.Status:
		var answer Table
		if data != nil {
			answer = table(data.Data)
		}
		go c.reply(m, answer, Status(m.Status))
		return
	case frame.Notify:
		if !m.NoReply {
			t.Fatal("a notification that asks")
		}
		go c.notify(ctx, m.ObjID, m.Method, table(m.Data))
		return
	case frame.Lookup:
		do = func() (err error) { a.found, err = c.lookup(ctx, m.ObjPath); return err }
	case frame.Invoke:
		do = func() (err error) { a.tables, _, err = c.invoke(ctx, m.ObjID, m.Method, table(m.Data)); return err }
	case frame.AddObject:
		var signature *Table
		if m.Has(frame.AttrSignature) {
			s := table(m.Signature)
			signature = &s
		}
		do = func() error {
			id, err := c.addObject(ctx, m.ObjPath, signature, p)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err == nil && c.bound[id] != p {
				t.Errorf("%08x is not bound", id)
			}
			return err
		}
	case frame.RemoveObject:
		do = func() error { return c.removeObject(ctx, m.ObjID) }
	case frame.Subscribe:
		do = func() error { return c.subscribe(ctx, m.ObjID, m.Target, func() {}) }
	default:
		t.Fatalf("we never send type %d", m.Type)
	}
	p.asked[m.Seq] = a
	go func() { a.done <- do() }()
}

// check looks at what became of a message from the server.
func (p *player) check(m *frame.Message) {
	t := p.t
	wait := func(what <-chan *frame.Message) {
		select {
		case got := <-what:
			if got.ObjID != m.ObjID || got.Method != m.Method || got.Seq != m.Seq || got.Peer != m.Peer ||
				!bytes.Equal(got.Data, m.Data) || got.User != m.User || got.Target != m.Target {
				t.Errorf("heard %+v, want %+v", got, m)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("nobody heard %+v", m)
		}
	}
	switch m.Type {
	case frame.Invoke:
		wait(p.calls)
	case frame.Unsubscribe:
		wait(p.gone)
	case frame.Notify:
		select {
		case on := <-p.states:
			if on != m.Active {
				t.Errorf("active is %t", on)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nobody heard whether it is active")
		}
	case frame.Data, frame.Status:
		a := p.asked[m.Seq]
		if a == nil || a.peer != m.Peer {
			return // it fits no request
		}
		if m.Type == frame.Data {
			a.want = append(a.want, m)
			return
		}
		delete(p.asked, m.Seq)
		err := <-a.done
		if StatusOf(err) != Status(m.Status) {
			t.Errorf("%v, want status %d", err, m.Status)
		}
		for i, d := range a.want {
			switch {
			case d.Has(frame.AttrData):
				if i >= len(a.tables) || !bytes.Equal(a.tables[i].Bytes(), d.Data) {
					t.Errorf("answer %d of %d differs", i, len(a.tables))
				}
			case d.Has(frame.AttrSignature):
				if i >= len(a.found) || a.found[i].Path != d.ObjPath || a.found[i].ID != d.ObjID ||
					!bytes.Equal(a.found[i].Signature.Bytes(), d.Signature) {
					t.Errorf("object %d of %d differs", i, len(a.found))
				}
			}
		}
		if len(a.tables)+len(a.found) > len(a.want) {
			t.Errorf("%d tables and %d objects from %d messages", len(a.tables), len(a.found), len(a.want))
		}
	}
}

// Any bytes from the server end the connection or are passed over; none do more.
func FuzzConn(f *testing.F) {
	for _, e := range readExchanges(f) {
		var all []byte
		for _, s := range e.Steps {
			if s.Conn == e.Conn && s.Dir == "<" {
				all = append(all, e.frame(f, s)...)
			}
		}
		f.Add(all)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		c := &conn{nc: nopConn{}, done: make(chan struct{}), pending: map[uint16]*request{}, bound: map[uint32]receiver{}}
		heard := 0
		for seq := range uint16(8) {
			c.pending[seq] = &request{bind: counter{&heard}, done: make(chan struct{})}
		}
		if err := c.read(r); err == nil {
			t.Fatal("reading never ends with success")
		}
	})
}

type nopConn struct{ net.Conn }

type counter struct{ n *int }

func (c counter) invoked(_ *conn, m *frame.Message) {
	*c.n++
	if table, err := Decode(m.Data); err == nil {
		table.JSON()
	}
}
func (c counter) active(bool)                        { *c.n++ }
func (c counter) unsubscribed(*conn, *frame.Message) { *c.n++ }
