package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// vectors are bytes that an implementation of the protocol writes and reads.
type vectors struct {
	Frames   map[string]string `json:"frames"`   // whole frames to receiver 9, in hex
	Records  map[string]string `json:"records"`  // plaintexts of TRANSPORT frames
	Messages map[string]string `json:"messages"` // type and CBOR
	Digest   string            `json:"settings_digest"`
}

// TestVectors: the bytes on the wire don't change unnoticed.
func TestVectors(t *testing.T) {
	v := vectors{map[string]string{}, map[string]string{}, map[string]string{}, ""}
	put := func(to map[string]string, name string, b []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if to[name] != "" {
			t.Fatalf("%s twice", name)
		}
		to[name] = hex.EncodeToString(b)
	}
	for _, s := range sampleBodies() {
		b, err := AppendBody(nil, 9, s.body)
		put(v.Frames, s.name, b, err)
	}
	put(v.Frames, "transport", append(AppendTransportHeader(nil, 9, 1, 4), fill(4+TagLen, 1)...), nil)
	for _, s := range sampleRecords() {
		b, err := s.r.Append(nil)
		put(v.Records, s.name, b, err)
	}
	for _, s := range sampleMessages() {
		b, err := EncodeMessage(s.m)
		put(v.Messages, s.name, b, err)
	}
	d := SettingsDigest(sampleSettings())
	v.Digest = hex.EncodeToString(d[:])

	got, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", "vectors.json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	var old vectors
	if err := json.Unmarshal(want, &old); err != nil {
		t.Fatal(err)
	}
	for _, p := range [][2]map[string]string{{v.Frames, old.Frames}, {v.Records, old.Records}, {v.Messages, old.Messages}} {
		for name, h := range p[0] {
			if p[1][name] != h {
				t.Errorf("%s:\n%s, want\n%s", name, h, p[1][name])
			}
		}
	}
	t.Errorf("%s differs; -update writes it anew", path)
}
