package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"homeconf/src/model"
)

const (
	// version is that of the files' format.
	version = 1
	// maxFile bounds what one record's file may hold: a report of the most
	// that the protocol carries is a quarter of it.
	maxFile = 256 << 10
	// maxRecords bounds the database.
	maxRecords = 1024
)

// ErrFull says that no more devices can be kept.
var ErrFull = fmt.Errorf("the database holds %d devices already", maxRecords)

// Store is the database. It may be used by many goroutines.
type Store struct {
	fs  FS
	dir string

	mu      sync.Mutex
	records map[model.DeviceID]*model.Record
	dirty   map[model.DeviceID]bool // changed and not yet on disk
	err     error
	history history
}

// Option changes how a Store is opened.
type Option func(*Store)

// WithFS puts another filesystem under the database.
func WithFS(f FS) Option { return func(s *Store) { s.fs = f } }

// envelope is a record's form on disk.
type envelope struct {
	Version int           `json:"version"`
	Record  *model.Record `json:"record"`
}

// Open reads the database in a folder. A record that can't be read is set aside
// and is a finding; the rest loads. One written by a newer version is left
// alone.
func Open(dir string, opts ...Option) (*Store, []model.Finding, error) {
	s := &Store{fs: disk{}, dir: dir, records: map[model.DeviceID]*model.Record{}, dirty: map[model.DeviceID]bool{}}
	for _, o := range opts {
		o(s)
	}
	if err := s.fs.MkdirAll(s.devices(), 0o700); err != nil {
		return nil, nil, fmt.Errorf("making the database's folder: %w", err)
	}
	names, err := s.fs.List(s.devices())
	if err != nil {
		return nil, nil, fmt.Errorf("listing the database: %w", err)
	}
	var found []model.Finding
	for _, name := range names {
		path := filepath.Join(s.devices(), name)
		if strings.HasSuffix(name, tmpSuffix) {
			s.fs.Remove(path) // a write that a crash cut short
			continue
		}
		id, isRecord := strings.CutSuffix(name, ".json")
		if !isRecord || !model.DeviceID(id).Valid() {
			continue
		}
		if f := s.load(path, model.DeviceID(id)); f != nil {
			found = append(found, *f)
		}
	}
	s.history.open(s)
	return s, found, nil
}

func (s *Store) devices() string { return filepath.Join(s.dir, "devices") }

func (s *Store) path(id model.DeviceID) string {
	return filepath.Join(s.devices(), string(id)+".json")
}

var errNewer = errors.New("written by a newer version")

func (s *Store) load(path string, id model.DeviceID) *model.Finding {
	b, err := s.fs.ReadFile(path, maxFile)
	var r *model.Record
	if err == nil {
		r, err = decode(b, id)
	}
	switch {
	case err == nil && len(s.records) >= maxRecords:
		return &model.Finding{ID: model.FindingID("record.too-many", id), Kind: "record.too-many", Device: id,
			Text: fmt.Sprintf("The record of device %s was not read: %v.", id, ErrFull), Step: "Let devices go that are not there any more."}
	case err == nil:
		s.records[id] = r
		return nil
	case errors.Is(err, errNewer):
		return &model.Finding{ID: model.FindingID("record.newer", id), Kind: "record.newer", Device: id,
			Text: fmt.Sprintf("The record of device %s was %v of homeconf and is left alone.", id, err), Step: "Install that version again."}
	}
	aside := path + ".bad"
	text := fmt.Sprintf("The record of device %s can't be read (%v); it was set aside as %s.", id, err, aside)
	if moved := s.fs.Rename(path, aside); moved != nil {
		text = fmt.Sprintf("The record of device %s can't be read (%v).", id, err)
	}
	return &model.Finding{ID: model.FindingID("record.damaged", id), Kind: "record.damaged", Device: id, Text: text,
		Step: "The device is asked again and its record made anew; what you chose for it has to be chosen again."}
}

