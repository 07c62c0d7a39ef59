package agent

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"homeconf/src/model"
	"homeconf/src/session"
	"homeconf/src/system"
)

const (
	stateVersion = 1
	maxState     = 64 << 10
)

// files are where an agent keeps what must outlive it.
type files struct{ dir string }

func (f files) key() string     { return filepath.Join(f.dir, "agent.key") }
func (f files) state() string   { return filepath.Join(f.dir, "agent.json") }
func (f files) sealed() string  { return filepath.Join(f.dir, "agent-sealed.bin") }
func (f files) pending() string { return filepath.Join(f.dir, "agent-pending.json") }

// kept is what an agent keeps: its home, and its last known good settings.
type kept struct {
	Version int             `json:"version"`
	Pin     *pinFile        `json:"pin,omitempty"`
	Good    *model.Settings `json:"good,omitempty"`
	// Stranded: Good leads nowhere, and a lease is used until home is back.
	Stranded bool `json:"stranded,omitempty"`
}

// pinFile is a session.Pin on disk. The discovery key is a secret of the home.
type pinFile struct {
	Home      string `json:"home"`
	Discovery string `json:"discovery"`
	Instance  string `json:"instance"`
	Term      uint64 `json:"term"`
}

// pending is a change on its way. While its file is there, the settings in it
// count as unconfirmed, whatever else happens.
type pending struct {
	Version int            `json:"version"`
	Want    model.Settings `json:"want"`
	Before  model.Settings `json:"before"` // what was in force, to go back to
}

var errDamaged = errors.New("damaged")

// openKey reads the device key. A damaged one is set aside; the zero key says
// that there is none.
func (f files) openKey() (key session.PrivateKey, problem string, err error) {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return key, "", fmt.Errorf("making the state directory: %w", err)
	}
	b, err := system.ReadFile(f.key(), maxState)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return key, "", nil
	case err != nil && !errors.Is(err, system.ErrUnusable):
		return key, "", fmt.Errorf("reading the device key: %w", err)
	case err == nil:
		if key, err := session.ParsePrivateKey(b); err == nil {
			return key, "", nil
		}
	}
	// What is wrong with it is not repeated: it is a secret.
	if err := system.SetAside(f.key()); err != nil {
		return key, "", fmt.Errorf("setting the damaged device key aside: %w", err)
	}
	return key, "the device key was damaged; it was set aside, and this is a new device", nil
}

func (f files) makeKey() (session.PrivateKey, error) {
	key, err := session.GeneratePrivateKey()
	if err != nil {
		return key, fmt.Errorf("making a device key: %w", err)
	}
	if err := system.WriteFile(f.key(), append(key.SecretText(), '\n'), 0o600); err != nil {
		return key, fmt.Errorf("storing the device key: %w", err)
	}
	return key, nil
}

// load reads a file of ours; a damaged one is set aside and said so.
func load[T any](path string, check func(*T) error) (v *T, problem string, err error) {
	b, err := system.ReadFile(path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil && !errors.Is(err, system.ErrUnusable) {
		return nil, "", fmt.Errorf("reading %s: %w", path, err)
	}
	v = new(T)
	if err != nil || json.Unmarshal(b, v) != nil || check(v) != nil {
		if err := system.SetAside(path); err != nil {
			return nil, "", fmt.Errorf("setting the damaged %s aside: %w", path, err)
		}
		return nil, filepath.Base(path) + " was damaged and set aside", nil
	}
	return v, "", nil
}

func store(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", filepath.Base(path), err)
	}
	if err := system.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("storing %s: %w", filepath.Base(path), err)
	}
	return nil
}

func checkKept(k *kept) error {
	if k.Version != stateVersion {
		return errDamaged
	}
	_, err := k.pin()
	return err
}

func checkPending(p *pending) error {
	if p.Version != stateVersion || p.Want.Generation == 0 {
		return errDamaged
	}
	return nil
}

func (k *kept) pin() (*session.Pin, error) {
	if k.Pin == nil {
		return nil, nil
	}
	home, err := session.ParsePublicKey(k.Pin.Home)
	if err != nil {
		return nil, errDamaged
	}
	p := &session.Pin{Home: home, Term: k.Pin.Term}
	for _, f := range []struct {
		dst []byte
		s   string
	}{{p.Discovery[:], k.Pin.Discovery}, {p.Instance[:], k.Pin.Instance}} {
		if len(f.s) != 2*len(f.dst) {
			return nil, errDamaged
		}
		if _, err := hex.Decode(f.dst, []byte(f.s)); err != nil {
			return nil, errDamaged
		}
	}
	return p, nil
}

func filed(p session.Pin) *pinFile {
	return &pinFile{Home: p.Home.String(), Discovery: hex.EncodeToString(p.Discovery[:]), Instance: hex.EncodeToString(p.Instance[:]), Term: p.Term}
}
