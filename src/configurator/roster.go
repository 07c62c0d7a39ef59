package configurator

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"

	"homeconf/src/inventory"
	"homeconf/src/model"
)

// The roster is who belongs to the home, and how new the record of each is. It
// goes with every sealed record, so that one newer copy exposes an older one.

// keyHash names a device's key where the key itself is not needed.
type keyHash [16]byte

func hashOf(k model.DeviceKey) keyHash {
	h := sha256.Sum256(k[:])
	return keyHash(h[:16])
}

func (h keyHash) id() model.DeviceID { return model.DeviceID("d" + hex.EncodeToString(h[:5])) }

func (h keyHash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

func (h *keyHash) read(s string) bool {
	if len(s) != base64.RawURLEncoding.EncodedLen(len(h)) { // Decode would write past h
		return false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(h[:], []byte(s))
	return err == nil && n == len(h)
}

// entry is a device's line of the roster. What follows Gone is this
// configurator's own and in no copy.
type entry struct {
	Generation uint64 `json:"generation"`     // of its record
	Gone       bool   `json:"gone,omitempty"` // it was let go
	Digest     string `json:"digest,omitempty"`
	Awaited    bool   `json:"awaited,omitempty"` // its record is to come from its own agent
	Former     bool   `json:"former,omitempty"`  // it has not got the home's new key
	From       uint64 `json:"from,omitempty"`    // the generation of the copy that its record was made of
}

// known is how new the record was when the home last had it whole.
func (e *entry) known() uint64 {
	if e.From > 0 {
		return e.From
	}
	return e.Generation
}

// enterTerm begins the generations of a term, so that none of them is one that
// the home gave before it was restored.
func (r *roster) enterTerm(term uint64) { r.Generation = max(r.Generation, min(term, 1<<31)<<32) }

type roster struct {
	Generation uint64
	Devices    map[keyHash]*entry
}

// maxRoster bounds the devices in it: as many as the database holds, and a few
// that are gone.
const maxRoster = 1100

// rosterText is a roster's form in a sealed record and in a recovery file: short,
// for each agent keeps it.
type rosterText struct {
	Generation uint64   `json:"generation"`
	Term       uint64   `json:"term"`
	Devices    []string `json:"devices,omitempty"` // "hash:generation", and ":gone"
}

func (r *roster) text(term uint64) rosterText {
	t := rosterText{Generation: r.Generation, Term: term}
	for h, e := range r.Devices {
		s := h.String() + ":" + strconv.FormatUint(e.Generation, 36)
		if e.Gone {
			s += ":gone"
		}
		t.Devices = append(t.Devices, s)
	}
	sort.Strings(t.Devices)
	return t
}

var errRoster = errors.New("the roster is damaged")

func (t rosterText) roster() (*roster, error) {
	if len(t.Devices) > maxRoster {
		return nil, errRoster
	}
	r := &roster{Generation: t.Generation, Devices: map[keyHash]*entry{}}
	for _, s := range t.Devices {
		hash, rest, _ := strings.Cut(s, ":")
		gen, gone, _ := strings.Cut(rest, ":")
		var h keyHash
		n, err := strconv.ParseUint(gen, 36, 64)
		if err != nil || !h.read(hash) || gone != "" && gone != "gone" || n > t.Generation {
			return nil, errRoster
		}
		r.Devices[h] = &entry{Generation: n, Gone: gone != ""}
	}
	return r, nil
}

const (
	rosterFile    = "roster.json"
	rosterVersion = 1
	maxRosterFile = 256 << 10
)

// rosterOnDisk is the form of the file.
type rosterOnDisk struct {
	Version    int               `json:"version"`
	Home       string            `json:"home"` // the fingerprint of the key: another home's roster is none
	Generation uint64            `json:"generation"`
	Devices    map[string]*entry `json:"devices"`
}

func (r *roster) save(s *inventory.Store, home string) error {
	f := rosterOnDisk{Version: rosterVersion, Home: home, Generation: r.Generation, Devices: map[string]*entry{}}
	for h, e := range r.Devices {
		f.Devices[h.String()] = e
	}
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encoding the roster: %w", err)
	}
	return s.WriteBeside(rosterFile, append(b, '\n'))
}

// loadRoster reads the file. Nil without an error: there is none of this home. A
// damaged one is set aside: the agents have copies.
func loadRoster(s *inventory.Store, homes ...string) (*roster, error) {
	b, err := s.ReadBeside(rosterFile, maxRosterFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var f rosterOnDisk
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err == nil && f.Version != rosterVersion {
		err = fmt.Errorf("format version %d", f.Version)
	}
	r := &roster{Generation: f.Generation, Devices: map[keyHash]*entry{}}
	for text, e := range f.Devices {
		var h keyHash
		if !h.read(text) || e == nil || e.Generation > f.Generation {
			err = errRoster
			continue
		}
		r.Devices[h] = e
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the roster can't be read: %w", err), s.SetBesideAside(rosterFile))
	}
	for _, home := range homes {
		if f.Home == home {
			return r, nil
		}
	}
	return nil, nil
}

// update brings the roster up to date with the database, and says whether
// anything is new. A device that is neither there nor awaited is gone.
func (r *roster) update(records []*model.Record, home string) (changed bool) {
	here := map[keyHash]bool{}
	for _, rec := range records {
		if rec.State != model.DeviceAdopted || rec.Key == nil {
			continue
		}
		h := hashOf(*rec.Key)
		here[h] = true
		e := r.Devices[h]
		digest := digestOf(rec, home)
		if e != nil && (e.Digest == digest && !e.Gone || e.Awaited) {
			continue
		}
		if e == nil {
			e = &entry{}
			r.Devices[h] = e
		}
		r.Generation++
		e.Generation, e.Gone, e.Digest, changed = r.Generation, false, digest, true
	}
	for h, e := range r.Devices {
		if !here[h] && !e.Gone && !e.Awaited {
			r.Generation++
			e.Generation, e.Gone, e.Digest, e.Former, changed = r.Generation, true, "", false, true
		}
	}
	for len(r.Devices) > maxRoster-8 && r.dropOldestGone() {
		changed = true
	}
	return changed
}

func (r *roster) dropOldestGone() bool {
	var oldest keyHash
	found := false
	for h, e := range r.Devices {
		if e.Gone && (!found || e.Generation < r.Devices[oldest].Generation) {
			oldest, found = h, true
		}
	}
	delete(r.Devices, oldest)
	return found
}

// digestOf tells one content of a record from another, under one home key.
func digestOf(r *model.Record, home string) string {
	b, err := json.Marshal(sealable(r))
	if err != nil {
		panic("configurator: a record has no JSON: " + err.Error()) // plain data: can't happen
	}
	h := sha256.Sum256(append(b, home...))
	return hex.EncodeToString(h[:8])
}

func (r *roster) count(is func(*entry) bool) (n int) {
	for _, e := range r.Devices {
		if is(e) {
			n++
		}
	}
	return n
}
