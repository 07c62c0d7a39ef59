package configurator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"homeconf/src/inventory"
	"homeconf/src/model"
	"homeconf/src/plan"
)

// The LAN's subnet, when it becomes another one. The pass notices before it
// plans: either the home follows, and then the plan gives everybody an address
// of the new subnet, or the gateway gets its old address back. What the subnet
// was is on disk, so that it does not matter when homeconf finds out.

const (
	// rollbackTime is how long LuCI waits for a person to come back over the
	// new address before it undoes what it wrote.
	rollbackTime = 90 * time.Second
	rollbackFile = "/var/run/rpcd/snapshot-files/network"
	// lanForget is how long the earlier subnet is remembered at least.
	lanForget = 10 * time.Minute
	// maxStrays bounds the devices that are heard with an address of it.
	maxStrays = 64
)

// lan is what is known of the LAN's subnet over time.
type lan struct {
	lanFile
	path     string
	since    time.Time // of the last change
	waits    time.Time // since when a rollback may come
	strays   map[model.MAC]netip.Addr
	restored bool // what stands there was put back by us, and is looked for
}

// lanFile is what is on disk of it. The prefixes have the gateway's address.
type lanFile struct {
	Version int          `json:"version"`
	Now     netip.Prefix `json:"now"`
	Before  netip.Prefix `json:"before,omitzero"` // somebody may still be there
}

const lanVersion = 1

// openLAN reads what the subnet was. A file that is torn or of another version
// is as none: the subnet that is there is then the home's.
func openLAN(stateDir string) (*lan, error) {
	l := &lan{path: filepath.Join(stateDir, "lan.json"), strays: map[model.MAC]netip.Addr{}}
	b, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("reading what the LAN's subnet was: %w", err)
	}
	var f lanFile
	if err := json.Unmarshal(b, &f); err != nil || f.Version != lanVersion {
		return l, fmt.Errorf("reading what the LAN's subnet was: %s is damaged, or of another version", l.path)
	}
	l.lanFile = f
	return l, nil
}

// lanBecomes notes on disk what the subnet is.
func (c *Configurator) lanBecomes(now, before netip.Prefix) {
	l := c.lan
	l.Version, l.Now, l.Before = lanVersion, now, before
	if !before.IsValid() {
		c.note("left", nil)
	}
	b, err := json.Marshal(l.lanFile)
	if err == nil {
		err = inventory.AtomicWrite(l.path, append(b, '\n'), 0o600)
	}
	c.stored(err)
	c.cfg.Step("lan.stored")
}

// lookAtLAN compares the subnet with what it was, and says whether the pass
// goes on.
func (c *Configurator) lookAtLAN() bool {
	l, now, was := c.lan, c.net.LAN.Prefix, c.lan.Now
	switch {
	case c.opts.Configurator.DryRun, c.problem != "", !now.IsValid(), !now.Addr().Is4():
		return true
	case !was.IsValid():
		c.lanBecomes(now, netip.Prefix{})
		return true
	case was.Masked() != now.Masked():
		return c.lanChanged(now, was)
	}
	if was != now {
		c.lanBecomes(now, l.Before)
	}
	if l.restored || !l.waits.IsZero() {
		if l.restored {
			c.tell("lan.restored", "", "plan", fmt.Sprintf("The gateway has its address %s again.", now))
		}
		l.restored, l.waits = false, time.Time{}
		c.note("lan", nil)
	}
	if l.Before.IsValid() {
		if c.opts.Configurator.OnSubnetChange == restoreSubnet {
			return c.restoreLAN(l.Before)
		}
		c.lanLeft()
	}
	return true
}

const restoreSubnet = "restore"

// lanChanged decides what becomes of a change of the subnet.
func (c *Configurator) lanChanged(now, was netip.Prefix) bool {
	l := c.lan
	if wait := c.rollbackMayCome(time.Now()); wait > 0 {
		c.note("lan", []model.Finding{{Kind: "lan.rollback-awaited",
			Text: fmt.Sprintf("The home network became %s instead of %s, and LuCI may yet undo that: the devices follow in %v at most.", now.Masked(), was.Masked(), wait.Round(time.Second)),
			Step: "Nothing needs to be done. Who changed it in LuCI opens LuCI at the new address, which keeps the change."}})
		return c.putOff(wait)
	}
	l.waits = time.Time{}
	if c.opts.Configurator.OnSubnetChange == restoreSubnet {
		return c.restoreLAN(was)
	}
	if wait := c.tries.again(triesSubnet, time.Now()); wait > 0 {
		c.note("lan", []model.Finding{{Kind: "lan.unsteady",
			Text: fmt.Sprintf("The home network becomes another one again and again; it is %s now.", now.Masked()),
			Step: "Find out who changes the gateway's address. The devices follow when it stays."}})
		return c.putOff(wait)
	}
	c.note("lan", nil)
	l.since, l.strays = time.Now(), map[model.MAC]netip.Addr{}
	c.lanBecomes(now, was)
	c.tell("lan.changed", "", "gateway", fmt.Sprintf("The home network is %s now; it was %s. Every device moves there.", now.Masked(), was.Masked()))
	return true
}

// putOff ends a pass that can't decide yet.
func (c *Configurator) putOff(wait time.Duration) bool {
	c.answerPlans(plan.Make(c.planInput()), nil)
	c.after(wait, c.touch)
	c.passDone(nil)
	return false
}

