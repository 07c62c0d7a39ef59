package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"homeconf/src/model"
)

// ledger is the file that says what we own on the gateway, and why. The names
// of the objects say the same, but for the reasons; so the file can always be
// made again, and nothing depends on its being there or whole.
type ledger struct{ path string }

const ledgerVersion = 1

// Object is one thing that we own on the gateway.
type Object struct {
	What   string         `json:"What"`
	Name   string         `json:"Name"` // a UCI section, a chain
	Device model.DeviceID `json:"Device,omitempty"`
	Text   string         `json:"Text"`
	Reason string         `json:"Reason,omitempty"`
}

type ledgerFile struct {
	Version int      `json:"Version"`
	Objects []Object `json:"Objects"`
}

// read gives the objects; a file that is missing, torn or of another version
// has none.
func (l ledger) read() ([]Object, error) {
	b, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	var f ledgerFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("read the ledger %s: %w", l.path, err)
	}
	if f.Version != ledgerVersion {
		return nil, fmt.Errorf("read the ledger %s: version %d, want %d", l.path, f.Version, ledgerVersion)
	}
	return f.Objects, nil
}

// write puts a new ledger in the old one's place, whole or not at all, when it
// differs.
func (l ledger) write(objects []Object) (err error) {
	if objects == nil {
		objects = []Object{}
	}
	b, err := json.MarshalIndent(ledgerFile{ledgerVersion, objects}, "", "\t")
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	b = append(b, '\n')
	old, err := os.ReadFile(l.path)
	if err == nil && bytes.Equal(old, b) || errors.Is(err, fs.ErrNotExist) && len(objects) == 0 {
		return nil
	}
	if err := replace(l.path, b, true); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}

// replace writes a file atomically; durable also against a power cut.
func replace(path string, b []byte, durable bool) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(b); err != nil {
		return err
	}
	if durable {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// objects are what a state makes ours.
func objects(s model.GatewayState) []Object {
	var out []Object
	why := map[model.DeviceID]string{}
	for _, m := range s.Marks {
		why[m.Device] = m.Reason
	}
	reserved := map[line]string{}
	for _, r := range s.Reservations {
		reserved[line{WhatReservation, r.Device, reservationText(r.Address, r.MACs)}] = r.Reason
	}
	for _, l := range stateLines(s) {
		o := Object{What: l.what, Device: l.device, Text: l.text}
		switch l.what {
		case WhatReservation:
			o.Name, o.Reason = "dhcp.hc_"+string(l.device)+"_*", reserved[l]
		case WhatMark:
			o.Name, o.Reason = "mangle.HOMECONF_MARK", why[l.device]
		case WhatProxy:
			o.Name, o.Reason = "igmpproxy.hc_igmpproxy*", s.Multicast.Reason
		}
		out = append(out, o)
	}
	return out
}
