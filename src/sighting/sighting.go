// Package sighting gathers what the gateway itself sees of devices, with or
// without an agent: DHCP leases, neighbours (ARP and ND) and bridge ports. It
// sends nothing and asks nobody.
package sighting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"homeconf/src/model"
	"homeconf/src/ubus"
)

// Source is where a piece of evidence comes from.
type Source string

// The sources.
const (
	DHCP     Source = "dhcp"     // a lease
	Neighbor Source = "neighbor" // the kernel's ARP or ND table
	Bridge   Source = "bridge"   // learned at a port
	WiFi     Source = "wifi"     // a station of an access point of ours
)

// Evidence is one thing seen of one MAC address.
type Evidence struct {
	MAC      model.MAC
	Addr     netip.Addr // of a lease or a neighbour
	HostName string     // of a lease, cleaned
	Port     string     // of the bridge
	Active   bool       // heard of lately, not only remembered
	Source   Source

	age uint32 // in the kernel's ticks; of a lease 0
}

// Config says where to look.
type Config struct {
	Device    string       // the LAN's: "br-lan"
	LeaseFile string       // "": none
	Bus       *ubus.Client // of the OpenWrt that we are on; nil: none

	heard *heard
	Log   *slog.Logger
}

// Bounds. Anybody on the LAN can make MAC addresses up.
const (
	maxDevices   = 1024
	maxAddresses = 16 // of one device
	maxLeaseFile = 1 << 20
)

// Collect looks once. The evidence is sorted; a LAN device that isn't there has
// none to give, nor has a lease file that can't be read, but for a warning.
func Collect(ctx context.Context, c Config) ([]Evidence, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	own, seen, err := kernel(c.Device)
	if err != nil {
		return nil, fmt.Errorf("look for devices on %s: %w", c.Device, err)
	}
	leased, err := leases(c.LeaseFile)
	if err != nil && c.Log != nil {
		c.Log.Warn("leases can't be read", "err", err)
	}
	seen = append(seen, leased...)
	if c.heard != nil {
		seen = append(seen, c.heard.evidence()...)
	}
	return arrange(seen, own), nil
}

func leases(path string) ([]Evidence, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would hold us up for ever
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no regular file", path), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLeaseFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var out []Evidence
	for _, l := range model.ParseLeases(b) {
		out = append(out, Evidence{MAC: l.MAC, Addr: l.Address, HostName: l.HostName, Source: DHCP})
	}
	return out, nil
}

// arrange leaves out what is no device, sorts, and keeps the bounds: of too many
// devices those stay that have an address, and among them the ones heard of
// last.
func arrange(all []Evidence, own map[model.MAC]bool) []Evidence {
	all = slices.DeleteFunc(all, func(e Evidence) bool { return e.MAC.IsZero() || e.MAC.IsGroup() || own[e.MAC] })
	type rank struct {
		mac      model.MAC
		unnamed  bool // without an address
		youngest uint32
	}
	ranks := map[model.MAC]*rank{}
	for _, e := range all {
		r := ranks[e.MAC]
		if r == nil {
			r = &rank{mac: e.MAC, unnamed: true, youngest: ^uint32(0)}
			ranks[e.MAC] = r
		}
		if e.Addr.IsValid() {
			r.unnamed = false
		}
		if e.Source != DHCP {
			r.youngest = min(r.youngest, e.age)
		}
	}
	if len(ranks) > maxDevices {
		order := make([]*rank, 0, len(ranks))
		for _, r := range ranks {
			order = append(order, r)
		}
		sort.Slice(order, func(i, j int) bool {
			a, b := order[i], order[j]
			switch {
			case a.unnamed != b.unnamed:
				return b.unnamed
			case a.youngest != b.youngest:
				return a.youngest < b.youngest
			}
			return slices.Compare(a.mac[:], b.mac[:]) < 0
		})
		for _, r := range order[maxDevices:] {
			delete(ranks, r.mac)
		}
		all = slices.DeleteFunc(all, func(e Evidence) bool { return ranks[e.MAC] == nil })
	}
	for i := range all {
		all[i].age = 0 // it would make every look differ from the last
	}
	sort.Slice(all, func(i, j int) bool { return compare(all[i], all[j]) < 0 })
	return slices.Compact(all)
}

func compare(a, b Evidence) int {
	return cmp.Or(slices.Compare(a.MAC[:], b.MAC[:]), cmp.Compare(a.Source, b.Source), compareAddrs(a.Addr, b.Addr),
		cmp.Compare(a.HostName, b.HostName), cmp.Compare(a.Port, b.Port), compareBools(a.Active, b.Active))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// compareAddrs puts IPv4 first, and link-local addresses last.
func compareAddrs(a, b netip.Addr) int {
	if c := compareBools(b.IsLinkLocalUnicast(), a.IsLinkLocalUnicast()); c != 0 {
		return c
	}
	return a.Compare(b)
}

// Merge makes one sighting of all that was seen of each MAC address, with what
// it speaks for.
func Merge(all []Evidence) map[model.MAC]model.Sighting {
	out := map[model.MAC]model.Sighting{}
	for _, e := range all {
		s := out[e.MAC]
		if e.Addr.IsValid() && !slices.Contains(s.Addrs, e.Addr) && len(s.Addrs) < maxAddresses {
			s.Addrs = append(s.Addrs, e.Addr)
		}
		if e.HostName != "" {
			s.HostName = e.HostName
		}
		if e.Port != "" {
			s.Port = e.Port
		}
		if e.Active {
			s.Active = true
		}
		if !slices.Contains(s.Sources, string(e.Source)) {
			s.Sources = append(s.Sources, string(e.Source))
		}
		out[e.MAC] = s
	}
	for m, s := range out {
		sort.Slice(s.Addrs, func(i, j int) bool { return compareAddrs(s.Addrs[i], s.Addrs[j]) < 0 })
		slices.Sort(s.Sources)
		s.Guess, s.GuessReason = Guess(s.HostName)
		out[m] = s
	}
	return out
}