func decode(b []byte, id model.DeviceID) (*model.Record, error) {
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if v.Version > version {
		return nil, errNewer
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	switch r := e.Record; {
	case e.Version != version || r == nil:
		return nil, errors.New("it is damaged: no record in it")
	case r.ID != id:
		return nil, fmt.Errorf("it is of device %.20q", r.ID)
	case r.Key != nil && model.IDOfKey(*r.Key) != id, r.Key == nil && !id.Agentless():
		return nil, errors.New("its key is another device's")
	default:
		return r, nil
	}
}

// Get returns a copy of a device's record.
func (s *Store) Get(id model.DeviceID) (*model.Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[id]
	if !ok {
		return nil, false
	}
	return r.Clone(), true
}

// All returns copies of all records, by id.
func (s *Store) All() []*model.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*model.Record, 0, len(s.records))
	for _, r := range s.records {
		out = append(out, r.Clone())
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// Put stores one record.
func (s *Store) Put(r *model.Record) error { return s.PutAll([]*model.Record{r}) }

// PutAll stores records in one go. They are kept in memory even when writing
// them fails, and written with the next call. What differs only in what is seen
// all the time (LastSeen, Sighting) is not worth a write to flash.
func (s *Store) PutAll(records []*model.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.keep(records); err != nil {
		return err
	}
	return s.write()
}

// Stage is PutAll without writing: the next PutAll writes it, even one of no
// records. So many changes that come together cost one wait for the disk.
func (s *Store) Stage(records ...*model.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keep(records)
}

func (s *Store) keep(records []*model.Record) error {
	for _, r := range records {
		if !r.ID.Valid() {
			return fmt.Errorf("storing a record: %.40q is no device's id", r.ID)
		}
		old := s.records[r.ID]
		if old == nil && len(s.records) >= maxRecords {
			return ErrFull
		}
		if old == nil || !bytes.Equal(lasting(old), lasting(r)) {
			s.dirty[r.ID] = true
		}
		s.records[r.ID] = r.Clone()
	}
	return nil
}

// Require stores records, or leaves the database as it was and says why.
func (s *Store) Require(records ...*model.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := 0
	for _, r := range records {
		if !r.ID.Valid() {
			return fmt.Errorf("storing a record: %.40q is no device's id", r.ID)
		}
		if s.records[r.ID] == nil {
			more++
		}
	}
	if more > 0 && len(s.records)+more > maxRecords {
		return ErrFull
	}
	old := make([]*model.Record, len(records))
	for i, r := range records {
		old[i] = s.records[r.ID]
		s.records[r.ID], s.dirty[r.ID] = r.Clone(), true
	}
	err := s.write()
	if err == nil {
		return nil
	}
	for i, r := range records {
		if old[i] != nil {
			s.records[r.ID] = old[i] // and dirty: the failure may have been the last step's
			continue
		}
		delete(s.records, r.ID)
		delete(s.dirty, r.ID)
		if gone := s.fs.Remove(s.path(r.ID)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// lasting is what of a record is worth storing.
func lasting(r *model.Record) []byte {
	c := *r
	c.LastSeen, c.Sighting = time.Time{}, nil
	b, err := json.Marshal(&c)
	if err != nil {
		panic("inventory: a record has no JSON: " + err.Error()) // plain data: can't happen
	}
	return b
}

// write stores what is dirty. The lock is held.
func (s *Store) write() error {
	ids := make([]model.DeviceID, 0, len(s.dirty))
	for id := range s.dirty {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var files []file
	for _, id := range ids {
		b, err := json.Marshal(envelope{version, s.records[id]})
		if err != nil {
			return fmt.Errorf("encoding the record of %s: %w", id, err)
		}
		if len(b) >= maxFile {
			return fmt.Errorf("the record of %s has %d bytes, at most %d are kept", id, len(b), maxFile)
		}
		files = append(files, file{s.path(id), append(b, '\n')})
	}
	if s.err = writeAll(s.fs, files, 0o600); s.err != nil {
		return s.err
	}
	clear(s.dirty)
	return nil
}

// Delete removes a record for good.
func (s *Store) Delete(id model.DeviceID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.records[id]; !ok {
		return nil
	}
	delete(s.records, id)
	delete(s.dirty, id)
	err := s.fs.Remove(s.path(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the record of %s: %w", id, err)
	}
	if err := s.fs.SyncDir(s.devices()); err != nil {
		return fmt.Errorf("removing the record of %s: %w", id, err)
	}
	return nil
}

// Err says why the database is in memory only; nil when it is on disk.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Flush writes what is not on disk yet.
func (s *Store) Flush() error {
	s.mu.Lock()
	err := s.write()
	s.mu.Unlock()
	flushed := s.flushHistory()
	if flushed != nil {
		s.mu.Lock()
		s.history.dirty = true
		s.mu.Unlock()
	}
	return errors.Join(err, flushed)
}
