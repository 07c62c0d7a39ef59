package netlink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"homeconf/src/model"
	"homeconf/src/system"
)

const ledgerLimit = 16 << 10

// ledger says which of the interface's settings are ours. It is written before
// they are made, so that after a crash at any instant nothing of ours is taken
// for somebody else's. Like the kernel's state it does not outlive a boot.
type ledger struct {
	Version   int
	Boot      string         // the kernel's boot id
	Static    []netip.Prefix `json:",omitempty"`
	Lease     *system.Lease  `json:",omitempty"`
	DNS       []netip.Addr   `json:",omitempty"` // what we wrote into resolv.conf
	DNSBefore []netip.Addr   `json:",omitempty"` // what stood there before
}

func (l ledger) clone() ledger {
	l.Static, l.DNS, l.DNSBefore = slices.Clone(l.Static), slices.Clone(l.DNS), slices.Clone(l.DNSBefore)
	return l
}

func (l ledger) isStatic(a netip.Addr) bool {
	return slices.ContainsFunc(l.Static, func(p netip.Prefix) bool { return p.Addr() == a })
}

func (l ledger) isLeased(a netip.Addr) bool { return l.Lease != nil && l.Lease.Address.Addr() == a }

func (d *Device) bootID() string {
	b, err := system.ReadFile(filepath.Join(d.c.Proc, "sys/kernel/random/boot_id"), 256)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// readLedger reads what an earlier run left. One that can't be read is set
// aside: then addresses of ours count as somebody's, which the next Apply
// takes away all the same when it finds them in force.
func (d *Device) readLedger() ledger {
	fresh := ledger{Version: 1, Boot: d.bootID()}
	path := d.ledgerPath()
	b, err := system.ReadFile(path, ledgerLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh
	}
	var l ledger
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err == nil && l.Version != 1 {
		err = fmt.Errorf("version %d, want 1", l.Version)
	}
	if err != nil {
		d.c.Log.Warn("ledger of the interface set aside", "file", path, "err", err)
		if err := system.SetAside(path); err != nil {
			d.c.Log.Error("ledger of the interface not set aside", "err", err)
		}
		return fresh
	}
	if l.Boot != fresh.Boot {
		// A boot has taken the addresses; resolv.conf may be a file on flash.
		fresh.DNS, fresh.DNSBefore = l.DNS, l.DNSBefore
		return fresh
	}
	return l
}

// writeLedger keeps a changed ledger. No fsync: a power cut takes the kernel's
// state along with it.
func (d *Device) writeLedger(l ledger) error {
	if model.Same(l, d.own) {
		return nil
	}
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encoding the ledger: %w", err)
	}
	path := d.ledgerPath()
	tmp := path + ".tmp"
	err = os.WriteFile(tmp, b, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("writing the ledger of the interface: %w", err)
	}
	d.own = l
	return nil
}
