package configurator

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"homeconf/src/inventory"
	"homeconf/src/session"
)

// home is what makes this configurator the one of its home. It holds the home
// key, so its file is readable by root alone and is never part of any answer.
type home struct {
	key       session.PrivateKey
	discovery [32]byte
	instance  [16]byte
	term      uint64
	former    *formerKey  // for devices that have not got the present key
	fresh     bool        // just restored: the devices of the home before are to be forgotten
	restored  *rosterText // of a recovery file, until its devices have come
	// allowed are the yeses that a person gave once for the whole home.
	allowed map[string]bool
}

const (
	homeVersion = 1
	maxHomeFile = 96 << 10 // with the roster of a restored home of the most devices
)

// homeFile is the form of home on disk.
type homeFile struct {
	Version   int      `json:"version"`
	Key       string   `json:"key"`
	Discovery string   `json:"discovery"`
	Instance  string   `json:"instance"`
	Term      uint64   `json:"term"`
	Allowed   []string `json:"allowed,omitempty"`

	Former   *formerFile `json:"former,omitempty"`
	Restored *rosterText `json:"restored,omitempty"`
	Fresh    bool        `json:"fresh,omitempty"`
}

// formerKey is the key that the home had before its present one.
type formerKey struct {
	key       session.PrivateKey
	discovery [32]byte
	until     time.Time // it is kept no longer than that
}

type formerFile struct {
	Key       string    `json:"key"`
	Discovery string    `json:"discovery"`
	Until     time.Time `json:"until"`
}

func (h *home) fingerprint() string { return h.key.Public().Fingerprint() }

// before is the former key as the session layer takes it.
func (h *home) before() *session.FormerKey {
	if h.former == nil {
		return nil
	}
	return &session.FormerKey{Key: h.former.key, Discovery: h.former.discovery}
}

func homePath(stateDir string) string { return filepath.Join(stateDir, "home.json") }

// openHome reads the home's file or, where there is none, founds a home. A file
// that is there and cannot be read is an error: founding another home in its
// place would lock every paired device out.
func openHome(stateDir string) (*home, bool, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, false, fmt.Errorf("making the state directory: %w", err)
	}
	b, err := os.ReadFile(homePath(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		h, err := foundHome()
		if err != nil {
			return nil, false, err
		}
		return h, true, h.save(stateDir)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the home key: %w", err)
	}
	h, err := parseHome(b)
	if err != nil {
		return nil, false, fmt.Errorf("reading the home key in %s: %w", homePath(stateDir), err)
	}
	return h, false, nil
}

func foundHome() (*home, error) {
	key, err := session.GeneratePrivateKey()
	if err != nil {
		return nil, fmt.Errorf("making a home key: %w", err)
	}
	h := &home{key: key, term: 1, allowed: map[string]bool{}}
	rand.Read(h.discovery[:])
	rand.Read(h.instance[:])
	return h, nil
}

// parseHome reads the file's bytes. Its errors never hold any of them.
func parseHome(b []byte) (*home, error) {
	var f homeFile
	if len(b) > maxHomeFile {
		return nil, fmt.Errorf("%d bytes are too many", len(b))
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, errors.New("it is damaged: not JSON of the expected form")
	}
	if f.Version != homeVersion {
		return nil, fmt.Errorf("it has format version %d, this program knows %d", f.Version, homeVersion)
	}
	return f.home()
}

func (f *homeFile) home() (*home, error) {
	h := &home{term: f.Term, allowed: map[string]bool{}, fresh: f.Fresh}
	var err error
	if h.key, err = session.ParsePrivateKey([]byte(f.Key)); err != nil {
		return nil, errors.New("it is damaged: the key has not the expected form")
	}
	if !decodeHex(h.discovery[:], f.Discovery) || !decodeHex(h.instance[:], f.Instance) {
		return nil, errors.New("it is damaged: a field has not the expected length")
	}
	if f.Former != nil {
		h.former = &formerKey{until: f.Former.Until}
		if h.former.key, err = session.ParsePrivateKey([]byte(f.Former.Key)); err != nil || !decodeHex(h.former.discovery[:], f.Former.Discovery) {
			return nil, errors.New("it is damaged: the former key has not the expected form")
		}
	}
	if f.Restored != nil {
		if _, err := f.Restored.roster(); err != nil {
			return nil, errors.New("it is damaged: the restored roster has not the expected form")
		}
		h.restored = f.Restored
	}
	for _, a := range f.Allowed {
		h.allowed[a] = true
	}
	return h, nil
}

func decodeHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

func (h *home) file() homeFile {
	f := homeFile{Version: homeVersion, Key: string(h.key.SecretText()), Discovery: hex.EncodeToString(h.discovery[:]),
		Instance: hex.EncodeToString(h.instance[:]), Term: h.term, Restored: h.restored, Fresh: h.fresh}
	for a := range h.allowed {
		f.Allowed = append(f.Allowed, a)
	}
	if h.former != nil {
		f.Former = &formerFile{string(h.former.key.SecretText()), hex.EncodeToString(h.former.discovery[:]), h.former.until}
	}
	return f
}

func (h *home) save(stateDir string) error {
	b, err := json.Marshal(h.file())
	if err != nil {
		return fmt.Errorf("encoding the home key: %w", err)
	}
	if err := inventory.AtomicWrite(homePath(stateDir), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("storing the home key: %w", err)
	}
	return nil
}
