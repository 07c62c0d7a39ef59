package frame

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// recorded gives every recorded frame that is whole.
func recorded(t testing.TB) (frames [][]byte) {
	t.Helper()
	type streams struct {
		Sent []string `json:"client_to_server"`
		Got  []string `json:"server_to_client"`
	}
	var exchanges []struct {
		streams
		Others map[string]streams `json:"other_conns"`
	}
	b, err := os.ReadFile("../../testdata/exchanges.json")
	if err == nil {
		err = json.Unmarshal(b, &exchanges)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range exchanges {
		all := append(e.Sent, e.Got...)
		for _, o := range e.Others {
			all = append(append(all, o.Sent...), o.Got...)
		}
		for _, text := range all {
			raw, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			if _, n, err := ParseHeader(raw); err == nil && ReadLen+n == len(raw) {
				frames = append(frames, raw)
			}
		}
	}
	return frames
}

// write makes the frame of a message, its attributes in the order of their
// numbers.
func write(m *Message) []byte {
	w := new(Writer).Begin(m.Type, m.Seq, m.Peer)
	for id := range 32 {
		if !m.Has(id) {
			continue
		}
		switch id {
		case AttrStatus:
			w.Uint32(id, uint32(m.Status))
		case AttrObjPath:
			w.Text(id, m.ObjPath)
		case AttrObjID:
			w.Uint32(id, m.ObjID)
		case AttrMethod:
			w.Text(id, m.Method)
		case AttrObjType:
			w.Uint32(id, m.ObjType)
		case AttrSignature:
			w.Blob(id, m.Signature)
		case AttrData:
			w.Blob(id, m.Data)
		case AttrTarget:
			w.Uint32(id, m.Target)
		case AttrActive:
			w.Flag(id, m.Active)
		case AttrNoReply:
			w.Flag(id, m.NoReply)
		case AttrSubscribers:
			w.Blob(id, m.Subscribers)
		case AttrUser:
			w.Text(id, m.User)
		case AttrGroup:
			w.Text(id, m.Group)
		}
	}
	raw, _ := w.Bytes()
	return raw
}

func parse(t testing.TB, raw []byte) *Message {
	t.Helper()
	h, n, err := ParseHeader(raw)
	if err != nil || ReadLen+n != len(raw) {
		t.Fatalf("%x: %d, %v", raw, n, err)
	}
	m := Parse(h, raw[ReadLen:])
	m.Version, m.Word = 0, 0
	return m
}

// What is taken apart can be put together again, and nothing is lost but what
// counts as absent.
func TestRecordedFrames(t *testing.T) {
	same := 0
	frames := recorded(t)
	for _, raw := range frames {
		m := parse(t, raw)
		if m.Type == Monitor {
			continue
		}
		again := write(m)
		if !reflect.DeepEqual(parse(t, again), m) {
			t.Errorf("%x became %x", raw, again)
		}
		if bytes.Equal(raw, again) {
			same++
		}
	}
	// The others have their attributes in another order, or some that are malformed.
	if len(frames) < 500 || same < len(frames)*2/3 {
		t.Errorf("%d of %d frames are the same to the byte", same, len(frames))
	}
}

func TestWriterRefusesLongMessages(t *testing.T) {
	fits, ok := new(Writer).Begin(Data, 1, 2).Blob(AttrData, make([]byte, MaxBlob-2*WordLen)).Bytes()
	if h, n, err := ParseHeader(fits); !ok || err != nil || n != MaxBlob-WordLen || h.Peer != 2 {
		t.Errorf("%t, %d, %v", ok, n, err)
	}
	if _, ok := new(Writer).Begin(Data, 1, 2).Blob(AttrData, make([]byte, MaxBlob-2*WordLen+1)).Begin(Status, 1, 2).Bytes(); ok {
		t.Error("wrote one byte too many")
	}
}

func FuzzParse(f *testing.F) {
	for _, raw := range recorded(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < ReadLen {
			return
		}
		h, n, err := ParseHeader(raw)
		if err != nil || ReadLen+n > len(raw) {
			return
		}
		m := Parse(h, raw[ReadLen:ReadLen+n])
		m.Version, m.Word = 0, 0
		if again := parse(t, write(m)); !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v became %+v", m, again)
		}
	})
}
