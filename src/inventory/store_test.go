package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/model"
)

func record(n byte, name string) *model.Record {
	mac := model.MAC{2, 0, 0, 0, 0, n}
	return &model.Record{ID: model.IDOfMAC(mac), MACs: []model.MAC{mac}, State: model.DeviceManaged, Choice: model.Choice{Name: name}}
}

// shaky is a filesystem whose writes count, and which fails or loses power at
// the n-th of them.
type shaky struct {
	FS
	mu     sync.Mutex
	calls  int
	failAt int
	err    error
	half   bool // the failing write leaves half of its bytes
	cut    bool // everything after it fails, too
}

func (s *shaky) step() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.failAt > 0 && (s.calls == s.failAt || s.cut && s.calls > s.failAt) {
		return s.err
	}
	return nil
}

func (s *shaky) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *shaky) WriteSynced(path string, b []byte, mode fs.FileMode) error {
	if err := s.step(); err != nil {
		if s.half {
			s.FS.WriteSynced(path, b[:len(b)/2], mode)
		}
		return err
	}
	return s.FS.WriteSynced(path, b, mode)
}
func (s *shaky) Rename(from, to string) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.FS.Rename(from, to)
}
func (s *shaky) Remove(path string) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.FS.Remove(path)
}
func (s *shaky) SyncDir(path string) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.FS.SyncDir(path)
}

func open(t *testing.T, dir string, f FS) *Store {
	t.Helper()
	s, found, err := Open(dir, WithFS(f))
	if err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	return s
}

func TestWhateverCallIsTheLastEachRecordIsOldOrNew(t *testing.T) {
	for _, half := range []bool{false, true} {
		for _, err := range []error{syscall.EIO, syscall.ENOSPC} {
			for at := 1; ; at++ {
				under := InMemory()
				s := open(t, "/d", under)
				if err := s.PutAll([]*model.Record{record(1, "old"), record(2, "old"), record(3, "other")}); err != nil {
					t.Fatal(err)
				}
				bad := &shaky{FS: under, failAt: at, err: err, half: half, cut: true}
				s = open(t, "/d", bad)
				got := s.PutAll([]*model.Record{record(1, "new"), record(2, "new")})
				if got == nil {
					if at < 5 {
						t.Fatalf("only %d calls", at)
					}
					break
				}
				if !errors.Is(got, err) || s.Err() == nil {
					t.Errorf("call %d: %v", at, got)
				}
				if r, _ := s.Get(record(1, "").ID); r.Choice.Name != "new" {
					t.Errorf("call %d: in memory it is %q", at, r.Choice.Name)
				}
				again := open(t, "/d", under)
				for n, want := range map[byte][]string{1: {"old", "new"}, 2: {"old", "new"}, 3: {"other"}} {
					r, ok := again.Get(record(n, "").ID)
					if !ok || !slices.Contains(want, r.Choice.Name) {
						t.Errorf("call %d, half %v: record %d is %v", at, half, n, r)
					}
				}
				// With power and room back, what was in memory gets there.
				bad.failAt = 0
				if err := s.Flush(); err != nil || s.Err() != nil {
					t.Errorf("call %d: flush: %v, %v", at, err, s.Err())
				}
				if r, _ := open(t, "/d", under).Get(record(2, "").ID); r.Choice.Name != "new" {
					t.Errorf("call %d: after flush it is %q", at, r.Choice.Name)
				}
			}
		}
	}
}

func TestNoWriteWhileNothingChanges(t *testing.T) {
	f := &shaky{FS: InMemory()}
	s := open(t, "/d", f)
	r := record(1, "tv")
	if err := s.Put(r); err != nil {
		t.Fatal(err)
	}
	before := f.count()
	r.LastSeen = time.Now()
	r.Sighting = &model.Sighting{Active: true}
	if err := s.Put(r); err != nil || f.count() != before {
		t.Errorf("%d calls for being seen, %v", f.count()-before, err)
	}
	if got, _ := s.Get(r.ID); got.Sighting == nil || got.LastSeen.IsZero() {
		t.Error("what is seen is not kept in memory")
	}
}

