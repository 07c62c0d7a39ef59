package configurator

import (
	"crypto/rand"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flynn/noise"
	"github.com/fxamacker/cbor/v2"

	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// hacked is a member of the home whose software was taken over: it holds a key
// that the home knows, and says within its session whatever it likes. It shares
// no code with session.
type hacked struct {
	t     *testing.T
	s     *story
	port  *link.SegmentPort
	mac   link.MAC
	dh    noise.DHKey
	id    model.DeviceID
	index uint32 // the home's, of the session
	send  *noise.CipherState
	count uint64
	next  uint32 // message id
	last  []byte // the last frame sent
}

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)

// hack makes a member and opens its session.
func (s *story) hack() *hacked {
	s.t.Helper()
	h := &hacked{t: s.t, s: s, mac: link.MAC{2, 0, 0, 6, 6, 6}, next: 1}
	var err error
	if h.dh, err = suite.GenerateKeypair(rand.Reader); err != nil {
		s.t.Fatal(err)
	}
	key := model.DeviceKey(h.dh.Public)
	h.id = model.IDOfKey(key)
	err = s.c.box.ask(s.ctx, func() {
		if err := s.c.store.Put(&model.Record{ID: h.id, Key: &key, MACs: []model.MAC{model.MAC(h.mac)}, State: model.DeviceAdopted}); err != nil {
			s.t.Error(err)
		}
		s.c.members.add(session.PublicKey(key))
	})
	if err != nil {
		s.t.Fatal(err)
	}
	h.port = s.seg.Attach(h.mac)
	silent := time.AfterFunc(10*time.Second, func() { h.port.Close() }) // or hear would wait for ever
	defer silent.Stop()
	a := h.ask()
	h.greet(h.first(a), a)
	return h
}

// ask sends a question and waits for the answer.
func (h *hacked) ask() wire.Advertise {
	h.t.Helper()
	var nonce [16]byte
	rand.Read(nonce[:])
	h.frame(0, wire.Solicit{Nonce: nonce})
	for {
		a, ok := h.hear().(wire.Advertise)
		if ok && a.Asker == nonce {
			return a
		}
	}
}

func (h *hacked) frame(receiver uint32, b wire.Body) {
	f, err := wire.AppendBody(nil, receiver, b)
	if err != nil {
		h.t.Fatal(err)
	}
	h.raw(f)
}

func (h *hacked) raw(f []byte) {
	h.last = f
	if err := h.port.Send(link.MAC{2, 0, 0, 0, 0, 1}, f); err != nil {
		h.t.Fatal(err)
	}
}

// hear waits for a frame that is no session's.
func (h *hacked) hear() wire.Body {
	h.t.Helper()
	buf := make([]byte, link.BufferSize)
	for {
		in, err := h.port.Receive(buf)
		if err != nil {
			h.t.Fatal(err)
		}
		f, err := wire.ParseFrame(in.Payload)
		if err != nil || f.Type == wire.FrameTransport {
			continue
		}
		b, err := wire.ParseBody(f)
		if err != nil {
			h.t.Fatal(err)
		}
		return b
	}
}

// first begins IK.
func (h *hacked) first(a wire.Advertise) *noise.HandshakeState {
	h.t.Helper()
	home := h.s.c.home.key.Public()
	m := wire.Handshake1{Pattern: wire.PatternIK, Sender: 7, Instance: a.Instance, AgentNonce: a.Asker, HomeNonce: a.Nonce, Cookie: a.Cookie}
	prologue := append([]byte("homeconf HCP"), wire.Version, byte(wire.PatternIK), 0, 0, 0)
	prologue = binary.BigEndian.AppendUint32(prologue, m.Sender)
	prologue = append(append(append(prologue, a.Instance[:]...), a.Asker[:]...), a.Nonce[:]...)
	hs, err := noise.NewHandshakeState(noise.Config{CipherSuite: suite, Pattern: noise.HandshakeIK, Initiator: true, Prologue: prologue,
		StaticKeypair: h.dh, PeerStatic: home[:]})
	if err == nil {
		m.Noise, _, _, err = hs.WriteMessage(nil, nil)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.frame(0, m)
	return hs
}

func (h *hacked) greet(hs *noise.HandshakeState, a wire.Advertise) {
	h.t.Helper()
	for h.send == nil {
		m, ok := h.hear().(wire.Handshake2)
		if !ok {
			continue
		}
		_, send, _, err := hs.ReadMessage(nil, m.Noise)
		if err != nil {
			h.t.Fatal(err)
		}
		h.send, h.index = send, m.Sender
	}
	h.record(&wire.Record{Kind: wire.RecordPing, Token: 1})
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
	if h.s.c.peers[h.id] == nil {
		h.t.Fatal("the session is not open")
	}
}

// sealed sends a record of any bytes.
func (h *hacked) sealed(plain []byte) {
	f := wire.AppendTransportHeader(nil, h.index, h.count, len(plain))
	f, err := h.send.Encrypt(f, f, plain)
	if err != nil {
		h.t.Fatal(err)
	}
	h.count++
	h.raw(f)
}

func (h *hacked) record(r *wire.Record) {
	b, err := r.Append(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.sealed(b)
}

// message sends a message of any bytes, in as many fragments as it takes.
func (h *hacked) message(b []byte) {
	const cut = 1400
	n := (len(b) + cut - 1) / cut
	for i := range n {
		h.record(&wire.Record{Kind: wire.RecordData, Message: h.next, Fragment: uint16(i), Fragments: uint16(n), Bytes: b[i*cut : min((i+1)*cut, len(b))]})
	}
	h.next++
}

// cbor sends a message of a type with any CBOR in it.
func (h *hacked) cbor(t wire.MessageType, v any) {
	b, err := cbor.Marshal(v)
	if err != nil {
		h.t.Fatal(err)
	}
	h.message(append([]byte{byte(t)}, b...))
}

// says sends a message that is well formed.
func (h *hacked) says(m wire.Message) {
	b, err := wire.EncodeMessage(m)
	if err != nil {
		h.t.Fatal(err)
	}
	h.message(b)
}

// report is what such a device reports if it behaves.
func (h *hacked) report(change func(r *model.Report)) wire.Report {
	r := model.Report{Info: model.DeviceInfo{DeviceCategory: model.CategoryTV}, HostName: "tv", Managed: "eth0",
		Interfaces:   []model.Interface{{Name: "eth0", MAC: model.MAC(h.mac), Medium: model.MediumEthernet, Up: true, SpeedMbps: 1000}},
		Capabilities: []model.Capability{model.CanStaticIPv4, model.CanDHCPv4, model.CanDNS}}
	if change != nil {
		change(&r)
	}
	return wire.Report{Seq: 1, Full: true, Report: r}
}
