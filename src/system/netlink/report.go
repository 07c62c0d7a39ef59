package netlink

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	nl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"homeconf/src/model"
	"homeconf/src/system"
)

// The report's bounds, those of the wire.
const (
	maxInterfaces = 16
	maxAddresses  = 16
)

// Report implements system.Device. What can't be found out is left out: a
// report with a gap is worth more than none.
func (d *Device) Report(ctx context.Context) (model.Report, error) {
	if err := ctx.Err(); err != nil {
		return model.Report{}, err
	}
	d.mu.Lock()
	own := d.own.clone()
	d.mu.Unlock()
	links, err := d.s.Links()
	if err != nil {
		return model.Report{}, fmt.Errorf("listing interfaces: %w", err)
	}
	// The managed interface comes first, so that no bound cuts it off.
	sort.SliceStable(links, func(i, j int) bool {
		return rank(links[i].Attrs().Name, d.c.Interface) < rank(links[j].Attrs().Name, d.c.Interface)
	})
	r := model.Report{Managed: d.c.Interface, Backend: "netlink",
		Capabilities: []model.Capability{model.CanStaticIPv4, model.CanDHCPv4}}
	for _, l := range links {
		a := l.Attrs()
		if len(r.Interfaces) == maxInterfaces {
			break
		}
		if !reported(a) {
			continue
		}
		r.Interfaces = append(r.Interfaces, d.describe(l, own))
		if a.Name == d.c.Interface {
			if r.Gateway, err = d.gateway(l); err != nil {
				return model.Report{}, err
			}
		}
	}
	if r.HostName, err = d.hostName(); err != nil {
		d.c.Log.Debug("host name not read", "err", err)
	}
	if d.c.ResolvConf != "" {
		r.Capabilities = append(r.Capabilities, model.CanDNS)
		if r.DNS, err = readResolvConf(d.c.ResolvConf); err != nil {
			d.c.Log.Debug("name servers not read", "err", err)
		}
	}
	if r.Groups, err = d.groups(); err != nil {
		d.c.Log.Debug("joined groups not read", "err", err)
	}
	return r, nil
}

// reported says whether a report has the interface: Ethernet's have six octets,
// and a loopback may have them, too.
func reported(a *nl.LinkAttrs) bool {
	return a.RawFlags&unix.IFF_LOOPBACK == 0 && len(a.HardwareAddr) == 6
}

func rank(name, managed string) int {
	if name == managed {
		return 0
	}
	return 1
}

func (d *Device) describe(l nl.Link, own ledger) model.Interface {
	a := l.Attrs()
	i := model.Interface{Name: a.Name, Up: a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0,
		Medium: d.medium(a.Name, a.EncapType)}
	copy(i.MAC[:], a.HardwareAddr)
	if i.Up {
		i.SpeedMbps = d.speed(a.Name)
	}
	list, err := d.s.Addresses(a.Index)
	if err != nil {
		d.c.Log.Debug("addresses not read", "interface", a.Name, "err", err)
	}
	for _, x := range list {
		if usable(x.Prefix) && len(i.Addresses) < maxAddresses {
			i.Addresses = append(i.Addresses, model.Address{Prefix: x.Prefix, Type: howGot(x.Prefix, x.Flags, own, a.Name == d.c.Interface)})
		}
	}
	sort.Slice(i.Addresses, func(a, b int) bool { return i.Addresses[a].Prefix.Addr().Less(i.Addresses[b].Prefix.Addr()) })
	return i
}

// howGot says how an address was got: ours and leases of ours are known, a
// finite lifetime is the mark of another DHCP client. Of the rest nothing is known.
func howGot(p netip.Prefix, flags uint32, own ledger, managed bool) model.AddressingType {
	switch {
	case p.Addr().IsLinkLocalUnicast():
		return model.AddressingAutoIP
	case managed && own.isLeased(p.Addr()) && !own.isStatic(p.Addr()), flags&unix.IFA_F_PERMANENT == 0:
		return model.AddressingDHCP
	case managed && own.isStatic(p.Addr()):
		return model.AddressingStatic
	}
	return model.AddressingUnknown
}

// medium tells a radio from a cable: wireless drivers make a folder "wireless"
// (wext) or a link "phy80211" (cfg80211).
func (d *Device) medium(name, encap string) model.Medium {
	for _, f := range []string{"wireless", "phy80211"} {
		if _, err := os.Stat(filepath.Join(d.c.Sys, "class/net", name, f)); err == nil {
			return model.MediumWiFi
		}
	}
	if encap == "ether" {
		return model.MediumEthernet
	}
	return model.MediumUnknown
}

// speed is the link's in Mbit/s; 0 where the driver doesn't know (-1, or EINVAL).
func (d *Device) speed(name string) uint32 {
	b, err := system.ReadFile(filepath.Join(d.c.Sys, "class/net", name, "speed"), 64)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return uint32(n)
}

func (d *Device) hostName() (string, error) {
	b, err := system.ReadFile(filepath.Join(d.c.Proc, "sys/kernel/hostname"), 256)
	return strings.TrimSpace(string(b)), err
}