func TestDamagedRecordsAreSetAsideAndTheRestLoads(t *testing.T) {
	dir := t.TempDir()
	s, _, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutAll([]*model.Record{record(1, "a"), record(2, "b")}); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(s.path(record(1, "").ID))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b    []byte
		kind string
	}{
		"torn":          {good[:len(good)/2], "record.damaged"},
		"empty":         {nil, "record.damaged"},
		"not JSON":      {[]byte("\x00\xff"), "record.damaged"},
		"null":          {[]byte(`{"version":1,"record":null}`), "record.damaged"},
		"another's":     {bytes.ReplaceAll(good, []byte("020000000001"), []byte("020000000009")), "record.damaged"},
		"newer":         {[]byte(`{"version":2}`), "record.newer"},
		"of no version": {[]byte(`{"record":{}}`), "record.damaged"},
		"far too long":  {bytes.Repeat([]byte(" "), maxFile+1), "record.damaged"},
		"wrong types":   {[]byte(`{"version":1,"record":{"ID":7}}`), "record.damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := s.path(record(1, "").ID)
			os.Remove(path + ".bad")
			if err := os.WriteFile(path, c.b, 0o600); err != nil {
				t.Fatal(err)
			}
			again, found, err := Open(dir)
			if err != nil || len(found) != 1 || found[0].Kind != c.kind || found[0].Step == "" {
				t.Fatalf("%v, %+v", err, found)
			}
			if _, ok := again.Get(record(2, "").ID); !ok {
				t.Error("the other record is lost")
			}
			_, err = os.Stat(path + ".bad")
			if aside := err == nil; aside != (c.kind == "record.damaged") {
				t.Errorf("set aside: %v", aside)
			}
		})
	}
}

func TestFilesAreForRootAlone(t *testing.T) {
	dir := t.TempDir()
	s, _, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(record(1, "a")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{s.devices(): 0o700, s.path(record(1, "").ID): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := s.Put(&model.Record{ID: "../../etc/passwd"}); err == nil {
		t.Error("a path was taken for an id")
	}
	if err := s.Delete(record(1, "").ID); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.devices(), "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDatabaseIsBounded(t *testing.T) {
	s := open(t, "/d", InMemory())
	var all []*model.Record
	for i := range maxRecords {
		mac := model.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)}
		all = append(all, &model.Record{ID: model.IDOfMAC(mac), State: model.DeviceManaged})
	}
	if err := s.PutAll(all); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(record(1, "one more")); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	huge := all[0].Clone()
	huge.Choice.Name = strings.Repeat("x", maxFile)
	if err := s.Put(huge); err == nil {
		t.Error("a huge record was stored")
	}
}

func TestHistoryIsGatheredBoundedAndSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &shaky{FS: InMemory()}
		s := open(t, "/d", f)
		before := f.count()
		for i := range 10 {
			if _, err := s.Append(model.Event{Kind: "a.b", Text: fmt.Sprint(i), Device: record(byte(i%2), "").ID}); err != nil {
				t.Fatal(err)
			}
		}
		if f.count() != before {
			t.Error("each event is written by itself")
		}
		time.Sleep(2 * historyPause)
		synctest.Wait()
		if f.count() == before {
			t.Error("events are not written")
		}
		again := open(t, "/d", f)
		if e := again.Events("", 3); len(e) != 3 || e[2].Text != "9" || e[2].Seq != 10 {
			t.Errorf("last three: %+v", e)
		}
		if e := again.Events(record(1, "").ID, 0); len(e) != 5 || e[0].Text != "1" {
			t.Errorf("of one device: %+v", e)
		}
		for range 2000 {
			if _, err := again.Append(model.Event{Kind: "a.b", Text: strings.Repeat("x", 300)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := again.Flush(); err != nil {
			t.Fatal(err)
		}
		b, err := f.ReadFile("/d/history.jsonl", 1<<30)
		if err != nil || len(b) > maxHistory {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if e := again.Events("", 1); e[0].Seq != 2010 {
			t.Errorf("the last one is %d", e[0].Seq)
		}
	})
}

func TestTornHistoryLosesItsLastLineOnly(t *testing.T) {
	f := InMemory()
	s := open(t, "/d", f)
	for i := range 3 {
		if _, err := s.Append(model.Event{Kind: "a.b", Text: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	b, _ := f.ReadFile("/d/history.jsonl", 1<<20)
	f.WriteSynced("/d/history.jsonl", b[:len(b)-5], 0o600)
	s = open(t, "/d", f)
	if e := s.Events("", 0); len(e) != 2 {
		t.Errorf("%d events", len(e))
	}
	if e, err := s.Append(model.Event{Kind: "a.b"}); err != nil || e.Seq != 3 {
		t.Errorf("next is %d, %v", e.Seq, err)
	}
}

func TestAtomicWriteOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to mount a small tmpfs")
		}
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32k"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, 0)
	path := filepath.Join(dir, "f")
	if err := AtomicWrite(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := AtomicWrite(path, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	r := record(1, "tv")
	b, _ := json.Marshal(envelope{version, r})
	f.Add(b)
	f.Add([]byte(`{"version":1,"record":{"ID":"m020000000001","Report":{"Interfaces":[{"IPv4Addresses":[{"Prefix":"10.0.0.1/24"}]}]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decode(b, r.ID)
		if err != nil {
			return
		}
		if got.ID != r.ID {
			t.Fatalf("record of %q", got.ID)
		}
		again, err := json.Marshal(envelope{version, got})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(again, r.ID); err != nil {
			t.Fatalf("%s does not read back: %v", again, err)
		}
	})
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"Seq":1,"Kind":"a.b","Text":"x","Time":"2026-01-01T00:00:00Z"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		under := InMemory()
		under.WriteSynced("/d/history.jsonl", b, 0o600)
		s, _, err := Open("/d", WithFS(under))
		if err != nil {
			t.Fatal(err)
		}
		last := uint64(0)
		for _, e := range s.Events("", 0) {
			if e.Seq <= last && last > 0 {
				t.Fatalf("%d after %d", e.Seq, last)
			}
			last = e.Seq
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s, _, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	r := record(1, "tv")
	for i := 0; b.Loop(); i++ {
		r.Confirmed = uint64(i)
		if err := s.Put(r); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTogether: staged records are written by the next call, and many that are
// required together are all there or none.
func TestTogether(t *testing.T) {
	under := &shaky{FS: InMemory()}
	s, _, err := Open("/d", WithFS(under))
	if err != nil {
		t.Fatal(err)
	}
	r := func(n byte) *model.Record {
		return &model.Record{ID: model.IDOfMAC(model.MAC{2, 0, 0, 0, 0, n}), MACs: []model.MAC{{2, 0, 0, 0, 0, n}}, State: model.DeviceManaged}
	}
	calls := under.count()
	if err := errors.Join(s.Stage(r(1)), s.Stage(r(2), r(3))); err != nil || under.count() != calls || len(s.All()) != 3 {
		t.Errorf("staged: %v, %d calls, %d records", err, under.count()-calls, len(s.All()))
	}
	if err := s.PutAll(nil); err != nil || under.count() != calls+7 { // three written, three renamed, one sync
		t.Errorf("stored: %v after %d calls", err, under.count()-calls)
	}
	for n := 1; n <= 5; n++ { // two are written, two renamed, and the folder is synced
		under.mu.Lock()
		under.calls, under.failAt, under.err = 0, n, errors.New("no")
		under.mu.Unlock()
		if err := s.Require(r(4), r(5)); err == nil || len(s.All()) != 3 {
			t.Errorf("failing at %d: %v, %d records", n, err, len(s.All()))
		}
	}
	under.mu.Lock()
	under.failAt = 0
	under.mu.Unlock()
	if err := s.Require(r(4), r(5)); err != nil || len(s.All()) != 5 {
		t.Errorf("required: %v, %d records", err, len(s.All()))
	}
	again, found, err := Open("/d", WithFS(under))
	if err != nil || len(found) > 0 || len(again.All()) != 5 {
		t.Errorf("after a restart: %v, %v, %d records", err, found, len(again.All()))
	}
}