// rollbackMayCome says how long LuCI may still undo the change: its snapshot
// lies there for as long as nobody has come over the new address. The clock may
// have jumped, so the wait has an end by our own, too.
func (c *Configurator) rollbackMayCome(now time.Time) time.Duration {
	path := c.cfg.RollbackFile
	if path == "" {
		path = rollbackFile
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	age := now.Sub(info.ModTime())
	if age < -rollbackTime || age >= rollbackTime {
		return 0
	}
	if c.lan.waits.IsZero() {
		c.lan.waits = now
	}
	left := rollbackTime - max(age, 0)
	return min(left, rollbackTime-now.Sub(c.lan.waits), time.Second*5)
}

// restoreLAN gives the gateway an earlier address back. The netlink event that
// follows begins the pass that finds it there.
func (c *Configurator) restoreLAN(want netip.Prefix) bool {
	l := c.lan
	if wait := c.tries.again(triesLAN, time.Now()); wait > 0 {
		if c.tries.of(triesLAN).n >= maxTries {
			c.note("lan", []model.Finding{{Kind: "lan.not-restored",
				Text: fmt.Sprintf("The gateway does not keep its address %s; somebody changes it to %s again and again.", want, c.net.LAN.Prefix),
				Step: "Find out who does, or let the devices follow: uci set homeconf.configurator.on_subnet_change=renumber; uci commit homeconf; /etc/init.d/homeconf reload"}})
		}
		return c.putOff(wait)
	}
	c.tell("lan.restoring", "", "plan", fmt.Sprintf("The gateway's address became %s; it gets %s back.", c.net.LAN.Prefix, want))
	c.cfg.Step("lan.restoring")
	c.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, writeTime)
		defer cancel()
		err := c.cfg.Gateway.RestoreLAN(ctx, want)
		c.cfg.Step("lan.restored")
		return func() {
			if err != nil {
				c.note("lan", []model.Finding{{Kind: "lan.not-restored",
					Text: fmt.Sprintf("The gateway's address %s can't be put back: %v", want, err),
					Step: "Set it by hand (uci show network), or let the devices follow: option on_subnet_change renumber."}})
			} else {
				l.restored = true
				if l.Now.Masked() != want.Masked() {
					c.lanBecomes(want, netip.Prefix{})
				}
			}
			c.putOff(c.tries.pause(triesLAN))
		}
	})
	return false
}

// lanLeft lists those who can't be moved from here, and forgets the earlier
// subnet once nobody is there.
func (c *Configurator) lanLeft() {
	l := c.lan
	var left []string
	heard := map[model.MAC]bool{}
	for _, r := range append(c.store.All(), c.seenRecords()...) {
		if !r.ID.Agentless() || r.State == model.DeviceRetired {
			continue
		}
		a := c.strayOf(r)
		for _, m := range r.MACs {
			heard[m] = true
		}
		if a.IsValid() {
			left = append(left, fmt.Sprintf("%s (%s)", r.Name(), a))
		}
	}
	own := c.byMAC()
	for m, a := range l.strays {
		if _, ours := own[m]; !ours && !heard[m] {
			left = append(left, fmt.Sprintf("%s (%s)", m, a))
		}
	}
	if len(left) > 0 {
		sort.Strings(left)
		more := ""
		if n := len(left) - 20; n > 0 {
			left, more = left[:20], fmt.Sprintf(" and %d more", n)
		}
		c.note("left", []model.Finding{{Kind: "lan.left-behind",
			Text: fmt.Sprintf("These devices have fixed addresses of %s, where the home network was, and no agent that could move them: %s%s.", l.Before.Masked(), strings.Join(left, ", "), more),
			Step: fmt.Sprintf("Set each to DHCP at the device, or have %s back for all: uci set homeconf.configurator.on_subnet_change=restore; uci commit homeconf; /etc/init.d/homeconf reload", l.Before.Masked())}})
		return
	}
	c.note("left", nil)
	if time.Since(l.since) < lanForget {
		return
	}
	for _, r := range c.store.All() {
		if r.State == model.DeviceAdopted && r.Desired != nil && r.Confirmed != r.Desired.Generation {
			return
		}
	}
	c.lanBecomes(l.Now, netip.Prefix{})
}

// strayOf is the address of the earlier subnet that a device without an agent
// is left with, where it got none of the new one and did not ask for it by DHCP.
func (c *Configurator) strayOf(r *model.Record) netip.Addr {
	var old netip.Addr
	for _, m := range r.MACs {
		if a, ok := c.lan.strays[m]; ok {
			old = a
		}
	}
	if s := r.Sighting; s != nil {
		for _, src := range s.Sources {
			if src == "dhcp" {
				return netip.Addr{}
			}
		}
		for _, a := range s.Addrs {
			switch {
			case c.lan.Now.Contains(a):
				return netip.Addr{}
			case c.lan.Before.Contains(a):
				old = a
			}
		}
	}
	return old
}

// strayHeard notes who still speaks with an address of the earlier subnet.
func (c *Configurator) strayHeard(a netip.Addr, mac model.MAC) {
	l := c.lan
	if !l.Before.IsValid() || mac == c.net.LAN.MAC || mac.IsZero() || mac.IsGroup() {
		return
	}
	was, known := l.strays[mac]
	switch {
	case l.Now.Contains(a):
		delete(l.strays, mac)
	case l.Before.Contains(a) && !known && len(l.strays) < maxStrays:
		l.strays[mac], was = a, a
	}
	if _, now := l.strays[mac]; now != known && was.IsValid() {
		c.touch()
	}
}
