package wire

import (
	"bytes"
	"reflect"
	"testing"
)

func FuzzParseFrame(f *testing.F) {
	for _, s := range sampleBodies() {
		b, err := AppendBody(nil, 9, s.body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(pad(b, 60))
		f.Add(b[:len(b)-1])
	}
	f.Add(append(AppendTransportHeader(nil, 1, 2, 3), make([]byte, 3+TagLen)...))
	f.Add(append(header(1, 6, 0), 0))
	f.Add(header(1, 1, 0xffff))
	f.Fuzz(func(t *testing.T, payload []byte) {
		frame, err := ParseFrame(payload)
		if err != nil {
			checkReason(t, err)
			return
		}
		b, err := frame.Append(nil)
		if err != nil {
			t.Fatalf("parsed and not encoded: %v", err)
		}
		if !bytes.HasPrefix(payload, b) {
			t.Fatalf("%x encoded as %x", payload, b)
		}
		again, err := ParseFrame(b)
		if err != nil || !reflect.DeepEqual(again, frame) {
			t.Fatalf("%+v came back as %+v, %v", frame, again, err)
		}
		if frame.Type == FrameTransport {
			if _, _, err := ParseTransport(frame.Body); err != nil {
				checkReason(t, err)
			}
			return
		}
		body, err := ParseBody(frame)
		if err != nil {
			checkReason(t, err)
			return
		}
		b, err = AppendBody(nil, frame.Receiver, body)
		if err != nil {
			t.Fatalf("%+v was parsed and not encoded: %v", body, err)
		}
		if frame, err = ParseFrame(b); err != nil {
			t.Fatal(err)
		}
		if got, err := ParseBody(frame); err != nil || !reflect.DeepEqual(got, body) {
			t.Fatalf("%+v came back as %+v, %v", body, got, err)
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	for _, s := range sampleMessages() {
		b, err := EncodeMessage(s.m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b, 0))
	}
	f.Add(message(TypeReplicate, 0xa0))
	f.Add(message(TypeReport, nested(20)...))
	f.Add(message(TypeEvent, unhex("bf 01 6161 02 6162 ff")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			checkReason(t, err)
			return
		}
		once, err := EncodeMessage(m)
		if err != nil {
			t.Fatalf("%+v was decoded and not encoded: %v", m, err)
		}
		again, err := DecodeMessage(once)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
		if twice, err := EncodeMessage(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%x, then %x, %v", once, twice, err)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	for _, s := range sampleRecords() {
		b, err := s.r.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			checkReason(t, err)
			return
		}
		// There is one way to write a record.
		if got, err := r.Append(nil); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%x came back as %x, %v", b, got, err)
		}
	})
}

func checkReason(t *testing.T, err error) {
	t.Helper()
	if Reason(err) == "other" {
		t.Fatalf("%v has no reason", err)
	}
	if len(err.Error()) > 400 {
		t.Fatalf("error of %d bytes", len(err.Error()))
	}
}
