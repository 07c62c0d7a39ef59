package configurator

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"homeconf/src/inventory"
	"homeconf/src/model"
	"homeconf/src/session"
)

func newKey(t testing.TB) session.PrivateKey {
	t.Helper()
	k, err := session.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sampleSealed(key model.DeviceKey) sealedRecord {
	return sealedRecord{
		Record: &model.Record{ID: model.IDOfKey(key), Key: &key, State: model.DeviceAdopted, Choice: model.Choice{Name: "Bob's TV"},
			Address: netip.MustParseAddr("192.168.1.250"), Confirmed: 3, FirstSeen: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)},
		Roster: rosterText{Generation: 9, Term: 2, Devices: []string{hashOf(key).String() + ":7", keyHash{1}.String() + ":9:gone"}},
	}
}

// TestSeal: only the home that sealed a record opens it, only for its device,
// and only whole.
func TestSeal(t *testing.T) {
	home, device := newKey(t), model.DeviceKey(newKey(t).Public())
	want := sampleSealed(device)
	b, err := seal(home, device, 7, want)
	if err != nil {
		t.Fatal(err)
	}
	got, generation, err := unseal(home, device, b)
	if err != nil || generation != 7 || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %d, %v", got, generation, err)
	}
	if bytes.Contains(b, []byte("Bob")) {
		t.Error("it can be read")
	}
	if again, err := seal(home, device, 7, want); err != nil || bytes.Equal(again, b) {
		t.Error("the same nonce twice")
	}
	if _, _, err := unseal(newKey(t), device, b); !errors.Is(err, errSeal) {
		t.Errorf("another home: %v", err)
	}
	other := model.DeviceKey(newKey(t).Public())
	if _, _, err := unseal(home, other, b); !errors.Is(err, errSeal) {
		t.Errorf("another device's: %v", err)
	}
	// Sealed for one device, with the record of another.
	if c, err := seal(home, other, 7, want); err != nil {
		t.Fatal(err)
	} else if _, _, err := unseal(home, other, c); !errors.Is(err, errSeal) {
		t.Errorf("another's record: %v", err)
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, _, err := unseal(home, device, c); !errors.Is(err, errSeal) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, _, err := unseal(home, device, b[:i]); !errors.Is(err, errSeal) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
}

// TestLargestRoster: the most devices there can be still fit.
func TestLargestRoster(t *testing.T) {
	r := &roster{Generation: 1 << 35, Devices: map[keyHash]*entry{}}
	for i := range maxRoster + 50 {
		r.Devices[keyHash{byte(i), byte(i >> 8)}] = &entry{Generation: 1<<34 + uint64(i), Gone: i >= 1024}
	}
	r.update(nil, "home") // all are gone, and the oldest leave
	if len(r.Devices) > maxRoster {
		t.Errorf("%d devices", len(r.Devices))
	}
	device := model.DeviceKey(newKey(t).Public())
	s := sampleSealed(device)
	s.Roster = r.text(1)
	if len(s.Roster.Devices) > 1024 {
		s.Roster.Devices = s.Roster.Devices[:1024]
	}
	b, err := seal(newKey(t), device, 1, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(b))
}

func FuzzUnseal(f *testing.F) {
	home, device := newKey(f), model.DeviceKey(newKey(f).Public())
	b, err := seal(home, device, 7, sampleSealed(device))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:40])
	f.Add([]byte{sealVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := unseal(home, device, b)
		if err == nil && (s.Record == nil || s.Record.ID != model.IDOfKey(device)) {
			t.Fatalf("%+v", s)
		}
	})
}

func FuzzRosterText(f *testing.F) {
	f.Add(uint64(9), keyHash{1}.String()+":7", keyHash{2}.String()+":9:gone")
	f.Add(uint64(0), "", "x:1")
	f.Add(uint64(8), "000000000000000000000A:0", "00000000000000000000000:0") // one letter too many
	f.Fuzz(func(t *testing.T, generation uint64, one, two string) {
		r, err := rosterText{Generation: generation, Devices: []string{one, two}}.roster()
		if err != nil {
			return
		}
		again, err := r.text(0).roster()
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v came back as %+v, %v", r, again, err)
		}
	})
}

// FuzzLoadRoster: whatever stands in the file, it is read, set aside, or another
// home's.
func FuzzLoadRoster(f *testing.F) {
	h := keyHash{1}.String()
	f.Add([]byte(`{"version":1,"home":"home","generation":9,"devices":{"` + h + `":{"generation":7,"former":true}}}`))
	f.Add([]byte(`{"version":1,"home":"home","generation":1,"devices":{"` + h + `":{"generation":7}}}`))
	f.Add([]byte(`{"version":1,"home":"home","devices":{"` + h + `A":null}}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte("{torn"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := inventory.Open("/home", inventory.WithFS(inventory.InMemory()))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WriteBeside(rosterFile, b); err != nil {
			t.Fatal(err)
		}
		r, err := loadRoster(s, "home")
		if err != nil {
			if r, err := loadRoster(s, "home"); r != nil || err != nil {
				t.Fatalf("not set aside: %v", err)
			}
			return
		}
		if r == nil {
			return
		}
		r.update(nil, "home")
		if err := r.save(s, "home"); err != nil {
			t.Fatal(err)
		}
		if again, err := loadRoster(s, "home"); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v came back as %+v, %v", r, again, err)
		}
	})
}
