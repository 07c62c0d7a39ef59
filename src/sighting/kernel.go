package sighting

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"homeconf/src/model"
	"homeconf/src/rtnetlink"
)

// kernel lists what the kernel knows of the LAN, and the gateway's own MAC
// addresses.
func kernel(device string) (own map[model.MAC]bool, out []Evidence, err error) {
	links, err := (*rtnetlink.Socket)(nil).Links()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, nil, err
	}
	own = map[model.MAC]bool{}
	name := map[int]string{}
	var lan netlink.Link
	for _, l := range links {
		a := l.Attrs()
		name[a.Index] = a.Name
		if len(a.HardwareAddr) == 6 {
			own[model.MAC(a.HardwareAddr)] = true
		}
		if a.Name == device {
			lan = l
		}
	}
	if lan == nil {
		return own, nil, nil
	}
	index := lan.Attrs().Index
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := (*rtnetlink.Socket)(nil).Neighbors(index, family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, nil, err
		}
		for _, n := range list {
			if e, ok := neighbor(n); ok {
				out = append(out, e)
			}
		}
	}
	fdb, err := (*rtnetlink.Socket)(nil).Neighbors(0, unix.AF_BRIDGE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, nil, err
	}
	for _, n := range fdb {
		if e, ok := station(n, index, name); ok {
			out = append(out, e)
		}
	}
	return own, out, nil
}

// neighbor reads an entry of the ARP or ND table.
func neighbor(n netlink.Neigh) (Evidence, bool) {
	const none = netlink.NUD_INCOMPLETE | netlink.NUD_FAILED | netlink.NUD_NOARP
	const heard = netlink.NUD_REACHABLE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok || n.State&none != 0 || n.State == netlink.NUD_NONE || len(n.HardwareAddr) != 6 || addr.IsMulticast() || addr.IsUnspecified() {
		return Evidence{}, false
	}
	return Evidence{MAC: model.MAC(n.HardwareAddr), Addr: addr.Unmap(), Active: n.State&heard != 0, Source: Neighbor, age: n.Confirmed}, true
}

// station reads an entry of the bridge's forwarding table: a MAC address that
// was learned at a port. The bridge forgets it after five minutes' silence.
func station(n netlink.Neigh, bridge int, name map[int]string) (Evidence, bool) {
	// Permanent entries are the bridge's own addresses and those of its ports.
	if n.MasterIndex != bridge || n.LinkIndex == bridge || n.State&netlink.NUD_PERMANENT != 0 || len(n.HardwareAddr) != 6 {
		return Evidence{}, false
	}
	return Evidence{MAC: model.MAC(n.HardwareAddr), Port: name[n.LinkIndex], Active: true, Source: Bridge, age: n.Updated}, true
}
