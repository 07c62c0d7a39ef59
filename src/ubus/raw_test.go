package ubus_test

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"testing"
	"time"

	"homeconf/src/ubus"
	"homeconf/src/ubus/internal/frame"
	"homeconf/src/ubus/ubustest"
)

// raw is a client that sends what ours would not.
type raw struct {
	t   *testing.T
	nc  net.Conn
	seq uint16
}

func dialRaw(t *testing.T, path string) *raw {
	t.Helper()
	nc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	r := &raw{t: t, nc: nc}
	r.read()
	return r
}

func (r *raw) read() *frame.Message {
	r.t.Helper()
	r.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	head := make([]byte, frame.ReadLen)
	if _, err := io.ReadFull(r.nc, head); err != nil {
		r.t.Fatal(err)
	}
	h, n, err := frame.ParseHeader(head)
	if err != nil {
		r.t.Fatal(err)
	}
	blob := make([]byte, n)
	if _, err := io.ReadFull(r.nc, blob); err != nil {
		r.t.Fatal(err)
	}
	return frame.Parse(h, blob)
}

// ask makes a request, and gives what came until the STATUS with its seq.
func (r *raw) ask(t frame.Type, peer uint32, attrs func(*frame.Writer)) (data []*frame.Message, status ubus.Status) {
	r.t.Helper()
	r.seq++
	w := new(frame.Writer).Begin(t, r.seq, peer)
	attrs(w)
	b, _ := w.Bytes()
	if _, err := r.nc.Write(b); err != nil {
		r.t.Fatal(err)
	}
	for {
		m := r.read()
		if m.Seq != r.seq || m.Type != frame.Data && m.Type != frame.Status {
			continue
		}
		if m.Type == frame.Status {
			return data, ubus.Status(m.Status)
		}
		data = append(data, m)
	}
}

// Whatever a caller sends as arguments is answered.
func TestServeOddArguments(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		c := dial(t, ubus.Dialer{Path: s.Path})
		must[*ubus.Published](t)(c.AddObject(within(t), demo("vec.demo")))
		found := must[[]ubus.ObjectInfo](t)(c.Lookup(within(t), "vec.demo"))
		r := dialRaw(t, s.Path)
		for name, tt := range map[string]struct {
			data   string // "-" for none
			status ubus.Status
			echo   string
		}{
			"none":         {"-", ubus.StatusInvalidArgument, ""},
			"empty":        {"", ubus.StatusOK, "{}"},
			"int32 short":  {"8500000b0001620000000000", ubus.StatusInvalidArgument, ""},
			"no name":      {"8500000c0000000000000001", ubus.StatusInvalidArgument, ""},
			"runs past":    {"8500000c00016100000000018500019000016200", ubus.StatusOK, `{"a":1}`},
			"deep":         {"820000140001610081000008000162008500000c", ubus.StatusOK, `{"a":{"b":[]}}`},
			"ff":           {"ffffffffffffffff", ubus.StatusOK, "{}"},
			"one of twice": {"8500000c00016100000000018500000c0001610000000002", ubus.StatusOK, `{"a":1,"a":2}`},
		} {
			data, status := r.ask(frame.Invoke, found[0].ID, func(w *frame.Writer) {
				w.Uint32(frame.AttrObjID, found[0].ID).Text(frame.AttrMethod, "echo")
				if tt.data != "-" {
					b, err := hex.DecodeString(tt.data)
					if err != nil {
						t.Fatal(err)
					}
					w.Blob(frame.AttrData, b)
				}
			})
			var echo string
			for _, m := range data {
				table, err := ubus.Decode(m.Data)
				if err != nil {
					t.Error(err)
				}
				echo += string(table.JSON())
			}
			if status != tt.status || echo != tt.echo {
				t.Errorf("%s: %s and %v, want %s and %v", name, echo, status, tt.echo, tt.status)
			}
		}
	})
}

// A provider that asks its subscribers gets an answer, when the handler is done;
// one whose notification is malformed, too.
func TestSubscriberAnswers(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		told := newLog()
		c := dial(t, ubus.Dialer{Path: s.Path, OnError: func(err error) { told.add("error") }})
		r := dialRaw(t, s.Path)
		added, _ := r.ask(frame.AddObject, 0, func(w *frame.Writer) {
			w.Text(frame.AttrObjPath, "hostapd.wlan0").Blob(frame.AttrSignature, nil)
		})
		id := added[0].ObjID
		must[*ubus.Subscription](t)(c.Subscribe(context.Background(), "hostapd.*", ubus.Subscriber{
			Notify: func(path, method string, data ubus.Table) { told.add("%s %s %s", path, method, data.JSON()) },
		}))
		for data, want := range map[string]ubus.Status{"8500000c00016e0000000001": ubus.StatusOK,
			"8500000b00016e0000000001": ubus.StatusParseError} {
			b, err := hex.DecodeString(data)
			if err != nil {
				t.Fatal(err)
			}
			// The first STATUS with this seq is the server's and says who hears.
			r.ask(frame.Notify, id, func(w *frame.Writer) {
				w.Uint32(frame.AttrObjID, id).Text(frame.AttrMethod, "probe").Blob(frame.AttrData, b)
			})
			if m := r.read(); m.Type != frame.Status || m.Seq != r.seq || ubus.Status(m.Status) != want {
				t.Errorf("answered by %+v, want %v", m, want)
			}
			if want == ubus.StatusOK {
				told.want(t, `hostapd.wlan0 probe {"n":1}`)
			} else {
				told.want(t, "error")
			}
		}
	})
}
